"""The figure of the filters' thresholds: pairs that each filter alone would leave, one column per threshold.

One row of panels per data set: query, responses, panel. A panel is as high as what went into it, so that heights are
shares; the numbers are beneath. It is drawn from its table alone.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from personalrm.results.figure_style import (
    BAND,
    INK,
    LEFT,
    REMOVED,
    SMALL_SIZE,
    SOFT,
    TEXT_SIZE,
    panel_rows,
    set_up,
    write_note,
)
from personalrm.results.lazy import Axes, Figure, pd
from personalrm.results.spec import Drawing, FigureResult
from personalrm.results.table_formats import table_rows
from personalrm.studies.synthesizeme.results.sensitivity_table import FILTER_LABELS, read_sensitivity_table, went_in

PANEL_INCHES, COLUMN_INCHES, DIGIT_INCHES = 1.4, 0.52, 0.083
"""Height of a panel, and least width of a column and of each sign of the longest number beneath one."""
LEAST_COLUMNS = 5
LINE_POINTS = 13.0
"""From one line of numbers beneath a panel to the next."""
BAR_WIDTH = 0.72
UNDECIDED: dict[str, Any] = {"facecolor": "#9fd0ee", "edgecolor": LEFT, "hatch": "....", "linewidth": 0}
"""Pale blue, dotted: lighter than what was decided, and never hatched as what was removed."""
GONE: dict[str, Any] = {"facecolor": REMOVED, "edgecolor": "white", "hatch": "////", "linewidth": 0}
TITLES: dict[str, tuple[str, str]] = {
    "query": ("Query", "rated below the threshold: removed"),
    "responses": ("Responses", "rated below the threshold: removed"),
    "panel": ("Panel", "agreed as much, or more: removed"),
}
"""Name of a filter, and what it removes at a threshold."""

Row = dict[str, Any]


def sensitivity_figure(table: pd.DataFrame, apply: Mapping[str, bool], *, title_note: str = "") -> Figure:
    """Bars of pairs left at each threshold, users and numbers beneath, the config's threshold framed and bold.

    `apply`: data set to whether its filters remove anything; where not, its heading says so.
    """
    from matplotlib.patches import Patch

    groups = []
    for _, mine in table.groupby("dataset", sort=False):
        filters = (mine[mine["filter"] == name].sort_values("threshold") for name in FILTER_LABELS)
        groups.append([table_rows(rows) for rows in filters if len(rows)])
    page, drawn = panel_rows(groups, _width, lambda _: PANEL_INCHES, gap=0.1, widest=math.inf)
    for rows, axes, is_first in drawn:
        _panel(axes, rows, is_first=is_first)
        if is_first:
            name = rows[0]["dataset"]
            head = name if apply.get(name, True) else f"{name} (tried only: nothing removed)"
            write_note(axes, head, (0, 1), (-40, 46), TEXT_SIZE + 1, weight="bold")
    entries = [
        Patch(facecolor=LEFT, label="left"),
        Patch(**UNDECIDED, label="left: undecided"),
        Patch(**GONE, label="removed (or its user)"),
        Patch(facecolor=BAND, edgecolor=INK, linewidth=1.2, label="threshold in the config"),
    ]
    return page.finish("What each filter alone would leave", title_note, entries)


def _width(rows: Sequence[Row]) -> float:
    """Inches of a panel, wide enough for the numbers beneath it."""
    signs = max(len(f"{row['pairs']:,}") for row in rows)
    return _columns(rows) * max(COLUMN_INCHES, DIGIT_INCHES * (signs + 1))


def _columns(rows: Sequence[Row]) -> int:
    """Columns of a panel; few thresholds leave some empty, so that the heading has room and bars stay bars."""
    return max(len(rows), LEAST_COLUMNS)


def _panel(axes: Axes, rows: Sequence[Row], *, is_first: bool) -> None:
    base = rows[0]["base_pairs"]
    set_up(axes, "y")
    axes.set_xlim(-0.5, _columns(rows) - 0.5)
    axes.set_ylim(0, base or 1)
    axes.set_xticks([])
    axes.set_yticks([share * (base or 1) for share in (0, 0.25, 0.5, 0.75, 1)])
    axes.set_yticklabels(["0 %", "", "50 %", "", "100 %"] if is_first else [""] * 5)
    axes.tick_params(axis="y", length=0)
    title, rule = TITLES[rows[0]["filter"]]
    write_note(axes, title, (0, 1), (0, 30), TEXT_SIZE, weight="bold")
    write_note(axes, f"of {base:,} pairs, {rows[0]['base_users']:,} users", (0, 1), (0, 18), SMALL_SIZE)
    write_note(axes, rule, (0, 1), (0, 6), SMALL_SIZE, color=SOFT)
    for x, row in enumerate(rows):
        _bar(axes, x, row)
        weight, share = "bold" if row["is_default"] else "normal", (x + 0.5) / _columns(rows)
        texts = (f"{row['threshold']:.4g}", *(f"{row[name]:,}" for name in ("pairs", "undecided", "users")))
        for line, text in enumerate(texts, start=1):
            write_note(axes, text, (share, 0), (0, -2 - line * LINE_POINTS), align="center", weight=weight)
    if is_first:
        for line, text in enumerate(("threshold", "pairs left", "undecided", "users left"), start=1):
            write_note(axes, text, (0, 0), (-8, -2 - line * LINE_POINTS), color=SOFT, align="right")


def _bar(axes: Axes, x: int, row: Row) -> None:
    """Undecided pairs below, decided ones above, what was removed pale and hatched on top."""
    if row["is_default"]:
        axes.axvspan(x - 0.5, x + 0.5, facecolor=BAND, linewidth=0, zorder=0.5)
        axes.axvspan(x - 0.5, x + 0.5, facecolor="none", edgecolor=INK, linewidth=1.2, zorder=3, clip_on=False)
    undecided, left = row["undecided"], row["pairs"]
    axes.bar(x, undecided, BAR_WIDTH, **UNDECIDED)
    axes.bar(x, left - undecided, BAR_WIDTH, bottom=undecided, color=LEFT)
    axes.bar(x, row["base_pairs"] - left, BAR_WIDTH, bottom=left, **GONE)


def sensitivity_caption(table: pd.DataFrame, apply: Mapping[str, bool]) -> str:
    """What the figure shows, with what went into each data set's filters, and where they only were tried."""
    sizes = []
    for name, rows in table.groupby("dataset", sort=False):
        tried = "" if apply.get(str(name), True) else "; nothing was removed (apply: false)"
        sizes.append(f"{name}: {went_in(rows)}{tried}. ")
    return (
        "Preference pairs and users that each filter alone would leave at each threshold, users with too few pairs "
        "taken out again. "
        + "".join(sizes)
        + "query and responses: each on all pairs asked about; panel: on the pairs that the ratings leave at the "
        "thresholds of the config. Undecided pairs have no answer, or too few votes of the panel, and stay. Each panel "
        "is as high as what went into it. Framed and bold: the threshold of the config."
    )


def build(table_filter_sensitivity: Path, *, filters_apply: Mapping[str, bool], title_note: str) -> Drawing:
    """Draw the figure from its published table alone."""
    table = read_sensitivity_table(table_filter_sensitivity)
    figure = sensitivity_figure(table, filters_apply, title_note=title_note)
    return Drawing(figure, sensitivity_caption(table, filters_apply))


RESULT = FigureResult(
    name="filter_sensitivity",
    order=200,
    caption="Share of pairs that each filter alone would leave at every threshold; the configured one is framed.",
    build=build,
)
