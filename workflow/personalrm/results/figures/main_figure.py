"""The main figure: accuracy of every way of judging, with both intervals, one panel a data set.

It is drawn from the main table alone. Nothing here touches pyplot's global state, and saved files are equal
bytes for equal tables.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from personalrm.data.cross_validation import Pools
from personalrm.results.figure_style import (
    BAND,
    GRID,
    INK,
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
from personalrm.results.figures.main_figure_layout import (
    CHANCE,
    NO_MODEL_MARKER,
    Layout,
    Point,
    Series,
    Style,
    layout_of,
    limits_of,
    points_of,
    shared_of,
    styles_of,
    variants_of,
)
from personalrm.results.labels import METHOD_LABELS, NO_ANSWERS, NOT_APPLICABLE, UNUSED, exempt_note, method_label
from personalrm.results.marks import FLAG_NAMES, marked, notes_of
from personalrm.results.pooling import pool_notes, without_folds
from personalrm.results.spec import Drawing, FigureResult
from personalrm.results.tables.main_table import read_main_table

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INCHES_A_LINE = 0.235
NAME_INCHES = 2.55
VALUE_INCHES, K_INCHES = 0.82, 0.48
LETTER_INCHES = 0.07
"""Of a legend, on average."""
PANEL_INCHES = {1: 5.6, 2: 4.2}
MANY_PANELS_INCHES = 3.4
CLUSTERED_WIDTH, INDEPENDENT_WIDTH = 3.6, 1.1
CLUSTERED_ALPHA = 0.55


def main_figure(table: pd.DataFrame, *, labels: Mapping[str, str] = METHOD_LABELS, title_note: str = "") -> Figure:
    """Dots with intervals: one panel a data set, methods from top to bottom, colour by judge, marker by series.

    The thick line is the interval clustered by user, the thin one the paper's independent interval. What all
    rows share (data set, kind of verdict, k) stands under the title instead of at every row.

    Args:
        table: the main table (`main_table.main_table` or `main_table.read_main_table`).
        labels: labels of methods, and of models and data sets where their ids are not what people should read.
        title_note: text under the title, e.g. what data this is.
    """
    points = points_of(table)
    layout, styles, limits = layout_of(points), styles_of(points), limits_of(points)
    datasets = list(dict.fromkeys(point.dataset for point in points)) or [""]
    shared_verdict, shared_k = shared_of(points)
    values = VALUE_INCHES if shared_k else VALUE_INCHES + K_INCHES
    panel = PANEL_INCHES.get(len(datasets), MANY_PANELS_INCHES)
    width = NAME_INCHES + len(datasets) * (panel + values)
    columns = _legend_columns(styles, labels, width)
    top, bottom = (0.85 if len(datasets) == 1 else 1.1), 0.66 + 0.24 * math.ceil((len(styles) + 2) / columns)
    height = top + bottom + max(layout.bottom, 2.0) * INCHES_A_LINE

    figure = new_figure(width, height)
    for number, dataset in enumerate(datasets):
        left = NAME_INCHES + number * (panel + values)
        axes = figure.add_axes((left / width, bottom / height, panel / width, 1 - (top + bottom) / height))
        _panel(axes, [p for p in points if p.dataset == dataset], layout, styles, limits, not shared_k)
        if number == 0:
            _method_names(axes, layout, labels, shared_verdict)
        if len(datasets) > 1:
            _note(axes, labels.get(dataset, dataset), (0, 0), (0, 20), TEXT_SIZE + 1, weight="bold")
    shown = labels.get(datasets[0], datasets[0]) if len(datasets) == 1 else ""
    variants = variants_of(styles)
    variant = f"variant {variants.pop()}" if len(variants) == 1 else ""
    parts = [shown, variant, shared_verdict.removeprefix(" · "), shared_k, title_note]
    write_line(figure, "Accuracy of personalised judges", 0.14, TITLE_SIZE, INK, weight="bold")
    write_line(figure, " · ".join(part for part in parts if part), 0.4, TEXT_SIZE, SOFT)
    _legend(figure, styles, labels, columns)
    return figure


def _note(
    axes: Axes,
    text: str,
    place: tuple[float, float],
    offset: tuple[float, float],
    size: float = SMALL_SIZE,
    *,
    color: str = INK,
    align: Align = "left",
    middle: bool = False,
    weight: str = "normal",
) -> None:
    """Text outside the axes; `place` is (share of the width, height in data), `offset` in points."""
    write_note(
        axes,
        text,
        place,
        offset,
        size,
        coordinates=axes.get_yaxis_transform(),
        color=color,
        align=align,
        level="center" if middle else "baseline",
        weight=weight,
        linespacing=1.15,
    )


def _panel(
    axes: Axes,
    points: Sequence[Point],
    layout: Layout,
    styles: Mapping[Series, Style],
    limits: tuple[float, float],
    with_k: bool,
) -> None:
    axes.set_xlim(limits)
    # Marks beyond the limits are never drawn, but a layout that makes room for texts would count them.
    axes.set_xticks([place for place in axes.get_xticks() if limits[0] <= place <= limits[1]])
    # An empty table has a panel without rows; matplotlib wants a height all the same.
    axes.set_ylim(layout.bottom or 1.0, 0)
    axes.set_yticks([])
    axes.tick_params(axis="x", labelsize=SMALL_SIZE, color=SOFT, labelcolor=INK)
    axes.set_xlabel("accuracy, % of judgments", fontsize=TEXT_SIZE, color=INK)
    axes.grid(axis="x", color=GRID, linewidth=0.7)
    axes.set_axisbelow(True)
    for side in ("left", "right", "top"):
        axes.spines[side].set_visible(False)
    for number, (top, bottom) in enumerate(layout.bands.values()):
        if number % 2 == 0:
            axes.axhspan(top, bottom, color=BAND, linewidth=0, zorder=0)
    _reference_lines(axes, points)
    here = {point.line: point for point in points}
    for line, y in layout.heights.items():
        point = here.get(line)
        if point is not None:
            _intervals(axes, point, y, styles[point.series])
        _numbers(axes, point, y, line[2] if with_k else UNUSED)


def _reference_lines(axes: Axes, points: Sequence[Point]) -> None:
    """Chance, and what choosing the longer answer would score; labelled above the panel."""
    lines = [(CHANCE, f"chance {CHANCE:.0f}", "--")]
    longer = [p.accuracy for p in points if p.method == "longer" and not math.isnan(p.accuracy)]
    lines += [(value, f"longer answer {value:.1f}", ":") for value in longer[:1]]
    low, high = axes.get_xlim()
    # The lines may lie close together: their texts grow away from each other.
    sides: list[Literal["left", "center", "right"]] = ["center"] if len(lines) == 1 else ["right", "left"]
    for (value, name, style), side in zip(sorted(lines), sides, strict=True):
        axes.axvline(value, color=INK, linestyle=style, linewidth=1.3, zorder=1.5)
        shift = {"left": 3, "center": 0, "right": -3}[side]
        _note(axes, name, ((value - low) / (high - low), 0), (shift, 4), align=side)


def _intervals(axes: Axes, point: Point, y: float, style: Style) -> None:
    """Thick and thin interval, and the marker on them."""
    color, marker = style
    if not math.isnan(point.clustered[0]):
        ends = axes.plot(point.clustered, (y, y), color=color, linewidth=CLUSTERED_WIDTH, zorder=2)
        ends[0].set(alpha=CLUSTERED_ALPHA, solid_capstyle="butt")
    if not math.isnan(point.independent[0]):
        axes.plot(point.independent, (y, y), "|-", color=color, linewidth=INDEPENDENT_WIDTH, markersize=5)
    if not math.isnan(point.accuracy):
        dot = axes.plot(point.accuracy, y, marker, color=color, zorder=3, clip_on=False)[0]
        if marker == NO_MODEL_MARKER:
            dot.set(markersize=9, markeredgewidth=2.2)
        else:
            dot.set(markersize=6.4, markeredgecolor="white", markeredgewidth=0.7)


def _numbers(axes: Axes, point: Point | None, y: float, k: str) -> None:
    """Accuracy and k of a row at the right of its panel; what is missing says so."""
    missing = point is None or math.isnan(point.accuracy)
    if point is not None and point.status == NOT_APPLICABLE:
        # It does not for any k. Longer than a number, it stands in the panel, where the row has nothing else.
        _note(axes, NOT_APPLICABLE, (1, y), (-6, -0.5), color=SOFT, align="right", middle=True)
        return
    if point is None:
        value = "not run"
    elif missing:
        value = NO_ANSWERS if point.status == NO_ANSWERS else "no result"
    else:
        value = marked(f"{point.accuracy:.1f}", point.flags.columns())
    _note(axes, value, (1, y), (6, -0.5), color=SOFT if missing else INK, middle=True)
    if k != UNUSED:
        _note(axes, f"k = {k}", (1, y), (52, -0.5), color=SOFT, middle=True)


def _method_names(axes: Axes, layout: Layout, labels: Mapping[str, str], shared_verdict: str) -> None:
    """Names at the left of the first panel, on several lines where they have several parts."""
    for method, (top, bottom) in layout.bands.items():
        name = method_label(method, labels)
        if shared_verdict:
            name = name.removesuffix(shared_verdict)
        name = name.replace(": ", ":\n", 1).replace(" · ", "\n", 1)
        _note(axes, name, (0, (top + bottom) / 2), (-10, 0), TEXT_SIZE, align="right", middle=True)


def _legend_columns(styles: Mapping[Series, Style], labels: Mapping[str, str], width: float) -> int:
    """Two where there are several entries and they fit the figure's width (inches), else one."""
    longest = max((len(series.label(labels, len(variants_of(styles)) > 1)) for series in styles), default=0)
    return 2 if len(styles) > 2 and 2 * (longest * LETTER_INCHES + 0.5) < width else 1


