"""Accuracy by group: one row of panels per data set, one panel per judge; drawn from its table alone."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from personalrm.core.conditions import MethodId
from personalrm.core.records import BASELINE
from personalrm.results.figure_style import (
    CHANCE,
    INK,
    SMALL_SIZE,
    SOFT,
    draw_interval,
    draw_point,
    limits,
    method_entries,
    panel_rows,
    set_limits,
    set_up,
    set_up_rows,
    write_head,
    write_note,
)
from personalrm.results.labels import ALL, OK, UNUSED, method_label, method_mark, method_rank
from personalrm.results.lazy import Axes, Figure, pd
from personalrm.results.marks import mark, mark_notes
from personalrm.results.method_panels import Panel, panel_heads
from personalrm.results.spec import Drawing, FigureResult
from personalrm.results.table_formats import table_rows
from personalrm.results.tables.demographics_table import LEAST_USERS, OTHERS, question_label, read_demographics_table

PANEL_INCHES, LONGEST_NAME = 4.0, 44
GROUP_INCHES, METHOD_INCHES, HEAD_INCHES = 0.13, 0.17, 0.24
"""Heights of a group without methods, of each of its methods, and of the heading of a question."""

Row = Mapping[str, Any]


def demographics_figure(table: pd.DataFrame, *, title_note: str = "") -> Figure:
    """Accuracies with intervals, one row per group, with a line for each method; groups are named once, at the left."""
    sets = _by_dataset(table)
    found = {name: _panels_of(name, rows) for name, rows in sets.items()}
    methods = sorted({_method(row) for rows in sets.values() for row in rows}, key=method_rank)
    rows_of = {name: _rows_of(rows, len(methods)) for name, rows in sets.items()}
    groups = map(list, found.values())
    page, drawn = panel_rows(groups, lambda _: PANEL_INCHES, lambda place: rows_of[place.dataset].bottom)
    shared, heads = panel_heads(place for place, _, _ in drawn)
    ends = limits(float(v) for name in ("accuracy", "accuracy_low", "accuracy_high") for v in table[name])
    for place, axes, is_first in drawn:
        rows = rows_of[place.dataset]
        _draw(axes, rows, found[place.dataset][place], methods, ends)
        write_head(axes, heads[place], PANEL_INCHES, 6)
        if is_first:
            bold = [number for number, name in enumerate(rows.heights) if not name[1]]
            set_up_rows(axes, list(rows.heights.values()), rows.names, bottom=rows.bottom, bold=bold)
    reasons = dict(zip(table["dataset"], table["cell"], strict=True))
    none = [f"{name}: no groups: {reasons[name]}" for name, places in found.items() if not places]
    return page.finish(
        "For whom, and where in a conversation, judges are right",
        "\n".join([" · ".join(filter(None, (shared, title_note))), *none]),
        method_entries(methods),
    )


def _by_dataset(table: pd.DataFrame) -> dict[str, list[Row]]:
    """Rows with a judge, by data set; a data set without any stays as an empty list."""
    found: dict[str, list[Row]] = {}
    for row in table_rows(table):
        rows = found.setdefault(str(row["dataset"]), [])
        if row["judge_model"] != UNUSED:
            rows.append(row)
    return found


def _method(row: Row) -> str:
    return MethodId.parse(row["method"]).name


def _panels_of(dataset: str, rows: Sequence[Row]) -> dict[Panel, list[Row]]:
    """Rows of a data set by panel."""
    judged: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        panel = Panel.of(row)
        judged.setdefault((panel.judge, panel.verdict), []).append(row)
    found = {}
    for (judge, verdict), mine in judged.items():
        variants = dict.fromkeys(row["variant"] for row in mine)
        for variant in [name for name in variants if name not in (BASELINE, UNUSED)] or [BASELINE]:
            here = (variant, BASELINE, UNUSED)
            found[Panel(dataset, judge, variant, verdict)] = [row for row in mine if row["variant"] in here]
    return found


class Rows(NamedTuple):
    """Heights of the rows of a data set by question and group ("" is the heading), their names, and the end."""

    heights: dict[tuple[str, str], float]
    names: list[str]
    bottom: float


def _rows_of(rows: Iterable[Row], methods: int) -> Rows:
    """Rows from the top, in inches; a group's number of users is the largest that a method has there."""
    users: dict[tuple[str, str], int] = {}
    for row in rows:
        users.setdefault((row["question"], ""), 0)
        name = row["question"], row["group"]
        users[name] = max(users.get(name, 0), row["cell_users"])
    heights, top = {}, 0.0
    for name in users:
        tall = GROUP_INCHES + METHOD_INCHES * methods if name[1] else HEAD_INCHES
        heights[name] = top + tall / 2
        top += tall
    short = {name: name if len(name) <= LONGEST_NAME else f"{name[: LONGEST_NAME - 1]}…" for _, name in users}
    names = [
        f"{short[group]} ({number})" if group else question_label(question)
        for (question, group), number in users.items()
    ]
    return Rows(heights, names, top or 0.3)


