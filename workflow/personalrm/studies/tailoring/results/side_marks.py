"""Marks of the two sides of a pair, alike in all figures of this study."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from personalrm.core.persona_pairs import SIDES
from personalrm.results.figure_style import INK, LEFT, draw_interval

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.lines import Line2D

COLOURS: dict[str, str] = {"chosen": LEFT, "rejected": "#d55e00"}
MARKERS: dict[str, str] = {"chosen": "o", "rejected": "s"}
NAMES = {side: f"personas of {side} responses" for side in SIDES}


def side_mark(side: str, *, label: str = "", reported: bool = False) -> Line2D:
    """The marker of a side, as a line in the colour of ink for what the paper reports."""
    from matplotlib.lines import Line2D

    if reported:
        return Line2D([], [], linestyle="", marker="|", markersize=12, markeredgewidth=1.4, color=INK, label=label)
    return Line2D([], [], linestyle="", marker=MARKERS[side], markersize=6.5, color=COLOURS[side], label=label)


def draw_side(axes: Axes, y: float, side: str, numbers: Sequence[float], reported: float = float("nan")) -> None:
    """An estimate with its bounds at a height, and the reported value where there is one."""
    value, low, high = numbers
    draw_interval(axes, (low, high), (y, y), COLOURS[side], alpha=0.8)
    for x, is_reported in ((value, False), (reported, True)):
        if not math.isnan(x):
            mark = side_mark(side, reported=is_reported)
            mark.set_data([x], [y])
            mark.set(zorder=3, clip_on=False)
            axes.add_line(mark)


def side_entries(*, reported: bool) -> list[Line2D]:
    """Entries of the legend."""
    entries = [side_mark(side, label=NAMES[side]) for side in SIDES]
    return [*entries, side_mark(SIDES[0], label="paper (judge GPT-4o)", reported=True)] if reported else entries
