"""Each user's accuracy by Default and by the method that gains most, as dumbbells; from the table of users alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from personalrm.core.conditions import MethodId
from personalrm.results.conditions import ROW_KEY
from personalrm.results.figure_style import (
    CHANCE,
    INK,
    SMALL_SIZE,
    SOFT,
    draw_point,
    method_entries,
    panel_rows,
    set_limits,
    set_up,
    set_up_rows,
    write_beside,
    write_head,
    write_note,
)
from personalrm.results.labels import OK, UNUSED, is_told, judged_label, method_label, method_mark
from personalrm.results.lazy import Axes, Figure, pd
from personalrm.results.method_panels import own_at_largest_k
from personalrm.results.spec import Drawing, FigureResult
from personalrm.results.table_formats import table_rows
from personalrm.results.tables.users_table import read_users_table

PANEL_INCHES, ROW_INCHES = 3.6, 0.22
MOST_USERS, LONGEST_NAME = 40, 20

Row = Mapping[str, Any]


class Gain(NamedTuple):
    """Users under one way of judging, those who gain most first, and the mean difference to Default in points."""

    way: Row
    users: Sequence[Row]
    mean: float

    @property
    def drawn(self) -> list[Row]:
        """All users, or `MOST_USERS` at equal distances in their order, the first and the last among them."""
        last = len(self.users) - 1
        if last < MOST_USERS:
            return list(self.users)
        return [self.users[place * last // (MOST_USERS - 1)] for place in range(MOST_USERS)]


def largest_gains(table: pd.DataFrame) -> dict[str, Gain]:
    """Data set to the way of judging test pairs with the largest mean difference to Default (each judgment counts
    once), among judges with their own profiles at the largest k; the earlier in the table of equals."""
    # Where Default lacks a judgment of the user, the two ends of a dumbbell would not be of the same pairs.
    held = table[(table["status"] == OK) & table["difference"].notna() & (table["n_compared"] >= table["n_judgments"])]
    found: dict[str, Gain] = {}
    for way in own_at_largest_k(table_rows(held.drop_duplicates(list(ROW_KEY)))):
        method = MethodId.parse(way["method"])
        if method.name == "default" or is_told(way["method"]) or method.pairs != "test":
            continue
        mine = held[(held[list(ROW_KEY)] == [way[name] for name in ROW_KEY]).all(axis=1)]
        mean = float((mine["difference"] * mine["n_compared"]).sum() / mine["n_compared"].sum())
        if way["dataset"] not in found or mean > found[way["dataset"]].mean:
            ranked = mine.sort_values(["difference", "user_id"], ascending=[False, True])
            found[way["dataset"]] = Gain(way, table_rows(ranked), mean)
    return found


def dumbbells_figure(table: pd.DataFrame, *, title_note: str = "") -> Figure:
    """A line per user from the accuracy of Default to that of the method, a panel per data set."""
    found = largest_gains(table)
    page, drawn = panel_rows(
        [list(found)], lambda _: PANEL_INCHES, lambda place: ROW_INCHES * len(found[place].drawn), gap=0.12
    )
    for place, axes, _ in drawn:
        _panel(axes, found[place])
        write_head(axes, f"{place} · {_name(found[place].way)}", PANEL_INCHES, 21)
        write_note(axes, _counts(found[place]), (0, 1), (0, 7), color=SOFT)
    methods = {MethodId.parse(gain.way["method"]).name for gain in found.values()}
    title = "Each user by Default, and by the method with the largest gain"
    return page.finish(title, title_note, method_entries(["default", *methods]))


def _name(way: Row) -> str:
    """Judge, kind of verdict and k of a way of judging."""
    judged = judged_label(MethodId.parse(way["method"])).strip(" ·,")
    return " · ".join(filter(None, (way["judge_model"], judged, f"k = {way['k']}" if way["k"] != UNUSED else "")))


def _counts(gain: Gain) -> str:
    better, worse = (sum(sign * row["difference"] > 0 for row in gain.users) for sign in (1, -1))
    mean = f"{gain.mean:+.1f}".replace("-", "−")
    return f"{better} gain, {worse} lose, {len(gain.users) - better - worse} stay; mean {mean} points"


def _panel(axes: Axes, gain: Gain) -> None:
    rows = gain.drawn
    method = str(gain.way["method"])
    set_up(axes, "x")
    set_limits(axes, "x", (-1.0, 101.0))
    heights = [place + 0.5 for place in range(len(rows))]
    names = [str(row["user_id"]) for row in rows]
    short = [name if len(name) <= LONGEST_NAME else f"{name[: LONGEST_NAME - 1]}…" for name in names]
    set_up_rows(axes, heights, short, bottom=float(len(rows)))
    axes.axvline(CHANCE, color=SOFT, linestyle="--", linewidth=1)
    axes.set_xlabel("accuracy, %", fontsize=SMALL_SIZE + 0.5, color=INK, labelpad=1)
    for y, row in zip(heights, rows, strict=True):
        start, end = row["accuracy"] - row["difference"], row["accuracy"]
        style = "-" if end >= start else ":"
        axes.plot((start, end), (y, y), color=method_mark(method).colour, linewidth=2.2, linestyle=style, alpha=0.6)
        # Where both are equal, the mark of the method stands in that of Default.
        draw_point(axes, start, y, "default", size=9)
        draw_point(axes, end, y, method, size=6.5)
        text = f"{row['difference']:+.0f}".replace("-", "−").replace("+0", "0")
        write_beside(axes, f"{text} ({row['n_judgments']})", y, 6, color=INK if row["difference"] else SOFT)


def dumbbells_caption(table: pd.DataFrame) -> str:
    """What the figure shows, how the method was selected, and which users are not drawn."""
    found = largest_gains(table)
    ways = {place: gain.way for place, gain in found.items()}
    shown = "; ".join(f"{place}: {method_label(way['method'])} by {way['judge_model']}" for place, way in ways.items())
    sampled = [
        f" {place}: {MOST_USERS} of {len(gain.users):,} users, at equal distances in the order of their difference."
        for place, gain in found.items()
        if len(gain.users) > MOST_USERS
    ]
    return (
        "Accuracy of each user by Default of the same judge and by one method, on the same judgments; users who gain "
        "most first. Dotted lines: users who lose. Right: difference in points, and number of judgments (few: a number "
        "of one user is a hint). The method is the one with the largest mean difference to Default, the oracle aside, "
        f"which flatters it: the table of differences has all. {shown}. Dashed: chance. Users of whom Default lacks a "
        "judgment are left out." + "".join(sampled)
    )


def build(table_users: Path, *, title_note: str) -> Drawing:
    """Draw the figure from its published table alone."""
    table = read_users_table(table_users)
    if not largest_gains(table):
        return Drawing(None, "no method was judged on the same pairs as Default.")
    return Drawing(dumbbells_figure(table, title_note=title_note), dumbbells_caption(table))


RESULT = FigureResult(
    name="dumbbells",
    order=22,
    caption=(
        "Each user's accuracy by Default and by the method with the largest mean difference to it, which was selected "
        "after the fact; users who gain most first."
    ),
    build=build,
    when="default",
)
