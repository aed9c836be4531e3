"""Persona accuracy: one panel per data set, judge and kind of verdict; drawn from its table alone."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from personalrm.core.persona_pairs import SIDES
from personalrm.results.figure_style import (
    CHANCE,
    INK,
    SMALL_SIZE,
    SOFT,
    TEXT_SIZE,
    limits,
    panels,
    set_limits,
    set_up,
    set_up_rows,
    write_note,
)
from personalrm.results.labels import VERDICT_LABELS
from personalrm.results.spec import Drawing, FigureResult
from personalrm.studies.tailoring.results.persona_accuracy_table import ACCURACY, read_accuracy_table
from personalrm.studies.tailoring.results.side_marks import draw_side, side_entries

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

PANEL_INCHES, ROW_INCHES = 2.6, 0.42
MOST_PANELS = 4
"""In a row."""


def accuracy_figure(table: pd.DataFrame, *, title_note: str = "") -> Figure:
    """A row for each model that wrote personas, with a mark for each side of the pairs.

    Args:
        table: `accuracy_table` or `read_accuracy_table`.
        title_note: text under the title, e.g. what run this is.
    """
    groups = list(table[table["side"].isin(SIDES)].groupby(["dataset", "judge", "verdict"], sort=False))
    models = list(dict.fromkeys(table["model"]))
    columns = min(MOST_PANELS, len(groups))
    bottom = len(models) * ROW_INCHES
    page = panels([PANEL_INCHES] * columns, [bottom] * -(-len(groups) // columns))
    cells = [axes for row in page.grid for axes in row]
    ends = limits(float(value) for name in (*ACCURACY, "reported") for value in table[name])
    for place, (axes, (key, rows)) in enumerate(zip(cells, groups, strict=False)):
        dataset, judge, verdict = map(str, key if isinstance(key, tuple) else (key,))
        set_up(axes, "x")
        set_limits(axes, "x", ends)
        heights = [(number + 0.5) * ROW_INCHES for number in range(len(models))]
        shown = place % columns == 0
        set_up_rows(axes, heights if shown else [], models if shown else [], bottom=bottom)
        axes.set_xlabel("accuracy, %", fontsize=SMALL_SIZE + 0.5, color=INK)
        axes.axvline(CHANCE, color=SOFT, linestyle="--", linewidth=1)
        heading = f"{dataset}\njudge {judge}{VERDICT_LABELS.get(verdict, '')}"
        write_note(axes, heading, (0, 1), (0, 6), TEXT_SIZE - 1.5, weight="bold")
        for row in rows.to_dict("records"):
            y = heights[models.index(row["model"])] + (-0.09 if row["side"] == SIDES[0] else 0.09)
            draw_side(axes, y, str(row["side"]), [float(row[name]) for name in ACCURACY], float(row["reported"]))
    for axes in cells[len(groups) :]:
        axes.remove()
    reported = bool(table["reported"].notna().any())
    return page.finish(
        "Do personas predict the choices that they were inferred from?", title_note, side_entries(reported=reported)
    )


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
    message="Drawing persona accuracy",
    caption="Accuracy of personas of chosen and of rejected responses, with 95 % intervals clustered by pair.",
    build=build,
)
