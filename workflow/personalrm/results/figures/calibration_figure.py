"""Reliability curves: accuracy against confidence, a panel for each data set and judge; from the table alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from personalrm.results.comparisons import largest_k
from personalrm.results.conditions import Condition
from personalrm.results.figure_style import (
    INK,
    SMALL_SIZE,
    SOFT,
    TEXT_SIZE,
    Panel,
    draw_interval,
    draw_point,
    drawn_panels,
    method_entries,
    panel_heads,
    panel_rows,
    set_limits,
    set_up,
    write_note,
)
from personalrm.results.labels import method_mark, method_rank
from personalrm.results.spec import Drawing, FigureResult
from personalrm.results.table_formats import table_rows
from personalrm.results.tables.calibration_table import WHOLE, read_calibration_table

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PANEL_INCHES = 3.1
MOST_METHODS = 8
"""Lines in a panel, the first in the order of tables."""
LEAST_VERDICTS = 5
"""Bins of fewer verdicts are not drawn."""

Row = Mapping[str, Any]


def shown_methods(table: pd.DataFrame) -> dict[Panel, dict[str, list[Row]]]:
    """Bins by panel and method: judges with their own profiles, on the test pairs, at their largest k."""
    keys = [Condition.of(row) for row in table_rows(table)]
    largest: dict[Condition, list[Condition]] = {}
    for key in keys:
        largest.setdefault(key._replace(k=""), []).append(key)

    def is_drawn(key: Condition, row: Row) -> bool:
        at_largest = key.k == largest_k(largest[key._replace(k="")])
        enough = row["bin"] != WHOLE and row["n_verdicts"] >= LEAST_VERDICTS
        return key.own and key.method.pairs == "test" and at_largest and bool(enough)

    rows = [(Panel.of(row), key.method.name, row) for key, row in zip(keys, table_rows(table), strict=True)]
    rows = [one for key, one in zip(keys, rows, strict=True) if is_drawn(key, one[2])]
    found: dict[Panel, dict[str, list[Row]]] = {}
    for place, panels in drawn_panels(panel for panel, _, _ in rows).items():
        lines = found.setdefault(place, {})
        for panel, name, row in rows:
            if panel in panels:
                lines.setdefault(name, []).append(row)
    return found


def calibration_figure(table: pd.DataFrame, *, title_note: str = "") -> Figure:
    """One line a method; on the diagonal a judge is as often right as it is confident."""
    found = shown_methods(table)
    page, filled = panel_rows([list(found)], lambda _: PANEL_INCHES, lambda _: PANEL_INCHES, gap=0.12)
    shared, heads = panel_heads(found)
    drawn: list[str] = []
    for place, axes, is_first in filled:
        lines = {name: found[place][name] for name in sorted(found[place], key=method_rank)[:MOST_METHODS]}
        drawn += lines
        _panel(axes, lines)
        write_note(axes, heads[place], (0, 1), (0, 8), TEXT_SIZE, weight="bold")
        axes.set_ylabel("accuracy, %" * is_first, fontsize=SMALL_SIZE + 0.5, color=INK)
    note = " · ".join(filter(None, (shared, title_note)))
    if not found:
        note = "\n".join(filter(None, (note, f"No method has {LEAST_VERDICTS} verdicts with log-odds in a bin.")))
    return page.finish("Accuracy against confidence", note, method_entries(drawn))


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
    found = shown_methods(table)
    hidden = {name for lines in found.values() for name in sorted(lines, key=method_rank)[MOST_METHODS:]}
    labels = [str(entry.get_label()) for entry in method_entries(hidden)]
    return (
        "Accuracy of verdicts against the probability that their log-odds give to the favoured answer, in bins of "
        f"confidence with at least {LEAST_VERDICTS} verdicts; judges with their own profiles, test pairs, the largest "
        "k. On the dotted line a judge is as often right as it is confident. Lines: 95 % intervals with users as "
        "clusters." + (f" In the table alone: {'; '.join(labels)}." if labels else "")
    )


def build(table_calibration: Path, *, title_note: str) -> Drawing:
    """Draw the figure from its published table alone."""
    table = read_calibration_table(table_calibration)
    return Drawing(calibration_figure(table, title_note=title_note), calibration_caption(table))


RESULT = FigureResult(
    name="calibration",
    order=65,
    message="Drawing accuracy against confidence",
    caption="Reliability curves: accuracy against the confidence that log-odds express, one line a method.",
    build=build,
)
