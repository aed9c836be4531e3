"""Disagreement of users as a heat map: one panel per domain; drawn from its table alone."""

from __future__ import annotations

from pathlib import Path

from personalrm.core.lazy import np
from personalrm.results.figure_style import INK, SMALL_SIZE, TEXT_SIZE, panels, set_up, write_note
from personalrm.results.lazy import Axes, Figure, pd
from personalrm.results.spec import Drawing, FigureResult
from personalrm.studies.fspo.results.disagreement_table import read_disagreement_table, users_of

CELL_INCHES, LEAST_INCHES, MOST_INCHES = 0.42, 1.4, 7.0
NUMBERED_USERS, NAMED_USERS = 12, 30
"""Most users whose cells have numbers, and whose names are written."""
COLOURS = "Blues"


def disagreement_figure(table: pd.DataFrame, *, title_note: str = "") -> Figure:
    """Heat maps with users in the order of the table."""
    groups = [(str(dataset), rows, users_of(rows)) for dataset, rows in table.groupby("dataset", sort=False)]
    sizes = [min(MOST_INCHES, max(LEAST_INCHES, CELL_INCHES * len(users))) for _, _, users in groups]
    page = panels([max(sizes, default=LEAST_INCHES)], sizes or [LEAST_INCHES])
    for (dataset, rows, users), (axes,) in zip(groups, page.grid, strict=False):
        _panel(axes, rows, users)
        write_note(axes, dataset, (0, 1), (0, 6), TEXT_SIZE, weight="bold")
    if not groups:
        page.grid[0][0].set_axis_off()
    return page.finish("How far do the labels of two users differ?", title_note)


def _panel(axes: Axes, rows: pd.DataFrame, users: list[str]) -> None:
    from matplotlib import colormaps

    place = {user: number for number, user in enumerate(users)}
    values = np.full((len(users), len(users)), np.nan)
    np.fill_diagonal(values, 0.0)
    for row in rows.to_dict("records"):
        one, other = place[row["user"]], place[row["other"]]
        values[one, other] = values[other, one] = row["disagreement"]
    set_up(axes, spines=())
    colours = colormaps[COLOURS].copy()
    colours.set_bad("#f4f4f4")
    axes.imshow(values, cmap=colours, vmin=0, vmax=1, aspect="equal")
    named = len(users) <= NAMED_USERS
    for axis, turn in ((axes.xaxis, 60), (axes.yaxis, 0)):
        axis.set_ticks(range(len(users)) if named else [], users if named else [])
        for label in axis.get_ticklabels():
            label.set(fontsize=SMALL_SIZE, rotation=turn, parse_math=False, ha="right")
    axes.tick_params(length=0)
    if len(users) <= NUMBERED_USERS:
        for (one, other), value in np.ndenumerate(values):
            if not np.isnan(value):
                text = "0" if one == other else f"{value:.2f}".removeprefix("0")
                colour = "white" if value > 0.6 else INK
                axes.text(other, one, text, ha="center", va="center", fontsize=SMALL_SIZE - 0.5, color=colour)


def build(table_disagreement: Path, *, title_note: str) -> Drawing:
    """Draw the figure from its published table alone."""
    table = read_disagreement_table(table_disagreement)
    caption = (
        "Mean absolute difference of two users' labels over the pairs that both labelled alike in both orders. White: "
        "0, equal labels; dark: 1, opposite ones; unrelated labels lie at about 0.5. Grey: no pair in common."
    )
    return Drawing(disagreement_figure(table, title_note=title_note), caption)


RESULT = FigureResult(
    name="disagreement",
    order=30,
    caption="Heat map of the mean absolute difference of two users' labels.",
    build=build,
)
