"""Salient words: one panel per data set and model, with the words of both sides; drawn from its table alone."""

from __future__ import annotations

from pathlib import Path

from personalrm.core.persona_pairs import SIDES
from personalrm.results.figure_style import CHANCE, panel_rows
from personalrm.results.lazy import Figure, pd
from personalrm.results.spec import Drawing, FigureResult
from personalrm.studies.tailoring.results.panels import SIDE_MARKS, groups_of, head_inches, legend_of, row_panel
from personalrm.studies.tailoring.results.persona_saliency_table import SHARE, read_saliency_table

PANEL_INCHES, ROW_INCHES, GAP_INCHES = 1.9, 0.2, 0.14


def saliency_figure(table: pd.DataFrame, *, title_note: str = "") -> Figure:
    """Shares of the salient words of chosen responses' personas, then of rejected ones', with intervals."""
    groups = groups_of(table, "dataset", "model", "contrast")
    several = table["contrast"].nunique() > 1
    tallest = max(len(rows) for _, rows in groups) * ROW_INCHES + GAP_INCHES
    heads = {key: _heading(key, several) for key, _ in groups}
    width = head_inches(heads.values(), PANEL_INCHES)
    page, found = panel_rows([groups], lambda _: width, lambda _: tallest)
    for (key, rows), axes, _ in found:
        heights = [
            (number + 0.5) * ROW_INCHES + GAP_INCHES * (side != SIDES[0]) for number, side in enumerate(rows["side"])
        ]
        words = [str(word) for word in rows["word"]]
        row_panel(axes, (heads[key], width), (heights, words), ("P(side | word), %", CHANCE, (-1.0, 101.0)), tallest)
        for y, row in zip(heights, rows.to_dict("records"), strict=True):
            SIDE_MARKS[str(row["side"])].draw(axes, y, [float(row[name]) for name in SHARE])
    title = "Words that tell the personas of the two responses apart"
    return page.finish(title, title_note, legend_of(list(SIDE_MARKS.values())))


def _heading(key: tuple[str, ...], several: bool) -> str:
    dataset, model, contrast = key
    return f"{dataset} · {model}" + (f" · {contrast.replace('_', ' ')}" if several else "")


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
    caption="Words that tell personas of chosen responses from those of rejected ones, with 95 % intervals.",
    build=build,
)
