"""The funnel figure: pairs that are left after each step, one panel a data set, users and conversations beside.

It is drawn from the funnel table alone. Axes are linear and each panel has its own; on a logarithmic one the length of
a bar would say nothing.
"""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from personalrm.results.figure_style import (
    LEFT,
    REMOVED,
    SMALL_SIZE,
    SOFT,
    TEXT_SIZE,
    panels,
    set_up,
    set_up_rows,
    write_note,
)
from personalrm.results.spec import Drawing, FigureResult
from personalrm.studies.synthesizeme.results.funnel_table import read_funnel_table

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PANEL_INCHES = 3.5
COLUMN_ENDS: dict[str, float] = {"pairs": 0.85, "removed": 1.8, "users": 2.5, "conversations": 3.5}
"""Heads of the columns of numbers, and where each ends, in inches right of the bars."""
STEP_INCHES, LINE_INCHES = 0.32, 0.185
"""Height of a step, and of each line of the longest name where that needs more."""
BAR_HEIGHT = 0.62
NAME_LENGTH = 36


class Bar(NamedTuple):
    """One step of a data set, as it is drawn; `removed` is None for the first step."""

    step: str
    users: int
    conversations: int
    pairs: int
    removed: int | None


def bars_of(table: pd.DataFrame) -> dict[str, list[Bar]]:
    """Steps by data set, in the order of the funnel table; a data set without steps has none."""
    bars: dict[str, list[Bar]] = {str(name): [] for name in dict.fromkeys(table["dataset"])}
    for row in table[table["kind"] == "step"].itertuples():
        removed = str(row.removed_pairs)
        bars[str(row.dataset)].append(
            Bar(
                step=str(row.step),
                users=int(str(row.users)),
                conversations=int(str(row.conversations)),
                pairs=int(str(row.pairs)),
                removed=None if removed == "<NA>" else int(removed),
            )
        )
    return bars


def funnel_figure(table: pd.DataFrame, *, title_note: str = "") -> Figure:
    """Bars of pairs after each step, from top to bottom; what a step removed is pale and hatched behind its bar.

    Args:
        table: the funnel table (`benchmark_tables.funnel_table` or `read_funnel_table`).
        title_note: text under the title, e.g. what run this is.
    """
    from matplotlib.patches import Patch

    found = bars_of(table) or {"": []}
    lines = max([_name(bar.step).count("\n") + 1 for bars in found.values() for bar in bars], default=1)
    step = max(STEP_INCHES, lines * LINE_INCHES)
    page = panels([PANEL_INCHES], [max(len(bars), 1) * step for bars in found.values()])
    for (name, bars), (axes,) in zip(found.items(), page.grid, strict=True):
        _panel(axes, name, bars)
    left, removed = Patch(facecolor=LEFT), Patch(facecolor=REMOVED, edgecolor="white", hatch="////")
    left.set_label("pairs left after the step")
    removed.set_label("pairs removed by the step")
    return page.finish("From votes to the benchmark", title_note, [left, removed])


def _name(step: str) -> str:
    """A step's name on as few lines as it needs, about equally long."""
    lines = textwrap.wrap(step, NAME_LENGTH)
    longest = max(map(len, step.split()), default=1)
    for width in range(longest, NAME_LENGTH):
        if len(even := textwrap.wrap(step, width)) == len(lines):
            return "\n".join(even)
    return "\n".join(lines)


def _panel(axes: Axes, name: str, bars: Sequence[Bar]) -> None:
    set_up(axes, spines=("left",))
    axes.set_xlim(0, max([bar.pairs for bar in bars], default=0) or 1)
    axes.set_xticks([])
    places = [place + 0.5 for place in range(len(bars))]
    set_up_rows(axes, places, [_name(bar.step) for bar in bars], bottom=len(bars))
    write_note(axes, name, (0, 1), (0, 6), TEXT_SIZE + 1, weight="bold")
    for head, end in COLUMN_ENDS.items():
        write_note(axes, head, (1, 1), (72 * end, 6), SMALL_SIZE, color=SOFT, align="right")
    for y, bar in zip(places, bars, strict=True):
        if bar.removed:
            axes.barh(y, bar.removed, BAR_HEIGHT, left=bar.pairs, color=REMOVED, edgecolor="white", hatch="////")
        axes.barh(y, bar.pairs, BAR_HEIGHT, color=LEFT)
        removed = "" if bar.removed is None else f"−{bar.removed:,}" if bar.removed else "0"
        texts = (f"{bar.pairs:,}", removed, f"{bar.users:,}", f"{bar.conversations:,}")
        for text, end in zip(texts, COLUMN_ENDS.values(), strict=True):
            # Digits share a baseline; centred, a comma would lift its neighbours.
            across, points = axes.get_yaxis_transform(), (72 * end, -3.4)
            write_note(axes, text, (1, y), points, SMALL_SIZE + 0.5, coordinates=across, align="right")


def funnel_caption(table: pd.DataFrame) -> str:
    """What the funnel figure shows, with the first and last counts of each data set."""
    sizes = []
    for name, bars in bars_of(table).items():
        if bars:
            first, last = bars[0], bars[-1]
            sizes.append(
                f"{name}: {last.pairs:,} of {first.pairs:,} pairs and {last.users:,} of {first.users:,} users are left"
            )
    return (
        "Preference pairs after each step from votes to the benchmark, with users and conversations. "
        + "".join(f"{size}. " for size in sizes)
        + "Each data set has a scale of its own, from 0 to its first count."
    )


def build(table_funnel: Path, *, title_note: str) -> Drawing:
    """Draw the figure from its published table alone."""
    table = read_funnel_table(table_funnel)
    return Drawing(funnel_figure(table, title_note=title_note), funnel_caption(table))


RESULT = FigureResult(
    name="funnel",
    order=190,
    message="Drawing the funnel",
    caption="Pairs after each step from votes to the benchmark; each data set has a scale of its own.",
    build=build,
)
