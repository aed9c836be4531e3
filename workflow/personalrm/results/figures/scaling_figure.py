"""Accuracy against context pairs, or against labels used, a panel for each data set and judge; from the table alone."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

from personalrm.core.conditions import MethodId
from personalrm.results.figure_style import (
    GRID,
    INK,
    SMALL_SIZE,
    SOFT,
    TEXT_SIZE,
    TITLE_SIZE,
    new_figure,
    write_line,
    write_note,
)
from personalrm.results.figures.main_figure_layout import CHANCE, DARK_FIRST, MARKERS, Color
from personalrm.results.labels import (
    ALL,
    NOT_APPLICABLE,
    NOT_RUN,
    UNUSED,
    VERDICT_LABELS,
    method_label,
    method_rank,
)
from personalrm.results.marks import FLAG_NAMES, mark, mark_notes, marked
from personalrm.results.spec import Drawing, FigureResult
from personalrm.results.table_formats import EMPTY, table_rows
from personalrm.results.tables.scaling_table import read_scaling_table, shown_slope, shown_smallest_k

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LEFT_INCHES, PANEL_INCHES, GAP_INCHES, PANEL_HEIGHT = 0.7, 4.3, 0.95, 2.5
TOP_INCHES, HEAD_INCHES, AXIS_INCHES, LINE_INCHES, FOOT_INCHES = 0.62, 0.42, 0.78, 0.2, 0.15
LEAST_TICK_INCHES = 0.2
BAND_ALPHA, EDGE_ALPHA = 0.13, 0.45
DEFAULT_BAND = "#bbbbbb"
DODGE_POINTS = 14.0
"""Between methods in a panel where each has one k: their intervals would hide each other."""
COLUMNS = (0.0, 0.33, 0.73)
"""Where the columns of the legend begin, in widths of the panel."""

Row = Mapping[str, object]
Panel = tuple[str, str, str, str]
"""Data set, variant, verdict suffix, judge."""


Axis = Literal["context_pairs", "labels_used"]
PAIRS: Axis = "context_pairs"
AXES: dict[Axis, str] = {"context_pairs": "context pairs", "labels_used": "labels used"}
"""Column of the table to what stands under a panel."""
HEADINGS: dict[Axis, tuple[str, str, str]] = {
    "context_pairs": ("", "points per pair [95 % CI]", "first k above Default"),
    "labels_used": ("", "labels used, first to last k", "of them validation pairs"),
}


class Look(NamedTuple):
    """Colour and marker of a method."""

    color: Color | str
    marker: str


def panels_of(table: pd.DataFrame) -> dict[Panel, dict[str, list[Row]]]:
    """Rows by panel and base of the method, in the order of the table."""
    panels: dict[Panel, dict[str, list[Row]]] = {}
    for row in table_rows(table):
        method = MethodId.parse(str(row["method"]))
        panel = str(row["dataset"]), str(row["variant"]), method.verdict, str(row["judge_model"])
        panels.setdefault(panel, {}).setdefault(method.name, []).append(row)
    return panels


def inapplicable(panels: Mapping[Panel, Mapping[str, Sequence[Row]]]) -> list[Panel]:
    """Panels whose methods apply to no user: they are not drawn."""
    return [
        panel
        for panel, lines in panels.items()
        if all(row["status"] == NOT_APPLICABLE for rows in lines.values() for row in rows)
    ]


def scaling_figure(table: pd.DataFrame, *, title_note: str = "", axis: Axis = PAIRS) -> Figure:
    """Lines with bands over context pairs or labels used; rows of panels are data sets, columns judges.

    Beneath each panel: slopes over context pairs, or how many labels each line spans. The two axes are two figures, as
    methods that search use more labels at the same k, and no second axis would be right for all of them.

    Args:
        table: the table of scaling (`scaling_table.scaling_table` or `read_scaling_table`).
        title_note: text under the title, e.g. what run this is.
        axis: column of the table that accuracy is drawn against.
    """
    left_out = inapplicable(panels_of(table))
    panels = {panel: lines for panel, lines in panels_of(table).items() if panel not in left_out}
    rows = list(dict.fromkeys(panel[:3] for panel in panels)) or [("", "", "")]
    judges = list(dict.fromkeys(panel[3] for panel in panels)) or [""]
    bases = sorted({base for lines in panels.values() for base in lines}, key=method_rank)
    looks, limits, alone = _looks(bases), _limits(table), bool(left_out) and not panels
    below = AXIS_INCHES + LINE_INCHES * (len(bases) + 2)
    each = HEAD_INCHES + PANEL_HEIGHT + below
    width = LEFT_INCHES + len(judges) * (PANEL_INCHES + GAP_INCHES)
    height = TOP_INCHES + len(rows) * each + FOOT_INCHES
    figure = new_figure(width, height)
    for number, row in enumerate(rows):
        bottom = height - TOP_INCHES - (number + 1) * each + below
        for place, judge in enumerate(judges):
            if (*row, judge) in left_out:
                continue
            left = LEFT_INCHES + place * (PANEL_INCHES + GAP_INCHES)
            axes = figure.add_axes((left / width, bottom / height, PANEL_INCHES / width, PANEL_HEIGHT / height))
            _panel(axes, panels.get((*row, judge), {}), looks, limits, NOT_APPLICABLE if alone else NOT_RUN, axis)
            write_note(axes, _head(row, judge, rows), (0, 1), (0, 8), TEXT_SIZE, weight="bold")
            if place == 0:
                axes.set_ylabel("accuracy, % of judgments", fontsize=SMALL_SIZE + 0.5, color=INK)
    write_line(figure, f"Accuracy against the number of {AXES[axis]}", 0.14, TITLE_SIZE, INK, weight="bold")
    write_line(figure, title_note, 0.38, TEXT_SIZE, SOFT)
    return figure


def _looks(bases: Sequence[str]) -> dict[str, Look]:
    from seaborn import color_palette

    palette = [color_palette("colorblind")[place] for place in DARK_FIRST]
    return {
        base: Look(palette[number % len(palette)], MARKERS[number % len(MARKERS)]) for number, base in enumerate(bases)
    }


def _number(row: Row, column: str) -> float:
    return float(str(row[column]))


def _limits(table: pd.DataFrame) -> tuple[float, float]:
    """Limits of accuracy, the same in all panels: all of every interval, in steps of 5, within 0-100."""
    names = ("accuracy", "accuracy_low", "accuracy_high", "default_accuracy", "default_low", "default_high")
    values = [float(value) for name in names for value in table[name] if not math.isnan(value)] or [CHANCE]
    low, high = 5 * math.floor((min(values) - 1) / 5), 5 * math.ceil((max(values) + 1) / 5)
    return max(-1.0, float(low)), min(101.0, float(high))


def _head(row: tuple[str, str, str], judge: str, rows: Sequence[tuple[str, str, str]]) -> str:
    """Data set and judge, and what else tells the rows of panels apart."""
    dataset, variant, verdict = row
    parts = [dataset, "no judge model" if judge == UNUSED else judge]
    if len({other[1] for other in rows}) > 1:
        parts.append(variant)
    if len({other[2] for other in rows}) > 1:
        parts.append(VERDICT_LABELS[verdict].removeprefix(" · "))
    return " · ".join(part for part in parts if part)


def _panel(
    axes: Axes,
    lines: Mapping[str, Sequence[Row]],
    looks: Mapping[str, Look],
    limits: tuple[float, float],
    empty: str,
    axis: Axis,
) -> None:
    """Lines, ticks and legend of a panel; `empty` stands in one without lines."""
    axes.set_ylim(limits)
    step = 5 if limits[1] - limits[0] <= 50 else 10
    axes.set_yticks(range(step * math.ceil(limits[0] / step), math.floor(limits[1]) + 1, step))
    axes.tick_params(labelsize=SMALL_SIZE, color=SOFT, labelcolor=INK)
    axes.grid(axis="y", color=GRID, linewidth=0.7)
    axes.set_axisbelow(True)
    for side in ("right", "top"):
        axes.spines[side].set_visible(False)
    if not lines:
        axes.set_xticks([])
        write_note(axes, empty, (0.5, 0.5), (0, 0), TEXT_SIZE, color=SOFT, align="center")
        return
    _ticks(axes, [row for rows in lines.values() for row in rows], axis)
    axes.set_xlabel(AXES[axis], fontsize=SMALL_SIZE + 0.5, color=INK, labelpad=1)
    if limits[0] < CHANCE < limits[1]:
        axes.axhline(CHANCE, color=SOFT, linestyle=":", linewidth=1)
        write_note(axes, "chance", (1, (CHANCE - limits[0]) / (limits[1] - limits[0])), (3, -3), color=SOFT)
    _entry(axes, 0, HEADINGS[axis])
    _default(axes, next(iter(lines.values()))[0])
    alone = all(len(rows) == 1 for rows in lines.values())
    for line, (base, rows) in enumerate(lines.items(), start=2):
        shift = DODGE_POINTS * (line - 2 - (len(lines) - 1) / 2) if alone else 0.0
        _line(axes, rows, looks[base], shift, axis)
        _legend(axes, line, base, rows, looks[base], axis)


def _ticks(axes: Axes, rows: Sequence[Row], axis: Axis) -> None:
    """A tick at the context pairs of each k; "all" on a second line, so that it cannot hide a number. Labels differ by
    method at the same k, and have round ticks."""
    if axis != PAIRS:
        from matplotlib.ticker import MaxNLocator

        places = [value for row in rows if not math.isnan(value := _number(row, axis))]
        low, high = min(places, default=0.0), max(places, default=1.0)
        margin = 0.06 * (high - low) or 1.0
        axes.set_xlim(low - margin, high + margin)
        ticks = MaxNLocator(8, integer=True).tick_values(low - margin, high + margin)
        axes.set_xticks([tick for tick in ticks if low - margin <= tick <= high + margin])
        return
    numbers = sorted(
        {value for row in rows if row["k"] != ALL and not math.isnan(value := _number(row, "context_pairs"))}
    )
    everything = [value for row in rows if row["k"] == ALL and not math.isnan(value := _number(row, "context_pairs"))]
    places = numbers + ([sum(everything) / len(everything)] if everything else [])
    low, high = min(places, default=0.0), max(places, default=1.0)
    margin = 0.06 * (high - low) or 1.0
    axes.set_xlim(low - margin, high + margin)
    step = LEAST_TICK_INCHES * (high - low + 2 * margin) / PANEL_INCHES
    labels: list[str] = []
    last = -math.inf
    for number in numbers:
        shown = number - last >= step
        labels.append(f"{number:.3g}" if shown else "")
        last = number if shown else last
    labels += [f"\nall ({places[-1]:.1f})"] if everything else []
    axes.set_xticks(places, labels)


def _default(axes: Axes, row: Row) -> None:
    """The unpersonalised judge as a level line with its band, and its line of the legend."""
    accuracy = _number(row, "default_accuracy")
    low, high = _number(row, "default_low"), _number(row, "default_high")
    if not math.isnan(low):
        axes.axhspan(low, high, color=DEFAULT_BAND, alpha=0.35, linewidth=0, zorder=0.5)
    if not math.isnan(accuracy):
        axes.axhline(accuracy, color=INK, linestyle="--", linewidth=1.3, zorder=1.5)
    level = "no result" if math.isnan(accuracy) else f"{accuracy:.1f} %"
    _entry(axes, 1, (f"Default: {marked(level, row, 'default_')}", "", ""), Look(INK, ""), "--")


def _line(axes: Axes, rows: Sequence[Row], look: Look, shift: float, axis: Axis) -> None:
    """Band, line and markers of a method; hollow where an outage spoils a point. `shift`: points to the right."""
    from matplotlib.transforms import ScaledTranslation

    figure = axes.get_figure(root=True)
    if figure is None:
        raise ValueError("the panel is in no figure")
    moved = axes.transData + ScaledTranslation(shift / 72, 0, figure.dpi_scale_trans)
    points = sorted(
        (row for row in rows if not math.isnan(_number(row, "accuracy"))), key=lambda row: _number(row, axis)
    )
    x, y, low, high = (
        [_number(row, name) for row in points] for name in (axis, "accuracy", "accuracy_low", "accuracy_high")
    )
    if len(points) == 1:
        axes.plot((x[0], x[0]), (low[0], high[0]), color=look.color, linewidth=2.4, alpha=EDGE_ALPHA, transform=moved)
    else:
        axes.fill_between(x, low, high, color=look.color, alpha=BAND_ALPHA, linewidth=0)
        for edge in (low, high):
            axes.plot(x, edge, color=look.color, alpha=EDGE_ALPHA, linewidth=0.7)
    axes.plot(x, y, color=look.color, linewidth=1.8)
    for row, across, up in zip(points, x, y, strict=True):
        face = "white" if row["outage"] else look.color
        dot = axes.plot(across, up, look.marker, color=face, markeredgecolor=look.color, markersize=6, zorder=3)[0]
        dot.set_transform(moved)


def _legend(axes: Axes, line: int, base: str, rows: Sequence[Row], look: Look, axis: Axis) -> None:
    """A method's slope and smallest k, or its labels, beneath the panel, behind its marker."""
    name = method_label(base).removeprefix("SynthesizeMe: ").partition(" (")[0].replace("demonstrations", "demos")
    if all(row["status"] == NOT_APPLICABLE for row in rows):
        _entry(axes, line, (name, NOT_APPLICABLE, ""), look)
        return
    if axis == PAIRS:
        second, third = shown_slope(rows[0]).replace("-", "−"), shown_smallest_k(rows[0])
        if second == EMPTY:
            second = "no slope (one k)" if len(rows) == 1 else "no slope"
    else:
        second, third = _labels(rows)
    parts = [third]
    missing = [str(row["k"]) for row in rows if math.isnan(_number(row, "accuracy"))]
    parts += [f"no result: {', '.join(missing)}"] if missing else []
    sign = mark({name: any(row[name] for row in rows) for name in FLAG_NAMES})
    parts += [sign] if sign else []
    _entry(axes, line, (name, second, " · ".join(parts)), look)


