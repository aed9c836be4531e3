"""Panels of this study's figures: rows with names, and estimates with their intervals as marks."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, NamedTuple

from personalrm.core.persona_pairs import SIDES
from personalrm.results.figure_style import (
    INK,
    LEFT,
    LETTER_INCHES,
    SMALL_SIZE,
    SOFT,
    draw_interval,
    set_limits,
    set_up,
    set_up_rows,
    write_head,
)
from personalrm.results.lazy import Axes, pd

if TYPE_CHECKING:
    from matplotlib.lines import Line2D

RIGHT = "#d55e00"


class Mark(NamedTuple):
    """How an estimate is drawn, and how far above the middle of its row, in inches."""

    label: str
    marker: str
    colour: str
    size: float
    above: float = 0.0

    def line(self, *, label: str = "") -> Line2D:
        """The marker, for a panel or (with a label) for a legend."""
        from matplotlib.lines import Line2D

        line = Line2D([], [], linestyle="", marker=self.marker, markersize=self.size, color=self.colour, label=label)
        if self.marker == "|":
            line.set_markeredgewidth(1.4)
        return line

    def draw(self, axes: Axes, y: float, numbers: Sequence[float]) -> None:
        """An estimate with its bounds at a height, or the estimate alone; nothing where it is not a number."""
        value, low, high = (*numbers, math.nan, math.nan)[:3]
        draw_interval(axes, (low, high), (y, y), self.colour, alpha=0.8)
        if not math.isnan(value):
            line = self.line()
            line.set_data([value], [y])
            line.set(zorder=3, clip_on=False)
            axes.add_line(line)


SIDE_MARKS: dict[str, Mark] = {
    side: Mark(f"personas of {side} responses", marker, colour, 6.5)
    for side, marker, colour in zip(SIDES, "os", (LEFT, RIGHT), strict=True)
}
REPORTED_MARK = Mark("paper (judge GPT-4o)", "|", INK, 12.0)


def groups_of(table: pd.DataFrame, *columns: str) -> list[tuple[tuple[str, ...], pd.DataFrame]]:
    """The rows of a table by the values of these columns, in its order."""
    groups = table.groupby(list(columns), sort=False)
    return [(tuple(str(rows[name].iloc[0]) for name in columns), rows) for _, rows in groups]


def head_inches(headings: Iterable[str], least: float) -> float:
    """Width of panels of at least so many inches, in which each part of their headings fits a line."""
    parts = [len(part) for heading in headings for part in heading.split(" · ")]
    return max(least, LETTER_INCHES * (max(parts, default=0) + 2))


def row_panel(
    axes: Axes,
    heading: tuple[str, float],
    rows: tuple[Sequence[float], Sequence[str]],
    axis: tuple[str, float, tuple[float, float]],
    bottom: float,
) -> None:
    """Set up a panel: a heading, and how wide it may be; heights and names of its rows, down to `bottom`; and of its
    axis the label, the place of a dashed line, and the ends."""
    label, line, ends = axis
    set_up(axes, "x")
    set_limits(axes, "x", ends)
    set_up_rows(axes, *rows, bottom=bottom)
    axes.set_xlabel(label, fontsize=SMALL_SIZE + 0.5, color=INK)
    axes.axvline(line, color=SOFT, linestyle="--", linewidth=1)
    write_head(axes, *heading, 6)


def legend_of(marks: Sequence[Mark]) -> list[Line2D]:
    """Entries of a legend."""
    return [mark.line(label=mark.label) for mark in marks]
