"""Where the rows of the main table stand in the main figure, and in which colour and marker."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from personalrm.core.conditions import MethodId
from personalrm.core.records import BASELINE
from personalrm.results.labels import UNUSED, VERDICT_LABELS, k_rank
from personalrm.results.marks import Flags
from personalrm.results.tables.main_table import row_flags

if TYPE_CHECKING:
    import pandas as pd

Color = tuple[float, float, float]

MARKERS = "osD^vPX<>h"
NO_MODEL_MARKER = "|"
NO_MODEL_COLOR: Color = (0.35, 0.35, 0.35)
DARK_FIRST = (0, 3, 2, 4, 1, 5, 6, 7)
"""Places in seaborn's palette, without its pale ones, which vanish in print."""
CHANCE = 50.0
LINE, GAP, LEAST_BAND = 1.0, 0.55, 2.2
"""Height of a row, room between two methods, and height of the longest label, on the y axis."""


class Series(NamedTuple):
    """What shares a marker: which model judges with whose profiles, in which variant."""

    judge: str
    profile: str
    variant: str

    def label(self, labels: Mapping[str, str], with_variant: bool) -> str:
        """Text of the legend."""
        if self.judge == UNUSED:
            return "no model"
        judge, profile = (labels.get(model, model) for model in (self.judge, self.profile))
        text = f"{judge} judges" + ("" if self.profile == self.judge else f" ← profiles by {profile}")
        return f"{text} ({self.variant})" if with_variant else text


Line = tuple[str, Series, str]
"""What has a height of its own: method, series and k."""


class Point(NamedTuple):
    """One row of the table as it is drawn. Numbers are percentages, nan where there are none."""

    dataset: str
    method: str
    series: Series
    k: str
    accuracy: float
    clustered: tuple[float, float]
    independent: tuple[float, float]
    flags: Flags
    status: str

    @property
    def line(self) -> Line:
        """Which line of the panel it stands on."""
        return self.method, self.series, self.k


class Style(NamedTuple):
    """Colour (one a judge) and marker (one a series, so that print without colour can be read)."""

    color: Color
    marker: str


class Layout(NamedTuple):
    """Height of every line (shared by all panels), the band of each method (top, bottom), and the end."""

    heights: dict[Line, float]
    bands: dict[str, tuple[float, float]]
    bottom: float


def points_of(table: pd.DataFrame) -> list[Point]:
    """Rows of the main table as points, in its order.

    Rows without a profile have no variant of their own: where the learned rows have one, they share its marker.
    """
    points = []
    learned = set(table["variant"]) - {BASELINE}
    only = str(learned.pop()) if len(learned) == 1 else None
    for row in table.to_dict(orient="records"):
        judge, profile = str(row["judge_model"]), str(row["profile_model"])
        if profile == UNUSED:
            profile = judge
        points.append(
            Point(
                dataset=str(row["dataset"]),
                method=str(row["method"]),
                series=Series(judge, profile, only or str(row["variant"])),
                k=str(row["k"]),
                accuracy=float(row["accuracy"]),
                clustered=(float(row["ci_low"]), float(row["ci_high"])),
                independent=(float(row["ci_low_independent"]), float(row["ci_high_independent"])),
                flags=row_flags({str(name): value for name, value in row.items()}),
                status=str(row["status"]),
            )
        )
    return points


def series_of(points: Sequence[Point]) -> list[Series]:
    """All series, judges and profiles in the order in which the table names them; those without a model last."""
    known = list(dict.fromkeys(point.series for point in points))
    judges = [series.judge for series in known]
    profiles = [series.profile for series in known]

    def order(series: Series) -> tuple[bool, int, bool, int, str]:
        own = series.profile == series.judge
        return (
            series.judge == UNUSED,
            judges.index(series.judge),
            not own,
            profiles.index(series.profile),
            series.variant,
        )

    return sorted(known, key=order)


def layout_of(points: Sequence[Point]) -> Layout:
    """Methods from top to bottom as the table lists them; within one, by series, then by k."""
    order = series_of(points)
    heights: dict[Line, float] = {}
    bands: dict[str, tuple[float, float]] = {}
    top = 0.0
    for method in dict.fromkeys(point.method for point in points):
        lines = sorted(
            {point.line for point in points if point.method == method},
            key=lambda line: (order.index(line[1]), k_rank(line[2])),
        )
        height = max(len(lines) * LINE + GAP, LEAST_BAND)
        first = top + (height - len(lines) * LINE) / 2 + LINE / 2
        heights |= {line: first + number * LINE for number, line in enumerate(lines)}
        bands[method] = (top, top + height)
        top += height
    return Layout(heights, bands, top)


def styles_of(points: Sequence[Point]) -> dict[Series, Style]:
    """Colour and marker of each series, in the order of the legend; grey where no model judges."""
    from seaborn import color_palette

    palette = [color_palette("colorblind")[place] for place in DARK_FIRST]
    order = series_of(points)
    judges = list(dict.fromkeys(series.judge for series in order))
    return {
        series: Style(NO_MODEL_COLOR, NO_MODEL_MARKER)
        if series.judge == UNUSED
        else Style(palette[judges.index(series.judge) % len(palette)], MARKERS[number % len(MARKERS)])
        for number, series in enumerate(order)
    }


def limits_of(points: Sequence[Point]) -> tuple[float, float]:
    """Limits of the x axis, the same in all panels: all of every interval, and chance, within 0-100."""
    ends = [CHANCE]
    for point in points:
        ends += [v for v in (point.accuracy, *point.clustered, *point.independent) if not math.isnan(v)]
    low, high = max(0.0, min(ends)), min(100.0, max(ends))
    return max(-1.0, 5.0 * math.floor((low - 1) / 5)), min(101.0, 5.0 * math.ceil((high + 1) / 5))


def shared_of(points: Sequence[Point]) -> tuple[str, str]:
    """Kind of verdict and k where all rows that have one have the same, else empty texts."""
    kinds = {MethodId.parse(p.method).verdict for p in points if p.series.judge != UNUSED}
    sizes = {p.k for p in points if p.k != UNUSED}
    verdict = VERDICT_LABELS.get(kinds.pop(), "") if len(kinds) == 1 else ""
    k = sizes.pop() if len(sizes) == 1 else ""
    return verdict, f"k = {k} context pairs" if k else ""


def variants_of(styles: Iterable[Series]) -> set[str]:
    """Variants of the rows that a model judges."""
    return {series.variant for series in styles if series.judge != UNUSED}
