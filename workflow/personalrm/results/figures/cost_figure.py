"""Accuracy against cost, a point a method and its models, a panel a data set and judge; drawn from the table alone."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from personalrm.core.conditions import MethodId
from personalrm.results.figure_style import (
    GRID,
    INK,
    SMALL_SIZE,
    SOFT,
    TEXT_SIZE,
    TITLE_SIZE,
    new_figure,
    write_legend,
    write_line,
    write_note,
)
from personalrm.results.figures.main_figure_layout import CHANCE, DARK_FIRST, MARKERS, Color
from personalrm.results.labels import UNUSED, VERDICT_LABELS, k_rank, method_label, method_rank
from personalrm.results.marks import mark, mark_notes
from personalrm.results.spec import Drawing, FigureResult
from personalrm.results.table_formats import table_rows
from personalrm.results.tables.cost_table import ALL_STEPS, METHOD, read_cost_table

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

DOLLARS, TOKENS = "cost_usd_list", "tokens"
UNITS = {DOLLARS: "list price of the calls, dollars", TOKENS: "tokens of the calls, in and out"}
NO_CALL_ROOM = 0.5
"""Decades between the cheapest point and the place of methods that make no call."""
LEFT_INCHES, PANEL_INCHES, GAP_INCHES, PANEL_HEIGHT = 0.7, 4.3, 0.45, 3.0
TOP_INCHES, HEAD_INCHES, AXIS_INCHES, ENTRY_INCHES, FOOT_INCHES = 0.62, 0.4, 0.6, 0.195, 0.0
NO_COLOR = "#595959"
SMALLEST, LARGEST = 4.0, 8.0
"""Sizes of markers in points."""

Line = tuple[str, str]
"""Method and variant: what shares a colour and a marker."""


class Point(NamedTuple):
    """A row of the table as it is drawn; `cost` is in the figure's unit, 0 for what makes no call."""

    dataset: str
    judge: str
    line: Line
    own: bool
    k: str
    cost: float
    accuracy: float
    bounds: tuple[float, float]
    mark: str


class Look(NamedTuple):
    """Colour and marker of a line."""

    color: Color | str
    marker: str


def unit_of(table: pd.DataFrame) -> str:
    """Dollars where every method that makes calls has a price above 0; else tokens, for all, so that all compare."""
    asking = _methods(table)
    asking = asking[asking["calls"] > 0]
    priced = len(asking) > 0 and bool((asking[DOLLARS].fillna(0) > 0).all())
    return DOLLARS if priced else TOKENS


def _methods(table: pd.DataFrame) -> pd.DataFrame:
    return table[(table["level"] == METHOD) & (table["stage"] == ALL_STEPS)]


def points_of(table: pd.DataFrame, unit: str) -> list[Point]:
    """The methods of the table that have an accuracy, in its order; those judged on all pairs are left out, because
    they paid for other pairs than the rest."""
    points = []
    for row in table_rows(_methods(table)):
        if math.isnan(float(row["accuracy"])) or MethodId.parse(str(row["method"])).pairs == "all":
            continue
        tokens = float(row["tokens_in"]) + float(row["tokens_out"])
        profile = str(row["profile_model"])
        points.append(
            Point(
                dataset=str(row["dataset"]),
                judge=str(row["judge_model"]),
                line=(str(row["method"]), str(row["variant"])),
                own=profile in (row["judge_model"], UNUSED),
                k=str(row["k"]),
                cost=tokens if unit == TOKENS else float(row[DOLLARS]),
                accuracy=float(row["accuracy"]),
                bounds=(float(row["ci_low"]), float(row["ci_high"])),
                mark=mark(row),
            )
        )
    return points


