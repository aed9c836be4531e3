"""What all figures share: one grid of panels, one look of axes, one mark per method, and files of equal bytes.

Sizes of panels are given in inches. Names, numbers at the side of panels and legends are placed by matplotlib's
constrained layout, and the figure grows by them. Nothing here touches pyplot's global state.
"""

from __future__ import annotations

import io
import math
import textwrap
import warnings
from collections.abc import Callable, Iterable, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple, TypeVar

from personalrm.core.files import atomic_write_bytes
from personalrm.results.labels import method_label, method_mark, method_rank
from personalrm.results.lazy import Axes

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine
    from matplotlib.legend import Legend
    from matplotlib.lines import Line2D
    from matplotlib.text import Text
    from matplotlib.transforms import Transform

INK, SOFT, BAND, GRID = "#222222", "#666666", "#f4f4f4", "#dddddd"
LEFT, REMOVED = "#0173b2", "#cfcfcf"
"""Pairs that are left (blue of seaborn's colorblind palette: dark in print) and removed (pale, always hatched)."""
TITLE_SIZE, TEXT_SIZE, SMALL_SIZE = 13.0, 10.5, 9.0
MARGIN_INCHES, HEAD_INCHES, NOTE_INCHES = 0.15, 0.42, 0.24
"""Free room at the edges, and height of the title and of each line of text under it."""
CHANCE = 50.0
MARKER_SIZE, MOST_COLUMNS, WIDEST_INCHES = 8.0, 3, 9.0
"""Of a row of panels: most panels, and their widths in all, so that texts can be read where a page is narrow."""

MOST_DOUBLINGS = 5
PLACES = 6
"""Digits of the places of panels, in shares of the figure."""
LETTER_INCHES = 0.095
"""Width of a letter of a heading."""

T = TypeVar("T")
Align = Literal["left", "center", "right"]
Level = Literal["baseline", "center"]
Color = str | tuple[float, float, float] | tuple[float, float, float, float]


class Panels(NamedTuple):
    """A figure and its axes, by row and column; `sizes` are the widths of columns and heights of rows in inches."""

    figure: Figure
    grid: list[list[Axes]]
    sizes: tuple[Sequence[float], Sequence[float]]

    def finish(self, title: str, note: str = "", entries: Sequence[Artist] = (), foot: str = "") -> Figure:
        """Write title, note and foot, add the legend, and give the figure the size that its panels need."""
        figure, lines = self.figure, [line for line in note.split("\n") if line]
        texts = [_line(figure, title, TITLE_SIZE, INK, weight="bold")]
        texts += [_line(figure, line, TEXT_SIZE, SOFT) for line in lines]
        least = max(map(_inches, texts)) + 2 * MARGIN_INCHES
        head = HEAD_INCHES + NOTE_INCHES * len(lines)
        self._fit(least, head)
        # The legend has as many columns as the width of the panels allows; low panels leave it no height.
        _legend(figure, entries, foot)
        figure.set_figheight(figure.get_figheight() + 0.3 * (len(entries) + 2))
        self._fit(least, head)
        width, height = figure.get_size_inches()
        for place, text in enumerate(texts):
            text.set_position((MARGIN_INCHES / width, 1 - (0.14 + 0.26 * place) / height))
        return figure

    def _fit(self, least: float, head: float) -> None:
        """Grow or shrink the figure until its panels have their sizes; `head` inches are kept free at the top."""
        from matplotlib.layout_engine import ConstrainedLayoutEngine

        engine = self.figure.get_layout_engine()
        if not isinstance(engine, ConstrainedLayoutEngine):
            raise TypeError("the figure has no constrained layout")
        for _ in range(2):
            _arrange(self.figure, engine, head)
            width, height = self.figure.get_size_inches()
            wide = width * sum(_first(column).get_position().width for column in zip(*self.grid, strict=True))
            tall = height * sum(_first(row).get_position().height for row in self.grid)
            width, height = width + sum(self.sizes[0]) - wide, height + sum(self.sizes[1]) - tall
            self.figure.set_size_inches(max(width, least), height)


