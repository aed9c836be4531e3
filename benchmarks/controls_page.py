"""The csv file, figure and tables of `controls.py`, all from its rows alone."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

from controls import APART, COMMON, GATE_VOTES, KS, NO_TRAIN, PROBABILITY, SHOWN, Row
from pages import write_folder
from planted_users import ALONE, OWN, POPULATION, SURFACE_USER, WORDS, K

from personalrm.methods.taste.prior import LEAST_USERS
from personalrm.results.figure_style import (
    INK,
    SMALL_SIZE,
    SOFT,
    TEXT_SIZE,
    draw_interval,
    draw_point,
    mark_line,
    panels,
    set_up,
    set_up_rows,
    write_note,
)
from personalrm.results.labels import method_label, method_mark

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

SHORT = {OWN: "own", ALONE: "own alone", POPULATION: "others", WORDS: "words", SURFACE_USER: "surface"}
TITLES = {
    "a": "(a) Another user's votes",
    "b": "(b) Users without a taste of their own",
    "c": "(c) Contrarians",
    "d": "(d) More votes",
    "e": "(e) Attributes left out",
    "f": "(f) Wrong labels",
    "scorer": "Scorers of other quality",
    "prior": "Other priors",
    "default": "Own weights and the model's preference, without train users",
    "turns": "Several votes in a conversation",
}
OVER = f"over {POPULATION}"
MOST_BELOW, MOST_CAUGHT, MOST_APART = 2.0, 15.0, 5.0
"""Bars: points below other users' weights, percent of random votes that pass the gate, points of calibration error."""


class Rows:
    """The rows, found by what they are of."""

    def __init__(self, rows: Sequence[Row]) -> None:
        self.rows = list(rows)
        self._found = {row[:5]: row for row in self.rows}

    def get(self, control: str, condition: str, measure: str, method: str = OWN, k: int = K) -> Row:
        """One row. Raises KeyError where there is none."""
        return self._found[control, condition, method, k, measure]

    def places(self, control: str) -> list[tuple[str, int]]:
        """Condition and k of a control's rows, in their order."""
        return list(dict.fromkeys((row.condition, row.k) for row in self.rows if row.control == control))


def write_page(rows: Sequence[Row], folder: Path, *, users: int, seed: int) -> None:
    """Write csv, figure and tables (`pages.write_folder`)."""
    found = Rows(rows)
    write_folder(folder, "controls", Row._fields, rows, controls_figure(found, users), page_lines(found, users, seed))


def page_lines(rows: Rows, users: int, seed: int) -> Iterator[str]:
    """What is expected and found, then the tables."""
    yield f"{users} train users with {K} votes each, {users} test users; seed {seed}."
    yield ""
    yield "## What holds"
    yield ""
    for holds, text in checks(rows):
        yield from textwrap.wrap(f"- **{'holds' if holds else 'does not hold'}** {text}", 98, subsequent_indent="  ")
    for control, title in TITLES.items():
        yield from ("", f"## {title}", "", *_comparison(rows, control))
    yield from ("", "## Signs", "", *_signs(rows))
    yield from ("", "## The evidence gate", "", *_gates(rows))
    yield from ("", *_evidence(rows), "", "## Calibration", "", *_calibration(rows))


