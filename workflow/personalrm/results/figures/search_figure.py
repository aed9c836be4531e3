"""Trace of the search for demonstrations: the best validation score so far, by candidate; from the profiles."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from personalrm.core.records import Candidate, Profile, read_all
from personalrm.results.figure_style import (
    CHANCE,
    INK,
    SMALL_SIZE,
    SOFT,
    draw_point,
    mark_line,
    panel_rows,
    set_limits,
    set_up,
    write_head,
)
from personalrm.results.labels import k_label, k_rank, method_mark
from personalrm.results.lazy import Axes, Figure
from personalrm.results.spec import Drawing, FigureResult

PANEL_INCHES, PANEL_HEIGHT = 3.0, 2.2
SEARCHES: dict[str, tuple[str, str]] = {
    "plain": ("demos", "demonstrations alone"),
    "with_persona": ("both", "demonstrations after the persona"),
}
"""Search of a profile to the method that shows what it found, and what it searches."""
MOST_LINES = 40
"""Users of a panel who have a line of their own, the first by name."""

ASIDE = 0.12
"""Offsets of the marks of searches from their candidate's place, so that no mark hides another."""

Floats = NDArray[np.float64]


class Place(NamedTuple):
    """What a panel is of."""

    dataset: str
    model: str
    variant: str


def traces_of(profiles: Iterable[Profile]) -> tuple[dict[Place, dict[str, Floats]], str]:
    """By panel and search: the best score so far in percent, (profiles, candidates), at the largest k; and that k.

    Candidates are in the order in which they are tried. A search that ended early keeps its best score; nan before the
    first candidate that was judged to the end. Searches without any score, for want of validation pairs, are left out.
    """
    held = [(k_label(profile.k), profile) for profile in profiles if profile.search]
    largest = max((k for k, _ in held), key=k_rank, default="")
    kept = sorted((profile for k, profile in held if k == largest), key=lambda one: (one.user_id, one.draw))
    rows: dict[Place, dict[str, list[Profile]]] = {}
    for profile in kept:
        mine = rows.setdefault(Place(profile.dataset, profile.model, profile.variant), {})
        for name in SEARCHES.keys() & profile.search.keys():
            mine.setdefault(name, []).append(profile)
    found: dict[Place, dict[str, Floats]] = {}
    for place, searches in sorted(rows.items()):
        for name in SEARCHES.keys() & searches.keys():
            seeds = sorted({one.seed for profile in searches[name] for one in profile.search[name]})
            traces = [best_so_far(profile.search[name], seeds) for profile in searches[name]]
            scored = [trace for trace in traces if trace and not math.isnan(trace[-1])]
            if scored:
                found.setdefault(place, {})[name] = np.array(scored)
    return found, largest


def best_so_far(candidates: Sequence[Candidate], seeds: Sequence[int]) -> list[float]:
    """The highest score so far, after each of the seeds. A candidate that was dropped, as it could win no more, was not
    judged to the end and counts for none.

    >>> tried = [Candidate(seed=s, pair_ids=(), score=v, n_scored=n) for s, v, n in ((0, 50, 4), (1, 0, 1), (2, 75, 4))]
    >>> best_so_far(tried, (-1, 0, 1, 2))
    [nan, 50.0, 50.0, 75.0]
    """
    whole = max((one.n_scored for one in candidates), default=0)
    score = {one.seed: one.score for one in candidates if one.n_scored == whole and one.score is not None}
    return [float(value) for value in np.fmax.accumulate([score.get(seed, np.nan) for seed in seeds])]


