"""Salient words: one panel per data set and model, with the words of both sides; drawn from its table alone."""

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
    panels,
    set_limits,
    set_up,
    set_up_rows,
    write_note,
)
from personalrm.results.spec import Drawing, FigureResult
from personalrm.studies.tailoring.results.persona_saliency_table import SHARE, read_saliency_table
from personalrm.studies.tailoring.results.side_marks import draw_side, side_entries

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

PANEL_INCHES, ROW_INCHES, GAP_INCHES = 1.9, 0.2, 0.14
MOST_PANELS = 3
"""In a row."""


def saliency_figure(table: pd.DataFrame, *, title_note: str = "") -> Figure:
    """Shares of the salient words of chosen responses' personas, then of rejected ones', with intervals.

    Args:
        table: `saliency_table` or `read_saliency_table`.
        title_note: text under the title, e.g. what run this is.
    """
    groups = list(table.groupby(["dataset", "model", "contrast"], sort=False))
    several = table["contrast"].nunique() > 1
    columns = min(MOST_PANELS, len(groups))
    tallest = max(len(rows) for _, rows in groups) * ROW_INCHES + GAP_INCHES
    page = panels([PANEL_INCHES] * columns, [tallest] * -(-len(groups) // columns))
    cells = [axes for row in page.grid for axes in row]
    for axes, (key, rows) in zip(cells, groups, strict=False):
        dataset, model, contrast = map(str, key if isinstance(key, tuple) else (key,))
        set_up(axes, "x")
        set_limits(axes, "x", (-1.0, 101.0))
        heights = [
            (number + 0.5) * ROW_INCHES + GAP_INCHES * (side != SIDES[0]) for number, side in enumerate(rows["side"])
        ]
        set_up_rows(axes, heights, [str(word) for word in rows["word"]], bottom=tallest)
        axes.set_xlabel("P(side | word), %", fontsize=SMALL_SIZE + 0.5, color=INK)
        axes.axvline(CHANCE, color=SOFT, linestyle="--", linewidth=1)
        heading = f"{dataset}\n{model}" + (f", {contrast.replace('_', ' ')}" if several else "")
        write_note(axes, heading, (0, 1), (0, 6), TEXT_SIZE - 1.5, weight="bold")
        for y, row in zip(heights, rows.to_dict("records"), strict=True):
            draw_side(axes, y, str(row["side"]), [float(row[name]) for name in SHARE])
    for axes in cells[len(groups) :]:
        axes.remove()
    return page.finish(
        "Words that tell the personas of the two responses apart", title_note, side_entries(reported=False)
    )


def build(table_persona_saliency: Path, *, title_note: str) -> Drawing:
    """Draw the figure from its published table alone."""
    table = read_saliency_table(table_persona_saliency)
    if table.empty:
        return Drawing(None, "no word is in the table.")
    caption = (
        "Words with the largest share of their occurrences in personas of chosen responses, then of rejected ones, "
        "with 95 % intervals from a bootstrap over the pairs that have the word. Dashed: equally frequent in both. The "
        "words were picked for their shares, so that these lie too high."
    )
    return Drawing(saliency_figure(table, title_note=title_note), caption)


RESULT = FigureResult(
    name="persona_saliency",
    order=30,
    message="Drawing salient words of personas",
    caption="Words that tell personas of chosen responses from those of rejected ones, with 95 % intervals.",
    build=build,
)
