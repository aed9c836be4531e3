"""Accuracy of reward models against the number of users whom they learned from; from published tables alone."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from personalrm.methods.reward.hyper import rests_on
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
    write_head,
)
from personalrm.results.labels import OK, UNUSED, method_mark
from personalrm.results.lazy import Axes, Figure, pd
from personalrm.results.method_panels import leading, others_foot, others_note, own_at_largest_k
from personalrm.results.spec import Drawing, FigureResult
from personalrm.results.table_formats import table_rows
from personalrm.results.tables.main_table import read_main_table
from personalrm.results.tables.training_table import read_training_table

PANEL_INCHES, PANEL_HEIGHT = 4.0, 2.6
DODGE = 0.025
"""Between the intervals of two methods, in shares of the number of users."""


class Entry(NamedTuple):
    """An entry of reward models, by its name: the one that learned from most users, of those that are alike, and the
    data set that all weights are trained on; empty where each data set has weights of its own."""

    family: str
    name: str
    source: str = ""


class Point(NamedTuple):
    """Of a row of the main table: number of train users, accuracy with its interval in percent, and k."""

    users: int
    accuracy: float
    low: float
    high: float
    k: str


Lines = dict[tuple[str, str], dict[str, list[Point]]]
"""By data set and name of the entry, the points of each method."""


def lines_of(main: pd.DataFrame, training: pd.DataFrame, fewer_users: Mapping[str, Entry]) -> Lines:
    """The points of each line, from few to many users; each method at its largest k.

    A method that judges with the weights of another, as a control does, stands at the users of that training. One that
    rests on no training has no number of users, and is left out. `fewer_users` maps a judge to its entry.
    """
    numbers = {
        tuple(str(row[name]) for name in ("dataset", "name", "method")): int(row["train_users"])
        for row in table_rows(training[training["train_users"].notna()])
    }
    found: Lines = {}
    for row in own_at_largest_k(table_rows(main[main["status"] == OK])):
        judge, method, dataset = (str(row[name]) for name in ("judge_model", "method", "dataset"))
        if judge not in fewer_users:
            continue
        family, name, source = fewer_users[judge]
        trained = rests_on(method)[-1:]
        users = numbers.get((source or dataset, name, *trained))
        if users is not None:
            accuracy, low, high = (float(row[name]) for name in ("accuracy", "ci_low", "ci_high"))
            point = Point(users, accuracy, low, high, str(row["k"]))
            found.setdefault((dataset, family), {}).setdefault(method, []).append(point)
    return {place: {method: sorted(points) for method, points in lines.items()} for place, lines in found.items()}


def train_users_figure(lines: Lines, *, title_note: str = "") -> tuple[Figure, list[str]]:
    """A panel for each data set and family of entries; returns the figure, and the methods that are left out."""
    points = [(method, one) for each in lines.values() for method, line in each.items() for one in line]
    kept, others = leading((method, point.accuracy) for method, point in points)
    ends = limits(value for method, point in points if method in kept for value in point[1:4])
    page, drawn = panel_rows([list(lines)], lambda _: PANEL_INCHES, lambda _: PANEL_HEIGHT, gap=0.12)
    for (dataset, family), axes, is_first in drawn:
        mine = {method: line for method, line in lines[dataset, family].items() if method in kept}
        _panel(axes, mine, ends)
        write_head(axes, f"{dataset} · {family}", PANEL_INCHES)
        axes.set_ylabel("accuracy, % of judgments" * is_first, fontsize=SMALL_SIZE + 0.5, color=INK)
    entries = method_entries(kept)
    title = "Accuracy against the number of train users"
    return page.finish(title, title_note, entries, others_foot(others)), others


def _panel(axes: Axes, lines: Mapping[str, list[Point]], ends: tuple[float, float]) -> None:
    set_up(axes, "y", spines=("left", "bottom"))
    set_limits(axes, "y", ends)
    axes.axhline(CHANCE, color=SOFT, linestyle=":", linewidth=1)
    axes.set_xscale("log")
    ticks = sorted({point.users for line in lines.values() for point in line})
    axes.set_xlim(ticks[0] / 1.3, ticks[-1] * 1.3)
    axes.set_xticks(ticks, list(map(str, ticks)))
    axes.set_xticks([], minor=True)
    axes.set_xlabel("train users", fontsize=SMALL_SIZE + 0.5, color=INK, labelpad=1)
    for place, (method, line) in enumerate(lines.items()):
        aside = 1 + DODGE * (2 * place - len(lines) + 1)
        places = [point.users * aside for point in line]
        colour = method_mark(method).colour
        axes.plot(places, [point.accuracy for point in line], color=colour, linewidth=1.4)
        for x, point in zip(places, line, strict=True):
            draw_interval(axes, (x, x), (point.low, point.high), colour)
            draw_point(axes, x, point.accuracy, method, size=7.0)


def train_users_caption(lines: Lines, others: list[str]) -> str:
    """What the figure shows, and what it leaves out."""
    single = sorted({family for (_, family), each in lines.items() if all(len(line) == 1 for line in each.values())})
    ks = {point.k for each in lines.values() for line in each.values() for point in line} - {UNUSED}
    k = f", each method at its largest k ({', '.join(sorted(ks))})" if ks else ""
    return (
        f"Accuracy on the judged users against the number of users whom the shared weights learned from{k}; 95 % "
        "intervals with judged users as clusters. The users of a smaller number are among those of a larger one. Two "
        "points of a line are of the same judged users: that their intervals overlap does not say that they are "
        "equal. Dotted: chance."
        + "".join(f" {family}: one number alone has results." for family in single)
        + others_note(others, "main")
    )


def build(table_main: Path, table_training: Path, *, fewer_users: Mapping[str, Entry], title_note: str) -> Drawing:
    """Draw the figure from published tables alone."""
    lines = lines_of(read_main_table(table_main), read_training_table(table_training), fewer_users)
    if not lines:
        return Drawing(None, "no reward model that learned from fewer users has a result.")
    figure, others = train_users_figure(lines, title_note=title_note)
    return Drawing(figure, train_users_caption(lines, others))


RESULT = FigureResult(
    name="train_users",
    order=46,
    caption="Accuracy of reward models against the number of users whom their weights learned from.",
    build=build,
    when="train_users",
)
