"""The funnel figure: pairs left after each step, one panel per data set, with users and conversations at the right.

It is drawn from the funnel table alone. Each panel has its own linear axis; on a logarithmic one the length of a bar
would have no meaning.
"""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

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
from personalrm.results.lazy import Axes, Figure, pd
from personalrm.results.spec import Drawing, FigureResult
from personalrm.results.table_formats import EMPTY, plain, table_rows
from personalrm.studies.synthesizeme.results.funnel_table import read_funnel_table

PANEL_INCHES = 3.5
COLUMN_ENDS: dict[str, float] = {"pairs": 0.85, "removed": 1.8, "users": 2.5, "conversations": 3.5}
"""Heads of the columns of numbers, and where each ends, in inches right of the bars."""
STEP_INCHES, LINE_INCHES = 0.32, 0.185
"""Height of a step, and of each line of the longest name where that needs more."""
BAR_HEIGHT = 0.62
NAME_LENGTH = 36

Row = dict[str, Any]


def steps_of(table: pd.DataFrame) -> dict[str, list[Row]]:
    """Steps by data set, in the order of the funnel table; a data set without steps has none."""
    steps = table[table["kind"] == "step"]
    return {str(name): table_rows(steps[steps["dataset"] == name]) for name in table["dataset"].unique()}


def funnel_figure(table: pd.DataFrame, *, title_note: str = "") -> Figure:
    """Bars of pairs after each step, from top to bottom; what a step removed is pale and hatched behind its bar."""
    from matplotlib.patches import Patch

    found = steps_of(table) or {"": []}
    lines = max([_name(row["step"]).count("\n") + 1 for steps in found.values() for row in steps], default=1)
    step = max(STEP_INCHES, lines * LINE_INCHES)
    page = panels([PANEL_INCHES], [max(len(steps), 1) * step for steps in found.values()])
    for (name, steps), (axes,) in zip(found.items(), page.grid, strict=True):
        _panel(axes, name, steps)
    entries = [
        Patch(facecolor=LEFT, label="pairs left after the step"),
        Patch(facecolor=REMOVED, edgecolor="white", hatch="////", label="pairs removed by the step"),
    ]
    return page.finish("From votes to the benchmark", title_note, entries)


def _name(step: str) -> str:
    """A step's name on as few lines as it needs, about equally long."""
    lines = textwrap.wrap(step, NAME_LENGTH)
    longest = max(map(len, step.split()), default=1)
    for width in range(longest, NAME_LENGTH):
        if len(even := textwrap.wrap(step, width)) == len(lines):
            return "\n".join(even)
    return "\n".join(lines)


def _panel(axes: Axes, name: str, steps: Sequence[Row]) -> None:
    set_up(axes, spines=("left",))
    axes.set_xlim(0, max([row["pairs"] for row in steps], default=0) or 1)
    axes.set_xticks([])
    places = [place + 0.5 for place in range(len(steps))]
    set_up_rows(axes, places, [_name(row["step"]) for row in steps], bottom=len(steps))
    write_note(axes, name, (0, 1), (0, 6), TEXT_SIZE + 1, weight="bold")
    for head, end in COLUMN_ENDS.items():
        write_note(axes, head, (1, 1), (72 * end, 6), SMALL_SIZE, color=SOFT, align="right")
    for y, row in zip(places, steps, strict=True):
        removed = plain(row["removed_pairs"])
        if removed not in (EMPTY, "0"):
            axes.barh(
                y, row["removed_pairs"], BAR_HEIGHT, left=row["pairs"], color=REMOVED, edgecolor="white", hatch="////"
            )
            removed = f"−{removed}"
        axes.barh(y, row["pairs"], BAR_HEIGHT, color=LEFT)
        left = (plain(row[name]) for name in ("pairs", "users", "conversations"))
        texts = (next(left), removed.removeprefix(EMPTY), *left)
        for text, end in zip(texts, COLUMN_ENDS.values(), strict=True):
            # Digits share a baseline; centred, a comma would lift its neighbours.
            across, points = axes.get_yaxis_transform(), (72 * end, -3.4)
            write_note(axes, text, (1, y), points, SMALL_SIZE + 0.5, coordinates=across, align="right")


def funnel_caption(table: pd.DataFrame) -> str:
    """What the funnel figure shows, with the first and last counts of each data set."""
    sizes = [
        f"{name}: {steps[-1]['pairs']:,} of {steps[0]['pairs']:,} pairs and {steps[-1]['users']:,} of "
        f"{steps[0]['users']:,} users are left. "
        for name, steps in steps_of(table).items()
        if steps
    ]
    return (
        "Preference pairs after each step from votes to the benchmark, with users and conversations. "
        + "".join(sizes)
        + "Each data set has a scale of its own, from 0 to its first count."
    )


def build(table_funnel: Path, *, title_note: str) -> Drawing:
    """Draw the figure from its published table alone."""
    table = read_funnel_table(table_funnel)
    return Drawing(funnel_figure(table, title_note=title_note), funnel_caption(table))


RESULT = FigureResult(
    name="funnel",
    order=190,
    caption="Pairs after each step from votes to the benchmark; each data set has a scale of its own.",
    build=build,
)