def checks(rows: Rows) -> Iterator[tuple[bool, str]]:
    """Whether each expectation holds, with the numbers."""
    foreign = rows.get("a", "another user's votes", OVER)
    yield foreign.low <= 0, f"(a) Another user's votes gain nothing over others' weights: {_number(foreign, '+')}."
    yield foreign.high >= 0, "(a) Another user's votes cost nothing either: the interval holds 0."
    own = rows.get("a", "own votes", OVER)
    yield own.low > 0, f"(a) The user's own {K} votes gain: {_number(own, '+')}."
    free = rows.get("a", "own votes", OVER, ALONE)
    yield free.low > 0, f"(a) The same with own weights alone: {_number(free, '+')}."
    null, caught = (rows.get("b", "no own taste", measure) for measure in (OVER, "own taste"))
    yield null.low <= 0 <= null.high, f"(b) Without a taste of their own there is no difference: {_number(null, '+')}."
    yield caught.estimate < 50, f"(b) The gate catches most of these users: {100 - caught.estimate:.1f} %."
    for condition, _ in rows.places("c"):
        gain = rows.get("c", condition, OVER)
        yield gain.low > 0, f"(c) {condition.capitalize()} gain: {_number(gain, '+')}."
        for name in ("planted", "stated"):
            signs = rows.get("signs", condition, f"{name} signs right", OWN)
            yield signs.low > 50, f"(c) {condition.capitalize()}: {name} signs are right: {_number(signs)} %."
    for method in (OWN, ALONE):
        for world in (COMMON, APART):
            more = rows.get("d", world, f"over {KS[0]} votes", method, KS[-1])
            text = f"(d) {world}, {SHORT[method]}: {KS[-1]} votes give more than {KS[0]}"
            yield more.low > 0, f"{text}: {_number(more, '+')}."
    for condition in [name for name, _ in rows.places("e") if "left out" in name]:
        found = rows.get("e", condition, f"over {WORDS}")
        yield found.low > 0, f"(e) {condition}: more than words: {_number(found, '+')}."
    for condition in (COMMON, APART):
        idle = rows.get("signs", f"{condition}, {K} votes", "statements of nothing planted", ALONE)
        text = f"{condition}, own alone: fewer than half of the statements are of nothing planted"
        yield idle.high < 50, f"{text}: {_number(idle)} %."
    noisy = [rows.get("f", name, "accuracy") for name, _ in rows.places("f") if "clean" not in name]
    falls = [rows.get("d", COMMON, "accuracy"), *noisy]
    shown = ", ".join(f"{row.estimate:.1f}" for row in falls)
    ordered = all(one.estimate > other.estimate for one, other in pairwise(falls))
    yield ordered, f"(f) Each tenth of wrong labels costs accuracy: {shown}."
    for method in (OWN, ALONE):
        mine = [row for row in rows.rows if row.measure == OVER and row.method == method]
        least = min((row for row in mine if _has_prior(row)), key=lambda row: row.estimate)
        text = f"{SHORT[method]}: never more than {MOST_BELOW:g} points below others' weights; the least"
        yield least.estimate >= -MOST_BELOW, f"{text}: {_number(least, '+')} ({least.condition})."
    passed = [r for r in rows.rows if r.control == "gate" and r.condition.startswith("random")]
    most = max(passed, key=lambda row: row.estimate)
    yield (
        most.estimate <= MOST_CAUGHT,
        (
            f"Random votes pass the gate in at most {MOST_CAUGHT:g} %: {_number(most)} ({most.k} votes, "
            f"{most.condition.partition(', ')[2]})."
        ),
    )
    ranked = [r for r in rows.rows if r.control == "turns" and "random" in r.condition and r.measure == "own taste"]
    most = max(ranked, key=lambda row: row.estimate)
    yield most.estimate <= MOST_CAUGHT, f"So do random rankings: {_number(most)} ({most.k} votes, {most.condition})."
    for method in (OWN, ALONE):
        error = rows.get("calibration", COMMON, "calibration error", method)
        yield error.estimate <= MOST_APART, f"Calibration error of {SHORT[method]}: {error.estimate:.1f} points."


def _has_prior(row: Row) -> bool:
    """Whether it is a row of own votes with a prior of enough other users."""
    none = ("another user's votes", f"{LEAST_USERS - 1} train users")
    return row.condition not in none and not row.condition.endswith(NO_TRAIN)


def _number(row: Row, sign: str = "", digits: tuple[int, int] = (1, 1)) -> str:
    """An estimate with its interval, so many digits each."""
    if math.isnan(row.estimate):
        return "–"
    text, *ends = (
        f"{round(value, places) + 0.0:{sign}.{places}f}" if not math.isnan(value) else ""
        for value, places in zip(row[7:10], (*digits, digits[1]), strict=True)
    )
    return f"{text} [{', '.join(ends)}]" if all(ends) else text


def _table(heads: Sequence[str], rows: Sequence[Sequence[object]]) -> Iterator[str]:
    """A Markdown table without padding."""
    for cells in (heads, ["---"] * len(heads), *rows):
        yield f"| {' | '.join(map(str, cells))} |"


def _comparison(rows: Rows, control: str) -> Iterator[str]:
    """Accuracy and difference to other users' weights, by condition and method."""
    lines: list[tuple[object, ...]] = []
    for condition, k in rows.places(control):
        name = f"{condition}, {k} votes" if control in ("d", "prior", "default") else condition
        mine = {(r.method, r.measure): r for r in rows.rows if (r.control, r.condition, r.k) == (control, condition, k)}
        lines.append((name, "ceiling", f"{mine['ceiling', 'accuracy'].estimate:.1f}", "", "", ""))
        for method in SHOWN:
            if (method, "accuracy") not in mine:
                continue
            over = _number(mine[method, OVER], "+") if (method, OVER) in mine else ""
            gate = f"{mine[method, 'own taste'].estimate:.0f}" if (method, "own taste") in mine else ""
            share = f"{mine[method, PROBABILITY].estimate:.0f}" if (method, PROBABILITY) in mine else ""
            lines.append(("", SHORT[method], _number(mine[method, "accuracy"]), over, share, gate))
    return _table(("condition", "weights", "accuracy", "over others", "share of own", "pass gate"), lines)


def _signs(rows: Rows) -> Iterator[str]:
    names = ("planted signs right", "planted signs stated", "stated signs right", "statements of nothing planted")
    lines = [
        (
            condition,
            SHORT[method],
            *(_number(rows.get("signs", condition, name, method, k), digits=(0, 0)) for name in names),
        )
        for condition, k in rows.places("signs")
        for method in (OWN, ALONE)
    ]
    return _table(("users", "weights", "right", "stated", "stated right", "not planted"), lines)


