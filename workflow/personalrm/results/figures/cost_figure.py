"""Accuracy against cost, by method and models, one panel per data set and judge; drawn from its table alone."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from personalrm.core.conditions import MethodId
from personalrm.results.figure_style import (
    CHANCE,
    INK,
    SMALL_SIZE,
    SOFT,
    TEXT_SIZE,
    draw_interval,
    draw_point,
    limits,
    method_entries,
    panel_rows,
    set_limits,
    set_up,
    write_head,
    write_note,
)
from personalrm.results.labels import NOT_RUN, UNUSED, k_rank, method_mark
from personalrm.results.lazy import Axes, Figure, pd
from personalrm.results.marks import mark, mark_notes
from personalrm.results.method_panels import (
    MOST_METHODS,
    Panel,
    drawn_panels,
    judges_together,
    leading,
    others_foot,
    others_note,
    panel_heads,
)
from personalrm.results.spec import Drawing, FigureResult
from personalrm.results.table_formats import table_rows
from personalrm.results.tables.cost_table import ALL_STEPS, METHOD, read_cost_table

if TYPE_CHECKING:
    from matplotlib.lines import Line2D

DOLLARS, TOKENS = "cost_usd_list", "tokens"
UNITS = {DOLLARS: "list price of the calls, dollars", TOKENS: "tokens of the calls, in and out"}
NO_CALL_ROOM, NO_CALL_STEP = 0.5, 0.08
"""Decades between the cheapest point and the place of methods that make no call, and between these."""
PANEL_INCHES, PANEL_HEIGHT = 4.3, 3.2
LEAST_TICK_INCHES = 0.55
SMALLEST, LARGEST = 5.0, 9.0
"""Sizes of markers in points."""


class Point(NamedTuple):
    """A row of the table as it is drawn; `cost` is in the figure's unit, 0 for what makes no call."""

    panel: Panel
    method: str
    own: bool
    k: str
    cost: float
    accuracy: float
    bounds: tuple[float, float]
    mark: str


def unit_of(table: pd.DataFrame) -> str:
    """Dollars where every method that makes calls has a price above 0; else tokens, for all, so that all compare."""
    prices = _methods(table).loc[lambda rows: rows["calls"] > 0, DOLLARS]
    return DOLLARS if len(prices) and bool((prices > 0).all()) else TOKENS


def _methods(table: pd.DataFrame) -> pd.DataFrame:
    return table[(table["level"] == METHOD) & (table["stage"] == ALL_STEPS)]


def points_of(table: pd.DataFrame, unit: str) -> list[Point]:
    """The methods of the table that have an accuracy, in its order; those judged on all pairs are left out, because
    they paid for other pairs than the rest."""
    points = []
    for row in table_rows(_methods(table)):
        method = MethodId.parse(row["method"])
        if math.isnan(row["accuracy"]) or method.pairs != "test":
            continue
        points.append(
            Point(
                panel=Panel.of(row),
                method=method.name,
                own=row["profile_model"] in (row["judge_model"], UNUSED),
                k=row["k"],
                cost=row["tokens_in"] + row["tokens_out"] if unit == TOKENS else row[DOLLARS],
                accuracy=row["accuracy"],
                bounds=(row["ci_low"], row["ci_high"]),
                mark=mark(row),
            )
        )
    return points


def drawn_points(table: pd.DataFrame, unit: str) -> tuple[list[Point], list[str]]:
    """The points that are drawn, and the methods that are left out so that the legend stays short."""
    points = points_of(table, unit)
    most = MOST_METHODS - len(_entries(points))
    kept, others = leading(((point.method, point.accuracy) for point in points), most)
    return [point for point in points if point.method in kept], others


def panels_of(points: Sequence[Point]) -> dict[Panel, list[Point]]:
    """Points by panel, in the order of the table."""
    shown = drawn_panels(point.panel for point in points)
    return {place: [point for point in points if point.panel in panels] for place, panels in shown.items()}


def cost_figure(table: pd.DataFrame, *, title_note: str = "") -> Figure:
    """Points with intervals over a logarithmic axis of cost; what makes no call is at its left end.

    Points of one method at several k are joined in the order of k, and grow with it. Hollow: with another model's
    profiles.
    """
    unit = unit_of(table)
    points, others = drawn_points(table, unit)
    found = panels_of(points) or {Panel("", "", "", ""): []}
    page, drawn = panel_rows(judges_together(found), lambda _: PANEL_INCHES, lambda _: PANEL_HEIGHT)
    shared, heads = panel_heads(found)
    powers = [math.log10(point.cost) for point in points if point.cost > 0] or [0.0]
    ends = min(powers), max(powers)
    high = limits(value for point in points for value in (point.accuracy, *point.bounds))
    sizes = _sizes(points)
    for place, axes, is_first in drawn:
        _panel(axes, found[place], ends, high, sizes)
        write_head(axes, heads[place], PANEL_INCHES, 7)
        axes.set_xlabel(UNITS[unit], fontsize=SMALL_SIZE + 0.5, color=INK, labelpad=1)
        axes.set_ylabel("accuracy, % of judgments" * is_first, fontsize=SMALL_SIZE + 0.5, color=INK)
    entries = [*method_entries(point.method for point in points), *_entries(points)]
    note = " · ".join(filter(None, (shared, title_note)))
    return page.finish("Accuracy against cost", note, entries, foot=others_foot(others))


