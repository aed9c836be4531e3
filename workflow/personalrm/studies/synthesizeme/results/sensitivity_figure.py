"""The figure of the filters' thresholds: pairs that each filter alone would leave, a column a threshold.

A row of panels a data set: query, responses, panel. Panels are as high as what went into them, so that heights are
shares; the numbers stand beneath. It is drawn from its table alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from personalrm.data.filters.filters import Sensitivity
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
from personalrm.results.spec import Drawing, FigureResult
from personalrm.studies.synthesizeme.results.sensitivity_table import (
    FILTER_LABELS,
    read_sensitivity_table,
    records_of,
    went_in,
)

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PANEL_INCHES, COLUMN_INCHES, DIGIT_INCHES = 1.4, 0.52, 0.083
"""Height of a panel, and least width of a column and of each sign of the longest number beneath one."""
LEAST_COLUMNS = 5
LINE_POINTS = 13.0
"""From one line of numbers beneath a panel to the next."""
BAR_WIDTH = 0.72
UNDECIDED = "#9fd0ee"
"""Pale blue, dotted: lighter than what was decided, and never hatched as what was removed."""
TITLES: dict[str, tuple[str, str]] = {
    "query": ("Query", "rated below the threshold: removed"),
    "responses": ("Responses", "rated below the threshold: removed"),
    "panel": ("Panel", "agreed as much, or more: removed"),
}
"""Name of a filter, and what it removes at a threshold."""

Filters = dict[str, list[Sensitivity]]


def panels_of(table: pd.DataFrame) -> dict[str, Filters]:
    """Rows by data set and filter, filters as `FILTER_LABELS` has them, thresholds from low to high."""
    found: dict[str, Filters] = {}
    for record in records_of(table):
        found.setdefault(record.dataset, {}).setdefault(record.filter, []).append(record)
    return {
        dataset: {
            name: sorted(panels[name], key=lambda record: record.threshold) for name in FILTER_LABELS if name in panels
        }
        for dataset, panels in found.items()
    }


def sensitivity_figure(table: pd.DataFrame, apply: Mapping[str, bool], *, title_note: str = "") -> Figure:
    """Bars of pairs left at each threshold, users and numbers beneath, the config's threshold framed and bold.

    Args:
        table: see `sensitivity_table.sensitivity_table`.
        apply: data set to whether its filters remove anything; where not, its heading says so.
        title_note: text under the title, e.g. what run this is.
    """
    from matplotlib.patches import Patch

    found = panels_of(table)
    heads = {name: name if apply.get(name, True) else f"{name} (tried only: nothing removed)" for name in found}
    groups = [list(filters.values()) for filters in found.values()]
    page, drawn = panel_rows(groups, _width, lambda _: PANEL_INCHES, gap=0.1)
    for records, axes, is_first in drawn:
        _panel(axes, records, is_first=is_first)
        if is_first:
            write_note(axes, heads[records[0].dataset], (0, 1), (-40, 46), TEXT_SIZE + 1, weight="bold")
    entries = [
        Patch(facecolor=LEFT, label="left"),
        Patch(facecolor=UNDECIDED, edgecolor=LEFT, hatch="....", linewidth=0, label="left: undecided"),
        Patch(facecolor=REMOVED, edgecolor="white", hatch="////", linewidth=0, label="removed (or its user)"),
        Patch(facecolor=BAND, edgecolor=INK, linewidth=1.2, label="threshold in the config"),
    ]
    return page.finish("What each filter alone would leave", title_note, entries)


def _width(records: Sequence[Sensitivity]) -> float:
    """Inches of a panel, wide enough for the numbers beneath it."""
    signs = max(len(f"{record.pairs:,}") for record in records)
    return _columns(records) * max(COLUMN_INCHES, DIGIT_INCHES * (signs + 1))


def _columns(records: Sequence[Sensitivity]) -> int:
    """Columns of a panel; few thresholds leave some empty, so that the heading has room and bars stay bars."""
    return max(len(records), LEAST_COLUMNS)


def _panel(axes: Axes, records: Sequence[Sensitivity], *, is_first: bool) -> None:
    base = records[0].base_pairs
    set_up(axes, "y")
    axes.set_xlim(-0.5, _columns(records) - 0.5)
    axes.set_ylim(0, base or 1)
    axes.set_xticks([])
    axes.set_yticks([share * (base or 1) for share in (0, 0.25, 0.5, 0.75, 1)])
    axes.set_yticklabels(["0 %", "", "50 %", "", "100 %"] if is_first else [""] * 5)
    axes.tick_params(axis="y", length=0)
    title, rule = TITLES[records[0].filter]
    size = f"of {base:,} pairs, {records[0].base_users:,} users"
    write_note(axes, title, (0, 1), (0, 30), TEXT_SIZE, weight="bold")
    write_note(axes, size, (0, 1), (0, 18), SMALL_SIZE)
    write_note(axes, rule, (0, 1), (0, 6), SMALL_SIZE, color=SOFT)
    for x, record in enumerate(records):
        _bar(axes, x, record)
        texts = (f"{record.threshold:.4g}", f"{record.pairs:,}", f"{record.undecided:,}", f"{record.users:,}")
        _beneath(axes, (x + 0.5) / _columns(records), texts, weight="bold" if record.is_default else "normal")
    if is_first:
        for line, text in enumerate(("threshold", "pairs left", "undecided", "users left"), start=1):
            write_note(axes, text, (0, 0), (-8, -2 - line * LINE_POINTS), color=SOFT, align="right")


def _beneath(axes: Axes, share: float, texts: Sequence[str], *, weight: str = "normal") -> None:
    """Lines of text under a panel, at a share of its width."""
    for line, text in enumerate(texts, start=1):
        write_note(axes, text, (share, 0), (0, -2 - line * LINE_POINTS), align="center", weight=weight)


def _bar(axes: Axes, x: int, record: Sensitivity) -> None:
    """Undecided pairs below, decided ones above, what was removed pale and hatched on top."""
    if record.is_default:
        axes.axvspan(x - 0.5, x + 0.5, facecolor=BAND, linewidth=0, zorder=0.5)
        axes.axvspan(x - 0.5, x + 0.5, facecolor="none", edgecolor=INK, linewidth=1.2, zorder=3, clip_on=False)
    decided = record.pairs - record.undecided
    axes.bar(x, record.undecided, BAR_WIDTH, color=UNDECIDED, edgecolor=LEFT, hatch="....", linewidth=0)
    axes.bar(x, decided, BAR_WIDTH, bottom=record.undecided, color=LEFT)
    axes.bar(
        x,
        record.base_pairs - record.pairs,
        BAR_WIDTH,
        bottom=record.pairs,
        color=REMOVED,
        edgecolor="white",
        hatch="////",
        linewidth=0,
    )


def sensitivity_caption(table: pd.DataFrame, apply: Mapping[str, bool]) -> str:
    """What the figure shows, with what went into each data set's filters, and where they only were tried."""
    sizes = []
    for name, filters in panels_of(table).items():
        tried = "" if apply.get(name, True) else "; nothing was removed (apply: false)"
        sizes.append(f"{name}: {went_in([record for records in filters.values() for record in records])}{tried}. ")
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
    message="Drawing the filters' thresholds",
    caption="Share of pairs that each filter alone would leave at every threshold; the configured one is framed.",
    build=build,
)
