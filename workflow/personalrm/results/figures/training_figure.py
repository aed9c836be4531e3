"""Loss and held-out accuracy over the steps of training, a column for each method, from the table of training alone."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from personalrm.results.figure_style import (
    CHANCE,
    INK,
    SMALL_SIZE,
    SOFT,
    TEXT_SIZE,
    columns_of,
    draw_point,
    limits,
    panel_rows,
    set_limits,
    set_up,
    write_note,
)
from personalrm.results.labels import method_label, method_mark
from personalrm.results.lazy import Axes, Figure, pd
from personalrm.results.spec import Drawing, FigureResult
from personalrm.results.table_formats import table_rows
from personalrm.results.tables.training_table import KEY, TRAINING, read_training_table

PANEL_INCHES, PANEL_HEIGHT = 2.9, 1.7

Side = Literal["loss", "held_out_at_step"]
TITLES: dict[Side, str] = {"loss": "mean loss", "held_out_at_step": "held out, %"}


def curves_of(table: pd.DataFrame) -> dict[tuple[str, ...], dict[int, list[dict[str, Any]]]]:
    """The points of each seed, by what names the method and its data; trainings without a curve are left out."""
    found: dict[tuple[str, ...], dict[int, list[dict[str, Any]]]] = {}
    for row in table_rows(table[table["step"].notna()]):
        place = tuple(str(row[name]) for name in KEY)
        found.setdefault(place, {}).setdefault(int(row["seed"]), []).append(row)
    return found


def training_figure(table: pd.DataFrame, *, title_note: str = "") -> Figure:
    """Two panels for each method, data set and entry of the config: loss above, held-out accuracy below.

    Each line is a seed. The mark stands at the step whose weights were kept.
    """
    found = curves_of(table)
    groups: list[list[tuple[tuple[str, ...], Side]]] = []
    for shared in dict.fromkeys(place[:-1] for place in found):
        mine = [place for place in found if place[:-1] == shared]
        measured = any(points_of(found[place], "held_out_at_step") for place in mine)
        across = columns_of(PANEL_INCHES)
        for at in range(0, len(mine), across):
            sides: tuple[Side, ...] = ("loss", "held_out_at_step") if measured else ("loss",)
            groups += [[(place, side) for place in mine[at : at + across]] for side in sides]
    page, drawn = panel_rows(groups, lambda _: PANEL_INCHES, lambda _: PANEL_HEIGHT)
    several = len({place[:-1] for place in found}) > 1
    high = limits(100 * value for curves in found.values() for _, _, value in points_of(curves, "held_out_at_step"))
    for (place, side), axes, is_first in drawn:
        _panel(axes, place[-1], found[place], side)
        if side == "held_out_at_step":
            set_limits(axes, "y", high)
            axes.axhline(CHANCE, color=SOFT, linestyle=":", linewidth=1)
        if is_first:
            axes.set_ylabel(TITLES[side], fontsize=SMALL_SIZE + 0.5, color=INK)
            if side == "loss" and several:
                heading = f"{place[0]} · {place[1]} ({place[2]})"
                write_note(axes, heading, (0, 1), (0, 21), TEXT_SIZE, weight="bold")
        if side == "loss":
            write_note(axes, method_label(place[-1]), (0, 1), (0, 7), color=method_mark(place[-1]).colour)
    only = "" if several or not found else "{} · {} ({})".format(*next(iter(found)))
    note = " · ".join(filter(None, (only, title_note)))
    return page.finish("Training of reward models", note)


def points_of(curves: Mapping[int, Sequence[Mapping[str, Any]]], side: Side) -> list[tuple[int, int, float]]:
    """Seed, step and value of the points that have one."""
    return [
        (seed, int(row["step"]), float(row[side]))
        for seed, rows in curves.items()
        for row in rows
        if not math.isnan(row[side])
    ]


def _panel(axes: Axes, method: str, curves: Mapping[int, Sequence[Mapping[str, Any]]], side: Side) -> None:
    """The curves of all seeds, each with a mark at the kept step."""
    set_up(axes, "both", spines=("left", "bottom"))
    scale = 1 if side == "loss" else 100
    points = points_of(curves, side)
    for seed, rows in curves.items():
        mine = [(step, scale * value) for own, step, value in points if own == seed]
        if not mine:
            continue
        axes.plot(*zip(*mine, strict=True), color=method_mark(method).colour, linewidth=1.1, alpha=0.7)
        kept = int(rows[0]["best_step"])
        at = [value for step, value in mine if step == kept]
        if at:
            draw_point(axes, kept, at[0], method, size=6.5)
    if not points:
        write_note(axes, "no validation users", (0.5, 0.5), (0, 0), SMALL_SIZE, color=SOFT, align="center")
    if side == "loss":
        set_limits(axes, "y", axes.get_ylim())
    axes.locator_params(axis="x", nbins=5)
    set_limits(axes, "x", (0.0, max((step for _, step, _ in points_of(curves, "loss")), default=1) * 1.03))
    axes.set_xlabel("step", fontsize=SMALL_SIZE, color=INK, labelpad=1)


def training_caption(table: pd.DataFrame) -> str:
    """What the figure shows, and what it leaves out."""
    trained = len(table.drop_duplicates(list(TRAINING)))
    drawn = sum(len(curves) for curves in curves_of(table).values())
    return (
        "Mean loss (of the steps since the point before) and accuracy on validation users over the steps of training; "
        "each line is a seed, and its mark is at the step whose weights were kept. Losses of different methods are "
        "not of one scale. Validation users chose that step, so that their accuracy there is no result; where the base "
        "was tuned, it is the last one."
        + (f" {trained - drawn} linear models were solved without steps." if trained > drawn else "")
    )


def build(table_training: Path, *, title_note: str) -> Drawing:
    """Draw the figure from its published table alone."""
    table = read_training_table(table_training)
    if not curves_of(table):
        return Drawing(None, "no model of this run was trained by steps.")
    return Drawing(training_figure(table, title_note=title_note), training_caption(table))


RESULT = FigureResult(
    name="training",
    order=45,
    caption="Loss and accuracy on validation users over the steps of training, a line for each seed.",
    build=build,
)
