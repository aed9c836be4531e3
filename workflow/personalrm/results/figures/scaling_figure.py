"""Accuracy against context pairs, or against labels used, a panel for each data set and judge; from the table alone."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from personalrm.core.conditions import MethodId
from personalrm.results.figure_style import (
    CHANCE,
    INK,
    SMALL_SIZE,
    SOFT,
    TEXT_SIZE,
    draw_point,
    limits,
    mark_line,
    panel_rows,
    set_limits,
    set_up,
    write_head,
    write_note,
)
from personalrm.results.labels import ALL, NOT_APPLICABLE, NOT_RUN, method_label, method_mark, method_rank
from personalrm.results.lazy import Axes, Figure, pd
from personalrm.results.marks import FLAG_NAMES, mark, mark_notes, marked
from personalrm.results.method_panels import (
    MOST_METHODS,
    Panel,
    alone_together,
    drawn_panels,
    leading,
    others_foot,
    others_note,
    panel_heads,
)
from personalrm.results.spec import Drawing, FigureResult
from personalrm.results.table_formats import EMPTY, table_rows
from personalrm.results.tables.scaling_table import (
    FIRST_K,
    NO_PAIRS,
    VOTES_DROPPED,
    WITHOUT_PAIRS,
    drops_votes,
    read_scaling_table,
    shown_slope,
    shown_smallest_k,
)

if TYPE_CHECKING:
    from matplotlib.transforms import Transform

PANEL_INCHES, PANEL_HEIGHT = 4.4, 2.6
AXIS_POINTS, LINE_POINTS = 56.0, 14.4
"""From a panel to the first line of numbers under it, and from line to line."""
LEAST_TICK_INCHES = 0.2
BAND_ALPHA, EDGE_ALPHA = 0.13, 0.45
DEFAULT_BAND = "#bbbbbb"
DODGE_POINTS = 14.0
"""Between methods in a panel where each has one k: their intervals would hide each other."""
NAME_START, NUMBERS_START, NUMBERS_WIDTH = 0.04, 0.39, 0.41
"""Beneath a panel: where names begin, where numbers begin behind short ones, and their first column, in widths of the
panel."""
NAME_LETTER_INCHES = 0.07
"""Width of a letter of a name, with some room."""

Row = Mapping[str, Any]
Axis = Literal["context_pairs", "labels_used"]
"""Column of the table that accuracy is drawn against."""


class Words(NamedTuple):
    """Words of a figure about its axis: under a panel, above the numbers, and at both ends of the caption."""

    label: str
    headings: tuple[str, str, str]
    what: str
    read: str


WORDS: dict[Axis, Words] = {
    "context_pairs": Words(
        label="context pairs",
        headings=("", "points per pair [95 % CI]", "first k better than Default"),
        what="Accuracy of judges with their own profiles against the number of the user's context pairs that the "
        'profile was made from. A k, and "all", stand at the mean number of context pairs of the users, who have k or '
        "all of theirs.",
        read="Points per pair: slope of accuracy by weighted least squares, users resampled. First k better than "
        f"Default: {FIRST_K}; none: the numbers of no k allow that to be said.",
    ),
    "labels_used": Words(
        label="labels used",
        headings=("", "labels used, first to last k", "of them validation pairs"),
        what="Accuracy of judges with their own profiles against the number of the user's labels that the profile "
        "rests on: its context pairs and, for methods that choose a winner by them, all validation pairs, at every k, "
        "1 included. From left to right the points of a line are its k; each stands at the mean over the users, and "
        "the same k stands further right for methods that choose.",
        read="Default uses no labels. Beneath: labels used at the smallest and the largest k, and how many of them are "
        "validation pairs.",
    ),
}


def panels_of(table: pd.DataFrame) -> tuple[dict[Panel, dict[str, list[Row]]], list[str]]:
    """Rows by panel and base of the method, in the order of the table, and the methods that are left out because there
    are too many. Methods that are judged on other pairs than the test pairs have one k, and are left out, too."""
    rows = [(Panel.of(row), method.name, row) for row in table_rows(table) if (method := _method(row)).pairs == "test"]
    # Default has a line of its own.
    kept, others = leading(((name, row["accuracy"]) for _, name, row in rows), MOST_METHODS - 1)
    rows = [row for row in rows if row[1] in kept]
    found: dict[Panel, dict[str, list[Row]]] = {}
    for place, panels in drawn_panels(panel for panel, _, _ in rows).items():
        lines = found.setdefault(place, {})
        for panel, base, row in rows:
            if panel in panels:
                lines.setdefault(base, []).append(row)
    return found, others


def _method(row: Row) -> MethodId:
    return MethodId.parse(str(row["method"]))


def inapplicable(found: Mapping[Panel, Mapping[str, Sequence[Row]]]) -> list[Panel]:
    """Panels whose methods apply to no user: they are not drawn."""
    return [panel for panel, lines in found.items() if all(map(_is_nobody, lines.values()))]


def _is_nobody(rows: Sequence[Row]) -> bool:
    """Whether a method applies to no user at any k: it has no line."""
    return all(row["status"] == NOT_APPLICABLE for row in rows)


def scaling_figure(table: pd.DataFrame, *, title_note: str = "", axis: Axis = "context_pairs") -> Figure:
    """Lines with bands over context pairs or labels used; rows of panels are data sets, columns judges.

    Beneath each panel: slopes over context pairs, or how many labels each line spans. The two axes are two figures, as
    methods that search use more labels at the same k, and no second axis would be right for all of them.

    `axis`: column of the table that accuracy is drawn against.
    """
    every, others = panels_of(table)
    left_out = inapplicable(every)
    drawn = {
        panel: {base: rows for base, rows in lines.items() if not _is_nobody(rows)}
        for panel, lines in every.items()
        if panel not in left_out
    }
    judges = list(dict.fromkeys(panel.judge for panel in drawn)) or [""]
    rows = list(dict.fromkeys((panel.dataset, *panel[2:]) for panel in drawn)) or [("", "", "")]
    places = [[Panel(row[0], judge, *row[1:]) for judge in judges] for row in rows]
    # A judge that has such a panel of any data set has one, or a gap, of each.
    expected = {place[1:] for place in drawn} or {("", "", "")}
    groups = [[place for place in group if place not in left_out and place[1:] in expected] for group in places]
    page, filled = panel_rows(alone_together(groups), lambda _: PANEL_INCHES, lambda _: PANEL_HEIGHT, gap=0.12)
    shared, heads = panel_heads(place for place, _, _ in filled)
    names = ("accuracy", "accuracy_low", "accuracy_high", "default_accuracy", "default_low", "default_high")
    ends = limits(float(value) for name in names for value in table[name])
    for place, axes, is_first in filled:
        _panel(axes, drawn.get(place, {}), ends, NOT_APPLICABLE if left_out and not drawn else NOT_RUN, axis)
        write_head(axes, heads[place], PANEL_INCHES)
        axes.set_ylabel("accuracy, % of judgments" * is_first, fontsize=SMALL_SIZE + 0.5, color=INK)
    ks = {str(row["k"]) for lines in drawn.values() for mine in lines.values() for row in mine}
    alone = f"One k was run ({min(ks)}): points side by side, and no slope." if len(ks) == 1 else ""
    note = "\n".join([" · ".join(filter(None, (shared, title_note))), alone, others_foot(others)])
    return page.finish(f"Accuracy against the number of {WORDS[axis].label}", note)


def _panel(axes: Axes, lines: Mapping[str, Sequence[Row]], ends: tuple[float, float], empty: str, axis: Axis) -> None:
    """Lines, ticks and numbers of a panel; `empty` is shown in one without lines."""
    set_up(axes, "y", spines=("left", "bottom"))
    set_limits(axes, "y", ends)
    if not lines:
        axes.set_xticks([])
        write_note(axes, empty, (0.5, 0.5), (0, 0), TEXT_SIZE, color=SOFT, align="center")
        return
    _ticks(axes, [row for rows in lines.values() for row in rows], axis)
    axes.set_xlabel(WORDS[axis].label, fontsize=SMALL_SIZE + 0.5, color=INK, labelpad=1)
    axes.axhline(CHANCE, color=SOFT, linestyle=":", linewidth=1)
    write_note(axes, "chance", (1, CHANCE), (3, -3), coordinates=axes.get_yaxis_transform(), color=SOFT)
    names = _names(lines)
    columns = _columns(names.values())
    _entry(axes, 0, WORDS[axis].headings, columns)
    # What no model judges has no Default.
    every = [row for rows in lines.values() for row in rows]
    _default(axes, next((row for row in every if not math.isnan(row["default_accuracy"])), every[0]), columns)
    alone = all(len(rows) == 1 for rows in lines.values())
    for line, base in enumerate(sorted(lines, key=method_rank)):
        shift = DODGE_POINTS * (line - (len(lines) - 1) / 2) if alone else 0.0
        _line(axes, lines[base], base, shift, axis)
        _entry(axes, line + 2, (names[base], *_texts(lines[base], axis)), columns, base)


def _columns(names: Iterable[str]) -> tuple[float, float, float]:
    """Where names and both columns of numbers begin, in widths of the panel: the numbers behind the longest name."""
    longest = max(map(len, names)) * NAME_LETTER_INCHES / PANEL_INCHES
    numbers = max(NUMBERS_START, NAME_START + longest)
    return NAME_START, numbers, numbers + NUMBERS_WIDTH


def _names(bases: Iterable[str]) -> dict[str, str]:
    """Short names of methods, as far as they stay apart."""
    full = {
        base: method_label(base).removeprefix("SynthesizeMe: ").replace("demonstrations", "demos") for base in bases
    }
    short = {base: name.partition(" (")[0] for base, name in full.items()}
    return {base: name if list(short.values()).count(name) == 1 else full[base] for base, name in short.items()}


def _ticks(axes: Axes, rows: Sequence[Row], axis: Axis) -> None:
    """A tick at the context pairs of each k; "all" on a second line, so that it cannot hide a number. Labels differ by
    method at the same k, and have round ticks."""
    known = [(row["k"] == ALL, row[axis]) for row in rows if not math.isnan(row[axis])]
    numbers = sorted({value for every, value in known if not every})
    everything = [value for every, value in known if every]
    places = numbers + ([sum(everything) / len(everything)] if everything else [])
    ends = places if axis == "context_pairs" else [value for _, value in known]
    low, high = min(ends, default=0.0), max(ends, default=1.0)
    margin = 0.06 * (high - low) or 1.0
    axes.set_xlim(low - margin, high + margin)
    if axis != "context_pairs":
        from matplotlib.ticker import MaxNLocator

        ticks = MaxNLocator(8, integer=True).tick_values(low - margin, high + margin)
        axes.set_xticks([tick for tick in ticks if low - margin <= tick <= high + margin])
        return
    step = LEAST_TICK_INCHES * (high - low + 2 * margin) / PANEL_INCHES
    labels: list[str] = []
    last = -math.inf
    for number in numbers:
        shown = number - last >= step
        labels.append(f"{number:.3g}" if shown else "")
        last = number if shown else last
    labels += [f"\nall ({places[-1]:.1f})"] if everything else []
    axes.set_xticks(places, labels)


def _default(axes: Axes, row: Row, columns: Sequence[float]) -> None:
    """The unpersonalised judge as a level line with its band, and its line of the numbers."""
    from matplotlib.lines import Line2D

    accuracy = row["default_accuracy"]
    low, high = row["default_low"], row["default_high"]
    if not math.isnan(low):
        axes.axhspan(low, high, color=DEFAULT_BAND, alpha=0.35, linewidth=0, zorder=0.5)
    if not math.isnan(accuracy):
        axes.axhline(accuracy, color=method_mark("default").colour, linestyle="--", linewidth=1.3, zorder=1.5)
    level = "no result" if math.isnan(accuracy) else f"{accuracy:.1f} %"
    _entry(axes, 1, (f"Default: {marked(level, row, 'default_')}", "", ""), columns)
    dashes = Line2D((-0.08, 0.02), (0, 0), color=method_mark("default").colour, linestyle="--", linewidth=1.3)
    dashes.set(transform=_below(axes, 1), clip_on=False)
    axes.add_line(dashes)


def _line(axes: Axes, rows: Sequence[Row], base: str, shift: float, axis: Axis) -> None:
    """Band, line and markers of a method; hollow where an outage spoils a point. `shift`: points to the right."""
    from matplotlib.transforms import ScaledTranslation

    colour = method_mark(base).colour
    moved = axes.transData + ScaledTranslation(shift / 72, 0, axes.figure.dpi_scale_trans)
    points = sorted((row for row in rows if not math.isnan(row["accuracy"])), key=lambda row: row[axis])
    x, y, low, high = ([row[name] for row in points] for name in (axis, "accuracy", "accuracy_low", "accuracy_high"))
    if len(points) == 1:
        axes.plot((x[0], x[0]), (low[0], high[0]), color=colour, linewidth=2.4, alpha=EDGE_ALPHA, transform=moved)
    else:
        axes.fill_between(x, low, high, color=colour, alpha=BAND_ALPHA, linewidth=0)
        for edge in (low, high):
            axes.plot(x, edge, color=colour, alpha=EDGE_ALPHA, linewidth=0.7)
    axes.plot(x, y, color=colour, linewidth=1.8)
    for row, across, up in zip(points, x, y, strict=True):
        draw_point(axes, across, up, base, hollow=bool(row["outage"]), size=7, transform=moved)


def _texts(rows: Sequence[Row], axis: Axis) -> tuple[str, str]:
    """A method's slope and smallest k, or its labels, and what is missing or spoilt."""
    if axis == "context_pairs":
        second, third = shown_slope(rows[0]).replace("-", "−"), shown_smallest_k(rows[0])
        if second == EMPTY:
            second = "no slope (one k)" if len(rows) == 1 else "no slope"
    else:
        second, third = _labels(rows)
    parts = [third]
    missing = [str(row["k"]) for row in rows if math.isnan(row["accuracy"])]
    parts += [f"no result: {', '.join(missing)}"] if missing else []
    sign = mark({name: any(row[name] for row in rows) for name in FLAG_NAMES})
    parts += [sign] if sign else []
    return second, " · ".join(parts)


