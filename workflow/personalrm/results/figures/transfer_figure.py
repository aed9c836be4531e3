"""The figure of transfer: heat maps of profile model by judge model, accuracy beside the difference to the own profile.

It is drawn from the table alone, without pyplot's global state; equal tables give equal bytes.
"""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from personalrm.results.figure_style import (
    INK,
    SMALL_SIZE,
    SOFT,
    TEXT_SIZE,
    TITLE_SIZE,
    Align,
    Level,
    new_figure,
    write_line,
    write_note,
)
from personalrm.results.labels import NOT_APPLICABLE, NOT_RUN, OK, method_label
from personalrm.results.marks import mark_notes
from personalrm.results.spec import Drawing, FigureResult
from personalrm.results.table_formats import table_rows
from personalrm.results.tables.comparison_text import shown_accuracy
from personalrm.results.tables.transfer_table import OWN, read_transfer_table, shown_transfer

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

CELL_WIDTH, CELL_HEIGHT = 1.3, 0.62
NAME_INCHES, GAP_INCHES, EDGE_INCHES = 1.75, 0.45, 0.2
TOP_INCHES, HEAD_INCHES, FOOT_INCHES, LINE_POINTS = 0.5, 0.85, 0.25, 12
NAME_LENGTH = 18
MISSING, OWN_FACE = "#d4d4d4", "#ffffff"
LEAST_SPAN, LEAST_DIFFERENCE = 10.0, 5.0
"""Points that the colours span at least, so that noise does not look like a pattern."""

Row = Mapping[str, object]
Colour = Callable[[Row], tuple[float, float, float, float] | str]
Panel = tuple[str, str, str, str]
"""Data set, variant, method, k."""


def panels_of(table: pd.DataFrame) -> dict[Panel, dict[tuple[str, str], Row]]:
    """Rows by panel, then by profile model and judge model, in the order of the table."""
    panels: dict[Panel, dict[tuple[str, str], Row]] = {}
    for row in table_rows(table):
        panel = str(row["dataset"]), str(row["variant"]), str(row["method"]), str(row["k"])
        panels.setdefault(panel, {})[str(row["profile_model"]), str(row["judge_model"])] = row
    return panels


def inapplicable(panels: Mapping[Panel, Mapping[tuple[str, str], Row]]) -> list[Panel]:
    """Panels whose method applies to no user, in any cell that was run: they are not drawn."""
    held = {panel: {str(row["cell"]) for row in cells.values()} for panel, cells in panels.items()}
    return [panel for panel, states in held.items() if NOT_APPLICABLE in states <= {NOT_APPLICABLE, NOT_RUN}]


def transfer_figure(table: pd.DataFrame, *, title_note: str = "") -> Figure:
    """Two maps side by side for each data set, method, variant and k: rows are profile models, columns judges.

    Args:
        table: the table of transfer (`transfer_table.transfer_table` or `read_transfer_table`).
        title_note: text under the title, e.g. what run this is.
    """
    left_out = inapplicable(panels_of(table))
    panels = {panel: cells for panel, cells in panels_of(table).items() if panel not in left_out}
    judges, profiles = _models(table, "judge_model"), _models(table, "profile_model")
    empty = "no transfer was run" if not left_out else f"{NOT_APPLICABLE}: see the caption"
    wide, tall = max(len(judges), 2) * CELL_WIDTH, max(len(profiles), 1) * CELL_HEIGHT
    width = NAME_INCHES + 2 * wide + GAP_INCHES + EDGE_INCHES
    names = LINE_POINTS * max([_wrapped(judge).count("\n") + 1 for judge in judges], default=1)
    head = HEAD_INCHES + names / 72
    height = TOP_INCHES + max(len(panels), 1) * (head + tall) + FOOT_INCHES
    figure = new_figure(width, height)
    maps = (
        ("accuracy, % (darker: higher)", _accuracy_colours(table), shown_accuracy),
        ("difference to own profile, points", _difference_colours(table), shown_transfer),
    )
    for number, (panel, cells) in enumerate(panels.items()):
        bottom = height - TOP_INCHES - (number + 1) * (head + tall)
        for place, (title, colour, text) in enumerate(maps):
            left = NAME_INCHES + place * (wide + GAP_INCHES)
            axes = figure.add_axes((left / width, bottom / height, wide / width, tall / height))
            _frame(axes, judges, profiles if place == 0 else (), (wide / CELL_WIDTH, tall / CELL_HEIGHT))
            _note(axes, title, (0, 0), (0, names + 10), SMALL_SIZE + 0.5, align="left")
            for (profile, judge), row in cells.items():
                _cell(axes, (judges.index(judge), profiles.index(profile)), colour(row), text(row))
            if place == 0:
                # From the left edge of the figure, not of the map: data sets and methods have long names.
                across = -72 * (NAME_INCHES - 0.15)
                _note(
                    axes,
                    _head(panel, list(panels)),
                    (0, 0),
                    (across, names + 28),
                    TEXT_SIZE,
                    align="left",
                    weight="bold",
                )
                _note(axes, "profile by ↓   judge →", (0, 0), (-10, 6), SMALL_SIZE, color=SOFT, align="right")
    write_line(figure, "Profiles of one model shown to another judge", 0.14, TITLE_SIZE, INK, weight="bold")
    write_line(figure, title_note or ("" if panels else empty), 0.38, TEXT_SIZE, SOFT)
    return figure


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