def _legend(figure: Figure, styles: Mapping[Series, Style], labels: Mapping[str, str], columns: int) -> None:
    from matplotlib.lines import Line2D

    with_variant = len(variants_of(styles)) > 1
    entries = [
        Line2D([], [], linewidth=0, color=color, marker=marker, label=series.label(labels, with_variant))
        for series, (color, marker) in styles.items()
    ]
    clustered = Line2D([], [], color=INK, alpha=CLUSTERED_ALPHA, linewidth=CLUSTERED_WIDTH)
    clustered.set_label("95 % interval, users resampled")
    independent = Line2D([], [], color=INK, linewidth=INDEPENDENT_WIDTH, marker="|", markersize=6)
    independent.set_label("95 % interval, judgments as independent (paper)")
    write_legend(figure, [*entries, clustered, independent], columns=columns, bottom=0.08)


def main_caption(table: pd.DataFrame) -> str:
    """What the main figure shows, with numbers of users, pairs and judgments, and what the intervals are."""
    sizes = []
    for dataset, rows in table[table["status"] != NOT_APPLICABLE].groupby("dataset", sort=False):
        users, pairs, judgments = (_span(rows[column]) for column in ("n_users", "n_pairs", "n_judgments"))
        sizes.append(f"{dataset}: {users} users, {pairs} test pairs, {judgments} judgments a row")
    flags = [point.flags for point in points_of(table)]
    return (
        "Accuracy of each method: the share of judgments that name the answer which the user chose; ties, unparsed "
        "answers, refusals and prompts that do not fit count as not right; what was lost to provider errors does not "
        "count. "
        f"{'; '.join(sizes)}. k is the number of the user's context pairs that the profile was made from. Thick "
        "line: 95 % interval from a bootstrap that resamples users. Thin line: the paper's 95 % interval, which "
        "treats all judgments as independent. Dashed: chance. Dotted: always choosing the longer answer."
        + "".join(f" {note[0].upper()}{note[1:]}" for note in exempt_note(table["status"]))
        + "".join(f" {note}" for note in notes_of(name for name in FLAG_NAMES if any(getattr(f, name) for f in flags)))
    )


def _span(counts: pd.Series[int]) -> str:
    low, high = int(counts.min()), int(counts.max())
    return f"{low:,}" if low == high else f"{low:,}-{high:,}"


def build(table_main: Path, *, pools: Pools, title_note: str) -> Drawing:
    """Draw the figure from its published table alone."""
    table = without_folds(read_main_table(table_main), pools)
    caption = " ".join([main_caption(table), *pool_notes(pools)])
    return Drawing(main_figure(table, labels=METHOD_LABELS, title_note=title_note), caption)


RESULT = FigureResult(
    name="main",
    order=10,
    message="Drawing the main figure",
    caption=(
        "Accuracy of each method with its 95 % interval (thick: resampling users; thin: judgments taken as "
        "independent). Dashed: chance. Dotted: always choosing the longer answer."
    ),
    mem_mb=2000,
    build=build,
)
