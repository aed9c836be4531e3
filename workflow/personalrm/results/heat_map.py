"""Heat maps: coloured cells with their numbers, in panels with names of rows and columns."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

from personalrm.results.figure_style import INK, SMALL_SIZE, SOFT, TEXT_SIZE, Color, set_up, set_up_rows, write_note
from personalrm.results.lazy import Axes

CELL_WIDTH, CELL_HEIGHT = 1.3, 0.62
"""Inches of a cell."""
NAME_LENGTH = 18


def wrapped(name: str) -> str:
    """A name on as few lines as it needs."""
    return "\n".join(textwrap.wrap(name, NAME_LENGTH))


def draw_frame(axes: Axes, columns: Sequence[str], rows: Sequence[str], tall: int) -> None:
    """An empty map of `tall` rows with names of columns above and of rows at the left."""
    set_up(axes, spines=())
    axes.set_xlim(0, len(columns))
    axes.set_xticks([number + 0.5 for number in range(len(columns))], list(map(wrapped, columns)))
    axes.tick_params(axis="x", length=0, top=True, labeltop=True, bottom=False, labelbottom=False)
    set_up_rows(axes, [number + 0.5 for number in range(len(rows))], list(map(wrapped, rows)), bottom=tall)


def draw_cell(axes: Axes, place: tuple[int, int], colour: Color, text: str, *, framed: bool = False) -> None:
    """A coloured cell (column, row) with its number, and what is in brackets after it beneath."""
    from matplotlib.colors import to_rgb
    from matplotlib.patches import Rectangle

    edge, above = (SOFT, 2) if framed else ("white", 1)
    axes.add_patch(Rectangle(place, 1, 1, facecolor=colour, edgecolor=edge, zorder=above))
    red, green, blue = to_rgb(colour)
    ink = INK if 0.299 * red + 0.587 * green + 0.114 * blue > 0.52 else "white"
    number, bracket, beneath = text.replace("-", "−").partition(" [")
    lines = [(text, 0.0, SMALL_SIZE, "normal")]
    if bracket:
        lines = [(number, 7.0, TEXT_SIZE, "bold"), (bracket.strip() + beneath, -8.0, SMALL_SIZE, "normal")]
    for line, up, size, weight in lines:
        middle, style = (place[0] + 0.5, place[1] + 0.5), {"color": ink, "weight": weight}
        write_note(axes, line, middle, (0, up), size, coordinates="data", align="center", level="center", **style)
