"""Reported numbers and ours as a forest: one line per number, one panel per data set; drawn from the table alone."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from personalrm.results.figure_style import (
    BAND,
    CHANCE,
    INK,
    SMALL_SIZE,
    SOFT,
    TEXT_SIZE,
    draw_interval,
    draw_point,
    panels,
    set_limits,
    set_up,
    set_up_rows,
    write_beside,
    write_note,
)
from personalrm.results.labels import method_mark
from personalrm.results.lazy import Axes, Figure, pd
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
    from matplotlib.lines import Line2D

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
OURS_WIDTH = 3.6
PANEL_INCHES, LINE_INCHES = 2.1, 0.19
HEAD, APART = 1.5, 0.2
"""Heights in lines: heading of a group, and the distance between the two marks of a line."""
REPORTED_POINTS, OURS_POINTS = 8, 84
"""From the end of a panel to the columns of the reported numbers and of ours."""

Row = Mapping[str, Any]
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
            drawn.setdefault(AXES[row["statistic"]], []).append(row)
    return {axis: _stack(rows) for axis, rows in drawn.items()}


def _stack(rows: Sequence[Row]) -> Stack:
    heights: dict[tuple[str, Line], float] = {}
    heads: dict[str, float] = {}
    top = 0.0
    for group in dict.fromkeys(row["table"] for row in rows):
        lines = list(dict.fromkeys(_line(row) for row in rows if row["table"] == group))
        models = list(dict.fromkeys(line[1] for line in lines))
        lines.sort(key=lambda line: (line[0] != "accuracy_percent", models.index(line[1])))
        heads[group] = top + HEAD / 2
        heights |= {(group, line): top + HEAD + number + 0.5 for number, line in enumerate(lines)}
        top += HEAD + len(lines)
    places = {(row["data_set"], row["table"], _line(row)): row for row in rows}
    if len(places) < len(rows):
        raise ValueError("two reported numbers have the same table, data set, statistic, model and label")
    return Stack(heights, heads, top, places)


def _line(row: Row) -> Line:
    return row["statistic"], row["model"], row["label"]


def reported_figure(table: pd.DataFrame, *, title_note: str = "") -> Figure:
    """Reported (bars) above ours (marks of the methods) on each line, and both in words, also for what was not run."""
    stacks = stacks_of(table)
    page = panels([PANEL_INCHES] * len(PANELS), [stack.bottom * LINE_INCHES for stack in stacks.values()])
    for (axis, stack), across in zip(stacks.items(), page.grid, strict=True):
        ends = _limits(stack)
        for axes, (data_set, name) in zip(across, PANELS.items(), strict=True):
            _panel(axes, stack, data_set, axis, ends)
            if across is page.grid[0]:
                write_note(axes, name, (0, 1), (0, 18), TEXT_SIZE, weight="bold")
                for text, points in (("reported", REPORTED_POINTS), ("ours", OURS_POINTS)):
                    write_note(axes, text, (1, 1), (points, 4), SMALL_SIZE, color=SOFT)
        _names(across[0], stack)
    foot = (
        "* not from a secondary source.   not comp.: run, but not comparable (the table says why).   "
        "Dashed: chance, or no difference."
    )
    return page.finish("Reported of SynthesizeMe, and this run", title_note, _entries(), foot)


def _limits(stack: Stack) -> tuple[float, float]:
    """Limits of an axis, the same for all data sets: all points and intervals, in steps of 5 (of 2, for points)."""
    names = ("reported", "reported_low", "reported_high", "ours", "ours_low", "ours_high")
    values = [value for row in stack.rows.values() for name in names if not math.isnan(value := row[name])]
    step = 5 if max(values) > 30 else 2
    low = min(values) if step == 5 else min(*values, 0)
    return step * math.floor(low / step), step * math.ceil(max(values) / step)


def _panel(axes: Axes, stack: Stack, data_set: str, axis: str, ends: tuple[float, float]) -> None:
    set_up(axes, "x")
    set_limits(axes, "x", ends)
    set_up_rows(axes, [], [], bottom=stack.bottom)
    axes.set_xlabel("percent" if axis == "percent" else "difference, points", fontsize=SMALL_SIZE, labelpad=1)
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
    """Upright bar and thin line: reported; the method's mark and thick line: ours, hollow where only set beside."""
    ours = row["status"] in SHOWN
    here = y - APART if ours else y
    if not math.isnan(row["reported_low"]):
        ends = (row["reported_low"], row["reported_high"])
        style = "-" if row["interval"] == INDEPENDENT else (0, (1, 1))
        axes.plot(ends, (here, here), color=INK, linewidth=1.1, zorder=2, linestyle=style)
    bar = axes.plot(row["reported"], here, "|", color=INK, markersize=7, markeredgewidth=2)[0]
    bar.set(zorder=3, clip_on=False)
    if ours:
        method, below = row["our_method"].partition(" ")[0], (y + APART,) * 2
        draw_interval(axes, (row["ours_low"], row["ours_high"]), below, method_mark(method).colour, width=OURS_WIDTH)
        draw_point(axes, row["ours"], below[0], method, hollow=row["status"] != COMPARABLE, size=6)


