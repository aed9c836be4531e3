"""The figure of the filters' thresholds: pairs that each filter alone would leave, a column a threshold.

A row of panels a data set: query, responses, panel. Panels are as high as what went into them, so that heights are
shares; the numbers stand beneath. It is drawn from its table alone; equal tables give equal bytes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from personalrm.data.filters.filters import Sensitivity
from personalrm.results.figure_style import (
    BAND,
    GRID,
    INK,
    LEFT,
    MARGIN_INCHES,
    REMOVED,
    SMALL_SIZE,
    SOFT,
    TEXT_SIZE,
    TITLE_SIZE,
    Align,
    new_figure,
    write_legend,
    write_line,
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

NAME_INCHES, GAP_INCHES = 1.1, 0.3
PANEL_INCHES, COLUMN_INCHES, DIGIT_INCHES = 1.4, 0.52, 0.083
"""Height of a panel, and least width of a column and of each sign of the longest number beneath one."""
LEAST_COLUMNS = 5
TOP_INCHES, ROW_HEAD_INCHES, ROW_FOOT_INCHES, BOTTOM_INCHES = 0.74, 0.84, 1.05, 0.42
LINE_INCHES, FIRST_INCHES = 0.18, 0.03
"""From one line of numbers beneath a panel to the next, and more before the first."""
LEGEND_INCHES, LETTER_INCHES = 7.6, 0.1
"""Width of the legend on one line, and of a letter of a heading."""
BAR_WIDTH = 0.72
UNDECIDED = "#9fd0ee"
"""Pale blue, dotted: lighter than what was decided, and never hatched as what was removed."""
TITLES: dict[str, tuple[str, str]] = {
    "query": ("Query", "rated below the threshold: removed"),
    "responses": ("Responses", "rated below the threshold: removed"),
    "panel": ("Panel", "agreed as much, or more: removed"),
}
"""Name of a filter, and what it removes at a threshold."""

Panels = dict[str, list[Sensitivity]]


def panels_of(table: pd.DataFrame) -> dict[str, Panels]:
    """Rows by data set and filter, filters as `FILTER_LABELS` has them, thresholds from low to high."""
    found: dict[str, Panels] = {}
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
    rows = panels_of(table) or {"": {}}
    heads = {name: _head(name, apply) for name in rows}
    width = max(
        LEGEND_INCHES + 2 * MARGIN_INCHES,
        *(LETTER_INCHES * len(head) for head in heads.values()),
        *(NAME_INCHES + MARGIN_INCHES + sum(map(_panel_width, row.values())) for row in rows.values()),
    )
    tall = ROW_HEAD_INCHES + PANEL_INCHES + ROW_FOOT_INCHES
    height = TOP_INCHES + BOTTOM_INCHES + len(rows) * tall
    figure = new_figure(width, height)
    for number, (name, panels) in enumerate(rows.items()):
        top = TOP_INCHES + number * tall
        write_line(figure, heads[name], top, TEXT_SIZE + 1, INK, weight="bold")
        left = NAME_INCHES
        for place, records in enumerate(panels.values()):
            inches = _panel_width(records) - GAP_INCHES
            bottom = height - top - ROW_HEAD_INCHES - PANEL_INCHES
            axes = figure.add_axes((left / width, bottom / height, inches / width, PANEL_INCHES / height))
            _panel(axes, records, is_first=place == 0)
            left += inches + GAP_INCHES
    write_line(figure, "What each filter alone would leave", 0.14, TITLE_SIZE, INK, weight="bold")
    write_line(figure, title_note, 0.37, TEXT_SIZE, SOFT)
    _legend(figure)
    return figure


def _head(dataset: str, apply: Mapping[str, bool]) -> str:
    return dataset if apply.get(dataset, True) else f"{dataset} (tried only: nothing removed)"


def _panel_width(records: Sequence[Sensitivity]) -> float:
    """Inches of a panel and the gap after it."""
    signs = max(len(f"{record.pairs:,}") for record in records)
    return _columns(records) * max(COLUMN_INCHES, DIGIT_INCHES * (signs + 1)) + GAP_INCHES


def _columns(records: Sequence[Sensitivity]) -> int:
    """Columns of a panel; few thresholds leave some empty, so that the heading has room and bars stay bars."""
    return max(len(records), LEAST_COLUMNS)


def _panel(axes: Axes, records: Sequence[Sensitivity], *, is_first: bool) -> None:
    base = records[0].base_pairs
    axes.set_xlim(-0.5, _columns(records) - 0.5)
    axes.set_ylim(0, base or 1)
    axes.set_xticks([])
    axes.set_yticks([share * (base or 1) for share in (0, 0.25, 0.5, 0.75, 1)])
    axes.set_yticklabels(["0 %", "", "50 %", "", "100 %"] if is_first else [""] * 5)
    axes.tick_params(axis="y", length=0, labelsize=SMALL_SIZE, labelcolor=SOFT)
    axes.grid(axis="y", color=GRID, linewidth=0.7)
    axes.set_axisbelow(True)
    for side in ("left", "right", "top"):
        axes.spines[side].set_visible(False)
    axes.spines["bottom"].set_color(SOFT)
    title, rule = TITLES[records[0].filter]
    size = f"of {base:,} pairs, {records[0].base_users:,} users"
    _note(axes, title, (0, 1), 0.41, TEXT_SIZE, align="left", weight="bold")
    _note(axes, size, (0, 1), 0.24, SMALL_SIZE, align="left")
    _note(axes, rule, (0, 1), 0.08, SMALL_SIZE, color=SOFT, align="left")
    for x, record in enumerate(records):
        _bar(axes, x, record)
        _numbers(axes, (x + 0.5) / _columns(records), record)
    if is_first:
        for line, head in enumerate(("threshold", "pairs left", "undecided", "users left"), start=1):
            _note(axes, head, (0, 0), _below(line), SMALL_SIZE, color=SOFT, align="right", points=-8)


def _below(line: int) -> float:
    """Height of a line of numbers, in inches above the panel's foot."""
    return -FIRST_INCHES - line * LINE_INCHES


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


