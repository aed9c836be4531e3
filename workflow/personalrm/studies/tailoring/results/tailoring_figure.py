"""ΔPQ of tailored answers: one panel per data set, judge and kind of verdict; drawn from its table alone."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from personalrm.results.figure_style import (
    INK,
    LEFT,
    SMALL_SIZE,
    SOFT,
    TEXT_SIZE,
    draw_interval,
    panels,
    set_limits,
    set_up,
    set_up_rows,
    write_note,
)
from personalrm.results.spec import Drawing, FigureResult
from personalrm.results.table_formats import table_rows
from personalrm.results.tables.comparison_text import DIFFERENCE
from personalrm.studies.tailoring.results.persona_accuracy_table import reading
from personalrm.studies.tailoring.results.tailoring_table import BOTH, PQ, read_tailoring_table

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

PANEL_INCHES, ROW_INCHES = 3.0, 0.62
MOST_PANELS = 3
"""In a row."""
STEP = 20
"""Of the ends of the axis, in points."""


class Mark(NamedTuple):
    """How a rubric is drawn, and how far above the middle of its row, in inches."""

    label: str
    marker: str
    colour: str
    size: float
    above: float


MARKS: dict[str, Mark] = {
    BOTH: Mark("ΔPQ", "D", INK, 7.0, 0.16),
    PQ[0]: Mark(PQ[0], "o", LEFT, 6.0, 0.0),
    PQ[1]: Mark(PQ[1], "s", "#d55e00", 5.5, -0.14),
}


def tailoring_figure(table: pd.DataFrame, *, title_note: str = "") -> Figure:
    """A row for each comparison of two systems, with a mark for ΔPQ and for each of its rubrics.

    Args:
        table: `tailoring_table` or `read_tailoring_table`.
        title_note: text under the title, e.g. what run this is.
    """
    drawn = table[table["rubric"].isin(list(MARKS))]
    groups = list(drawn.groupby(["dataset", "judge", "verdict"], sort=False))
    columns, most = min(MOST_PANELS, len(groups)), max(len(_compared(rows)) for _, rows in groups)
    bottom = most * ROW_INCHES
    page = panels([PANEL_INCHES] * columns, [bottom] * -(-len(groups) // columns))
    cells = [axes for row in page.grid for axes in row]
    known = [abs(float(value)) for name in DIFFERENCE for value in drawn[name] if not math.isnan(value)]
    end = min(100, STEP * math.ceil((max(known, default=0.0) + 1) / STEP))
    for axes, (key, rows) in zip(cells, groups, strict=False):
        dataset, judge, verdict = map(str, key if isinstance(key, tuple) else (key,))
        names = _compared(rows)
        set_up(axes, "x")
        set_limits(axes, "x", (-end, end))
        heights = [(number + 0.5) * ROW_INCHES for number in range(len(names))]
        set_up_rows(axes, heights, [f"{test}\nagainst {base}" for test, base in names], bottom=bottom)
        axes.set_xlabel("100 (W - L) / (W + L)", fontsize=SMALL_SIZE + 0.5, color=INK)
        axes.axvline(0, color=SOFT, linestyle="--", linewidth=1)
        heading = f"{dataset}\njudge {judge}, {reading(verdict)}"
        write_note(axes, heading, (0, 1), (0, 6), TEXT_SIZE - 1.5, weight="bold")
        for row in table_rows(rows):
            mark = MARKS[str(row["rubric"])]
            y = heights[names.index((str(row["test"]), str(row["base"])))] - mark.above
            _draw(axes, y, mark, [float(row[name]) for name in DIFFERENCE])
    for axes in cells[len(groups) :]:
        axes.remove()
    entries = [_mark(mark, label=mark.label) for name, mark in MARKS.items() if (drawn["rubric"] == name).any()]
    return page.finish("Are answers that are tailored to a persona better?", title_note, entries)


def _compared(rows: pd.DataFrame) -> list[tuple[str, str]]:
    """Test and base system of the comparisons of a panel."""
    return list(dict.fromkeys(zip(rows["test"].astype(str), rows["base"].astype(str), strict=True)))


def _mark(mark: Mark, *, label: str = "") -> Line2D:
    from matplotlib.lines import Line2D

    return Line2D([], [], linestyle="", marker=mark.marker, markersize=mark.size, color=mark.colour, label=label)


def _draw(axes: Axes, y: float, mark: Mark, numbers: Sequence[float]) -> None:
    """An estimate with its bounds at a height, or that there are only ties."""
    value, low, high = numbers
    if math.isnan(value):
        write_note(axes, f"{mark.label}: only ties", (0, y), (4, 0), coordinates="data", level="center")
        return
    if not math.isnan(low):
        draw_interval(axes, (low, high), (y, y), mark.colour, alpha=0.8)
    line = _mark(mark)
    line.set_data([value], [y])
    line.set(zorder=3, clip_on=False)
    axes.add_line(line)


def build(table_tailoring: Path, *, title_note: str) -> Drawing:
    """Draw the figure from its published table alone."""
    table = read_tailoring_table(table_tailoring)
    if not table["rubric"].isin(list(MARKS)).any():
        return Drawing(None, "no answers were compared in personalization or quality.")
    pairs = table[table["rubric"] == BOTH].groupby("dataset", sort=False)["n_pairs"].max()
    sizes = "; ".join(f"{name}: {number} pairs at most" for name, number in pairs.items())
    caption = (
        "100 (W - L) / (W + L) of a system's answers against those of another system, under each rubric, and ΔPQ, the "
        "mean of both; with 95 % intervals from a bootstrap over pairs"
        f"{f' ({sizes})' if sizes else ''}. Right of the dashed line the system wins more often than it loses."
    )
    return Drawing(tailoring_figure(table, title_note=title_note), caption)


RESULT = FigureResult(
    name="tailoring",
    order=40,
    message="Drawing ΔPQ",
    caption="ΔPQ of tailored answers, and its parts for personalization and quality, with 95 % intervals.",
    build=build,
)
