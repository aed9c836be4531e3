"""Persona accuracy: one panel per data set, judge and kind of verdict; drawn from its table alone."""

from __future__ import annotations

from pathlib import Path

from personalrm.core.persona_pairs import SIDES
from personalrm.results.figure_style import CHANCE, limits, panel_rows
from personalrm.results.labels import VERDICT_LABELS
from personalrm.results.lazy import Figure, pd
from personalrm.results.spec import Drawing, FigureResult
from personalrm.studies.tailoring.results.panels import (
    REPORTED_MARK,
    SIDE_MARKS,
    groups_of,
    head_inches,
    legend_of,
    row_panel,
)
from personalrm.studies.tailoring.results.persona_accuracy_table import ACCURACY, read_accuracy_table

PANEL_INCHES, ROW_INCHES = 2.6, 0.42


def accuracy_figure(table: pd.DataFrame, *, title_note: str = "") -> Figure:
    """A row for each model that wrote personas, with a mark for each side of the pairs."""
    groups = groups_of(table[table["side"].isin(SIDES)], "dataset", "judge", "verdict")
    models = list(dict.fromkeys(table["model"]))
    bottom = len(models) * ROW_INCHES
    heights = [(number + 0.5) * ROW_INCHES for number in range(len(models))]
    width = head_inches((_heading(key) for key, _ in groups), PANEL_INCHES)
    page, found = panel_rows([groups], lambda _: width, lambda _: bottom)
    ends = limits(float(value) for name in (*ACCURACY, "reported") for value in table[name])
    for (key, rows), axes, first in found:
        named = (heights, models) if first else ([], [])
        row_panel(axes, (_heading(key), width), named, ("accuracy, %", CHANCE, ends), bottom)
        for row in rows.to_dict("records"):
            y = heights[models.index(row["model"])] + (-0.09 if row["side"] == SIDES[0] else 0.09)
            SIDE_MARKS[str(row["side"])].draw(axes, y, [float(row[name]) for name in ACCURACY])
            REPORTED_MARK.draw(axes, y, [float(row["reported"])])
    marks = [*SIDE_MARKS.values(), *([REPORTED_MARK] if table["reported"].notna().any() else [])]
    return page.finish("Do personas predict the choices that they were inferred from?", title_note, legend_of(marks))


def _heading(key: tuple[str, ...]) -> str:
    dataset, judge, verdict = key
    return f"{dataset} · judge {judge}{VERDICT_LABELS.get(verdict, '')}"


def build(table_persona_accuracy: Path, *, title_note: str) -> Drawing:
    """Draw the figure from its published table alone."""
    table = read_accuracy_table(table_persona_accuracy)
    if table.empty:
        return Drawing(None, "no persona was judged.")
    pairs = table.groupby("dataset", sort=False)["n_pairs"].max()
    sizes = ", ".join(f"{name}: {number} pairs" for name, number in pairs.items())
    caption = (
        "Share of judgments in which the owner of a persona is said to pick the response that the persona was inferred "
        f"for, both orders of showing, with 95 % intervals from a bootstrap over pairs ({sizes}). Dashed: chance."
    )
    return Drawing(accuracy_figure(table, title_note=title_note), caption)


RESULT = FigureResult(
    name="persona_accuracy",
    order=10,
    caption="Accuracy of personas of chosen and of rejected responses, with 95 % intervals clustered by pair.",
    build=build,
)