def _values(axes: Axes, row: Row, y: float) -> None:
    """Both numbers at the right of the panel, with a star where the reported one is not from a secondary source."""
    mark = "" if row["certainty"] == "secondary source" else "*"
    write_beside(axes, shown_reported(row).removesuffix(" s.e.") + mark, y, REPORTED_POINTS)
    if row["status"] in SHOWN:
        sign = "+" if AXES[row["statistic"]] == "points" else ""
        weight = "bold" if row["status"] == COMPARABLE else "normal"
        write_beside(axes, f"{row['ours']:{sign}.2f}", y, OURS_POINTS, weight=weight)
    else:
        write_beside(axes, row["status"].replace("not comparable", "not comp."), y, OURS_POINTS, color=SOFT)


def _names(axes: Axes, stack: Stack) -> None:
    """Groups in bold, and on each line what the number is of, and the model behind it."""

    def name(line: Line) -> str:
        statistic, model, label = line
        mean = ", mean of users" if statistic == "macro_accuracy_percent" else ""
        short = {"none": "", "not stated": "model ?"}.get(model, model.rpartition("/")[2].removesuffix("-Instruct"))
        return " · ".join(filter(None, (label + mean, short)))

    rows = {y: group[:1].upper() + group[1:] for group, y in stack.heads.items()}
    rows |= {y: name(line) for (_, line), y in stack.heights.items()}
    places = sorted(rows)
    bold = [place for place, y in enumerate(places) if y in stack.heads.values()]
    set_up_rows(axes, places, [rows[y] for y in places], bottom=stack.bottom, bold=bold)


def _entries() -> list[Line2D]:
    from matplotlib.lines import Line2D

    bar: dict[str, Any] = {"color": INK, "linewidth": 1.1, "marker": "|", "markersize": 7, "markeredgewidth": 2}
    ours: dict[str, Any] = {"color": SOFT, "linewidth": OURS_WIDTH, "alpha": 0.55}
    hollow: dict[str, Any] = {"color": "white", "markeredgecolor": SOFT, "linestyle": "", "marker": "o"}
    return [
        Line2D([], [], **bar, label="reported, 95 % interval"),
        Line2D([], [], **bar, linestyle=(0, (1, 1)), label="reported, ± standard error"),
        Line2D([], [], **ours, label="ours, 95 % interval, users resampled"),
        Line2D([], [], **hollow, markersize=6, label="hollow: set beside, conditions not all known"),
    ]


def reported_caption(table: pd.DataFrame) -> str:
    """What the figure shows and leaves to the table, and what the intervals are."""
    drawn_rows = [row for stack in stacks_of(table).values() for row in stack.rows.values()]
    compared, beside = (sum(row["status"] == status for row in drawn_rows) for status in SHOWN)
    numbers = len(table[list(NUMBER_NAMES)].drop_duplicates())
    rest = sorted({UNITS[name] for name in table["statistic"] if name not in AXES})
    return (
        f"Numbers reported of SynthesizeMe, and ours: {len(drawn_rows)} of {numbers} on Chatbot Arena and PRISM; "
        f"others (further data sets; {', '.join(rest)}) stand in the table alone. Bars: reported, with the paper's "
        "95 % interval, which treats judgments as independent, or ± one standard error of 5 runs (P-GenRM). Marks of "
        "the methods: ours, with a 95 % interval from a bootstrap that resamples users. Ours is shown only where data "
        f"set, release, model, method and variant are those of the number: here for {compared} numbers."
        + (f" Hollow: {beside} that are set beside a number of whose conditions something is not known." * bool(beside))
    )


def build(table_reported: Path, *, title_note: str) -> Drawing:
    """Draw the figure from its published table alone."""
    table = read_reported_table(table_reported)
    return Drawing(reported_figure(table, title_note=title_note), reported_caption(table))


RESULT = FigureResult(
    name="reported",
    order=160,
    caption=(
        "Numbers reported of SynthesizeMe (bars, with the reported interval) and ours (marks of the methods, with a 95 "
        "% interval, users resampled). What this run has not, or has otherwise, says so."
    ),
    build=build,
    when="reported",
)