def _panel(
    axes: Axes,
    points: Sequence[Point],
    ends: tuple[float, float],
    high: tuple[float, float],
    sizes: Mapping[str, float],
) -> None:
    set_up(axes, "both", spines=("left", "bottom"))
    set_limits(axes, "y", high)
    axes.set_xlim(ends[0] - NO_CALL_ROOM - 0.15, ends[1] + 0.15)
    ticks = _ticks(ends)
    axes.set_xticks([ends[0] - NO_CALL_ROOM, *ticks.values()], ["no call", *ticks])
    axes.axhline(CHANCE, color=SOFT, linestyle=":", linewidth=1)
    axes.axvline(ends[0] - NO_CALL_ROOM / 2, color=SOFT, linewidth=0.7)
    if not points:
        write_note(axes, NOT_RUN, (0.5, 0.5), (0, 0), TEXT_SIZE, color=SOFT, align="center")
    free = sorted({point.method for point in points if point.cost <= 0})
    first = ends[0] - NO_CALL_ROOM - NO_CALL_STEP * (len(free) - 1) / 2
    lines: dict[tuple[str, bool], list[Point]] = {}
    for point in points:
        lines.setdefault((point.method, point.own), []).append(point)
    for (method, own), mine in lines.items():
        colour = method_mark(method).colour
        places = [math.log10(p.cost) if p.cost > 0 else first + NO_CALL_STEP * free.index(method) for p in mine]
        if own and len(mine) > 1:
            axes.plot(places, [point.accuracy for point in mine], color=colour, linewidth=1)
        for point, across in zip(mine, places, strict=True):
            draw_interval(axes, (across, across), point.bounds, colour, alpha=0.45)
            draw_point(axes, across, point.accuracy, method, hollow=not own, size=sizes[point.k])
            if point.mark:
                write_note(axes, point.mark, (across, point.accuracy), (6, 4), coordinates="data")


def _ticks(ends: tuple[float, float]) -> dict[str, float]:
    """Text of round numbers to their power of ten; 1, 2, 5 where the axis is short."""
    factors = (1, 2, 5) if ends[1] - ends[0] < 2 else (1,)
    powers = range(math.floor(ends[0]) - 1, math.ceil(ends[1]) + 1)
    found = {_text(factor, power): math.log10(factor) + power for power in powers for factor in factors}
    # The first one stands clear of "no call".
    clear = LEAST_TICK_INCHES / PANEL_INCHES * (ends[1] - ends[0] + NO_CALL_ROOM + 0.3) - NO_CALL_ROOM
    return {text: place for text, place in found.items() if ends[0] + max(clear, -0.2) <= place <= ends[1] + 0.15}


def _text(factor: int, power: int) -> str:
    """A round number: `0.02`, `500`, `20k`, `1M`."""
    number = factor * 10.0**power
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if number >= size:
            return f"{number / size:.0f}{letter}"
    return f"{number:.{max(0, -power)}f}"


def _sizes(points: Iterable[Point]) -> dict[str, float]:
    """Size of the marker at each k, smallest to largest: names of k would cover each other where points lie close."""
    numbers = sorted({point.k for point in points} - {UNUSED}, key=k_rank)
    steps = max(len(numbers) - 1, 1)
    smallest = LARGEST if len(numbers) < 2 else SMALLEST
    grown = {k: smallest + (LARGEST - smallest) * place / steps for place, k in enumerate(numbers)}
    return grown | {UNUSED: LARGEST}


def _entries(points: Sequence[Point]) -> list[Line2D]:
    """Explanation of the size of a marker, and of hollow ones."""
    from matplotlib.lines import Line2D

    numbers = sorted({point.k for point in points} - {UNUSED}, key=k_rank)
    entries = []
    if len(numbers) > 1:
        label = f"small to large: k = {', '.join(numbers)}"
        entries.append(Line2D([], [], linestyle="", color=SOFT, marker=".", label=label))
    if any(not point.own for point in points):
        hollow = Line2D([], [], linestyle="", color="white", markeredgecolor=SOFT, marker="o", markersize=7)
        hollow.set_label("hollow: another model's profiles")
        entries.append(hollow)
    return entries


def cost_caption(table: pd.DataFrame) -> str:
    """What the figure shows, and in which unit."""
    unit = unit_of(table)
    free = "" if unit == DOLLARS else " (tokens, because a list price is unknown or nothing was to be paid)"
    return (
        f"Accuracy of each method against its cost: {UNITS[unit]}{free}, of the distinct stored responses that its row "
        "of the main table rests on, profiles included; logarithmic. Methods that make no call stand at the left. "
        "Lines join values of k, markers grow with it. Bars: 95 % intervals from a bootstrap that resamples users. "
        f"Dotted: chance.{others_note(drawn_points(table, unit)[1], 'cost')}"
        + "".join(f" {note}" for note in mark_notes(table))
    )


def build(table_cost: Path, *, title_note: str) -> Drawing:
    """Draw the figure from its published table alone."""
    table = read_cost_table(table_cost)
    return Drawing(cost_figure(table, title_note=title_note), cost_caption(table))


RESULT = FigureResult(
    name="cost",
    order=170,
    caption=(
        "Accuracy of each method against what its calls cost (tokens where a price is unknown or nothing was to be "
        "paid), profiles included. Bars: 95 % intervals, users resampled. Dotted: chance."
    ),
    build=build,
)
