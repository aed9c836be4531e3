"""Reliability curves: accuracy against confidence, a panel for each data set and judge; from the table alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from personalrm.core.conditions import MethodId
from personalrm.results.figure_style import (
    INK,
    SMALL_SIZE,
    SOFT,
    draw_interval,
    draw_point,
    method_entries,
    panel_rows,
    set_limits,
    set_up,
    write_head,
)
from personalrm.results.labels import method_mark, method_rank
from personalrm.results.lazy import Axes, Figure, pd
from personalrm.results.method_panels import (
    Panel,
    drawn_panels,
    leading,
    others_foot,
    others_note,
    own_at_largest_k,
    panel_heads,
)
from personalrm.results.spec import Drawing, FigureResult
from personalrm.results.table_formats import table_rows
from personalrm.results.tables.calibration_table import WHOLE, read_calibration_table

PANEL_INCHES = 3.1
LEAST_VERDICTS = 5
"""Bins of fewer verdicts are not drawn."""

Row = Mapping[str, Any]


def shown_methods(table: pd.DataFrame) -> tuple[dict[Panel, dict[str, list[Row]]], list[str]]:
    """Bins by panel and method: judges with their own profiles, on the test pairs, at their largest k. Then the methods
    that are left out."""
    rows = [
        (Panel.of(row), MethodId.parse(row["method"]).name, row)
        for row in own_at_largest_k(table_rows(table))
        if MethodId.parse(row["method"]).pairs == "test"
    ]
    whole = [(name, row["accuracy"]) for _, name, row in rows if row["bin"] == WHOLE]
    rows = [one for one in rows if one[2]["bin"] != WHOLE and one[2]["n_verdicts"] >= LEAST_VERDICTS]
    binned = {name for _, name, _ in rows}
    kept, others = leading(one for one in whole if one[0] in binned)
    found: dict[Panel, dict[str, list[Row]]] = {}
    for place, panels in drawn_panels(panel for panel, _, _ in rows).items():
        lines = found.setdefault(place, {})
        for panel, name, row in rows:
            if panel in panels and name in kept:
                lines.setdefault(name, []).append(row)
    return found, others


def calibration_figure(table: pd.DataFrame, *, title_note: str = "") -> Figure:
    """One line a method; on the diagonal a judge is as often right as it is confident."""
    found, others = shown_methods(table)
    page, filled = panel_rows([list(found)], lambda _: PANEL_INCHES, lambda _: PANEL_INCHES, gap=0.12)
    shared, heads = panel_heads(found)
    drawn: list[str] = []
    for place, axes, is_first in filled:
        lines = {name: found[place][name] for name in sorted(found[place], key=method_rank)}
        drawn += lines
        _panel(axes, lines)
        write_head(axes, heads[place], PANEL_INCHES)
        axes.set_ylabel("accuracy, %" * is_first, fontsize=SMALL_SIZE + 0.5, color=INK)
    note = " · ".join(filter(None, (shared, title_note)))
    return page.finish("Accuracy against confidence", note, method_entries(drawn), foot=others_foot(others))


def _panel(axes: Axes, lines: Mapping[str, Sequence[Row]]) -> None:
    """The diagonal, and the points of each method with their intervals."""
    set_up(axes, "both", spines=("left", "bottom"))
    set_limits(axes, "x", (49.0, 101.0))
    set_limits(axes, "y", (-1.0, 101.0))
    axes.set_xlabel("confidence, %", fontsize=SMALL_SIZE + 0.5, color=INK, labelpad=1)
    axes.plot((50, 100), (50, 100), color=SOFT, linestyle=":", linewidth=1)
    for name, rows in lines.items():
        colour = method_mark(name).colour
        x, y = [row["confidence"] for row in rows], [row["accuracy"] for row in rows]
        axes.plot(x, y, color=colour, linewidth=1.4, alpha=0.8)
        for row, across, up in zip(rows, x, y, strict=True):
            draw_interval(axes, (across, across), (row["ci_low"], row["ci_high"]), colour, width=1.2, alpha=0.4)
            draw_point(axes, across, up, name, size=6)


def calibration_caption(table: pd.DataFrame) -> str:
    """What the figure shows, and which methods it leaves out."""
    return (
        "Accuracy of verdicts against the probability that their log-odds give to the favoured answer, in bins of "
        f"confidence with at least {LEAST_VERDICTS} verdicts; judges with their own profiles, test pairs, the largest "
        "k. On the dotted line a judge is as often right as it is confident. Lines: 95 % intervals with users as "
        "clusters." + others_note(shown_methods(table)[1], "calibration")
    )


def build(table_calibration: Path, *, title_note: str) -> Drawing:
    """Draw the figure from its published table alone."""
    table = read_calibration_table(table_calibration)
    if not shown_methods(table)[0]:
        return Drawing(None, f"no method has {LEAST_VERDICTS} verdicts with log-odds in a bin of confidence.")
    return Drawing(calibration_figure(table, title_note=title_note), calibration_caption(table))


RESULT = FigureResult(
    name="calibration",
    order=65,
    caption="Reliability curves: accuracy against the confidence that log-odds express, one line a method.",
    build=build,
)