def cost_figure(table: pd.DataFrame, *, title_note: str = "") -> Figure:
    """Points with intervals over a logarithmic axis of cost; what makes no call stands at its left end.

    Points of one method at several k are joined in the order of k, and grow with it. Hollow: with another model's
    profiles.

    Args:
        table: the table of cost (`cost_table.cost_table` or `read_cost_table`).
        title_note: text under the title, e.g. what run this is.
    """
    unit = unit_of(table)
    points = points_of(table, unit)
    datasets = list(dict.fromkeys(point.dataset for point in points)) or [""]
    judges = list(dict.fromkeys(point.judge for point in points if point.judge != UNUSED)) or [UNUSED]
    looks = _looks(points)
    suffix = _shared_suffix(points)
    columns = 2 if suffix is not None else 1
    below = AXIS_INCHES + ENTRY_INCHES * (math.ceil((len(looks) + 2) / columns) + 1) + FOOT_INCHES
    width = max(LEFT_INCHES + len(judges) * (PANEL_INCHES + GAP_INCHES), 7.5)
    panel = (width - LEFT_INCHES) / len(judges) - GAP_INCHES
    each = HEAD_INCHES + PANEL_HEIGHT + AXIS_INCHES
    height = TOP_INCHES + len(datasets) * each - AXIS_INCHES + below
    figure = new_figure(width, height)
    ends, limits, sizes = _ends(points), _limits(points), _sizes(points)
    for number, dataset in enumerate(datasets):
        bottom = height - TOP_INCHES - number * each - HEAD_INCHES - PANEL_HEIGHT
        for place, judge in enumerate(judges):
            left = LEFT_INCHES + place * (panel + GAP_INCHES)
            axes = figure.add_axes((left / width, bottom / height, panel / width, PANEL_HEIGHT / height))
            mine = [point for point in points if point.dataset == dataset and point.judge in (judge, UNUSED)]
            _panel(axes, mine, looks, ends, limits, sizes)
            head = " · ".join(text for text in (dataset, judge) if text not in ("", UNUSED))
            write_note(axes, head, (0, 1), (0, 7), TEXT_SIZE, weight="bold")
            axes.set_xlabel(UNITS[unit], fontsize=SMALL_SIZE + 0.5, color=INK, labelpad=1)
            if place == 0:
                axes.set_ylabel("accuracy, % of judgments", fontsize=SMALL_SIZE + 0.5, color=INK)
    write_line(figure, "Accuracy against cost", 0.14, TITLE_SIZE, INK, weight="bold")
    shared = (suffix or "").removeprefix(" · ")
    write_line(figure, " · ".join(text for text in (shared, title_note) if text), 0.38, TEXT_SIZE, SOFT)
    _legend(figure, points, looks, suffix, columns)
    return figure


def _shared_suffix(points: Sequence[Point]) -> str | None:
    """What the labels of all methods that ask a model end with (their kind of verdict); None where it differs."""
    kinds = {MethodId.parse(point.line[0]).verdict for point in points if point.judge != UNUSED}
    return VERDICT_LABELS.get(kinds.pop()) if len(kinds) == 1 else None


def _looks(points: Sequence[Point]) -> dict[Line, Look]:
    """Colour and marker of each line; grey where no model judges."""
    from seaborn import color_palette

    palette = [color_palette("colorblind")[place] for place in DARK_FIRST]
    free = {point.line for point in points if point.judge == UNUSED}
    lines = sorted({point.line for point in points}, key=lambda line: (method_rank(line[0]), line[1]))
    asking = [line for line in lines if line not in free]
    looks = {line: Look(NO_COLOR, mark) for line, mark in zip(sorted(free), "x+1234", strict=False)}
    looks |= {
        line: Look(palette[number % len(palette)], MARKERS[number % len(MARKERS)]) for number, line in enumerate(asking)
    }
    return {line: looks[line] for line in lines if line in looks}


def _ends(points: Sequence[Point]) -> tuple[float, float]:
    """Cheapest and dearest point above 0, as powers of ten."""
    powers = [math.log10(point.cost) for point in points if point.cost > 0] or [0.0]
    return min(powers), max(powers)


def _limits(points: Sequence[Point]) -> tuple[float, float]:
    """Limits of accuracy, the same in all panels: all of every interval, in steps of 5, within 0-100."""
    values = [CHANCE]
    for point in points:
        values += [value for value in (point.accuracy, *point.bounds) if not math.isnan(value)]
    return max(-1.0, 5.0 * math.floor((min(values) - 1) / 5)), min(101.0, 5.0 * math.ceil((max(values) + 1) / 5))


def _across(cost: float, ends: tuple[float, float]) -> float:
    """Place of a cost on the axis: its power of ten, or the place of no call."""
    return math.log10(cost) if cost > 0 else ends[0] - NO_CALL_ROOM


def _panel(
    axes: Axes,
    points: Sequence[Point],
    looks: Mapping[Line, Look],
    ends: tuple[float, float],
    limits: tuple[float, float],
    sizes: Mapping[str, float],
) -> None:
    axes.set_xlim(ends[0] - NO_CALL_ROOM - 0.15, ends[1] + 0.15)
    axes.set_ylim(limits)
    axes.set_yticks(range(10 * math.ceil(limits[0] / 10), math.floor(limits[1]) + 1, 10))
    ticks = _ticks(ends)
    axes.set_xticks([ends[0] - NO_CALL_ROOM, *ticks.values()], ["no call", *ticks])
    axes.tick_params(labelsize=SMALL_SIZE, color=SOFT, labelcolor=INK)
    axes.grid(color=GRID, linewidth=0.7)
    axes.set_axisbelow(True)
    for side in ("right", "top"):
        axes.spines[side].set_visible(False)
    axes.axhline(CHANCE, color=SOFT, linestyle=":", linewidth=1)
    axes.axvline(ends[0] - NO_CALL_ROOM / 2, color=SOFT, linewidth=0.7)
    if not points:
        write_note(axes, "not run", (0.5, 0.5), (0, 0), TEXT_SIZE, color=SOFT, align="center")
    lines: dict[tuple[Line, bool], list[Point]] = {}
    for point in points:
        lines.setdefault((point.line, point.own), []).append(point)
    for (line, own), mine in lines.items():
        look = looks[line]
        if own and len(mine) > 1:
            axes.plot([_across(p.cost, ends) for p in mine], [p.accuracy for p in mine], color=look.color, linewidth=1)
        for point in mine:
            _mark(axes, point, look, _across(point.cost, ends), sizes[point.k])