def _arrange(figure: Figure, engine: ConstrainedLayoutEngine, head: float) -> None:
    """Place panels and texts below `head` inches, in a figure that grows until it has room for the longest name."""
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message="constrained_layout not applied")
        for _ in range(MOST_DOUBLINGS):
            width, height = figure.get_size_inches()
            engine.set(rect=(0, 0, 1, 1 - head / height))
            try:
                engine.execute(figure)
            except UserWarning:
                figure.set_size_inches(2 * width, 2 * height)
            else:
                return
    raise ValueError("the texts of the figure leave its panels no room")


def panels(widths: Sequence[float], heights: Sequence[float], *, gap: float = 0.08) -> Panels:
    """A grid of empty panels: `widths` of its columns and `heights` of its rows in inches, without texts around them.

    `gap` is the least room around what belongs to a panel, in inches.
    """
    figure = new_figure(sum(widths) + 5.0 * len(widths) + 2, sum(heights) + 3.0 * len(heights) + 3)
    figure.set_layout_engine(_engine(gap))
    grid = figure.subplots(
        len(heights), len(widths), squeeze=False, gridspec_kw={"width_ratios": widths, "height_ratios": heights}
    )
    return Panels(figure, [list(row) for row in grid], (widths, heights))


def _engine(gap: float) -> ConstrainedLayoutEngine:
    """A constrained layout at rounded places: the last bits of its solver differ from process to process, and the svg
    names its clips by them."""
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    class Rounded(ConstrainedLayoutEngine):
        def execute(self, fig: Figure) -> None:
            super().execute(fig)
            for axes in fig.axes:
                x, y, width, height = (round(float(value), PLACES) for value in axes.get_position(original=True).bounds)
                axes.set_position((x, y, width, height), which="original")
                # A place that was set takes axes out of the layout.
                axes.set_in_layout(True)

    return Rounded(w_pad=gap, h_pad=gap, wspace=0, hspace=0)


def columns_of(width: float, widest: float = WIDEST_INCHES) -> int:
    """How many panels of a width in inches stand side by side."""
    return max(1, int(min(MOST_COLUMNS, widest / width)))


def panel_rows(
    groups: Iterable[Sequence[T]],
    width: Callable[[T], float],
    height: Callable[[T], float],
    *,
    gap: float = 0.08,
    widest: float = WIDEST_INCHES,
) -> tuple[Panels, list[tuple[T, Axes, bool]]]:
    """Groups of panels, each from a row of its own, as many side by side as `columns_of` their width.

    Returns the page, and the item of each panel, its axes, and whether it is the first of its row. Without any, the
    page has one empty panel.
    """
    known = [list(group) for group in groups]
    across = columns_of(max((width(item) for group in known for item in group), default=3.0), widest)
    rows = [group[at : at + across] for group in known for at in range(0, len(group), across)]
    columns = list(zip_longest(*rows)) or [()]
    widths = [max((width(item) for item in column if item is not None), default=3.0) for column in columns]
    page = panels(widths, [max(map(height, row)) for row in rows] or [0.3], gap=gap)
    found = [
        (item, axes, axes is across[0])
        for row, across in zip(rows, page.grid, strict=False)
        for item, axes in zip(row, across, strict=False)
    ]
    for axes in page.figure.axes if rows else ():
        if axes not in [drawn for _, drawn, _ in found]:
            axes.remove()
    if not rows:
        page.grid[0][0].set_axis_off()
    return page, found


