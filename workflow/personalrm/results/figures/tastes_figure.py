"""Effects of attributes on the votes of each user, with intervals; a panel for each user, from the table alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from personalrm.results.figure_style import (
    INK,
    SMALL_SIZE,
    SOFT,
    TEXT_SIZE,
    draw_interval,
    panel_rows,
    set_limits,
    set_up,
    set_up_rows,
    write_note,
)
from personalrm.results.labels import method_mark
from personalrm.results.lazy import Axes, Figure, pd
from personalrm.results.spec import Drawing, FigureResult
from personalrm.results.table_formats import table_rows
from personalrm.results.tables.tastes_table import at_largest_k, by_user, read_tastes_table

PANEL_INCHES, ROW_INCHES = 2.4, 0.24
MOST_USERS, MOST_FEATURES = 6, 6

Row = Mapping[str, Any]


def shown_users(table: pd.DataFrame) -> dict[tuple[str, str, str], list[Row]]:
    """The surest effects of the first users, at the largest k and the first draw, by data set, model and user."""
    found: dict[tuple[str, str, str], list[Row]] = {}
    for row in table_rows(at_largest_k(table)):
        if row["feature"] and row["rank"] <= MOST_FEATURES:
            found.setdefault((str(row["dataset"]), str(row["model"]), str(row["user_id"])), []).append(row)
    return dict(list(found.items())[:MOST_USERS])


def tastes_figure(table: pd.DataFrame, *, title_note: str = "") -> Figure:
    """One panel a user: points are effects, lines their 95 % posterior intervals, hollow where 0 is inside."""
    found = shown_users(table)
    page, filled = panel_rows(
        [list(found)], lambda _: PANEL_INCHES, lambda place: ROW_INCHES * (len(found[place]) + 1), gap=0.14
    )
    several = len({place[:2] for place in found}) > 1
    for place, axes, _ in filled:
        _panel(axes, found[place])
        heading = " · ".join(place[::-1]) if several else place[2]
        gate = "" if found[place][0]["own"] else " (no own taste)"
        write_note(axes, heading + gate, (0, 1), (0, 6), TEXT_SIZE, weight="bold")
    shared = "" if several or not found else " · ".join(next(iter(found))[:2])
    note = " · ".join(filter(None, (shared, title_note)))
    return page.finish("What each user's votes say of attributes", note)


def _panel(axes: Axes, rows: Sequence[Row]) -> None:
    """The effects of one user, the surest above."""
    set_up(axes, "x")
    heights = [0.5 + place for place in range(len(rows))]
    names = [str(row["feature"]).replace("surface:", "").replace("_", " ") for row in rows]
    set_up_rows(axes, heights, names, bottom=float(len(rows)))
    axes.axvline(0, color=SOFT, linewidth=1)
    colour = method_mark("attributes").colour
    for y, row in zip(heights, rows, strict=True):
        sure = row["ci_low"] > 0 or row["ci_high"] < 0
        draw_interval(axes, (row["ci_low"], row["ci_high"]), (y, y), colour)
        axes.plot(
            [row["effect"]],
            [y],
            marker="o",
            markersize=6,
            color=colour,
            markerfacecolor=colour if sure else "white",
            linestyle="",
        )
    axes.locator_params(axis="x", nbins=5)
    set_limits(axes, "x", axes.get_xlim())
    axes.set_xlabel("effect, log-odds", fontsize=SMALL_SIZE, color=INK, labelpad=1)


def tastes_caption(table: pd.DataFrame) -> str:
    """What the figure shows, and how many users it leaves out."""
    shown = len(shown_users(table))
    users = by_user(at_largest_k(table))
    hidden = int((users["feature"] != "").sum()) - shown
    without = list(dict.fromkeys(users.loc[~users["own"] & (users["feature"] == ""), "user_id"]))
    named = ", ".join(without[:MOST_USERS]) + f" and {len(without) - MOST_USERS} more" * (len(without) > MOST_USERS)
    return (
        f"The {MOST_FEATURES} attributes with the surest effects on the votes of each user, at the largest k: by how "
        "much the log-odds of the votes grow with a typical difference in the attribute. Lines: 95 % posterior "
        "intervals; hollow points: 0 lies inside."
        + (f" Of {hidden} more users: the table." if hidden > 0 else "")
        + (f" No taste of their own: {named}." if without else "")
    )


def build(table_tastes: Path, *, title_note: str) -> Drawing:
    """Draw the figure from its published table alone."""
    table = read_tastes_table(table_tastes)
    if not shown_users(table):
        return Drawing(None, "no user has votes with scores.")
    return Drawing(tastes_figure(table, title_note=title_note), tastes_caption(table))


RESULT = FigureResult(
    name="tastes",
    order=15,
    caption="Effects of the surest attributes on the votes of each user, with 95 % posterior intervals.",
    build=build,
)
