"""Accuracy by group: a row of panels a data set, a panel a judge; drawn from the table of demographics alone."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from personalrm.core.conditions import MethodId
from personalrm.core.records import BASELINE
from personalrm.results.figure_style import (
    GRID,
    INK,
    SMALL_SIZE,
    SOFT,
    TEXT_SIZE,
    TITLE_SIZE,
    new_figure,
    write_legend,
    write_line,
    write_note,
)
from personalrm.results.figures.main_figure_layout import CHANCE, DARK_FIRST, MARKERS, Color
from personalrm.results.labels import ALL, OK, UNUSED, VERDICT_LABELS, method_label
from personalrm.results.marks import mark, mark_notes
from personalrm.results.spec import Drawing, FigureResult
from personalrm.results.table_formats import table_rows
from personalrm.results.tables.demographics_table import LEAST_USERS, OTHERS, question_label, read_demographics_table

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LETTER_INCHES, PANEL_INCHES, GAP_INCHES = 0.075, 4.0, 0.35
LEAST_LEFT, LONGEST_NAME, LEAST_WIDTH = 1.6, 44, 6.8
LINE_INCHES, SPREAD = 0.3, 0.44
"""Height of a group, and how much of it its methods take."""
TOP_INCHES, HEAD_INCHES, AXIS_INCHES, FOOT_INCHES = 0.66, 0.5, 0.55, 0.2
LEGEND_INCHES = 0.24
EDGE = 2.0
"""Points of accuracy beyond the widest interval."""

Row = Mapping[str, object]
Panel = tuple[str, str, str]
"""Judge, verdict suffix."""


class Look(NamedTuple):
    """Colour and marker of a method in a variant."""

    color: Color
    marker: str


def demographics_figure(table: pd.DataFrame, *, title_note: str = "") -> Figure:
    """Accuracies with intervals, a line a group; groups of a data set stand once, at the left.

    Args:
        table: `demographics_table.demographics_table` or `read_demographics_table`.
        title_note: text under the title, e.g. what run this is.
    """
    sets = _by_dataset(table)
    panels = {name: list(dict.fromkeys(map(_panel, rows))) for name, rows in sets.items()}
    looks = _looks(row for rows in sets.values() for row in rows)
    names = [_name(row) for rows in sets.values() for row in rows]
    left = max([LEAST_LEFT, *(LETTER_INCHES * len(name) + 0.3 for name in names)])
    columns = max([1, *(len(judges) for judges in panels.values())])
    width = max(LEAST_WIDTH, left + columns * (PANEL_INCHES + GAP_INCHES))
    heights = {name: LINE_INCHES * max(1, len(_lines(rows))) for name, rows in sets.items()}
    legend = LEGEND_INCHES * len(looks) + FOOT_INCHES
    height = TOP_INCHES + sum(heights.values()) + len(sets) * (HEAD_INCHES + AXIS_INCHES) + legend
    figure = new_figure(width, height)
    write_line(figure, "For whom, and where in a conversation, judges are right", 0.14, TITLE_SIZE, INK, weight="bold")
    write_line(figure, title_note, 0.38, TEXT_SIZE, SOFT)
    limits, top = _limits(table), TOP_INCHES
    for name, rows in sets.items():
        write_line(figure, name, top, TEXT_SIZE + 1, INK, weight="bold")
        for place, panel in enumerate(panels[name]):
            x = left + place * (PANEL_INCHES + GAP_INCHES)
            y = height - top - HEAD_INCHES - heights[name]
            axes = figure.add_axes((x / width, y / height, PANEL_INCHES / width, heights[name] / height))
            _draw(axes, _lines(rows), [row for row in rows if _panel(row) == panel], looks, limits)
            _label(axes, panel, rows if place == 0 else [])
        if not panels[name]:
            reason = str(table.loc[table["dataset"] == name, "cell"].iloc[0])
            write_line(figure, f"no groups: {reason}", top + HEAD_INCHES, TEXT_SIZE, SOFT)
        top += HEAD_INCHES + heights[name] + AXIS_INCHES
    _legend(figure, looks)
    return figure


def _by_dataset(table: pd.DataFrame) -> dict[str, list[Row]]:
    """Rows with a judge, by data set; a data set without any stays as an empty list."""
    found: dict[str, list[Row]] = {}
    for row in table_rows(table):
        rows = found.setdefault(str(row["dataset"]), [])
        if row["judge_model"] != UNUSED:
            rows.append(row)
    return found


def _panel(row: Row) -> Panel:
    method = MethodId.parse(str(row["method"]))
    return str(row["judge_model"]), method.pairs, method.verdict


def _series(row: Row) -> tuple[str, str]:
    return MethodId.parse(str(row["method"])).name, str(row["variant"])


def _looks(rows: Iterable[Row]) -> dict[tuple[str, str], Look]:
    """One look a method and variant, in the order of the table."""
    from seaborn import color_palette

    palette = color_palette("colorblind")
    series = dict.fromkeys(map(_series, rows))
    return {
        name: Look(palette[DARK_FIRST[place % len(DARK_FIRST)]], MARKERS[place % len(MARKERS)])
        for place, name in enumerate(series)
    }


def _lines(rows: Sequence[Row]) -> dict[tuple[str, str], int]:
    """Line of each question's heading (group "") and of each group, from the top."""
    lines: dict[tuple[str, str], int] = {}
    for row in rows:
        for name in ((str(row["question"]), ""), (str(row["question"]), str(row["group"]))):
            lines.setdefault(name, len(lines))
    return lines