def _ticks(ends: tuple[float, float]) -> dict[str, float]:
    """Text of round numbers to their power of ten; 1, 2, 5 where the axis is short."""
    factors = (1, 2, 5) if ends[1] - ends[0] < 2 else (1,)
    powers = range(math.floor(ends[0]) - 1, math.ceil(ends[1]) + 1)
    found = {_text(factor, power): math.log10(factor) + power for power in powers for factor in factors}
    return {text: place for text, place in found.items() if ends[0] - 0.2 <= place <= ends[1] + 0.15}


def _text(factor: int, power: int) -> str:
    """A round number: `0.02`, `500`, `20k`, `1M`."""
    number = factor * 10.0**power
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if number >= size:
            return f"{number / size:.0f}{letter}"
    return f"{number:.{max(0, -power)}f}"


def _sizes(points: Sequence[Point]) -> dict[str, float]:
    """Size of the marker at each k, smallest to largest: names of k would cover each other where points lie close."""
    numbers = sorted({point.k for point in points} - {UNUSED}, key=k_rank)
    steps = max(len(numbers) - 1, 1)
    smallest = LARGEST if len(numbers) < 2 else SMALLEST
    grown = {k: smallest + (LARGEST - smallest) * place / steps for place, k in enumerate(numbers)}
    return grown | {UNUSED: LARGEST}


def _mark(axes: Axes, point: Point, look: Look, across: float, size: float) -> None:
    """Interval, marker (hollow with another's profiles), and the mark of what spoils it."""
    if not math.isnan(point.bounds[0]):
        axes.plot((across, across), point.bounds, color=look.color, linewidth=1.6, alpha=0.45)
    face = look.color if point.own else "white"
    dot = axes.plot(across, point.accuracy, look.marker, color=face, markeredgecolor=look.color, zorder=3)[0]
    dot.set(markersize=size, clip_on=False)
    if point.mark:
        write_note(axes, point.mark, (across, point.accuracy), (6, 4), SMALL_SIZE - 1.5, coordinates="data")


def _legend(
    figure: Figure, points: Sequence[Point], looks: Mapping[Line, Look], suffix: str | None, columns: int
) -> None:
    from matplotlib.lines import Line2D

    learned = {point.line for point in points if point.k != UNUSED}
    several = len({variant for _, variant in learned}) > 1
    entries = []
    for line, look in looks.items():
        method, variant = line
        label = method_label(method).removesuffix(suffix or "") + (
            f" ({variant})" if several and line in learned else ""
        )
        entries.append(Line2D([], [], linewidth=0, color=look.color, marker=look.marker, markersize=7, label=label))
    numbers = sorted({point.k for point in points} - {UNUSED}, key=k_rank)
    if len(numbers) > 1:
        label = f"small to large: k = {', '.join(numbers)}"
        entries.append(Line2D([], [], linewidth=0, color=SOFT, marker="o", markersize=SMALLEST, label=label))
    if any(not point.own for point in points):
        hollow = Line2D([], [], linewidth=0, color="white", markeredgecolor=INK, marker="o", markersize=7)
        hollow.set_label("hollow: another model's profiles")
        entries.append(hollow)
    write_legend(figure, entries, columns=columns, left=0.1, size=SMALL_SIZE)


def cost_caption(table: pd.DataFrame) -> str:
    """What the figure shows, and in which unit."""
    unit = unit_of(table)
    free = "" if unit == DOLLARS else " (tokens, because a list price is unknown or nothing was to be paid)"
    return (
        f"Accuracy of each method against its cost: {UNITS[unit]}{free}, of the distinct stored responses that its row "
        "of the main table rests on, profiles included; logarithmic. Methods that make no call stand at the left. "
        "Lines join values of k, markers grow with it. Bars: 95 % intervals from a bootstrap that resamples users. "
        "Dotted: chance." + "".join(f" {note}" for note in mark_notes(table))
    )


def build(table_cost: Path, *, title_note: str) -> Drawing:
    """Draw the figure from its published table alone."""
    table = read_cost_table(table_cost)
    return Drawing(cost_figure(table, title_note=title_note), cost_caption(table))


RESULT = FigureResult(
    name="cost",
    order=170,
    message="Drawing accuracy against cost",
    caption=(
        "Accuracy of each method against what its calls cost (tokens where a price is unknown or nothing was to be "
        "paid), profiles included. Bars: 95 % intervals, users resampled. Dotted: chance."
    ),
    build=build,
)
