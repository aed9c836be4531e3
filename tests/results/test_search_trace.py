"""The trace of the search: the best score so far of each user, and the mean of all."""

from __future__ import annotations

import math

import numpy as np
from support.comparison_cases import assert_readable, texts_of

from personalrm.core.records import Candidate, Profile
from personalrm.methods.registry import mark_of
from personalrm.results.figures.search_figure import best_so_far, search_caption, search_figure, traces_of


def profile(user: str, plain: list[float], then: list[float], k: object = "all", **more: object) -> Profile:
    """A profile whose searches scored these candidates, all of them to the end."""
    search = {"plain": plain, "with_persona": then}
    tried = {
        name: tuple(Candidate(seed=seed, pair_ids=(), score=score, n_scored=4) for seed, score in enumerate(scores))
        for name, scores in search.items()
    }
    named = {"dataset": "d", "model": "m", "variant": "corrected", "draw": 0, "status": "ok"}
    return Profile.model_validate({**named, "user_id": user, "k": k, "search": tried, **more})


PROFILES = [
    profile("b", [25, 50, 0], [0, 100]),
    profile("a", [75], [50, 25]),
    profile("c", [], []),
    profile("b", [100, 100, 100], [100, 100], k=2),
]


def test_scores_never_fall_and_a_search_that_ended_keeps_its_best() -> None:
    found, largest = traces_of(PROFILES)
    ((place, searches),) = found.items()
    assert (tuple(place), largest) == (("d", "m", "corrected"), "all")
    # Users in the order of their names; the user without validation pairs has no trace.
    assert {name: traces.tolist() for name, traces in searches.items()} == {
        "plain": [[75, 75, 75], [25, 50, 50]],
        "with_persona": [[50, 50], [0, 100]],
    }
    assert traces_of(PROFILES[::-1])[0][place]["plain"].tolist() == [[75, 75, 75], [25, 50, 50]]


def test_a_dropped_candidate_counts_for_none() -> None:
    scores = enumerate(((100, 1), (50, 4)))
    tried = [Candidate(seed=seed, pair_ids=(), score=score, n_scored=counted) for seed, (score, counted) in scores]
    first, second = best_so_far(tried, (0, 1))
    assert math.isnan(first)
    assert second == 50


def test_a_mean_that_some_users_lack_at_first_is_told_of_from_where_all_have_one() -> None:
    late = profile("d", [0], [0])
    tried = [Candidate(seed=seed, pair_ids=(), score=50, n_scored=n) for seed, n in enumerate((1, 4))]
    found, largest = traces_of([profile("a", [75, 75], []), late.model_copy(update={"search": {"plain": tried}})])
    assert "demonstrations alone: 2 searches, mean 62.5 to 62.5 %" in search_caption(found, largest)


def test_means_are_thick_with_marks_and_users_thin() -> None:
    found, largest = traces_of(PROFILES)
    figure = search_figure(found, title_note="run x")
    (axes,) = figure.axes
    thick = {line.get_color(): np.array(line.get_ydata()).tolist() for line in axes.lines if line.get_linewidth() == 2}
    assert thick == {mark_of("demos").colour: [50, 62.5, 62.5], mark_of("both").colour: [25, 75]}
    assert sum(line.get_linewidth() == 0.7 for line in axes.lines) == 4
    marks = [line.get_marker() for line in axes.lines if np.size(line.get_xdata()) == 1]
    assert (marks.count(mark_of("demos").marker), marks.count(mark_of("both").marker)) == (3, 2)
    texts = set(texts_of(figure))
    assert {"demonstrations alone", "demonstrations after the persona", "d · m · corrected · run x"} <= texts
    assert_readable(figure)
    caption = search_caption(found, largest)
    assert "d, m, corrected, demonstrations alone: 2 searches, mean 50.0 to 62.5 %" in caption


def test_equal_means_do_not_hide_each_other() -> None:
    (axes,) = search_figure(traces_of([profile(user, [50, 75], [50, 75]) for user in "ab"])[0]).axes
    drawn = [line for line in axes.lines if line.get_linewidth() == 2]
    assert sorted(line.get_linestyle() for line in drawn) == ["-", "--"]
    marks = [float(np.ravel(line.get_xdata())[0]) for line in axes.lines if np.size(line.get_xdata()) == 1]
    assert np.diff(sorted(marks)).min() > 0.2
    (alone,) = search_figure(traces_of([profile("a", [50, 75], [])])[0]).axes
    assert [np.array(line.get_xdata()).tolist() for line in alone.lines if line.get_linewidth() == 2] == [[1, 2]]


def test_each_model_has_a_panel_and_users_beyond_forty_no_line_of_their_own() -> None:
    many = [profile(f"u{number:02}", [50], [50]) for number in range(43)]
    found, _ = traces_of([*many, profile("a", [0], [0], model="n")])
    figure = search_figure(found)
    assert [sum(line.get_linewidth() == 0.7 for line in axes.lines) for axes in figure.axes] == [80, 2]
    assert {"m", "n", "d · corrected"} <= set(texts_of(figure))