def _gates(rows: Rows) -> Iterator[str]:
    conditions = dict.fromkeys(row.condition for row in rows.rows if row.control == "gate")
    lines = [
        (one, *(_number(rows.get("gate", one, "own taste", k=k), digits=(1, 0)) for k in GATE_VOTES))
        for one in conditions
    ]
    return _table(("votes, prior", *map(str, GATE_VOTES)), lines)


def _evidence(rows: Rows) -> Iterator[str]:
    """What the gate reads, next to what it should tell."""
    yield "What the gate reads: nats per vote that own weights save on the user's own votes, each left out."
    yield "What it should tell: nats per vote that they save on held-out votes. Correlation over users."
    yield ""
    names = ("saved, left out", "saved, held out", "correlation")
    lines = [
        (kind, k, *(rows.get("evidence", kind, name, k=k).estimate for name in names))
        for kind, k in rows.places("evidence")
    ]
    yield from _table(("votes", "number", *names), lines)


def _calibration(rows: Rows) -> Iterator[str]:
    """Of users with much in common."""
    loss, error = (partial(rows.get, "calibration", COMMON, name) for name in ("log loss", "calibration error"))
    lines = [
        (SHORT[method], k, f"{loss(method, k).estimate:.3f}", f"{error(method, k).estimate:.1f}")
        for method in SHOWN
        for k in KS
    ]
    return _table(("weights", "votes", "log loss", "calibration error"), lines)


def controls_figure(rows: Rows, users: int) -> Figure:
    """Curves over votes in two worlds, and differences to other users' weights in each control."""
    shown = [(control, place) for control in "abcef" for place in rows.places(control)]
    height = 0.27 * len(shown)
    page = panels((2.9, 2.9, 3.4), (height,), gap=0.14)
    for axes, world in zip(page.grid[0], (COMMON, APART), strict=False):
        _curve(axes, rows, world)
    _dots(page.grid[0][2], rows, shown)
    note = f"{users} train and {users} test users, votes by planted weights; lines: 95 % intervals, users as clusters"
    return page.finish("Controls of taste weights", note, [_entry(method) for method in SHOWN])


def _entry(method: str) -> Line2D:
    label = f"{method_label(OWN)}, alone" if method == ALONE else method_label(method)
    return mark_line(method, label=label)


def _curve(axes: Axes, rows: Rows, world: str) -> None:
    """Accuracy by votes, and the ceiling."""
    set_up(axes, "y", spines=("left", "bottom"))
    axes.set_xlim(1.4, 10.8)
    axes.set_ylim(46, 94)
    axes.set_xticks(KS)
    axes.set_xlabel("votes to learn from", fontsize=SMALL_SIZE, color=INK)
    axes.set_ylabel("held-out votes predicted, %", fontsize=SMALL_SIZE, color=INK)
    best = rows.get("d", world, "accuracy", "ceiling").estimate
    axes.axhline(best, color=SOFT, linestyle=":", linewidth=1)
    write_note(axes, "true weights", (10.7, best), (0, 3), coordinates="data", align="right", color=SOFT)
    for shift, method in zip((-0.2, -0.1, 0.0, 0.1, 0.2), SHOWN, strict=True):
        colour, found = method_mark(method).colour, [rows.get("d", world, "accuracy", method, k) for k in KS]
        across = [k + shift for k in KS]
        axes.plot(across, [row.estimate for row in found], color=colour, linewidth=1.2, alpha=0.7)
        for x, row in zip(across, found, strict=True):
            draw_interval(axes, (x, x), (row.low, row.high), colour)
            draw_point(axes, x, row.estimate, method, size=6.5)
    write_note(axes, f"Users with {world}", (0, 1), (0, 8), TEXT_SIZE, weight="bold")


def _dots(axes: Axes, rows: Rows, shown: Sequence[tuple[str, tuple[str, int]]]) -> None:
    """Differences to other users' weights, one row per condition."""
    set_up(axes, "x")
    heights = [place + 0.5 for place in range(len(shown))]
    set_up_rows(axes, heights, [f"({one}) {name}" for one, (name, _) in shown], bottom=float(len(shown)))
    axes.axvline(0, color=SOFT, linewidth=1)
    axes.set_xlabel("points over other users' weights", fontsize=SMALL_SIZE, color=INK)
    for y, (control, (condition, k)) in zip(heights, shown, strict=True):
        for shift, method in zip((-0.21, -0.07, 0.07, 0.21), [m for m in SHOWN if m != POPULATION], strict=True):
            row, colour = rows.get(control, condition, OVER, method, k), method_mark(method).colour
            draw_interval(axes, (row.low, row.high), (y + shift, y + shift), colour)
            draw_point(axes, row.estimate, y + shift, method, size=5.5)
    write_note(axes, f"Controls, {K} votes", (0, 1), (0, 8), TEXT_SIZE, weight="bold")
