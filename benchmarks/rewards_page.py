"""The csv file, figure and tables of `rewards.py`, all from its rows alone."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pages import write_folder
from reward_users import CONTEXT, HELD_OUT
from rewards import BT, HYPER, KS, MARGINS, STACKED, SWITCHED_OFF, Row

from personalrm.results.figure_style import (
    INK,
    SMALL_SIZE,
    SOFT,
    TEXT_SIZE,
    draw_interval,
    draw_point,
    method_entries,
    panels,
    set_up,
    set_up_rows,
    write_note,
)
from personalrm.results.labels import method_mark

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

OVER = f"over {BT}"
PERSONAL = tuple(name for name in HYPER if name != BT)
SHIFTS = tuple(0.13 * (place - (len(PERSONAL) - 1) / 2) for place in range(len(PERSONAL)))
CONTROLS = {"own votes": "curve", "another user's votes": "foreign", "no own taste": "null"}
MOST_LOST = 2.0
"""Points that a method may lose where no user has a taste of their own."""


class Rows:
    """The rows, found by what they are of."""

    def __init__(self, rows: Sequence[Row]) -> None:
        self.rows = list(rows)
        self._found = {row[:5]: row for row in self.rows}

    def get(
        self, condition: str, method: str, measure: str = "accuracy", k: int = CONTEXT, *, stacked: bool = False
    ) -> Row:
        """One row. Raises KeyError where there is none."""
        control = CONTROLS.get(condition, "off" if condition in SWITCHED_OFF else "flipped")
        control = "stack" if stacked else control
        return self._found[control, condition, method, k, measure]


def write_page(rows: Sequence[Row], folder: Path, *, about: Mapping[str, Any]) -> None:
    """Write csv, figure and tables (`pages.write_folder`)."""
    found = Rows(rows)
    write_folder(folder, "rewards", Row._fields, rows, rewards_figure(found, about), page_lines(found, about))


def users_text(about: Mapping[str, Any]) -> str:
    """Who took part."""
    train, validation, test = about["users"]
    return (
        f"{train} train, {validation} validation and {test} test users; {about['base']}; users' seed {about['seed']}, "
        f"{about['seeds']} training seeds"
    )


def page_lines(rows: Rows, about: Mapping[str, Any]) -> Iterator[str]:
    """What was expected and found, then the tables."""
    yield from textwrap.wrap(f"{users_text(about)}; {CONTEXT} votes to learn from, {HELD_OUT} to predict.", 98)
    yield from ("", "## What holds", "")
    for holds, text in checks(rows):
        yield from textwrap.wrap(f"- **{'holds' if holds else 'missed'}** {text}", 98, subsequent_indent="  ")
    yield from ("", "## Margins over frozen Bradley-Terry", "", *_margins(rows))
    yield from ("", "## Accuracy by number of votes", "", *_curve_table(rows))
    yield from ("", "## Controls", "", *_control_table(rows))
    yield from ("", "## Stacked with frozen Bradley-Terry", "", *_stack_table(rows))
    yield from ("", "## Methods that cannot adapt", "", *_off_table(rows))


def checks(rows: Rows) -> Iterator[tuple[bool, str]]:
    """Whether each expectation holds, with the numbers."""
    for name, margin in MARGINS.items():
        gain = rows.get("own votes", name, OVER)
        yield gain.estimate >= margin, f"{name}: at least {margin:+g} points over {BT}: {number(gain, '+')}."
    for name in PERSONAL:
        foreign = rows.get("another user's votes", name, OVER)
        yield foreign.low <= 0, f"{name}: another user's votes gain nothing: {number(foreign, '+')}."
    for name in PERSONAL:
        null = rows.get("no own taste", name, OVER)
        text = f"{name}: without own tastes at most {MOST_LOST:g} points are lost, and nothing is gained"
        yield null.estimate >= -MOST_LOST and null.low <= 0, f"{text}: {number(null, '+')}."
    for name in STACKED:
        null = rows.get("no own taste", name, OVER, stacked=True)
        yield null.estimate >= -MOST_LOST, f"{name}, stacked: the same: {number(null, '+')}."
    for condition, (name, _) in SWITCHED_OFF.items():
        changed = rows.get(condition, name, "verdicts changed").estimate
        yield changed == 0, f"{name}, {condition}: another user's votes change no verdict: {changed:g} % change."
    apart = max(rows.get("test labels exchanged", name, "largest difference").estimate for name in HYPER)
    yield apart < 1e-4, f"Exchanged test labels change the sign of log-odds alone: largest difference {apart:g}."


def number(row: Row, sign: str = "") -> str:
    """An estimate with its interval."""
    if math.isnan(row.low):
        return f"{row.estimate:{sign}.1f}"
    return f"{row.estimate + 0.0:{sign}.1f} [{row.low + 0.0:{sign}.1f}, {row.high + 0.0:{sign}.1f}]"


def _spread(row: Row) -> str:
    return "" if math.isnan(row.sd_seeds) else f"{row.sd_seeds:.1f}"


def _table(heads: Sequence[str], lines: Sequence[Sequence[object]]) -> Iterator[str]:
    """A Markdown table without padding."""
    for cells in (heads, ["---"] * len(heads), *lines):
        yield f"| {' | '.join(map(str, cells))} |"


def _margins(rows: Rows) -> Iterator[str]:
    lines = [("true weights", number(rows.get("own votes", "true weights")), "", "", "")]
    lines.append((BT, number(rows.get("own votes", BT)), "", "", ""))
    for name in PERSONAL:
        own, gain = rows.get("own votes", name), rows.get("own votes", name, OVER)
        margin = f"{MARGINS[name]:+g}" if name in MARGINS else "none"
        lines.append((name, number(own), _spread(own), margin, number(gain, "+")))
    return _table(("method", "accuracy", "SD of seeds", "margin before", f"over {BT}"), lines)


def _curve_table(rows: Rows) -> Iterator[str]:
    """Estimates alone: their intervals are in the figure."""
    lines = [(name, *(f"{rows.get('own votes', name, k=k).estimate:.1f}" for k in KS)) for name in PERSONAL]
    return _table(("method", *(f"k = {k}" for k in KS)), lines)


def _control_table(rows: Rows) -> Iterator[str]:
    lines = [(name, *(number(rows.get(condition, name, OVER), "+") for condition in CONTROLS)) for name in PERSONAL]
    return _table((f"over {BT}", *CONTROLS), lines)


def _stack_table(rows: Rows) -> Iterator[str]:
    worlds = [one for one in CONTROLS if one != "another user's votes"]
    lines = [
        (name, *(number(rows.get(world, name, OVER, stacked=both), "+") for world in worlds for both in (False, True)))
        for name in STACKED
    ]
    heads = (how for world in worlds for how in (world, "stacked"))
    return _table((f"over {BT}", *heads), lines)


def _off_table(rows: Rows) -> Iterator[str]:
    lines = []
    for condition, (name, _) in SWITCHED_OFF.items():
        found = [rows.get(condition, name, measure) for measure in ("accuracy", OVER, "verdicts changed")]
        lines.append((name, condition, number(found[0]), number(found[1], "+"), f"{found[2].estimate:g}"))
    return _table(("method", "setting", "accuracy", f"over {BT}", "% changed by another user's votes"), lines)


def rewards_figure(rows: Rows, about: Mapping[str, Any]) -> Figure:
    """Curves over votes, and differences to `frozen_bt` in each control."""
    page = panels((3.6, 3.8), (0.85 * len(CONTROLS) + 0.6,), gap=0.14)
    _curve(page.grid[0][0], rows)
    _dots(page.grid[0][1], rows)
    note = f"{users_text(about)}\nPlanted tastes; lines: 95 % intervals, users as clusters"
    return page.finish("Reward models on planted users", note, method_entries(HYPER))


def _curve(axes: Axes, rows: Rows) -> None:
    """Accuracy by votes, with that of `frozen_bt` and of the true weights."""
    set_up(axes, "y", spines=("left", "bottom"))
    axes.set_xlim(0.3, CONTEXT + 0.8)
    axes.set_xticks(KS)
    axes.set_xlabel("votes to adapt with", fontsize=SMALL_SIZE, color=INK)
    axes.set_ylabel("held-out votes predicted, %", fontsize=SMALL_SIZE, color=INK)
    best, control = (rows.get("own votes", name).estimate for name in ("true weights", BT))
    axes.axhline(best, color=SOFT, linestyle=":", linewidth=1)
    axes.axhline(control, color=method_mark(BT).colour, linewidth=1.1)
    axes.set_ylim(45, 5 * math.ceil((best + 3) / 5))
    write_note(axes, "true weights", (CONTEXT + 0.7, best), (0, 3), coordinates="data", align="right", color=SOFT)
    for shift, method in zip(SHIFTS, PERSONAL, strict=True):
        colour, found = method_mark(method).colour, [rows.get("own votes", method, k=k) for k in KS]
        across = [k + shift for k in KS]
        axes.plot(across, [row.estimate for row in found], color=colour, linewidth=1.1, alpha=0.6)
        for x, row in zip(across, found, strict=True):
            draw_interval(axes, (x, x), (row.low, row.high), colour, alpha=0.4)
            draw_point(axes, x, row.estimate, method, size=6)
    write_note(axes, "Test users by number of votes", (0, 1), (0, 8), TEXT_SIZE, weight="bold")


def _dots(axes: Axes, rows: Rows) -> None:
    """Differences to `frozen_bt`; a dash where a margin was set before."""
    set_up(axes, "x")
    set_up_rows(axes, [place + 0.5 for place in range(len(CONTROLS))], list(CONTROLS), bottom=float(len(CONTROLS)))
    axes.axvline(0, color=SOFT, linewidth=1)
    axes.set_xlabel(f"points over {BT}, {CONTEXT} votes", fontsize=SMALL_SIZE, color=INK)
    for place, condition in enumerate(CONTROLS):
        for shift, method in zip(SHIFTS, PERSONAL, strict=True):
            row, colour, y = rows.get(condition, method, OVER), method_mark(method).colour, place + 0.5 + shift
            draw_interval(axes, (row.low, row.high), (y, y), colour)
            draw_point(axes, row.estimate, y, method, size=6)
            if condition == "own votes" and method in MARGINS:
                axes.plot([MARGINS[method]] * 2, [y - 0.055, y + 0.055], color=INK, linewidth=1.6, zorder=4)
    write_note(axes, "Controls (short bars: margins set before)", (0, 1), (0, 8), TEXT_SIZE, weight="bold")
