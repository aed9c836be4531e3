"""The funnel figure: pairs that are left after each step, one panel a data set, users and conversations beside.

It is drawn from the funnel table alone, without pyplot's global state; equal tables give equal bytes. Axes are linear
and each panel has its own; on a logarithmic one the length of a bar would say nothing.
"""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from personalrm.results.figure_style import (
    INK,
    LEFT,
    MARGIN_INCHES,
    REMOVED,
    SMALL_SIZE,
    SOFT,
    TEXT_SIZE,
    TITLE_SIZE,
    Align,
    new_figure,
    write_legend,
    write_line,
    write_note,
)
from personalrm.results.spec import Drawing, FigureResult
from personalrm.studies.synthesizeme.results.funnel_table import read_funnel_table

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

NAME_INCHES, PANEL_INCHES = 2.85, 3.5
COLUMN_ENDS: dict[str, float] = {"pairs": 0.85, "removed": 1.8, "users": 2.5, "conversations": 3.5}
"""Heads of the columns of numbers, and where each ends, in inches right of the bars."""
TOP_INCHES, PANEL_HEAD_INCHES, BOTTOM_INCHES = 0.5, 0.52, 0.5
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
    panels = bars_of(table) or {"": []}
    lines = max([_name(bar.step).count("\n") + 1 for bars in panels.values() for bar in bars], default=1)
    width = NAME_INCHES + PANEL_INCHES + max(COLUMN_ENDS.values()) + MARGIN_INCHES
    heights = [max(len(bars), 1) * max(STEP_INCHES, lines * LINE_INCHES) for bars in panels.values()]
    height = TOP_INCHES + BOTTOM_INCHES + sum(each + PANEL_HEAD_INCHES for each in heights)
    figure = new_figure(width, height)
    top = TOP_INCHES
    for (name, bars), tall in zip(panels.items(), heights, strict=True):
        top += PANEL_HEAD_INCHES
        place = (NAME_INCHES / width, 1 - (top + tall) / height, PANEL_INCHES / width, tall / height)
        _panel(figure.add_axes(place), name, bars)
        top += tall
    write_line(figure, "From votes to the benchmark", 0.14, TITLE_SIZE, INK, weight="bold")
    write_line(figure, title_note, 0.4, TEXT_SIZE, SOFT)
    _legend(figure)
    return figure


def _name(step: str) -> str:
    """A step's name on as few lines as it needs, about equally long."""
    lines = textwrap.wrap(step, NAME_LENGTH)
    longest = max(map(len, step.split()), default=1)
    for width in range(longest, NAME_LENGTH):
        if len(even := textwrap.wrap(step, width)) == len(lines):
            return "\n".join(even)
    return "\n".join(lines)


def _panel(axes: Axes, name: str, bars: Sequence[Bar]) -> None:
    axes.set_ylim(max(len(bars), 1) - 0.5, -0.5)
    axes.set_xlim(0, max([bar.pairs for bar in bars], default=0) or 1)
    axes.set_xticks([])
    axes.set_yticks([])
    for side in ("right", "top", "bottom"):
        axes.spines[side].set_visible(False)
    axes.spines["left"].set_color(SOFT)
    _beside(axes, name, -NAME_INCHES + MARGIN_INCHES, -0.5, "left", TEXT_SIZE + 1, raised=True, weight="bold")
    for head, end in COLUMN_ENDS.items():
        _beside(axes, head, PANEL_INCHES + end, -0.5, "right", SMALL_SIZE, color=SOFT, raised=True)
    for y, bar in enumerate(bars):
        if bar.removed:
            axes.barh(y, bar.removed, BAR_HEIGHT, left=bar.pairs, color=REMOVED, edgecolor="white", hatch="////")
        axes.barh(y, bar.pairs, BAR_HEIGHT, color=LEFT)
        _beside(axes, _name(bar.step), -0.1, y, "right", SMALL_SIZE + 0.5)
        removed = "" if bar.removed is None else f"−{bar.removed:,}" if bar.removed else "0"
        texts = (f"{bar.pairs:,}", removed, f"{bar.users:,}", f"{bar.conversations:,}")
        for text, end in zip(texts, COLUMN_ENDS.values(), strict=True):
            _beside(axes, text, PANEL_INCHES + end, y, "right", SMALL_SIZE + 0.5)


def _beside(
    axes: Axes,
    text: str,
    inches: float,
    y: float,
    align: Align,
    size: float,
    *,
    color: str = INK,
    raised: bool = False,
    weight: str = "normal",
) -> None:
    """Text so many inches right of the panel's left edge, in the middle of row `y` or (`raised`) above the panel."""
    # Lines of digits share a baseline; centred, a comma would lift its neighbours.
    one_line = "\n" not in text
    write_note(
        axes,
        text,
        (inches / PANEL_INCHES, y),
        (0, 5 if raised else -0.36 * size * one_line),
        size,
        coordinates=axes.get_yaxis_transform(),
        color=color,
        align=align,
        level="baseline" if one_line else "center",
        weight=weight,
        linespacing=1.05,
    )


def _legend(figure: Figure) -> None:
    from matplotlib.patches import Patch

    write_legend(
        figure,
        [
            Patch(facecolor=LEFT, label="pairs left after the step"),
            Patch(facecolor=REMOVED, edgecolor="white", hatch="////", label="pairs removed by the step"),
        ],
        columns=2,
    )


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
