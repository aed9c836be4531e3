"""What all figures share: colours, sizes, text that is never read as mathematics, and files of equal bytes.

Nothing here touches pyplot's global state.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from personalrm.core.files import atomic_write_bytes

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.transforms import Transform

INK, SOFT, BAND, GRID = "#222222", "#666666", "#f4f4f4", "#dddddd"
LEFT, REMOVED = "#0173b2", "#cfcfcf"
"""Pairs that are left (blue of seaborn's colorblind palette: dark in print) and removed (pale, always hatched)."""
TITLE_SIZE, TEXT_SIZE, SMALL_SIZE = 13.0, 10.5, 9.0
MARGIN_INCHES = 0.15

Align = Literal["left", "center", "right"]
Level = Literal["baseline", "center", "bottom"]
Color = str | tuple[float, float, float]
Coordinates = Literal["data", "axes fraction"]


def new_figure(width: float, height: float) -> Figure:
    """An empty white figure of so many inches."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), facecolor="white")
    FigureCanvasAgg(figure)
    return figure


def write_line(figure: Figure, text: str, inches: float, size: float, color: str, *, weight: str = "normal") -> None:
    """A line of text at the left, so many inches below the top."""
    place = MARGIN_INCHES / figure.get_figwidth(), 1 - inches / figure.get_figheight()
    # Dollar signs in names stay what they are.
    figure.text(*place, text, va="top", fontsize=size, color=color, weight=weight).set_parse_math(False)


def write_note(
    axes: Axes,
    text: str,
    place: tuple[float, float],
    points: tuple[float, float],
    size: float = SMALL_SIZE,
    *,
    coordinates: Coordinates | Transform = "axes fraction",
    color: Color = INK,
    align: Align = "left",
    level: Level = "baseline",
    weight: str = "normal",
    linespacing: float | None = None,
) -> None:
    """Text at a place of a panel or beside it, moved by points; `linespacing` None is matplotlib's own."""
    note = axes.annotate(
        text,
        place,
        points,
        xycoords=coordinates,
        textcoords="offset points",
        ha=align,
        va=level,
        fontsize=size,
        color=color,
        weight=weight,
        linespacing=linespacing,
        annotation_clip=False,
    )
    note.set_parse_math(False)


def write_legend(
    figure: Figure,
    entries: Sequence[Artist],
    *,
    columns: int = 1,
    left: float | None = None,
    bottom: float = 0.1,
    size: float = SMALL_SIZE + 0.5,
) -> None:
    """A legend so many inches above the bottom: from `left` inches on, or (None) in the middle."""
    middle = left is None
    place = 0.5 if left is None else left / figure.get_figwidth()
    legend = figure.legend(
        handles=list(entries),
        loc="lower center" if middle else "lower left",
        ncols=columns,
        frameon=False,
        fontsize=size,
        labelcolor=INK,
        bbox_to_anchor=(place, bottom / figure.get_figheight()),
        borderaxespad=0,
    )
    for text in legend.get_texts():
        text.set_parse_math(False)


def save_figure(figure: Figure, stem: Path) -> tuple[Path, ...]:
    """Write `stem`.pdf, .svg and .png, each whole or not at all; equal figures give equal bytes.

    Fonts are embedded as TrueType in the pdf and as outlines in the svg. No file holds a date.
    """
    from matplotlib import rc_context

    undated: dict[str, dict[str, str | None]] = {
        "pdf": {"CreationDate": None, "Producer": None, "Creator": None},
        "svg": {"Date": None},
        "png": {"Software": None},
    }
    paths = []
    with rc_context({"pdf.fonttype": 42, "svg.hashsalt": "personalrm", "svg.fonttype": "path"}):
        for suffix, metadata in undated.items():
            buffer = io.BytesIO()
            figure.savefig(buffer, format=suffix, dpi=200, metadata=metadata)
            path = stem.with_name(f"{stem.name}.{suffix}")
            atomic_write_bytes(path, buffer.getvalue())
            paths.append(path)
    return tuple(paths)