def _labels(rows: Sequence[Row]) -> tuple[str, str]:
    """From how many to how many labels a line goes, and how many of them are validation pairs (means over users)."""
    drawn = [row for row in rows if not math.isnan(_number(row, "accuracy"))]
    if not drawn:
        return "no result", EMPTY
    used = [_number(row, "labels_used") for row in drawn]
    choosing = [f"{_number(row, 'labels_used') - _number(row, PAIRS):.3g}" for row in drawn]
    ends = dict.fromkeys(f"{value:.3g}" for value in (min(used), max(used)))
    # Users without a verdict at some k make the means differ.
    return "–".join(ends), "–".join(dict.fromkeys((min(choosing, key=float), max(choosing, key=float))))


def _entry(
    axes: Axes, line: int, texts: tuple[str, str, str], look: Look | None = None, style: Literal["-", "--"] = "-"
) -> None:
    """One line of the legend beneath the panel; without a look it is its heading."""
    from matplotlib.lines import Line2D

    height = -(AXIS_INCHES + line * LINE_INCHES - 0.1) / PANEL_HEIGHT
    if look is not None:
        line_of = Line2D((-0.1, -0.02), (height,) * 2, color=look.color, linestyle=style)
        dot = Line2D((-0.06,), (height,), color=look.color, marker=look.marker, markersize=6)
        for part in (line_of, dot):
            part.set(transform=axes.transAxes, clip_on=False)
            axes.add_line(part)
    for across, text in zip(COLUMNS, texts, strict=True):
        write_note(axes, text, (across, height), (0, -3), color=SOFT if look is None else INK)


