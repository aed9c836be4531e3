"""The figure of persona axes: how many personas speak of each axis, and at which end. Drawn from its table alone."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from personalrm.results.figure_style import (
    INK,
    LEFT,
    SOFT,
    TEXT_SIZE,
    panels,
    set_up,
    set_up_rows,
    write_beside,
    write_note,
)
from personalrm.results.lazy import Axes, Figure, pd
from personalrm.results.spec import Drawing, FigureResult
from personalrm.results.table_formats import plain, table_rows
from personalrm.results.tables.axes_table import NO_AXIS, PREVALENCE, read_axes_table

LOW, HIGH = LEFT, "#ecb865"
"""Low end (dark blue) and high end (pale orange, hatched): apart for the colour-blind, and in print."""
BAR_INCHES, ROW_INCHES, BAR_HEIGHT = 3.4, 0.44, 0.5
LONGEST_NAME, LONGEST_END = 44, 34
"""Letters of an axis's name and of each of its ends; more are cut off and marked so (the table has all)."""

Row = dict[str, Any]


def panels_of(table: pd.DataFrame) -> dict[tuple[str, str, str], list[Row]]:
    """Axes by data set, variant and model, those that most personas speak of first."""
    held = table[table["part"] == PREVALENCE]
    return {
        (str(dataset), str(variant), str(model)): table_rows(
            rows.sort_values(["share", "name"], ascending=[False, True])
        )
        for (dataset, variant, model), rows in held.groupby(["dataset", "variant", "profile_model"], sort=False)
    }


def axes_figure(table: pd.DataFrame, *, title_note: str = "") -> Figure:
    """Horizontal bars of prevalence with intervals, one panel per data set, variant and model."""
    from matplotlib.patches import Patch

    found = panels_of(table)
    page = panels([BAR_INCHES], [ROW_INCHES * len(rows) for rows in found.values()] or [ROW_INCHES])
    variants = {variant for _, variant, _ in found}
    for ((dataset, variant, model), rows), (axes,) in zip(found.items(), page.grid, strict=False):
        several = f", {variant}" if len(variants) > 1 else ""
        _panel(axes, rows)
        write_note(axes, f"{dataset}: personas by {model}{several}", (0, 1), (0, 6), TEXT_SIZE + 1, weight="bold")
    if not found:
        page.grid[0][0].set_axis_off()
    entries = [
        Patch(facecolor=LOW, label="speak of it: low end"),
        Patch(facecolor=HIGH, edgecolor="white", hatch="////", linewidth=0, label="high end"),
    ]
    return page.finish("Axes along which personas describe people", title_note, entries)


def _panel(axes: Axes, rows: Sequence[Row]) -> None:
    set_up(axes, "x", spines=("left",))
    axes.set_xlim(0, 100)
    axes.set_xticks([0, 25, 50, 75, 100], ["0 %", "25 %", "50 %", "75 %", "100 %"])
    axes.tick_params(axis="x", length=0)
    set_up_rows(axes, [], [], bottom=len(rows))
    for place, row in enumerate(rows):
        _row(axes, place + 0.5, row)


def _row(axes: Axes, y: float, row: Row) -> None:
    """Name and ends of an axis, its bar, and how many personas speak of it."""

    def name(text: str, up: float, color: str) -> None:
        across = axes.get_yaxis_transform()
        write_note(axes, text, (0, y), (-8, up), coordinates=across, color=color, align="right", level="center")

    title = textwrap.shorten(str(row["name"]), LONGEST_NAME, placeholder=" […]")
    if row["name"] == NO_AXIS:
        name(f"{title} ({plain(row['n_users'])} personas)", 0, SOFT)
        return
    ends = (textwrap.shorten(str(row[end]), LONGEST_END, placeholder=" […]") for end in ("low_end", "high_end"))
    name(title, 6, INK)
    name(" … ".join(ends), -6, SOFT)
    items, low, high = (row[count] for count in ("n_items", "n_low", "n_high"))
    write_beside(axes, f"{low + high:,} of {items:,}", y, 10)
    if not items:
        return
    shares = [100 * count / items for count in (low, high)]
    axes.barh(y, shares[0], BAR_HEIGHT, color=LOW, edgecolor="white", linewidth=0.6)
    axes.barh(y, shares[1], BAR_HEIGHT, left=shares[0], color=HIGH, edgecolor="white", hatch="////", linewidth=0.6)
    total, interval = sum(shares), (row["ci_low"], row["ci_high"])
    spread = [[max(0.0, total - interval[0])], [max(0.0, interval[1] - total)]]
    axes.errorbar(total, y, xerr=spread, fmt="none", ecolor=INK, elinewidth=1.2, capsize=3)


def axes_caption(table: pd.DataFrame) -> str:
    """What the figure shows, with the number of personas of each panel."""
    sizes = "; ".join(
        f"{dataset}, {model}: {max(row['n_users'] for row in rows):,} personas"
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
    caption=(
        "Share of personas that speak of each axis, split by the end at which they put the person, with Wilson's 95 % "
        "interval."
    ),
    build=build,
)
