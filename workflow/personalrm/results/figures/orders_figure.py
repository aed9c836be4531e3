"""Confusion of orders: what each judge says where the chosen answer is shown first, and where it is shown second."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from personalrm.results.conditions import by_condition
from personalrm.results.figure_style import SOFT, panel_rows, write_head, write_note
from personalrm.results.heat_map import CELL_HEIGHT, CELL_WIDTH, draw_cell, draw_frame
from personalrm.results.lazy import Figure, pd
from personalrm.results.method_panels import Panel, judges_together, panel_heads
from personalrm.results.scores import answered, read_frame
from personalrm.results.spec import Drawing, FigureResult

ORDERS = ("chosen first", "chosen second")
SAID = ("says first", "says second", "says neither")

Counts = NDArray[np.int64]


def confusions(verdicts: pd.DataFrame) -> dict[Panel, Counts]:
    """Judgments of Default by judge and kind of verdict, (2, 3): order of showing (`ORDERS`) by what is said (`SAID`).

    Verdicts are those on all pairs where Default judges them, else on the test pairs. Verdicts on both orders together
    name no position, and are left out; so is what the provider did not answer.
    """
    found: dict[Panel, Counts] = {}
    for condition, group in by_condition(verdicts[verdicts["method"] == "default"]):
        held = answered(group)
        held = held[held["swapped"].notna()]
        if held.empty:
            continue
        swapped, said = held["swapped"].astype("bool"), held["said"].astype("str")
        named = [[int(((swapped == order) & (said == name)).sum()) for name in ("first", "second")] for order in (0, 1)]
        totals = [int((swapped == order).sum()) for order in (0, 1)]
        counts = np.array([[*row, total - sum(row)] for row, total in zip(named, totals, strict=True)])
        place = Panel.of({**condition.row, "method": str(condition.method._replace(pairs="test"))})
        # Default learns nothing: where it judges all pairs, the test pairs are among them.
        found[place] = max(counts, found.get(place, counts), key=np.sum)
    return found


def orders_figure(found: dict[Panel, Counts], *, title_note: str = "") -> Figure:
    """A map for each data set and judge: rows are orders, cells the share of what is said; right cells are framed."""
    columns = SAID if any(counts[:, 2].any() for counts in found.values()) else SAID[:2]
    page, drawn = panel_rows(
        judges_together(found), lambda _: len(columns) * CELL_WIDTH, lambda _: len(ORDERS) * CELL_HEIGHT, gap=0.14
    )
    shared, heads = panel_heads(found)
    for place, axes, is_first in drawn:
        draw_frame(axes, columns, ORDERS if is_first else (), len(ORDERS))
        for row, counts in enumerate(found[place].tolist()):
            for column, count in enumerate(counts[: len(columns)]):
                share = count / max(sum(counts), 1)
                draw_cell(axes, (column, row), _colour(share), f"{100 * share:.0f} % [{count:,}]", framed=column == row)
        write_head(axes, heads[place], len(columns) * CELL_WIDTH, 24)
        first, second = (int(number) for number in found[place][:, :2].sum(axis=0))
        if named := first + second:
            said = f"first in {100 * first / named:.0f} % of the {named:,} that name one (no bias: 50)"
            write_note(axes, said, (0, 0), (0, -12), color=SOFT)
    return page.finish("What judges say in each order of showing", " · ".join(filter(None, (shared, title_note))))


def _colour(share: float) -> tuple[float, float, float, float]:
    from matplotlib import colormaps

    return colormaps["Blues"](0.05 + 0.75 * share)


def build(verdicts: Path, *, title_note: str) -> Drawing:
    """Draw the figure from the collected verdicts."""
    found = confusions(read_frame(verdicts))
    if not found:
        return Drawing(None, "Default has no answered verdict on one order of showing.")
    sizes = "; ".join(
        f"{place.dataset}, {place.judge}{f', {place.verdict}' if place.verdict else ''}: {counts.sum():,}"
        for place, counts in found.items()
    )
    caption = (
        "Verdicts of Default by the order of showing: rows say where the answer stood that the user chose, columns "
        "where the judge saw the better one; percent of the row, and number of judgments. Framed: right. A judge "
        "without position bias says first as often as second. Neither: ties, refusals and answers that cannot be read. "
        f"Judgments: {sizes}. The table of position bias has all methods."
    )
    return Drawing(orders_figure(found, title_note=title_note), caption)


RESULT = FigureResult(
    name="orders",
    order=80,
    caption=(
        "Confusion of orders: what each judge says, by where the answer stood that the user chose; a judge without "
        "position bias says first as often as second."
    ),
    mem_mb=2000,
    build=build,
    when="orders",
)
