"""Reported numbers and ours as a forest: one line a number, a panel a data set; drawn from the table alone."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from personalrm.results.figure_style import (
    BAND,
    GRID,
    INK,
    LEFT,
    SMALL_SIZE,
    SOFT,
    TEXT_SIZE,
    TITLE_SIZE,
    new_figure,
    write_legend,
    write_line,
    write_note,
)
from personalrm.results.figures.main_figure_layout import CHANCE
from personalrm.results.spec import Drawing, FigureResult
from personalrm.results.table_formats import table_rows
from personalrm.studies.synthesizeme.results.reported_matching import COMPARABLE, SHOWN
from personalrm.studies.synthesizeme.results.reported_numbers import INDEPENDENT
from personalrm.studies.synthesizeme.results.reported_table import (
    NUMBER_NAMES,
    UNITS,
    read_reported_table,
    shown_reported,
)

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PANELS: dict[str, str] = {"arena": "Chatbot Arena", "prism": "PRISM"}
AXES: dict[str, str] = {
    "accuracy_percent": "percent",
    "macro_accuracy_percent": "percent",
    "match_own_percent": "percent",
    "match_other_percent": "percent",
    "difference_points": "points",
    "match_difference_points": "points",
}
"""Statistics that are drawn, and on which axis."""
REPORTED_COLOR, OURS_COLOR = INK, LEFT
OURS_WIDTH, OURS_ALPHA = 3.6, 0.55
NAME_INCHES, PANEL_INCHES, VALUE_INCHES, LINE_INCHES = 4.0, 1.75, 1.75, 0.19
TOP_INCHES, AXIS_INCHES, FOOT_INCHES = 0.95, 0.5, 0.75
HEAD, APART = 1.5, 0.2
"""Heights in lines: heading of a group, and how far the two marks of a line stand apart."""
OURS_PLACE = 76
"""Points from the end of a panel to the column of our numbers."""

Row = Mapping[str, object]
Line = tuple[str, str, str]
"""Statistic, model and label: what has a height of its own within a group."""


class Stack(NamedTuple):
    """One axis: heights of its lines and of the headings of its groups (tables), its end, and its rows by place."""

    heights: dict[tuple[str, Line], float]
    heads: dict[str, float]
    bottom: float
    rows: dict[tuple[str, str, Line], Row]


def stacks_of(table: pd.DataFrame) -> dict[str, Stack]:
    """Lines from top to bottom, by axis: groups as the table lists them, within one by model."""
    drawn: dict[str, list[Row]] = {}
    for row in table_rows(table):
        if row["data_set"] in PANELS and row["statistic"] in AXES:
            drawn.setdefault(AXES[str(row["statistic"])], []).append(row)
    return {axis: _stack(rows) for axis, rows in drawn.items()}


def _stack(rows: Sequence[Row]) -> Stack:
    heights: dict[tuple[str, Line], float] = {}
    heads: dict[str, float] = {}
    top = 0.0
    for group in dict.fromkeys(str(row["table"]) for row in rows):
        lines = list(dict.fromkeys(_line(row) for row in rows if row["table"] == group))
        models = list(dict.fromkeys(line[1] for line in lines))
        lines.sort(key=lambda line: (line[0] != "accuracy_percent", models.index(line[1])))
        heads[group] = top + HEAD / 2
        heights |= {(group, line): top + HEAD + number + 0.5 for number, line in enumerate(lines)}
        top += HEAD + len(lines)
    places = {(str(row["data_set"]), str(row["table"]), _line(row)): row for row in rows}
    if len(places) < len(rows):
        raise ValueError("two reported numbers have the same table, data set, statistic, model and label")
    return Stack(heights, heads, top, places)


def _line(row: Row) -> Line:
    return str(row["statistic"]), str(row["model"]), str(row["label"])


def reported_figure(table: pd.DataFrame, *, title_note: str = "", watermark: str = "") -> Figure:
    """Reported (circles) above ours (diamonds) on each line, and both in words; what was not run says so.

    Args:
        table: the table of `reported_table.reported_table`.
        title_note: text under the title, e.g. what run this is.
        watermark: text across the figure, for what is no result; no script of the workflow passes one.
    """
    stacks = stacks_of(table)
    width = NAME_INCHES + len(PANELS) * (PANEL_INCHES + VALUE_INCHES)
    height = TOP_INCHES + FOOT_INCHES + sum(stack.bottom * LINE_INCHES + AXIS_INCHES for stack in stacks.values())
    figure = new_figure(width, height)
    below = TOP_INCHES
    for axis, stack in stacks.items():
        tall = stack.bottom * LINE_INCHES
        limits = _limits(stack)
        for number, (data_set, name) in enumerate(PANELS.items()):
            left = NAME_INCHES + number * (PANEL_INCHES + VALUE_INCHES)
            place = (left / width, 1 - (below + tall) / height, PANEL_INCHES / width, tall / height)
            axes = figure.add_axes(place)
            _panel(axes, stack, data_set, axis, limits)
            if number == 0:
                _names(axes, stack)
            if below == TOP_INCHES:
                _heading(axes, name)
        below += tall + AXIS_INCHES
    write_line(figure, "Reported of SynthesizeMe, and this run", 0.14, TITLE_SIZE, INK, weight="bold")
    write_line(figure, title_note, 0.38, TEXT_SIZE, SOFT)
    _legend(figure)
    if watermark:
        _across(figure, watermark)
    return figure


def _limits(stack: Stack) -> tuple[float, float]:
    """Limits of an axis, the same for all data sets: all points and intervals, in steps of 5 (of 2, for points)."""
    names = ("reported", "reported_low", "reported_high", "ours", "ours_low", "ours_high")
    values = [value for row in stack.rows.values() for name in names if not math.isnan(value := _number(row, name))]
    step = 5 if max(values) > 30 else 2
    low = min(values) if step == 5 else min(*values, 0)
    return step * math.floor(low / step), step * math.ceil(max(values) / step)


def _number(row: Row, name: str) -> float:
    return float(str(row[name]))


def _panel(axes: Axes, stack: Stack, data_set: str, axis: str, limits: tuple[float, float]) -> None:
    axes.set_xlim(limits)
    axes.set_ylim(stack.bottom, 0)
    axes.set_yticks([])
    axes.tick_params(axis="x", labelsize=SMALL_SIZE - 1, color=SOFT, labelcolor=INK, pad=2)
    axes.set_xlabel("percent" if axis == "percent" else "difference, points", fontsize=SMALL_SIZE, labelpad=1)
    axes.grid(axis="x", color=GRID, linewidth=0.7)
    axes.set_axisbelow(True)
    for side in ("left", "right", "top"):
        axes.spines[side].set_visible(False)
    axes.axvline(CHANCE if axis == "percent" else 0, color=SOFT, linestyle="--", linewidth=1, zorder=1)
    for top in stack.heads.values():
        axes.axhspan(top - HEAD / 2, top + HEAD / 2, color="white", linewidth=0, zorder=1.5)
    for (group, line), y in stack.heights.items():
        row = stack.rows.get((data_set, group, line))
        if int(y) % 2:
            axes.axhspan(y - 0.5, y + 0.5, color=BAND, linewidth=0, zorder=0)
        if row is not None:
            _marks(axes, row, y)
            _values(axes, row, y)


def _marks(axes: Axes, row: Row, y: float) -> None:
    """Circle and thin line: reported; diamond and thick line: ours, hollow where it is only set beside."""
    ours = row["status"] in SHOWN
    here = y - APART if ours else y
    if not math.isnan(_number(row, "reported_low")):
        ends = (_number(row, "reported_low"), _number(row, "reported_high"))
        capped = row["interval"] == INDEPENDENT
        line = axes.plot(ends, (here, here), color=REPORTED_COLOR, linewidth=1.1, zorder=2)[0]
        line.set(linestyle="-" if capped else (0, (1, 1)), marker="|" if capped else "", markersize=4.5)
    dot = axes.plot(_number(row, "reported"), here, "o", color="white", markeredgecolor=REPORTED_COLOR)[0]
    dot.set(markersize=5, zorder=3, clip_on=False)
    if ours:
        ends = (_number(row, "ours_low"), _number(row, "ours_high"))
        if not math.isnan(ends[0]):
            thick = axes.plot(ends, (y + APART,) * 2, color=OURS_COLOR, linewidth=OURS_WIDTH, alpha=OURS_ALPHA)[0]
            thick.set(solid_capstyle="butt", zorder=2)
        face = OURS_COLOR if row["status"] == COMPARABLE else "white"
        diamond = axes.plot(_number(row, "ours"), y + APART, "D", color=face, markeredgecolor=OURS_COLOR)[0]
        diamond.set(markersize=4.5, zorder=3, clip_on=False)


def _values(axes: Axes, row: Row, y: float) -> None:
    """Both numbers at the right of the panel, with a star where the reported one is not from a secondary source."""
    mark = "" if row["certainty"] == "secondary source" else "*"
    _note(axes, shown_reported(row).removesuffix(" s.e.") + mark, y, 6, INK)
    if row["status"] in SHOWN:
        sign = "+" if AXES[str(row["statistic"])] == "points" else ""
        bold = row["status"] == COMPARABLE
        _note(axes, f"{_number(row, 'ours'):{sign}.2f}", y, OURS_PLACE, OURS_COLOR, bold=bold)
    else:
        _note(axes, str(row["status"]).replace("not comparable", "not comp."), y, OURS_PLACE, SOFT)


def _note(axes: Axes, text: str, y: float, points: float, color: str, *, bold: bool = False) -> None:
    axes_x = axes.get_yaxis_transform()
    weight = "bold" if bold else "normal"
    size = SMALL_SIZE - 1
    write_note(axes, text, (1, y), (points, -0.5), size, coordinates=axes_x, color=color, level="center", weight=weight)


def _heading(axes: Axes, name: str) -> None:
    """Data set above a panel, and what the two columns of numbers are."""
    write_note(axes, name, (0, 1), (0, 4), TEXT_SIZE, weight="bold")
    for text, points in (("reported", 6), ("ours", OURS_PLACE)):
        write_note(axes, text, (1, 1), (points, 4), SMALL_SIZE, color=SOFT)


def _names(axes: Axes, stack: Stack) -> None:
    """Groups in bold, and on each line the method, with the model behind it."""
    left = -72 * (NAME_INCHES - 0.15)
    across = axes.get_yaxis_transform()
    for group, y in stack.heads.items():
        name = group[:1].upper() + group[1:]
        write_note(axes, name, (0, y), (left, -3), SMALL_SIZE, coordinates=across, level="center", weight="bold")
    for (_, (statistic, model, label)), y in stack.heights.items():
        text = label + (", mean of users" if statistic == "macro_accuracy_percent" else "")
        write_note(axes, text, (0, y), (left + 6, -0.5), SMALL_SIZE - 1, coordinates=across, level="center")
        short = {"none": "", "not stated": "model ?"}.get(model, model.rpartition("/")[2].removesuffix("-Instruct"))
        write_note(
            axes,
            short,
            (0, y),
            (-6, -0.5),
            SMALL_SIZE - 1,
            coordinates=across,
            level="center",
            align="right",
            color=SOFT,
        )


def _legend(figure: Figure) -> None:
    from matplotlib.lines import Line2D

    entries = [
        Line2D([], [], color=REPORTED_COLOR, linewidth=1.1, label="reported, 95 % interval"),
        Line2D([], [], color=REPORTED_COLOR, linewidth=1.1, linestyle=(0, (1, 1)), label="reported, ± standard error"),
        Line2D([], [], color=OURS_COLOR, linewidth=OURS_WIDTH, label="ours, 95 % interval, users resampled"),
    ]
    for entry in entries[:2]:
        entry.set(marker="o", markerfacecolor="white", markersize=5)
    entries[2].set(marker="D", alpha=OURS_ALPHA, markersize=4.5)
    hollow = Line2D([], [], color=OURS_COLOR, linewidth=0, label="set beside: conditions not all known")
    hollow.set(marker="D", markerfacecolor="white", markersize=4.5)
    entries.append(hollow)
    write_legend(figure, entries, columns=4, left=0.1, bottom=0.25, size=SMALL_SIZE)
    place = 0.15 / figure.get_figwidth(), 0.12 / figure.get_figheight()
    foot = (
        "* not from a secondary source.   not comp.: run, but not comparable (the table says why).   "
        "Dashed: chance, or no difference."
    )
    figure.text(*place, foot, fontsize=SMALL_SIZE - 1, color=SOFT)


def _across(figure: Figure, text: str) -> None:
    """A watermark over all of the figure, that hides nothing."""
    for height in (0.2, 0.5, 0.8):
        mark = figure.text(0.5, height, text, fontsize=80, color=INK, alpha=0.12, ha="center", va="center", rotation=30)
        mark.set_zorder(10)


def reported_caption(table: pd.DataFrame) -> str:
    """What the figure shows and leaves to the table, and what the intervals are."""
    drawn_rows = [row for stack in stacks_of(table).values() for row in stack.rows.values()]
    compared, beside = (sum(row["status"] == status for row in drawn_rows) for status in SHOWN)
    numbers = len(table[list(NUMBER_NAMES)].drop_duplicates())
    rest = sorted({UNITS[name] for name in table["statistic"] if name not in AXES})
    return (
        f"Numbers reported of SynthesizeMe, and ours: {len(drawn_rows)} of {numbers} on Chatbot Arena and PRISM; "
        f"others (further data sets; {', '.join(rest)}) stand in the table alone. Circles: reported, with the paper's "
        "95 % interval, which treats judgments as independent, or ± one standard error of 5 runs (P-GenRM). Diamonds: "
        "ours, with a 95 % interval from a bootstrap that resamples users. Ours is shown only where data set, release, "
        f"model, method and variant are those of the number: here for {compared} numbers."
        + (f" Hollow: {beside} that are set beside a number of whose conditions something is not known." * bool(beside))
    )


def build(table_reported: Path, *, title_note: str) -> Drawing:
    """Draw the figure from its published table alone."""
    table = read_reported_table(table_reported)
    return Drawing(reported_figure(table, title_note=title_note), reported_caption(table))


RESULT = FigureResult(
    name="reported",
    order=160,
    message="Drawing the forest of reported numbers",
    caption=(
        "Numbers reported of SynthesizeMe (circles, with the reported interval) and ours (diamonds, with a 95 % "
        "interval, users resampled). What this run has not, or has otherwise, says so."
    ),
    build=build,
)