def _numbers(axes: Axes, share: float, record: Sensitivity) -> None:
    """Threshold, pairs, undecided pairs and users beneath a bar."""
    texts = (f"{record.threshold:.4g}", f"{record.pairs:,}", f"{record.undecided:,}", f"{record.users:,}")
    for line, text in enumerate(texts, start=1):
        weight = "bold" if record.is_default else "normal"
        _note(axes, text, (share, 0), _below(line), SMALL_SIZE, weight=weight)


def _note(
    axes: Axes,
    text: str,
    place: tuple[float, float],
    inches: float,
    size: float,
    *,
    color: str = INK,
    align: Align = "center",
    weight: str = "normal",
    points: float = 0,
) -> None:
    """Text at a share of the panel's width and height, so many inches above it and points right of it."""
    write_note(axes, text, place, (points, 72 * inches), size, color=color, align=align, weight=weight)


def _legend(figure: Figure) -> None:
    from matplotlib.patches import Patch

    write_legend(
        figure,
        [
            Patch(facecolor=LEFT, label="left"),
            Patch(facecolor=UNDECIDED, edgecolor=LEFT, hatch="....", linewidth=0, label="left: undecided"),
            Patch(facecolor=REMOVED, edgecolor="white", hatch="////", linewidth=0, label="removed (or its user)"),
            Patch(facecolor=BAND, edgecolor=INK, linewidth=1.2, label="threshold in the config"),
        ],
        columns=4,
    )


def sensitivity_caption(table: pd.DataFrame, apply: Mapping[str, bool]) -> str:
    """What the figure shows, with what went into each data set's filters, and where they only were tried."""
    sizes = []
    for name, panels in panels_of(table).items():
        tried = "" if apply.get(name, True) else "; nothing was removed (apply: false)"
        sizes.append(f"{name}: {went_in([record for records in panels.values() for record in records])}{tried}. ")
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
