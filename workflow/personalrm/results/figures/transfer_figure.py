"""The figure of transfer: heat maps of profile model by judge model, accuracy, and the difference to the own profile.

It is drawn from the table alone. Where each map would hold one number, the numbers are in a table.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from personalrm.results.figure_style import (
    SOFT,
    TEXT_SIZE,
    Color,
    columns_of,
    draw_point,
    panels,
    set_up,
    set_up_rows,
    write_note,
)
from personalrm.results.heat_map import CELL_HEIGHT, CELL_WIDTH, draw_cell, draw_frame, wrapped
from personalrm.results.labels import NOT_APPLICABLE, NOT_RUN, OK, method_label
from personalrm.results.lazy import Figure, pd
from personalrm.results.marks import mark_notes
from personalrm.results.spec import Drawing, FigureResult
from personalrm.results.table_formats import table_rows
from personalrm.results.tables.comparison_text import shown_accuracy
from personalrm.results.tables.transfer_table import OWN, read_transfer_table, shown_transfer

ROW_INCHES = 0.26
"""Height of a row of the table."""
MISSING, OWN_FACE = "#d4d4d4", "#ffffff"
LEAST_SPAN, LEAST_DIFFERENCE = 10.0, 5.0
"""Points that the colours span at least, so that noise does not look like a pattern."""
TITLE = "Profiles of one model shown to another judge"
COLUMNS: dict[str, float] = {"profile by": 0.25, "judge": 2.0, "accuracy, %": 3.75, "difference to own, points": 5.35}
"""Columns of the table, and where each begins, in inches."""

Row = Mapping[str, Any]
Colour = Callable[[Row], Color]
Panel = tuple[str, str, str, str]
"""Data set, variant, method, k."""


def panels_of(table: pd.DataFrame) -> dict[Panel, dict[tuple[str, str], Row]]:
    """Rows by panel, then by profile model and judge model, in the order of the table."""
    panels: dict[Panel, dict[tuple[str, str], Row]] = {}
    for row in table_rows(table):
        panel = row["dataset"], row["variant"], row["method"], row["k"]
        panels.setdefault(panel, {})[row["profile_model"], row["judge_model"]] = row
    return panels


def inapplicable(panels: Mapping[Panel, Mapping[tuple[str, str], Row]]) -> list[Panel]:
    """Panels whose method applies to no user, in any cell that was run: they are not drawn."""
    held = {panel: {row["cell"] for row in cells.values()} for panel, cells in panels.items()}
    return [panel for panel, states in held.items() if NOT_APPLICABLE in states <= {NOT_APPLICABLE, NOT_RUN}]


def transfer_figure(table: pd.DataFrame, *, title_note: str = "") -> Figure:
    """Two maps, side by side or stacked, for each data set, method, variant and k: rows are profile models, columns
    judges.
    """
    every = panels_of(table)
    left_out = inapplicable(every)
    found = {panel: cells for panel, cells in every.items() if panel not in left_out}
    others = [sum(p != j and row["cell"] != NOT_RUN for (p, j), row in cells.items()) for cells in found.values()]
    if max(others, default=0) <= 1:
        return _as_table(found, title_note)
    judges, profiles = _models(table, "judge_model"), _models(table, "profile_model")
    wide, tall = len(judges) * CELL_WIDTH, len(profiles) * CELL_HEIGHT
    columns = min(2, columns_of(wide))
    page = panels([wide] * columns, [tall] * (2 * len(found) // columns))
    every_map = [axes for row in page.grid for axes in row]
    pairs = zip(every_map[::2], every_map[1::2], strict=True)
    titles = ("accuracy, % (darker: higher)", shown_accuracy), ("difference to own profile, points", shown_transfer)
    colours = _colours(table)
    for number, ((panel, cells), across) in enumerate(zip(found.items(), pairs, strict=True)):
        for axes, colour, (title, text) in zip(across, colours, titles, strict=True):
            named = axes is across[0] or columns == 1
            draw_frame(axes, judges, profiles if named else (), len(profiles))
            for (profile, judge), row in cells.items():
                place = judges.index(judge), profiles.index(profile)
                draw_cell(axes, place, colour(row), text(row), framed=colour(row) == OWN_FACE)
            lines = max(wrapped(judge).count("\n") + 1 for judge in judges)
            write_note(axes, title, (0, 1), (0, 10 + 11 * lines), color=SOFT)
            if axes is across[0]:
                # A title may be wider than its map.
                head = axes.set_title(_head(panel, list(found)), loc="left", fontsize=TEXT_SIZE, pad=26 + 11 * lines)
                head.set(parse_math=False, weight="bold")
                if number == 0:
                    write_note(axes, "profile by ↓   judge →", (0, 1), (-10, 6), color=SOFT, align="right")
    return page.finish(TITLE, title_note)


def _as_table(found: Mapping[Panel, Mapping[tuple[str, str], Row]], note: str) -> Figure:
    """All numbers as rows under the heading of their panel: one pair of models makes no map."""
    rows = sum(len(cells) + 1 for cells in found.values())
    page = panels([COLUMNS["difference to own, points"] + 1.9], [ROW_INCHES * max(rows, 0.1)])
    axes = page.grid[0][0]
    set_up(axes, spines=())
    axes.set_xticks([])
    set_up_rows(axes, [], [], bottom=rows)
    axes.set_xlim(0, page.sizes[0][0])
    for head, place in COLUMNS.items() if rows else ():
        write_note(axes, head, (place, 0), (0, 6), coordinates="data", color=SOFT)
    y, x = 0.5, COLUMNS["profile by"]
    for panel, cells in found.items():
        axes.axhline(y - 0.5, color=SOFT, linewidth=0.7)
        draw_point(axes, 0.1, y, panel[2], size=7)
        write_note(axes, _head(panel, list(found)), (x, y), (0, -3.3), coordinates="data", weight="bold")
        for line, ((profile, judge), row) in enumerate(cells.items(), start=1):
            texts = (profile, judge, *(shown(row).replace("-", "−") for shown in (shown_accuracy, shown_transfer)))
            for text, place in zip(texts, COLUMNS.values(), strict=True):
                write_note(axes, text, (place, y + line), (0, -3.3), coordinates="data")
        y += len(cells) + 1
    return page.finish(TITLE, note)


def _models(table: pd.DataFrame, column: str) -> list[str]:
    """Models in the order in which the table lists the judges, then others."""
    mine = set(table[column])
    return [str(model) for model in dict.fromkeys([*table["judge_model"], *table["profile_model"]]) if model in mine]


def _head(panel: Panel, panels: Sequence[Panel]) -> str:
    dataset, variant, method, k = panel
    parts = [dataset, method_label(method), f"k = {k}"]
    if len({other[1] for other in panels}) > 1:
        parts.append(variant)
    return " · ".join(parts)


def _colours(table: pd.DataFrame) -> tuple[Colour, Colour]:
    """Colours of accuracies and of differences; grey where there is none.

    Accuracies: pale to dark blue over all of the figure. Differences: purple below the own profile, orange above it,
    white at none.
    """
    from matplotlib import colormaps
    from matplotlib.colors import Normalize

    accuracies = table.loc[table["cell"] == OK, "accuracy"]
    low, high = (accuracies.min(), accuracies.max()) if len(accuracies) else (0.0, 100.0)
    room = max(0.0, LEAST_SPAN - (high - low)) / 2
    scale = Normalize(low - room, high + room)
    reach = float(max([LEAST_DIFFERENCE, *table.loc[table["status"] == OK, "difference"].abs()]))

    def accuracy(row: Row) -> Color:
        return colormaps["Blues"](0.08 + 0.8 * float(scale(row["accuracy"]))) if row["cell"] == OK else MISSING

    def difference(row: Row) -> Color:
        if row["status"] == OK:
            return colormaps["PuOr_r"](0.5 + 0.4 * float(row["difference"]) / reach)
        return OWN_FACE if row["cell"] == OK and row["status"] == OWN else MISSING

    return accuracy, difference


def transfer_caption(table: pd.DataFrame) -> str:
    """What the figure shows, with numbers of users and what the intervals are."""
    run, panels = table[table["cell"] == OK], panels_of(table)
    left_out = [_head(panel, list(panels)) for panel in inapplicable(panels)]
    sizes = []
    for dataset, rows in run.groupby("dataset", sort=False):
        low, high = int(rows["cell_users"].min()), int(rows["cell_users"].max())
        sizes.append(f"{dataset}: {low:,}{'' if low == high else f'-{high:,}'} users. ")
    return (
        "Judges (columns) shown the profiles that a model (rows) learned. Left: accuracy, darker is higher. Right: "
        "difference to the same judge with its own profiles on the same judgments, in points; orange above, purple "
        "below, white none. In brackets: 95 % intervals from a bootstrap that resamples users. "
        + "".join(sizes)
        + "Grey: no number, and why. own: the judge's own profile."
        + (f" Left out, as {NOT_APPLICABLE}: {'; '.join(left_out)}." if left_out else "")
        + "".join(f" {note}" for note in mark_notes(table, "cell_", ""))
    )


def build(table_transfer: Path, *, title_note: str) -> Drawing:
    """Draw the figure from its published table alone."""
    table = read_transfer_table(table_transfer)
    found = panels_of(table)
    if len(inapplicable(found)) == len(found):
        return Drawing(None, f"no transfer was run, or no method of it applies ({NOT_APPLICABLE}).")
    return Drawing(transfer_figure(table, title_note=title_note), transfer_caption(table))


RESULT = FigureResult(
    name="transfer",
    order=40,
    caption=(
        "Profile model by judge model: accuracy (darker: higher) and the difference to the judge's own profile, with "
        "95 % intervals clustered by user. Grey: not run."
    ),
    build=build,
)