def _labels(rows: Sequence[Row]) -> tuple[str, str]:
    """From how many to how many labels a line goes, and how many of them are validation pairs (means over users)."""
    drawn = [row for row in rows if not math.isnan(row["accuracy"])]
    if not drawn:
        return "no result", EMPTY
    used = [row["labels_used"] for row in drawn]
    choosing = [f"{row['labels_used'] - row['context_pairs']:.3g}" for row in drawn]
    ends = dict.fromkeys(f"{value:.3g}" for value in (min(used), max(used)))
    # Users without a verdict at some k make the means differ.
    return "–".join(ends), "–".join(dict.fromkeys((min(choosing, key=float), max(choosing, key=float))))


def _below(axes: Axes, line: int) -> Transform:
    """Widths of the panel across, and the height of a line of the numbers beneath it."""
    from matplotlib.transforms import ScaledTranslation

    down = -(AXIS_POINTS + line * LINE_POINTS) / 72
    return axes.transAxes + ScaledTranslation(0, down, axes.figure.dpi_scale_trans)


def _entry(axes: Axes, line: int, texts: tuple[str, str, str], columns: Sequence[float], method: str = "") -> None:
    """One line of the numbers beneath a panel, behind the method's mark; without a method it is a heading."""
    down = -(AXIS_POINTS + line * LINE_POINTS)
    if method:
        dot = mark_line(method, size=7)
        dot.set_data([-0.03], [0])
        dot.set(transform=_below(axes, line), clip_on=False)
        axes.add_line(dot)
    for across, text in zip(columns, texts, strict=True):
        write_note(axes, text, (across, 0), (0, down - 3), color=SOFT if not line else INK)