def search_figure(found: dict[Place, dict[str, Floats]], *, title_note: str = "") -> Figure:
    """Thick lines are means of all users, thin ones users; a panel for each data set, model and variant."""
    groups = [[place for place in found if place.dataset == name] for name in dict.fromkeys(p.dataset for p in found)]
    page, drawn = panel_rows(groups, lambda _: PANEL_INCHES, lambda _: PANEL_HEIGHT, gap=0.12)
    several = [len({place[part] for place in found}) > 1 for part in range(len(Place._fields))]
    for place, axes, is_first in drawn:
        _panel(axes, found[place])
        head = " · ".join(text for text, shown in zip(place, several, strict=True) if shown)
        write_head(axes, head, PANEL_INCHES, 7)
        axes.set_ylabel("best so far, % of validation" * is_first, fontsize=SMALL_SIZE + 0.5, color=INK)
    names = {name for searches in found.values() for name in searches}
    entries = [mark_line(method, label=label) for name, (method, label) in SEARCHES.items() if name in names]
    shared = [text for text, shown in zip(next(iter(found)), several, strict=True) if not shown]
    return page.finish("Search for demonstrations", " · ".join([*shared, *filter(None, [title_note])]), entries)


def _panel(axes: Axes, searches: dict[str, Floats]) -> None:
    set_up(axes, "y", spines=("left", "bottom"))
    set_limits(axes, "y", (-2.0, 102.0))
    tried = max(traces.shape[1] for traces in searches.values())
    axes.set_xlim(0.7, tried + 0.3)
    axes.locator_params(axis="x", integer=True, nbins=8)
    set_limits(axes, "x", (0.7, tried + 0.3))
    axes.set_xlabel("candidates tried", fontsize=SMALL_SIZE + 0.5, color=INK, labelpad=1)
    axes.axhline(CHANCE, color=SOFT, linestyle=":", linewidth=1)
    for name, traces in sorted(searches.items()):
        # Equal means are both seen: marks stand side by side, and gaps in the upper line show the lower one.
        first = name == min(searches)
        numbers = np.arange(1, traces.shape[1] + 1) + (0.0 if len(searches) == 1 else -ASIDE if first else ASIDE)
        method = SEARCHES[name][0]
        colour = method_mark(method).colour
        for trace in traces[:MOST_LINES]:
            axes.plot(numbers, trace, color=colour, linewidth=0.7, alpha=0.3)
        mean = means_of(traces)
        axes.plot(numbers, mean, color=colour, linewidth=2, linestyle="-" if first else (0, (3, 3)))
        for number, value in zip(numbers, mean, strict=True):
            if not np.isnan(value):
                draw_point(axes, number, value, method, size=6)


def means_of(traces: Floats) -> list[float]:
    """Mean of all users after each candidate; nan until all have a score."""
    return [float(value) for value in traces.mean(axis=0)]


def _first(mean: Sequence[float]) -> float:
    """The mean after the first candidate from which on all users have a score."""
    return next(value for value in mean if not math.isnan(value))


def search_caption(found: dict[Place, dict[str, Floats]], largest: str) -> str:
    """What the figure shows, how many searches, and from where to where their means go."""
    ends = [
        f"{', '.join(place)}, {SEARCHES[name][1]}: {len(traces):,} searches, "
        f"mean {_first(mean):.1f} to {mean[-1]:.1f} %"
        for place, searches in found.items()
        for name, traces in sorted(searches.items())
        for mean in [means_of(traces)]
    ]
    return (
        "Highest accuracy on a user's validation pairs among the candidates tried so far, at the largest k "
        f"({largest}). Thick lines: mean of all users and draws; thin lines: at most {MOST_LINES} of them. Marks of "
        "one candidate stand side by side. A user has "
        "few validation pairs, and the highest of several scores is too high: this is what the search selects by, not "
        "a result. Dotted: chance. "
        f"{'; '.join(ends)}."
    )


def build(profiles: list[Path], *, title_note: str) -> Drawing:
    """Draw the figure from the files of profiles."""
    found, largest = traces_of(read_all(profiles, Profile))
    if not found:
        return Drawing(None, "no profile rests on a search.")
    return Drawing(search_figure(found, title_note=title_note), search_caption(found, largest))


RESULT = FigureResult(
    name="search",
    order=50,
    caption=(
        "Trace of the search for demonstrations: the highest validation score of each user so far, against the number "
        "of candidates tried."
    ),
    build=build,
    when="profiles",
)
