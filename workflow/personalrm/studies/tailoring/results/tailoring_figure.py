"""ΔPQ of tailored answers: one panel per data set, judge and kind of verdict; drawn from its table alone."""

from __future__ import annotations

import math
from pathlib import Path

from personalrm.results.figure_style import INK, LEFT, panel_rows, write_note
from personalrm.results.lazy import Figure, pd
from personalrm.results.spec import Drawing, FigureResult
from personalrm.results.table_formats import table_rows
from personalrm.results.tables.comparison_text import DIFFERENCE
from personalrm.studies.tailoring.results.panels import RIGHT, Mark, groups_of, head_inches, legend_of, row_panel
from personalrm.studies.tailoring.results.persona_accuracy_table import reading
from personalrm.studies.tailoring.results.tailoring_table import BOTH, PQ, read_tailoring_table

PANEL_INCHES, ROW_INCHES = 3.0, 0.62
STEP = 20
"""Of the ends of the axis, in points."""


MARKS: dict[str, Mark] = {
    BOTH: Mark("ΔPQ", "D", INK, 7.0, 0.16),
    PQ[0]: Mark(PQ[0], "o", LEFT, 6.0, 0.0),
    PQ[1]: Mark(PQ[1], "s", RIGHT, 5.5, -0.14),
}


def tailoring_figure(table: pd.DataFrame, *, title_note: str = "") -> Figure:
    """A row for each comparison of two systems, with a mark for ΔPQ and for each of its rubrics."""
    drawn = table[table["rubric"].isin(list(MARKS))]
    groups = groups_of(drawn, "dataset", "judge", "verdict")
    bottom = max(len(_compared(rows)) for _, rows in groups) * ROW_INCHES
    width = head_inches((_heading(key) for key, _ in groups), PANEL_INCHES)
    page, found = panel_rows([groups], lambda _: width, lambda _: bottom)
    known = [abs(float(value)) for name in DIFFERENCE for value in drawn[name] if not math.isnan(value)]
    end = min(100, STEP * math.ceil((max(known, default=0.0) + 1) / STEP))
    for (key, rows), axes, _ in found:
        names = _compared(rows)
        heights = [(number + 0.5) * ROW_INCHES for number in range(len(names))]
        named = heights, [f"{test}\nagainst {base}" for test, base in names]
        row_panel(axes, (_heading(key), width), named, ("100 (W - L) / (W + L)", 0.0, (-end, end)), bottom)
        for row in table_rows(rows):
            mark = MARKS[str(row["rubric"])]
            y = heights[names.index((str(row["test"]), str(row["base"])))] - mark.above
            mark.draw(axes, y, [float(row[name]) for name in DIFFERENCE])
            if math.isnan(row["difference"]):
                write_note(axes, f"{mark.label}: only ties", (0, y), (4, 0), coordinates="data", level="center")
    marks = [mark for name, mark in MARKS.items() if (drawn["rubric"] == name).any()]
    return page.finish("Are answers that are tailored to a persona better?", title_note, legend_of(marks))


def _heading(key: tuple[str, ...]) -> str:
    dataset, judge, verdict = key
    return f"{dataset} · judge {judge} · {reading(verdict)}"


def _compared(rows: pd.DataFrame) -> list[tuple[str, str]]:
    """Test and base system of the comparisons of a panel."""
    return list(dict.fromkeys(zip(rows["test"].astype(str), rows["base"].astype(str), strict=True)))


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
    caption="ΔPQ of tailored answers, and its parts for personalization and quality, with 95 % intervals.",
    build=build,
)