def scaling_caption(table: pd.DataFrame, axis: Axis = "context_pairs") -> str:
    """What the figure shows, with numbers of users and what the bands are."""
    sizes = []
    for dataset, rows in table[table["status"] != NOT_APPLICABLE].groupby("dataset", sort=False):
        low, high = int(rows["n_users"].min()), int(rows["n_users"].max())
        draws = int(rows["n_draws"].max())
        sizes.append(
            f"{dataset}: {low:,}{'' if low == high else f'-{high:,}'} users, up to {draws} draw{'s' * (draws > 1)} of "
            "context pairs. "
        )
    found, others = panels_of(table)
    heads = panel_heads(found)[1]
    left_out = [heads[panel] for panel in inapplicable(found)]
    left_out += [
        f"{method_label(base)} ({heads[panel]})"
        for panel, lines in found.items()
        for base, rows in lines.items()
        if _is_nobody(rows) and panel not in inapplicable(found)
    ]
    return (
        f"{WORDS[axis].what} Bands: 95 % intervals with users as clusters. Dashed: the unpersonalised judge, with its "
        "band. "
        + "".join(sizes)
        + WORDS[axis].read
        + (f" {WITHOUT_PAIRS}" if bool((table["k"] == NO_PAIRS).any()) else "")
        + (f" {VOTES_DROPPED}" if drops_votes(table) else "")
        + (f" Left out, as {NOT_APPLICABLE}: {'; '.join(left_out)}." if left_out else "")
        + others_note(others, "scaling")
        + (" Hollow points: lost to provider errors." if bool(table["outage"].any()) else "")
        + "".join(f" {note}" for note in mark_notes(table, "", "default_"))
    )


def drawing(table: pd.DataFrame, axis: Axis, title_note: str) -> Drawing:
    """The figure over one axis and its caption."""
    found, _ = panels_of(table)
    if len(inapplicable(found)) == len(found):
        return Drawing(None, "no method of the run learns from context pairs, or none applies to a user.")
    return Drawing(scaling_figure(table, title_note=title_note, axis=axis), scaling_caption(table, axis))


def build(table_scaling: Path, *, title_note: str) -> Drawing:
    """Draw the figure from its published table alone."""
    return drawing(read_scaling_table(table_scaling), "context_pairs", title_note)


RESULT = FigureResult(
    name="scaling",
    order=30,
    caption=(
        "Accuracy against the number of context pairs, one panel a data set and judge. Bands: 95 % intervals, users "
        "resampled. Dashed: the unpersonalised judge."
    ),
    build=build,
)
