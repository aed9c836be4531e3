"""Paired differences in accuracy as a forest: a line per comparison, a panel per judge; from the table alone."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from personalrm.core.conditions import MethodId
from personalrm.results.claims import LEVEL
from personalrm.results.figure_style import (
    BAND,
    INK,
    SMALL_SIZE,
    SOFT,
    draw_interval,
    draw_point,
    panel_rows,
    set_limits,
    set_up,
    set_up_rows,
    write_beside,
    write_head,
)
from personalrm.results.labels import OK, PAIRS_LABELS, method_label, method_mark, method_rank
from personalrm.results.lazy import Axes, Figure, pd
from personalrm.results.marks import mark, mark_notes
from personalrm.results.method_panels import Panel, drawn_panels, judges_together, own_at_largest_k, panel_heads
from personalrm.results.spec import Drawing, FigureResult
from personalrm.results.table_formats import table_rows
from personalrm.results.tables.differences_table import read_differences_table

PANEL_INCHES, ROW_INCHES = 3.1, 0.25
STEP = 5.0
"""Points between the possible ends of the axis."""
HEADS = ("less Default", "less parts, starting points and controls")

Row = Mapping[str, Any]
Line = tuple[str, str]
"""Method and reference, each with its pairs and without its kind of verdict."""
Lines = dict[Line, Row]


def shown_lines(table: pd.DataFrame) -> tuple[dict[Panel, Lines], list[str]]:
    """Rows with a number by panel and line: judges with their own profiles, at the largest k. Then the comparisons that
    have no number anywhere, and why."""
    rows = own_at_largest_k(table_rows(table))
    known = [row for row in rows if row["status"] == OK]
    found: dict[Panel, Lines] = {}
    for place, panels in drawn_panels(map(_panel_of, known)).items():
        mine = [row for row in known if _panel_of(row) in panels]
        found[place] = {_line(row): row for row in sorted(mine, key=lambda row: _order(_line(row)))}
    drawn = {_line(row) for row in known}
    missing = {_line(row): row["status"] for row in rows if _line(row) not in drawn}
    return found, [f"{' − '.join(map(method_label, line))}: {status}" for line, status in missing.items()]


def _panel_of(row: Row) -> Panel:
    """The panel of a row; what is judged on other pairs stands in that of the test pairs."""
    method = MethodId.parse(row["method"])
    return Panel.of({**row, "method": str(method._replace(pairs="test"))})


def _line(row: Row) -> Line:
    first, second = (str(MethodId.parse(row[name])._replace(verdict="text")) for name in ("method", "reference"))
    return first, second


def _order(line: Line) -> tuple[object, ...]:
    """Comparisons with Default come first, then those with other references."""
    return MethodId.parse(line[1]).name != "default", method_rank(line[0]), method_rank(line[1])


def forest_figure(table: pd.DataFrame, *, title_note: str = "") -> Figure:
    """Points with intervals right and left of 0, hollow where 0 is inside; rows are named once, at the left."""
    found, _ = shown_lines(table)
    groups = judges_together(found)
    lines_of = {place: _union(found[other] for other in group) for group in groups for place in group}
    heights_of = {place: _heights(lines) for place, lines in lines_of.items()}
    page, drawn = panel_rows(
        groups, lambda _: PANEL_INCHES, lambda place: ROW_INCHES * (max(heights_of[place]) + 0.5), gap=0.12
    )
    shared, heads = panel_heads(found)
    names = ("difference", "ci_low", "ci_high")
    ends = _limits(row[name] for lines in found.values() for row in lines.values() for name in names)
    for place, axes, is_first in drawn:
        heights = heights_of[place]
        bold = [number for number, line in enumerate(heights.values()) if line in HEADS]
        _panel(axes, found[place], {line: y for y, line in heights.items()}, ends)
        if is_first:
            texts = [line if isinstance(line, str) else _name(line) for line in heights.values()]
            set_up_rows(axes, list(heights), texts, bottom=max(heights) + 0.5, bold=bold)
        write_head(axes, heads[place], PANEL_INCHES)
    return page.finish("Paired differences in accuracy", " · ".join(filter(None, (shared, title_note))))


def _union(panels: Iterable[Lines]) -> list[Line]:
    return sorted({line for lines in panels for line in lines}, key=_order)


def _heights(lines: Sequence[Line]) -> dict[float, Line | str]:
    """Lines and the headings of both kinds of reference, by height in rows."""
    rows: list[Line | str] = []
    for head, others in zip(HEADS, (False, True), strict=True):
        mine = [line for line in lines if _order(line)[0] is others]
        rows += [head, *mine] if mine else []
    return {place + 0.5: row for place, row in enumerate(rows)}


def _name(line: Line) -> str:
    """What a row is of; the reference is named where it is not Default."""
    methods = [MethodId.parse(method) for method in line]
    first, second = (method_label(method.name).removeprefix("SynthesizeMe: ") for method in methods)
    name = first if methods[1].name == "default" else f"{first} − {second}"
    return name + PAIRS_LABELS[methods[0].pairs].replace("-conversation", "")


def _limits(values: Iterable[float]) -> tuple[float, float]:
    """Limits that hold 0 and all values: the differences, too, as one user has no interval."""
    known = [0.0, *(value for value in values if not math.isnan(value))]
    return STEP * math.floor(min(known) / STEP - 0.2), STEP * math.ceil(max(known) / STEP + 0.2)


def _panel(axes: Axes, lines: Lines, heights: Mapping[Line | str, float], ends: tuple[float, float]) -> None:
    set_up(axes, "x")
    set_up_rows(axes, [], [], bottom=max(heights.values()) + 0.5)
    set_limits(axes, "x", ends)
    axes.axvline(0, color=SOFT, linestyle="--", linewidth=1)
    axes.set_xlabel("difference, points", fontsize=SMALL_SIZE + 0.5, color=INK, labelpad=1)
    for place, y in enumerate(heights.values()):
        if place % 2:
            axes.axhspan(y - 0.5, y + 0.5, color=BAND, linewidth=0, zorder=0)
    for line, row in lines.items():
        y, (low, high) = heights[line], (row["ci_low"], row["ci_high"])
        sure = low > 0 or high < 0
        draw_interval(axes, (low, high), (y, y), method_mark(line[0]).colour)
        draw_point(axes, row["difference"], y, line[0], hollow=not sure)
        text = f"{row['difference'] or 0:+.1f} {mark(row)}".strip().replace("-", "−").replace("+0.0", "0.0")
        color, weight = INK if sure else SOFT, "bold" if row["p_holm"] < LEVEL else "normal"
        write_beside(axes, text, y, 6, color=color, weight=weight)


def forest_caption(table: pd.DataFrame) -> str:
    """What the figure shows, and which comparisons have no number."""
    found, missing = shown_lines(table)
    rows = [row for lines in found.values() for row in lines.values()]
    users = sorted({int(row["n_users"]) for row in rows})
    span = f"{users[0]:,}" if len(users) == 1 else f"{users[0]:,}-{users[-1]:,}"
    counted = f"{span} user" + "s" * (users != [1])
    return (
        "Accuracy of each method less that of its reference on the same judgments, in points, by judges with their own "
        f"profiles at the largest k ({counted}). Lines: 95 % intervals "
        "from a bootstrap that resamples users; hollow points and grey numbers: 0 lies inside. Bold: p (Holm) below "
        f"{LEVEL}."
        + (f" Without a number: {'; '.join(missing)}." if missing else "")
        + "".join(f" {note}" for note in mark_notes(table))
    )


def build(table_differences: Path, *, title_note: str) -> Drawing:
    """Draw the figure from its published table alone."""
    table = read_differences_table(table_differences)
    if not shown_lines(table)[0]:
        return Drawing(None, "no two methods have judgments in common.")
    return Drawing(forest_figure(table, title_note=title_note), forest_caption(table))


RESULT = FigureResult(
    name="forest",
    order=20,
    caption=(
        "Forest of paired differences in accuracy, in points: each method less Default of the same judge, and less its "
        "other references, with 95 % intervals clustered by user."
    ),
    build=build,
)