def _name(row: Row) -> str:
    """A group and its users."""
    group = str(row["group"])
    short = group if len(group) <= LONGEST_NAME else f"{group[: LONGEST_NAME - 1]}…"
    return f"{short} ({row['cell_users']})"


def _limits(table: pd.DataFrame) -> tuple[float, float]:
    """The axis holds chance and every interval."""
    numbers = table[["accuracy", "accuracy_low", "accuracy_high"]].stack().dropna()
    low, high = min([CHANCE, *numbers]), max([CHANCE, *numbers])
    return max(low - EDGE, -1.0), min(high + EDGE, 101.0)


def _draw(
    axes: Axes,
    lines: Mapping[tuple[str, str], int],
    rows: Sequence[Row],
    looks: Mapping[tuple[str, str], Look],
    limits: tuple[float, float],
) -> None:
    axes.set_xlim(*limits)
    axes.set_ylim(max(1, len(lines)) - 0.5, -0.5)
    axes.set_xticks([tick for tick in axes.get_xticks() if limits[0] <= tick <= limits[1]])
    axes.set_yticks([])
    axes.grid(axis="x", color=GRID, linewidth=0.7)
    axes.set_axisbelow(True)
    axes.axvline(CHANCE, color=SOFT, linestyle="--", linewidth=1)
    axes.tick_params(axis="x", length=0, labelsize=SMALL_SIZE, labelcolor=SOFT)
    for side in ("left", "right", "top"):
        axes.spines[side].set_visible(False)
    axes.spines["bottom"].set_color(SOFT)
    series = list(looks)
    for row in rows:
        place = series.index(_series(row))
        y = lines[str(row["question"]), str(row["group"])] + SPREAD * ((place + 0.5) / len(series) - 0.5)
        if row["cell"] != OK:
            write_note(axes, str(row["cell"]), (limits[0], y), (2, -3), coordinates="data", color=SOFT)
            continue
        low, mid, high = (float(str(row[name])) for name in ("accuracy_low", "accuracy", "accuracy_high"))
        look = looks[_series(row)]
        axes.plot([low, high], [y, y], color=look.color, linewidth=1.6, solid_capstyle="butt")
        axes.plot([mid], [y], color=look.color, marker=look.marker, markersize=5.5, linestyle="none")
        if sign := mark(row, "cell_"):
            write_note(axes, sign, (mid if math.isnan(high) else high, y), (4, -3), coordinates="data")


def _label(axes: Axes, panel: Panel, named: Sequence[Row]) -> None:
    """Judge above, and, where asked for, headings and groups at the left."""
    judge, pairs, verdict = panel
    head = f"{judge} judges{', all pairs' if pairs == 'all' else ''}{VERDICT_LABELS[verdict]}"
    write_note(axes, head, (0, 1), (0, 5), TEXT_SIZE)
    write_note(axes, "accuracy, %", (0.5, 0), (0, -30), color=SOFT, align="center")
    lines, users = _lines(named), dict[tuple[str, str], Row]()
    for row in named:
        name = str(row["question"]), str(row["group"])
        if name not in users or int(str(row["cell_users"])) > int(str(users[name]["cell_users"])):
            users[name] = row
    for (question, group), line in lines.items():
        text = _name(users[question, group]) if group else question_label(question)
        write_note(
            axes,
            text,
            (0, line),
            (-6, 0),
            SMALL_SIZE + (0 if group else 0.5),
            coordinates=axes.get_yaxis_transform(),
            align="right",
            level="center",
            color=INK,
            weight="normal" if group else "bold",
        )


def _legend(figure: Figure, looks: Mapping[tuple[str, str], Look]) -> None:
    from matplotlib.lines import Line2D

    if not looks:
        return
    handles = []
    variants = {variant for _, variant in looks} - {BASELINE, UNUSED}
    for (method, variant), look in looks.items():
        label = method_label(method) + (f" ({variant})" if len(variants) > 1 and variant in variants else "")
        handles.append(Line2D([], [], color=look.color, marker=look.marker, linewidth=1.6, label=label))
    write_legend(figure, handles, left=0.1, bottom=0.08)


def demographics_caption(table: pd.DataFrame) -> str:
    """What the figure shows, n and the interval."""
    sizes = [
        f"{name}: {max(int(str(row['cell_users'])) for row in rows)} users at most in a group"
        if rows
        else f"{name}: no groups ({table.loc[table['dataset'] == name, 'cell'].iloc[0]})"
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
    return Drawing(demographics_figure(table, title_note=title_note), demographics_caption(table))


RESULT = FigureResult(
    name="demographics",
    order=120,
    message="Drawing accuracy by group",
    caption=(
        "Accuracy within groups of users (in brackets: how many) and of pairs, with 95 % intervals that take users as "
        "clusters; groups under 10 users are pooled. Dashed: chance."
    ),
    build=build,
)
