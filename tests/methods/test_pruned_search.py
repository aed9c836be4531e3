"""The race between candidates: by hand, and at random against scoring everything."""

from __future__ import annotations

import math
from fractions import Fraction
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.learning import Matrix, matrices

from personalrm.core.records import Outcome, Verdict
from personalrm.methods.synthesizeme.pruned_search import PrunedSearch


def run_race(
    matrix: Matrix,
    stop: float | None,
    first: bool,
    parallel: int,
    *,
    exhaustive: bool = False,
    places: float = math.inf,
) -> tuple[PrunedSearch, list[tuple[int, int]]]:
    race = PrunedSearch(
        len(matrix),
        len(matrix[0]),
        len(matrix[0][0]),
        stop_at_score=stop,
        first_of_equals=first,
        rounded=False,
        parallel=parallel,
        places=places,
        exhaustive=exhaustive,
    )
    asked: list[tuple[int, int]] = []
    while questions := race.next_round():
        assert exhaustive or len(questions) <= parallel
        calls = sum(len(pairs) for _, pairs in questions) * len(matrix[0][0])
        assert exhaustive or len(questions) == 1 or calls <= places
        for candidate, pairs in questions:
            assert pairs
            for number in pairs:
                asked.append((candidate, number))
                told = [Verdict(pair_id="p", swapped=False, outcome=o) for o in matrix[candidate][number]]
                race.tell(candidate, number, told)
    return race, asked


def full_scores(matrix: Matrix, asked: list[tuple[int, int]]) -> list[Fraction | None]:
    """Scores of all candidates in full, on the judgments that nobody who was asked and answered anything lost; what was
    not asked is as the matrix has it, and right where the matrix says that it would be lost."""
    told = [[n for candidate, n in asked if candidate == index] for index in range(len(matrix))]
    live = [any(o != "provider_error" for n in told[i] for o in row[n]) for i, row in enumerate(matrix)]
    lost = {
        (n, place)
        for i, row in enumerate(matrix)
        for n in told[i]
        for place, outcome in enumerate(row[n])
        if live[i] and outcome == "provider_error"
    }
    scores: list[Fraction | None] = []
    for i, row in enumerate(matrix):
        counted = [
            "correct" if outcome == "provider_error" else outcome
            for n, orders in enumerate(row)
            for place, outcome in enumerate(orders)
            if (n, place) not in lost and not (outcome == "provider_error" and n in told[i])
        ]
        scores.append(Fraction(counted.count("correct"), len(counted)) if counted else None)
    return scores


@given(
    matrices(),
    st.sampled_from([None, 50.0, 80.0, 100.0]),
    st.booleans(),
    st.sampled_from([1, 2, 8]),
    st.sampled_from([1, 6, 24, math.inf]),
)
def test_the_race_finds_who_wins_when_everything_is_scored(
    matrix: Matrix, stop: float | None, first: bool, parallel: int, places: float
) -> None:
    race, asked = run_race(matrix, stop, first, parallel, places=places)
    assert len(asked) == len(set(asked))
    full = full_scores(matrix, asked)
    reached = [i for i, score in enumerate(full) if stop is not None and score is not None and 100 * score >= stop]
    assert race.stopper() == (reached[0] if reached else None)
    if reached:
        return
    best = max((score for score in full if score is not None), default=None)
    equals = [i for i, score in enumerate(full) if score == best]
    # Every candidate that the rule among equals may choose is scored in full; the first is all that `first` needs.
    for index in equals[:1] if first else equals:
        assert race.runners[index].done
        assert race.runners[index].score() == best
    for index, runner in enumerate(race.runners):
        if not runner.done and best is not None and (score := runner.score()) is not None:
            assert score <= best
            assert not (score == best and index < equals[0])


@given(matrices(), st.sampled_from([None, 80.0]), st.booleans())
def test_one_at_a_time_asks_no_more_than_several_at_a_time_ever_could(
    matrix: Matrix, stop: float | None, first: bool
) -> None:
    everything = len(matrix) * len(matrix[0])
    for _, asked in (run_race(matrix, stop, first, parallel) for parallel in (1, 2, 8)):
        assert len(asked) <= everything
    if any("provider_error" in orders for row in matrix for orders in row):
        # What a candidate loses counts for none, so that others may be taken up again, and asking more may lose more.
        return
    race, asked = run_race(matrix, stop, first, 1, exhaustive=True)
    assert (len(asked), race.stopper()) == (everything, run_race(matrix, stop, first, 1)[0].stopper())
    _, asked = run_race(matrix, stop, first, 1)
    # One after another, in the order of the seeds: no candidate is taken up again.
    assert all(a[0] <= b[0] for a, b in pairwise(asked))


def lossy(matrix: list[str], **how: object) -> tuple[PrunedSearch, list[tuple[int, int]]]:
    """A race of candidates spelt as outcomes of their pairs: 1, 0, and e for a provider error; one verdict a pair."""
    words: dict[str, Outcome] = {"1": "correct", "0": "wrong", "e": "provider_error"}
    return run_race([[[words[letter]] for letter in row] for row in matrix], None, True, 1, **how)  # type: ignore[arg-type]