def _draw(axes: Axes, rows: Rows, drawn: Sequence[Row], methods: Sequence[str], ends: tuple[float, float]) -> None:
    set_up(axes, "x")
    set_limits(axes, "x", ends)
    set_up_rows(axes, [], [], bottom=rows.bottom)
    axes.set_xlabel("accuracy, %", fontsize=SMALL_SIZE + 0.5, color=INK)
    axes.axvline(CHANCE, color=SOFT, linestyle="--", linewidth=1)
    for (_, group), height in rows.heights.items():
        if not group:
            axes.axhline(height - HEAD_INCHES / 2, color=SOFT, linewidth=0.6)
    for row in drawn:
        method = _method(row)
        y = rows.heights[row["question"], row["group"]]
        y += METHOD_INCHES * (methods.index(method) - (len(methods) - 1) / 2)
        if row["cell"] != OK:
            said = f"{method_label(method)}: " * (len(methods) > 1) + row["cell"]
            write_note(axes, said, (ends[0], y), (2, 0), SMALL_SIZE, coordinates="data", color=SOFT, level="center")
            continue
        low, mid, high = (row[name] for name in ("accuracy_low", "accuracy", "accuracy_high"))
        draw_interval(axes, (low, high), (y, y), method_mark(method).colour, alpha=0.8)
        draw_point(axes, mid, y, method, size=6)
        if sign := mark(row, "cell_"):
            place = mid if math.isnan(high) else high
            write_note(axes, sign, (place, y), (4, 0), SMALL_SIZE, coordinates="data", level="center")


def demographics_caption(table: pd.DataFrame) -> str:
    """What the figure shows, n and the interval."""
    reasons = dict(zip(table["dataset"], table["cell"], strict=True))
    sizes = [
        f"{name}: {max(row['cell_users'] for row in rows)} users at most in a group"
        if rows
        else f"{name}: no groups ({reasons[name]})"
        for name, rows in _by_dataset(table).items()
    ]
    ks = set(table["k"]) - {UNUSED}
    k = "all context pairs" if ks == {ALL} else "the largest k of each"
    return (
        f"Accuracy within groups of users and of pairs, with 95 % intervals that take users as clusters; {k}. "
        f"{'; '.join(sizes)}. In brackets: users of a group. {OTHERS}: groups of fewer than {LEAST_USERS} users, "
        "pooled. Dashed: chance. Many groups are looked at, without adjustment."
        + "".join(f" {note}" for note in mark_notes(table, "cell_"))
    )


def build(table_demographics: Path, *, title_note: str) -> Drawing:
    """Draw the figure from its published table alone."""
    table = read_demographics_table(table_demographics)
    if not any(_by_dataset(table).values()):
        return Drawing(None, "no user has a survey, no conversation has a type, or no method was judged.")
    return Drawing(demographics_figure(table, title_note=title_note), demographics_caption(table))


RESULT = FigureResult(
    name="demographics",
    order=120,
    caption=(
        "Accuracy within groups of users (in brackets: how many) and of pairs, with 95 % intervals that take users as "
        "clusters; groups under 10 users are pooled. Dashed: chance."
    ),
    build=build,
)
