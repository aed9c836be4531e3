"""The main figure: accuracy of every way of judging, with both intervals, one panel per data set.

It is drawn from the main table alone. Colour and marker show the method; judge and profile model are named at
each row, or once under the title where all rows share it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from personalrm.core.conditions import MethodId
from personalrm.core.records import BASELINE
from personalrm.data.cross_validation import Pools
from personalrm.results.conditions import ROW_KEY
from personalrm.results.figure_style import (
    BAND,
    CHANCE,
    INK,
    SMALL_SIZE,
    SOFT,
    TEXT_SIZE,
    Align,
    Panels,
    draw_interval,
    draw_point,
    limits,
    panels,
    set_limits,
    set_up,
    set_up_rows,
    write_beside,
    write_note,
)
from personalrm.results.labels import (
    NO_ANSWERS,
    NOT_APPLICABLE,
    UNUSED,
    VERDICT_LABELS,
    exempt_note,
    k_rank,
    method_label,
    method_mark,
)
from personalrm.results.lazy import Axes, Figure, pd
from personalrm.results.marks import FLAG_NAMES, Flags, marked, notes_of
from personalrm.results.method_panels import own_at_largest_k
from personalrm.results.pooling import pool_notes, without_folds
from personalrm.results.spec import Drawing, FigureResult
from personalrm.results.table_formats import table_rows
from personalrm.results.tables.main_table import read_main_table, row_flags

if TYPE_CHECKING:
    from matplotlib.lines import Line2D

PANEL_INCHES = {1: 5.2, 2: 3.8}
MANY_PANELS_INCHES, ROW_INCHES = 2.8, 0.215
GAP = 0.45
"""Room between two methods, in rows."""
CLUSTERED_WIDTH, INDEPENDENT_WIDTH = 3.6, 1.1

MOST_ROWS = 60
"""More rows are no picture."""

Series = tuple[str, str, str]
"""Model that judges, model whose profiles it sees (itself where it sees none), and variant."""
Line = tuple[str, Series, str]
"""What has a row of its own: method, series and k."""


class Point(NamedTuple):
    """One row of the table as it is drawn. Numbers are percentages, nan where there are none."""

    dataset: str
    line: Line
    accuracy: float
    clustered: tuple[float, float]
    independent: tuple[float, float]
    flags: Flags
    status: str


class Shown(NamedTuple):
    """The rows of the table that are drawn, and what is said of the others."""

    table: pd.DataFrame
    notes: list[str]


def shown_rows(table: pd.DataFrame) -> Shown:
    """All rows but those of ways of judging that apply to no user of any data set; of more than `MOST_ROWS` ways, those
    of judges with their own profiles at the largest k."""
    ways = table[list(ROW_KEY[1:])].agg("\n".join, axis=1) if len(table) else table["method"]
    applies = ways.isin(ways[table["status"] != NOT_APPLICABLE])
    without = dict.fromkeys(map(method_label, table.loc[~applies, "method"]))
    notes = [f"left out, as {NOT_APPLICABLE}: {'; '.join(without)}"] if without else []
    if ways[applies].nunique() > MOST_ROWS:
        kept = {tuple(row[name] for name in ROW_KEY) for row in own_at_largest_k(table_rows(table))}
        applies &= table[list(ROW_KEY)].agg(tuple, axis=1).isin(kept)
        notes.append("judges with their own profiles at the largest k; all other rows: the table main")
    return Shown(table[applies], notes)


class Layout(NamedTuple):
    """Height of every row and of every heading (methods of several rows), bands of methods, and the lower end."""

    heights: dict[Line, float]
    heads: dict[str, float]
    bands: list[tuple[float, float]]
    bottom: float


def points_of(table: pd.DataFrame) -> list[Point]:
    """Rows of the main table as points, in its order.

    Rows without a profile have no variant of their own: where the learned rows have one, they share it.
    """
    points = []
    learned = set(table["variant"]) - {BASELINE}
    only = str(learned.pop()) if len(learned) == 1 else None
    for row in table.to_dict(orient="records"):
        judge, profile = str(row["judge_model"]), str(row["profile_model"])
        series = judge, judge if profile == UNUSED else profile, only or str(row["variant"])
        points.append(
            Point(
                dataset=str(row["dataset"]),
                line=(str(row["method"]), series, str(row["k"])),
                accuracy=float(row["accuracy"]),
                clustered=(float(row["ci_low"]), float(row["ci_high"])),
                independent=(float(row["ci_low_independent"]), float(row["ci_high_independent"])),
                flags=row_flags({str(name): value for name, value in row.items()}),
                status=str(row["status"]),
            )
        )
    return points


def layout_of(points: Sequence[Point]) -> Layout:
    """Methods from top to bottom as the table lists them; within one by judge, own profiles first, then by k."""
    judges = list(dict.fromkeys(point.line[1][0] for point in points))
    profiles = list(dict.fromkeys(point.line[1][1] for point in points))

    def order(line: Line) -> tuple[int, bool, int, str, tuple[int, int]]:
        _, (judge, profile, variant), k = line
        return judges.index(judge), judge != profile, profiles.index(profile), variant, k_rank(k)

    heights: dict[Line, float] = {}
    heads: dict[str, float] = {}
    bands: list[tuple[float, float]] = []
    top = 0.0
    for method in dict.fromkeys(point.line[0] for point in points):
        lines = sorted({point.line for point in points if point.line[0] == method}, key=order)
        first = top + GAP / 2
        if len(lines) > 1:
            heads[method] = first + 0.5
            first += 1
        heights |= {line: first + number + 0.5 for number, line in enumerate(lines)}
        bands.append((top, first + len(lines) + GAP / 2))
        top = bands[-1][1]
    return Layout(heights, heads, bands, top)


class Shared(NamedTuple):
    """What all rows that have one share: judge with its own profiles, variant, kind of verdict, k; empty where not."""

    judge: str
    variant: str
    verdict: str
    k: str


def shared_of(points: Sequence[Point]) -> Shared:
    """What is shown once, under the title. Rows that no model judges have none of it."""
    asked = [point.line for point in points if point.line[1][0] != UNUSED]
    own = {(line[1][0], line[1][1]) for line in asked}
    judge = own.pop() if len(own) == 1 else ("", "other")
    variants, kinds, sizes = (
        {line[1][2] for line in asked},
        {MethodId.parse(line[0]).verdict for line in asked},
        {line[2] for line in asked} - {UNUSED},
    )
    return Shared(
        judge[0] if judge[0] == judge[1] else "",
        variants.pop() if len(variants) == 1 else "",
        VERDICT_LABELS[kinds.pop()] if len(kinds) == 1 else "",
        sizes.pop() if len(sizes) == 1 else "",
    )


def main_figure(table: pd.DataFrame, *, title_note: str = "") -> Figure:
    """Dots with intervals: one panel a data set, methods from top to bottom, a row for each judge, profile and k.

    The thick line is the interval clustered by user, the thin one the paper's independent interval.
    """
    table, notes = shown_rows(table)
    points = points_of(table)
    if any(point.line[1][0] != point.line[1][1] for point in points):
        notes = ["judge ← model that wrote the profiles", *notes]
    layout, shared = layout_of(points), shared_of(points)
    datasets = list(dict.fromkeys(point.dataset for point in points)) or [""]
    wide = PANEL_INCHES.get(len(datasets), MANY_PANELS_INCHES)
    page = panels([wide] * len(datasets), [max(layout.bottom, 2.0) * ROW_INCHES])
    ends = limits(v for p in points for v in (p.accuracy, *p.clustered, *p.independent))
    for axes, dataset in zip(page.grid[0], datasets, strict=True):
        _panel(axes, [point for point in points if point.dataset == dataset], layout, ends)
        if len(datasets) > 1:
            write_note(axes, dataset, (0, 1), (0, 20), TEXT_SIZE + 1, weight="bold")
    _names(page, layout, shared)
    parts = [
        datasets[0] if len(datasets) == 1 else "",
        f"{shared.judge} judges" if shared.judge else "",
        f"variant {shared.variant}" if shared.variant else "",
        shared.verdict.removeprefix(" · "),
        f"k = {shared.k} context pairs" if shared.k else "",
        title_note,
    ]
    return page.finish(
        "Accuracy of personalised judges",
        " · ".join(part for part in parts if part),
        _interval_entries(),
        foot="\n".join(notes),
    )


def _panel(axes: Axes, points: Sequence[Point], layout: Layout, ends: tuple[float, float]) -> None:
    set_up(axes, "x")
    set_limits(axes, "x", ends)
    axes.set_xlabel("accuracy, % of judgments", fontsize=SMALL_SIZE + 0.5, color=INK)
    set_up_rows(axes, [], [], bottom=layout.bottom)
    for top, bottom in layout.bands[::2]:
        axes.axhspan(top, bottom, color=BAND, linewidth=0, zorder=0)
    _reference_lines(axes, points)
    here = {point.line: point for point in points}
    for line, y in layout.heights.items():
        point = here.get(line)
        if point is not None:
            colour = method_mark(line[0]).colour
            draw_interval(axes, point.clustered, (y, y), colour, width=CLUSTERED_WIDTH)
            if not math.isnan(point.independent[0]):
                axes.plot(point.independent, (y, y), "|-", color=colour, linewidth=INDEPENDENT_WIDTH, markersize=5)
            if not math.isnan(point.accuracy):
                draw_point(axes, point.accuracy, y, line[0])
        missing = point is None or math.isnan(point.accuracy)
        write_beside(axes, _value(point), y, 6, color=SOFT if missing else INK)


def _reference_lines(axes: Axes, points: Sequence[Point]) -> None:
    """Chance, and what choosing the longer answer would score; labelled above the panel."""
    lines = [(CHANCE, f"chance {CHANCE:.0f}", "--")]
    longer = [p.accuracy for p in points if p.line[0] == "longer" and not math.isnan(p.accuracy)]
    lines += [(value, f"longer answer {value:.1f}", ":") for value in longer[:1]]
    # The lines may lie close together: their texts grow away from each other.
    sides: list[Align] = ["center"] if len(lines) == 1 else ["right", "left"]
    for (value, name, style), side in zip(sorted(lines), sides, strict=True):
        axes.axvline(value, color=INK, linestyle=style, linewidth=1.3, zorder=1.5)
        shift = {"left": 3, "center": 0, "right": -3}[side]
        write_note(axes, name, (value, 1), (shift, 4), coordinates=axes.get_xaxis_transform(), align=side)


def _value(point: Point | None) -> str:
    """Accuracy of a row at the right of its panel; or why it is missing."""
    if point is None:
        return "not run"
    if point.status in (NOT_APPLICABLE, NO_ANSWERS):
        return point.status
    return "no result" if math.isnan(point.accuracy) else marked(f"{point.accuracy:.1f}", point.flags.columns())


def _names(page: Panels, layout: Layout, shared: Shared) -> None:
    """Methods, and under those of several rows what distinguishes the rows, at the left of the first panel."""

    def head(method: str) -> str:
        label = method_label(method)
        return label.removesuffix(shared.verdict) if shared.verdict else label

    def row(line: Line) -> str:
        _, (judge, profile, variant), k = line
        models = dict.fromkeys((judge, profile))
        parts = [
            "" if shared.judge or judge == UNUSED else " ← ".join(models),
            "" if shared.variant or UNUSED in (judge, k) else variant,
            "" if shared.k or k == UNUSED else f"k = {k}",
        ]
        return " · ".join(part for part in parts if part)

    rows = {
        y: row(line) if line[0] in layout.heads else " · ".join(filter(None, (head(line[0]), row(line))))
        for line, y in layout.heights.items()
    }
    rows |= {y: head(method) for method, y in layout.heads.items()}
    places = sorted(rows)
    bold = [place for place, y in enumerate(places) if y in layout.heads.values()]
    set_up_rows(page.grid[0][0], places, [rows[y] for y in places], bottom=layout.bottom, bold=bold)


def _interval_entries() -> list[Line2D]:
    from matplotlib.lines import Line2D

    clustered = Line2D([], [], color=INK, alpha=0.55, linewidth=CLUSTERED_WIDTH, label="95 % interval, users resampled")
    independent = Line2D([], [], color=INK, linewidth=INDEPENDENT_WIDTH, marker="|", markersize=6)
    independent.set_label("95 % interval, judgments as independent (paper)")
    return [clustered, independent]


def main_caption(table: pd.DataFrame) -> str:
    """What the main figure shows, with numbers of users, pairs and judgments, and what the intervals are."""
    sizes, notes = [], shown_rows(table).notes
    for dataset, rows in table[table["status"] != NOT_APPLICABLE].groupby("dataset", sort=False):
        users, pairs, judgments = (_span(rows[column]) for column in ("n_users", "n_pairs", "n_judgments"))
        sizes.append(f"{dataset}: {users} users, {pairs} test pairs, {judgments} judgments a row")
    flags = [point.flags for point in points_of(table)]
    return (
        "Accuracy of each method: the share of judgments that name the answer which the user chose; ties, unparsed "
        "answers, refusals and prompts that do not fit count as not right; what was lost to provider errors does not "
        "count. "
        f"{'; '.join(sizes)}. k is the number of the user's context pairs that the profile was made from. Thick "
        "line: 95 % interval from a bootstrap that resamples users. Thin line: the paper's 95 % interval, which "
        "treats all judgments as independent. Dashed: chance. Dotted: always choosing the longer answer."
        + "".join(f" {note[0].upper()}{note[1:]}." for note in notes)
        + "".join(f" {note[0].upper()}{note[1:]}" for note in exempt_note(table["status"]))
        + "".join(f" {note}" for note in notes_of(name for name in FLAG_NAMES if any(getattr(f, name) for f in flags)))
    )


def _span(counts: pd.Series[int]) -> str:
    low, high = int(counts.min()), int(counts.max())
    return f"{low:,}" if low == high else f"{low:,}-{high:,}"


def build(table_main: Path, *, pools: Pools, title_note: str) -> Drawing:
    """Draw the figure from its published table alone."""
    table = without_folds(read_main_table(table_main), pools)
    caption = " ".join([main_caption(table), *pool_notes(pools)])
    return Drawing(main_figure(table, title_note=title_note), caption)


RESULT = FigureResult(
    name="main",
    order=10,
    caption=(
        "Accuracy of each method with its 95 % interval (thick: resampling users; thin: judgments taken as "
        "independent). Dashed: chance. Dotted: always choosing the longer answer."
    ),
    mem_mb=2000,
    build=build,
)
