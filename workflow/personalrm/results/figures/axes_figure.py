"""The figure of persona axes: how many personas speak of each axis, and at which end. Drawn from its table alone."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from personalrm.results.figure_style import (
    GRID,
    INK,
    LEFT,
    MARGIN_INCHES,
    SMALL_SIZE,
    SOFT,
    TEXT_SIZE,
    TITLE_SIZE,
    new_figure,
    write_legend,
    write_line,
    write_note,
)
from personalrm.results.spec import Drawing, FigureResult
from personalrm.results.table_formats import plain, table_rows
from personalrm.results.tables.axes_table import NO_AXIS, PREVALENCE, read_axes_table

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LOW, HIGH = LEFT, "#ecb865"
"""Low end (dark blue) and high end (pale orange, hatched): apart for the colour-blind, and in print."""
NAME_INCHES, BAR_INCHES, NUMBER_INCHES = 4.1, 3.4, 1.25
TOP_INCHES, HEAD_INCHES, ROW_INCHES, FOOT_INCHES, BOTTOM_INCHES = 0.72, 0.34, 0.44, 0.5, 0.36
BAR_HEIGHT = 0.5
LONGEST_NAME, LONGEST_END = 44, 34
"""Letters of an axis's name and of each of its ends; more are cut off and marked so (the table has all)."""

Row = dict[str, object]


def panels_of(table: pd.DataFrame) -> dict[tuple[str, str, str], list[Row]]:
    """Axes by data set, variant and model, those that most personas speak of first."""
    found: dict[tuple[str, str, str], list[Row]] = {}
    for row in table_rows(table[table["part"] == PREVALENCE]):
        key = (str(row["dataset"]), str(row["variant"]), str(row["profile_model"]))
        found.setdefault(key, []).append(row)
    return {
        key: sorted(rows, key=lambda row: (-_number(row["share"]), str(row["name"]))) for key, rows in found.items()
    }


def _number(value: object) -> float:
    number = float(str(value))
    return -1.0 if math.isnan(number) else number


def axes_figure(table: pd.DataFrame, *, title_note: str = "") -> Figure:
    """Horizontal bars of prevalence with intervals, a panel a data set, variant and model.

    Args:
        table: see `axes_table.axes_table`.
        title_note: text under the title, e.g. what run this is.
    """
    panels = panels_of(table)
    width = NAME_INCHES + BAR_INCHES + NUMBER_INCHES
    heights = [HEAD_INCHES + ROW_INCHES * len(rows) + FOOT_INCHES for rows in panels.values()]
    height = TOP_INCHES + sum(heights) + BOTTOM_INCHES
    figure = new_figure(width, height)
    top = TOP_INCHES
    variants = {variant for _, variant, _ in panels}
    for ((dataset, variant, model), rows), inches in zip(panels.items(), heights, strict=True):
        several = f", {variant}" if len(variants) > 1 else ""
        write_line(figure, f"{dataset}: personas by {model}{several}", top, TEXT_SIZE + 1, INK, weight="bold")
        tall = ROW_INCHES * len(rows)
        bottom = height - top - HEAD_INCHES - tall
        axes = figure.add_axes((NAME_INCHES / width, bottom / height, BAR_INCHES / width, tall / height))
        _panel(axes, rows)
        top += inches
    write_line(figure, "Axes along which personas describe people", 0.12, TITLE_SIZE, INK, weight="bold")
    write_line(figure, title_note, 0.37, TEXT_SIZE, SOFT)
    _legend(figure)
    return figure


def _panel(axes: Axes, rows: Sequence[Row]) -> None:
    axes.set_xlim(0, 100)
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.set_yticks([])
    axes.set_xticks([0, 25, 50, 75, 100])
    axes.set_xticklabels(["0 %", "25 %", "50 %", "75 %", "100 %"])
    axes.tick_params(axis="x", length=0, labelsize=SMALL_SIZE, labelcolor=SOFT)
    axes.grid(axis="x", color=GRID, linewidth=0.7)
    axes.set_axisbelow(True)
    for side in ("top", "right", "bottom"):
        axes.spines[side].set_visible(False)
    axes.spines["left"].set_color(SOFT)
    for place, row in enumerate(rows):
        _row(axes, place, row)


def _row(axes: Axes, place: int, row: Row) -> None:
    name = _shortened(str(row["name"]), LONGEST_NAME)
    at = (0.0, 1 - (place + 0.5) / -(axes.get_ylim()[1] - axes.get_ylim()[0]))
    left = -72 * (NAME_INCHES - MARGIN_INCHES)
    if row["name"] == NO_AXIS:
        write_note(
            axes, f"{name} ({plain(row['n_users'])} personas)", at, (left, 0), TEXT_SIZE, color=SOFT, level="center"
        )
        return
    ends = " … ".join(_shortened(str(row[end]), LONGEST_END) for end in ("low_end", "high_end"))
    write_note(axes, name, at, (left, 1), TEXT_SIZE)
    write_note(axes, ends, at, (left, -11), SMALL_SIZE, color=SOFT)
    items, low, high = (int(str(row[count])) for count in ("n_items", "n_low", "n_high"))
    text = f"{low + high:,} of {items:,}"
    write_note(axes, text, (1.0, at[1]), (8, 0), SMALL_SIZE, level="center")
    if not items:
        return
    shares = [100 * count / items for count in (low, high)]
    axes.barh(place, shares[0], BAR_HEIGHT, color=LOW, edgecolor="white", linewidth=0.6)
    axes.barh(place, shares[1], BAR_HEIGHT, left=shares[0], color=HIGH, edgecolor="white", hatch="////", linewidth=0.6)
    total, ends_at = sum(shares), (_number(row["ci_low"]), _number(row["ci_high"]))
    spread = [[max(0.0, total - ends_at[0])], [max(0.0, ends_at[1] - total)]]
    axes.errorbar(total, place, xerr=spread, fmt="none", ecolor=INK, elinewidth=1.2, capsize=3, clip_on=False)


def _shortened(text: str, longest: int) -> str:
    return textwrap.shorten(text, longest, placeholder=" […]") if len(text) > longest else text


def _legend(figure: Figure) -> None:
    from matplotlib.patches import Patch

    write_legend(
        figure,
        [
            Patch(facecolor=LOW, label="speak of it: low end"),
            Patch(facecolor=HIGH, edgecolor="white", hatch="////", linewidth=0, label="high end"),
        ],
        columns=2,
        left=NAME_INCHES,
        bottom=0.08,
    )


def axes_caption(table: pd.DataFrame) -> str:
    """What the figure shows, with the number of personas of each panel."""
    sizes = "; ".join(
        f"{dataset}, {model}: {max(int(str(row['n_users'])) for row in rows):,} personas"
        for (dataset, _, model), rows in panels_of(table).items()
    )
    return (
        "Share of personas that speak of each axis, split by the end at which they put the person (one persona a "
        f"user), with Wilson's 95 % interval of the whole share. {sizes or 'No personas'}. Axes were named by a model "
        "from the personas of each data set, and are not the same scales in two data sets. Right: personas that speak "
        "of the axis, of those whose tag was read."
    )


def build(table_axes: Path, *, title_note: str) -> Drawing:
    """Draw the figure from its published table alone."""
    table = read_axes_table(table_axes)
    return Drawing(axes_figure(table, title_note=title_note), axes_caption(table))


RESULT = FigureResult(
    name="axes",
    order=150,
    message="Drawing the axes of the personas",
    caption=(
        "Share of personas that speak of each axis, split by the end at which they put the person, with Wilson's 95 % "
        "interval."
    ),
    build=build,
)