def test_a_lost_verdict_favours_and_hurts_no_candidate() -> None:
    # By its own verdicts alone the second would have 3 of 3 and win; on what both have it is 3 of 3 against 3 of 3.
    race, _ = lossy(["1110", "111e"])
    assert [runner.score() for runner in race.runners] == [1, 1]
    # The first lost what it would have had wrong, or right: it is compared on the others.
    for row in ("e100", "e110"):
        race, _ = lossy([row, "1111"], exhaustive=True)
        assert [runner.score() for runner in race.runners] == [Fraction(row.count("1"), 3), 1]


def test_a_candidate_that_was_left_is_taken_up_again_where_what_it_missed_counts_no_more() -> None:
    # The second misses the first pair and cannot win; the third loses that pair, and on the others the second is best.
    race, asked = lossy(["1110", "0111", "e001"])
    assert asked.index((1, 0)) < asked.index((2, 0)) < asked.index((1, 1))
    assert [runner.score() for runner in race.runners[:2]] == [Fraction(2, 3), 1]


def test_an_earlier_candidate_that_may_draw_level_again_is_asked_to_the_end() -> None:
    """The last one loses, as its last verdict, what the second missed: both are right on all that then counts."""
    others = [f"{'1' * n}0{'1' * (5 - n)}" for n in (1, 2, 3, 5)]
    race, asked = lossy(["011111", "111101", *others, *others, "1111e1"])
    assert asked[-2:] == [(10, 4), (1, 5)]
    assert [race.runners[candidate].score() for candidate in (0, 1, 10)] == [Fraction(4, 5), 1, 1]


def test_nobody_is_asked_about_what_counts_for_none() -> None:
    race, asked = lossy(["1e0", "111"])
    assert (1, 1) not in asked
    assert all(runner.done for runner in race.runners)
    # Two judgments count: having missed one, the second can only draw level with the first.
    assert lossy(["0ee1", "0111"])[1] == [(0, 0), (0, 1), (0, 2), (0, 3), (1, 0)]


def race_of(candidates: int, pairs: int, *, parallel: int, places: float = math.inf) -> PrunedSearch:
    """A race without a stop score whose earlier candidates win among equals; one verdict a pair."""
    return PrunedSearch(
        candidates,
        pairs,
        1,
        stop_at_score=None,
        first_of_equals=True,
        rounded=False,
        parallel=parallel,
        places=places,
        exhaustive=False,
    )


@pytest.mark.parametrize(
    ("right", "parallel", "first", "then"),
    [
        (5, 1, (5,), (0,)),
        (5, 2, (5,), (0, 1, 2, 3, 4)),
        (4, 1, (4, 5), (0, 1)),
        (4, 2, (4, 5), (0, 1, 2, 3)),
        (3, 2, (3, 4, 5), (0, 1, 2)),
        (2, 1, (2, 3, 4, 5), (0, 1)),
        (2, 2, (2, 3, 4, 5, 0, 1), ()),
    ],
)
def test_as_many_pairs_are_asked_as_it_takes_to_fail_and_all_where_speed_counts(
    right: int, parallel: int, first: tuple[int, ...], then: tuple[int, ...]
) -> None:
    """The first candidate is right on so many of six pairs, the other one on all that it is asked."""
    race = race_of(2, 6, parallel=parallel)

    def tell(candidate: int, number: int, outcome: Outcome) -> None:
        race.tell(candidate, number, [Verdict(pair_id="p", swapped=False, outcome=outcome)])

    for number in range(6):
        tell(0, number, "correct" if number < right else "wrong")
    assert race.next_round() == [(1, first)]
    for number in first:
        tell(1, number, "correct")
    assert race.next_round() == ([(1, then)] if then else [])


@pytest.mark.parametrize(("places", "candidates"), [(3, 1), (4, 2), (5, 2), (6, 3), (math.inf, 3)])
def test_as_many_candidates_are_asked_as_there_are_places(places: float, candidates: int) -> None:
    race = race_of(5, 2, parallel=3, places=places)
    for pair_number in (0, 1):
        race.tell(0, pair_number, [Verdict(pair_id="p", swapped=False, outcome="wrong")])
    assert race.next_round() == [(index, (0, 1)) for index in range(1, candidates + 1)]


def test_a_candidate_without_any_answer_takes_no_judgment_from_the_others() -> None:
    race, _ = lossy(["1100", "eeee", "1110"], exhaustive=True)
    assert [runner.score() for runner in race.runners] == [Fraction(1, 2), None, Fraction(3, 4)]
    # Nor does it end the search where it is the first.
    race, _ = lossy(["eeee", "1110"])
    assert [runner.score() for runner in race.runners] == [None, Fraction(3, 4)]