def _accuracy_colours(table: pd.DataFrame) -> Colour:
    """Pale to dark blue over all accuracies of the figure; grey where there is none."""
    from matplotlib import colormaps
    from matplotlib.colors import Normalize

    shown = table.loc[table["cell"] == OK, "accuracy"]
    low, high = (float(shown.min()), float(shown.max())) if len(shown) else (0.0, 100.0)
    room = max(0.0, LEAST_SPAN - (high - low)) / 2
    scale, palette = Normalize(low - room, high + room), colormaps["Blues"]

    def colour(row: Row) -> tuple[float, float, float, float] | str:
        if row["cell"] != OK:
            return MISSING
        return palette(0.08 + 0.8 * float(scale(float(str(row["accuracy"])))))

    return colour


def _difference_colours(table: pd.DataFrame) -> Colour:
    """Purple below the own profile, orange above it, white at no difference; grey where there is none."""
    from matplotlib import colormaps

    shown = table.loc[table["status"] == OK, "difference"].abs()
    reach = max(LEAST_DIFFERENCE, float(shown.max()) if len(shown) else 0.0)
    palette = colormaps["PuOr_r"]

    def colour(row: Row) -> tuple[float, float, float, float] | str:
        if row["cell"] == OK and row["status"] == OWN:
            return OWN_FACE
        if row["status"] != OK:
            return MISSING
        return palette(0.5 + 0.4 * float(str(row["difference"])) / reach)

    return colour


def _frame(axes: Axes, judges: Sequence[str], profiles: Sequence[str], size: tuple[float, float]) -> None:
    """An empty map with names of judges above and of profile models at the left."""
    axes.set_xlim(0, size[0])
    axes.set_ylim(size[1], 0)
    axes.set_axis_off()
    for number, judge in enumerate(judges):
        name = _wrapped(judge)
        _note(axes, name, (number + 0.5, 0), (0, 6), SMALL_SIZE, align="center")
    for number, profile in enumerate(profiles):
        _note(axes, _wrapped(profile), (0, number + 0.5), (-10, 0), SMALL_SIZE, align="right", middle=True)


def _wrapped(model: str) -> str:
    """A model's name on as few lines as it needs."""
    return "\n".join(textwrap.wrap(model, NAME_LENGTH))


def _note(
    axes: Axes,
    text: str,
    place: tuple[float, float],
    points: tuple[float, float],
    size: float,
    *,
    color: str = INK,
    align: Align,
    middle: bool = False,
    weight: str = "normal",
) -> None:
    """Text at a place in cells, moved by points."""
    level: Level = "center" if middle else "bottom"
    write_note(
        axes,
        text,
        place,
        points,
        size,
        coordinates="data",
        color=color,
        align=align,
        level=level,
        weight=weight,
        linespacing=1.05,
    )


def _cell(axes: Axes, place: tuple[int, int], colour: tuple[float, float, float, float] | str, text: str) -> None:
    """A coloured cell with its number, and its interval beneath."""
    from matplotlib.colors import to_rgb
    from matplotlib.patches import Rectangle

    own = colour == OWN_FACE
    axes.add_patch(Rectangle(place, 1, 1, facecolor=colour, edgecolor=SOFT if own else "white", zorder=2 if own else 1))
    red, green, blue = to_rgb(colour)
    ink = INK if 0.299 * red + 0.587 * green + 0.114 * blue > 0.52 else "white"
    number, bracket, interval = text.replace("-", "−").partition(" [")
    middle = place[0] + 0.5, place[1] + 0.5
    if not bracket:
        _note(axes, text, middle, (0, 0), SMALL_SIZE, color=ink, align="center", middle=True)
        return
    _note(axes, number, middle, (0, 7), TEXT_SIZE, color=ink, align="center", middle=True, weight="bold")
    _note(axes, bracket.strip() + interval, middle, (0, -8), SMALL_SIZE, color=ink, align="center", middle=True)


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
    return Drawing(transfer_figure(table, title_note=title_note), transfer_caption(table))


RESULT = FigureResult(
    name="transfer",
    order=40,
    message="Drawing the transfer",
    caption=(
        "Profile model by judge model: accuracy (darker: higher) and the difference to the judge's own profile, with "
        "95 % intervals clustered by user. Grey: not run."
    ),
    build=build,
)