def new_figure(width: float, height: float) -> Figure:
    """An empty white figure of so many inches."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), facecolor="white")
    FigureCanvasAgg(figure)
    return figure


def set_up(axes: Axes, grid: Literal["x", "y", "both", ""] = "", *, spines: Sequence[str] = ("bottom",)) -> None:
    """Give axes the look of all figures: pale grid behind the data, small ticks, only the spines that are named."""
    if grid:
        axes.grid(axis=grid, color=GRID, linewidth=0.7)
    axes.set_axisbelow(True)
    axes.tick_params(labelsize=SMALL_SIZE, color=SOFT, labelcolor=INK)
    for side, spine in axes.spines.items():
        spine.set_visible(side in spines)
        spine.set_color(SOFT)


def set_up_rows(
    axes: Axes, heights: Sequence[float], names: Sequence[str], *, bottom: float, bold: Sequence[int] = ()
) -> None:
    """Rows from top to bottom at these heights, down to `bottom`, with names at their left; `bold` names are heads."""
    axes.set_ylim(bottom or 1.0, 0)
    axes.set_yticks([])
    across = axes.get_yaxis_transform()
    for place, (y, name) in enumerate(zip(heights, names, strict=True)):
        weight = "bold" if place in bold else "normal"
        write_note(axes, name, (0, y), (-7, 0), coordinates=across, align="right", level="center", weight=weight)


def limits(values: Iterable[float], *, step: float = 5.0) -> tuple[float, float]:
    """Limits of an axis of percent that holds chance and all values (nan: none), in steps within -1 and 101."""
    known = [CHANCE, *(value for value in values if not math.isnan(value))]
    low, high = max(0.0, min(known)), min(100.0, max(known))
    return max(-1.0, step * math.floor((low - 1) / step)), min(101.0, step * math.ceil((high + 1) / step))


def set_limits(axes: Axes, side: Literal["x", "y"], ends: tuple[float, float]) -> None:
    """Limits of one axis; ticks beyond them are never drawn, but would take room."""
    (axes.set_xlim if side == "x" else axes.set_ylim)(ends)
    axis = axes.xaxis if side == "x" else axes.yaxis
    axis.set_ticks([tick for tick in axis.get_ticklocs() if ends[0] <= tick <= ends[1]])


def write_note(
    axes: Axes,
    text: str,
    place: tuple[float, float],
    points: tuple[float, float],
    size: float = SMALL_SIZE,
    *,
    coordinates: Literal["data", "axes fraction"] | Transform = "axes fraction",
    color: Color = INK,
    align: Align = "left",
    level: Level = "baseline",
    weight: str = "normal",
) -> None:
    """Text at a place in or next to a panel, moved by points. Dollar signs in names are not mathematics."""
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
        linespacing=1.1,
        annotation_clip=False,
    )
    note.set_parse_math(False)


def write_head(axes: Axes, text: str, width: float, points: float = 8) -> None:
    """The heading of a panel of `width` inches, so many points above it, on as many lines as its parts need; a
    part that is longer than a line goes on after a word."""
    fixed, letters = "\N{NO-BREAK SPACE}", int(width / LETTER_INCHES)
    parts = text.replace(" ", fixed).replace(f"{fixed}·{fixed}", f"{fixed}· ")
    lines = textwrap.wrap(parts, letters, break_on_hyphens=False, break_long_words=False)
    lines = [one for line in lines for one in textwrap.wrap(line.replace(fixed, " "), letters, break_on_hyphens=False)]
    write_note(axes, "\n".join(lines), (0, 1), (0, points), TEXT_SIZE, weight="bold")


def write_beside(axes: Axes, text: str, y: float, points: float, *, color: Color = INK, weight: str = "normal") -> None:
    """Text right of a panel, so many points from its edge, in the middle of the row at height `y`."""
    # Texts of a row share a baseline; centred, a comma or a bracket would lift its neighbours.
    write_note(axes, text, (1, y), (points, -3.3), coordinates=axes.get_yaxis_transform(), color=color, weight=weight)


def draw_point(
    axes: Axes,
    x: float,
    y: float,
    method: str,
    *,
    hollow: bool = False,
    size: float = MARKER_SIZE,
    transform: Transform | None = None,
) -> None:
    """The mark of a method at a place; hollow where the figure says what that means."""
    dot = mark_line(method, hollow=hollow, size=size)
    dot.set_data([x], [y])
    dot.set(zorder=3, clip_on=False, transform=transform or axes.transData)
    axes.add_line(dot)


def draw_interval(
    axes: Axes, x: Sequence[float], y: Sequence[float], color: Color, *, width: float = 1.6, alpha: float = 0.55
) -> None:
    """The line of an interval, behind its point; nothing where an end is not known."""
    if not any(map(math.isnan, (*x, *y))):
        axes.plot(x, y, color=color, linewidth=width, alpha=alpha, zorder=2, solid_capstyle="butt")


def mark_line(method: str, *, hollow: bool = False, size: float = MARKER_SIZE, label: str = "") -> Line2D:
    """A marker in the colour and form of a method, for a panel or a legend."""
    from matplotlib.lines import Line2D
    from matplotlib.patheffects import withStroke

    colour, marker = method_mark(method)
    # A star and a diamond of one size look unlike.
    letter = marker.startswith("$")
    size *= {"*": 1.5, "P": 1.15, "X": 1.1, "D": 0.85, "s": 0.95, **dict.fromkeys("1234", 1.4)}.get(
        marker, 1.3 if letter else 1.0
    )
    line = Line2D([], [], linestyle="", color=colour, marker=marker, markersize=size, label=label)
    # Lines without a face: a white edge would hide them.
    open_marker = marker not in Line2D.filled_markers
    line.set(
        markerfacecolor="white" if hollow else colour,
        markeredgecolor=colour if hollow or open_marker else "white",
        markeredgewidth=0.6 if letter else 2.0 if open_marker else 1.2 if hollow else 0.5,
    )
    if open_marker or letter:
        # Without a face, a mark would vanish in the line of its interval.
        line.set_path_effects([withStroke(linewidth=3.6 if open_marker else 2.4, foreground="white")])
    return line


def method_entries(methods: Iterable[str]) -> list[Line2D]:
    """Legend entries of methods, in the order of tables."""
    return [mark_line(method, label=method_label(method)) for method in sorted(set(methods), key=method_rank)]


def sentence(text: str) -> Figure:
    """A figure that says in one sentence why there is nothing to draw."""
    figure = new_figure(1.0, 0.5)
    line = _line(figure, text, TEXT_SIZE, SOFT)
    line.set_position((0, 1))
    figure.set_size_inches(_inches(line) + 2 * MARGIN_INCHES, 2 * MARGIN_INCHES + NOTE_INCHES)
    width, height = figure.get_size_inches()
    line.set_position((MARGIN_INCHES / width, 1 - MARGIN_INCHES / height))
    return figure


def _first(panels: Iterable[Axes]) -> Axes:
    """The first that was not removed."""
    return next(axes for axes in panels if axes.get_figure() is not None)


def _inches(artist: Text | Legend) -> float:
    """Width of a text or legend; a little more, as letters are some percent wider where a file has fewer dots."""
    figure = artist.get_figure(root=True)
    if figure is None:
        raise ValueError("the text is in no figure")
    return 1.04 * artist.get_window_extent().width / figure.dpi


def _line(figure: Figure, text: str, size: float, color: str, *, weight: str = "normal") -> Text:
    line = figure.text(0, 0, text, va="top", fontsize=size, color=color, weight=weight)
    line.set_parse_math(False)
    line.set_in_layout(False)
    return line


def _legend(figure: Figure, entries: Sequence[Artist], foot: str) -> None:
    """A legend below the panels under the line `foot`, in as many columns as fit the figure's width."""
    most = max(1, min(len(entries), 4))
    for columns in range(most, 0, -1) if entries or foot else ():
        legend = figure.legend(
            handles=list(entries),
            loc="outside lower left",
            ncols=columns,
            frameon=False,
            fontsize=SMALL_SIZE,
            labelcolor=INK,
            title=foot or None,
            title_fontsize=SMALL_SIZE,
            alignment="left",
        )
        for text in (*legend.get_texts(), legend.get_title()):
            text.set_parse_math(False)
        if columns == 1 or _inches(legend) <= figure.get_figwidth() - MARGIN_INCHES:
            return
        legend.remove()


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