WHAT: dict[Axis, str] = {
    "context_pairs": "Accuracy of judges with their own profiles against the number of the user's context pairs that "
    'the profile was made from. A k, and "all", stand at the mean number of context pairs of the users, who have k or '
    "all of theirs.",
    "labels_used": "Accuracy of judges with their own profiles against the number of the user's labels that the "
    "profile rests on: its context pairs and, for methods that choose a winner by them, all validation pairs, at every "
    "k, 1 included. From left to right the points of a line are its k; each stands at the mean over the users, and the "
    "same k stands further right for methods that choose.",
}
READ: dict[Axis, str] = {
    "context_pairs": "Points per pair: slope of accuracy by weighted least squares, users resampled. First k above "
    "Default: the smallest k whose interval of the paired difference to Default lies above 0.",
    "labels_used": "Default uses no labels. Beneath: labels used at the smallest and the largest k, and how many of "
    "them are validation pairs.",
}
"""What a caption says of each axis: at its start, and after the numbers of users."""


def scaling_caption(table: pd.DataFrame, axis: Axis = PAIRS) -> str:
    """What the figure shows, with numbers of users and what the bands are."""
    sizes = []
    for dataset, rows in table[table["status"] != NOT_APPLICABLE].groupby("dataset", sort=False):
        low, high = int(rows["n_users"].min()), int(rows["n_users"].max())
        draws = int(rows["n_draws"].max())
        sizes.append(
            f"{dataset}: {low:,}{'' if low == high else f'-{high:,}'} users, up to {draws} draw{'s' * (draws > 1)} of "
            "context pairs. "
        )
    panels = panels_of(table)
    left_out = [_head(panel[:3], panel[3], [other[:3] for other in panels]) for panel in inapplicable(panels)]
    return (
        f"{WHAT[axis]} Bands: 95 % intervals with users as clusters. Dashed: the unpersonalised judge, with its band. "
        + "".join(sizes)
        + READ[axis]
        + (f" Left out, as {NOT_APPLICABLE}: {'; '.join(left_out)}." if left_out else "")
        + (" Hollow points: lost to provider errors." if bool(table["outage"].any()) else "")
        + "".join(f" {note}" for note in mark_notes(table, "", "default_"))
    )


def build(table_scaling: Path, *, title_note: str) -> Drawing:
    """Draw the figure from its published table alone."""
    table = read_scaling_table(table_scaling)
    return Drawing(scaling_figure(table, title_note=title_note), scaling_caption(table))


RESULT = FigureResult(
    name="scaling",
    order=30,
    message="Drawing accuracy against context pairs",
    caption=(
        "Accuracy against the number of context pairs, one panel a data set and judge. Bands: 95 % intervals, users "
        "resampled. Dashed: the unpersonalised judge."
    ),
    build=build,
)
