"""The demonstration search: candidates, the race between them, and the rules among equals, by hand and at random."""

from __future__ import annotations

import asyncio
import math
import random
from dataclasses import replace
from fractions import Fraction
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.learning import (
    PAIRS,
    TEXT,
    TRACES,
    VALIDATION,
    Matrix,
    by_content,
    demonstrated,
    draw,
    ids,
    matrices,
    say,
    settings,
)
from support.models import ScriptedModel, good_is_first, label, pair

from personalrm.core.errors import ModelCallError, RateLimited
from personalrm.core.records import Candidate, Outcome, Verdict
from personalrm.judge.judge import JudgeSettings
from personalrm.llm.types import Request, Response
from personalrm.methods.synthesizeme.pruned_search import PrunedSearch
from personalrm.methods.synthesizeme.search import (
    LABELLED,
    UNSHUFFLED,
    ZERO_SHOT,
    SearchSettings,
    better,
    search,
    search_first,
)
from personalrm.methods.synthesizeme.variants import NONE, Repairs


def test_candidates() -> None:
    assert draw(ZERO_SHOT) == ()
    sampled = [f"c{i}" for i in random.Random(0).sample(range(6), 3)]
    assert ids(draw(LABELLED)) == [(name, False) for name in sampled]
    assert ids(draw(UNSHUFFLED))[:2] == [("c1", True), ("c3", True)]
    assert [reasoned for _, reasoned in ids(draw(UNSHUFFLED))] == [True, True, False]
    assert [reasoned for _, reasoned in ids(draw(UNSHUFFLED, {}))] == [False] * 3
    # The package's own draws (tests/parity): traces in shuffled order, then labels among the others.
    assert [name for name, _ in ids(draw(0, lab=4))] == ["c4", "c1", "c3", "c2"]
    assert [name for name, _ in ids(draw(1, {}, lab=4))] == ["c2", "c0", "c4", "c5"]


@given(st.integers(0, 50), st.integers(1, 8), st.integers(0, 4))
def test_random_candidates_are_small_distinct_and_repeatable(seed: int, boot: int, lab: int) -> None:
    shown = draw(seed, boot=boot, lab=lab)
    names = [d.pair.pair_id for d in shown]
    assert len(names) == len(set(names)) <= max(boot, lab)
    size = random.Random(seed).randint(1, min(boot, 6))
    assert sum(d.reasoning is not None for d in shown) == min(size, len(TRACES))
    assert shown == draw(seed, boot=boot, lab=lab)


def test_candidates_that_nobody_sizes_are_those_of_the_package() -> None:
    by_default = SearchSettings(judge=settings().judge)
    assert (len(by_default.seeds), by_default.max_labelled, by_default.parallel) == (12, 4, 1)


def test_search_takes_the_candidate_that_helps() -> None:
    model = ScriptedModel(lambda r: say("question c3" in demonstrated(r), r))
    result = asyncio.run(search(model, PAIRS, TRACES, VALIDATION, settings(seeds=(-3, -1)), allow_empty=True))
    assert result.seed == UNSHUFFLED
    assert [(c.seed, c.score, c.n_scored) for c in result.candidates] == [(ZERO_SHOT, 0, 4), (UNSHUFFLED, 100, 4)]
    assert result.events == ()


def test_search_stops_at_the_stop_score_and_stage_1_has_no_empty_candidate() -> None:
    model = ScriptedModel(lambda r: say(True, r))
    result = asyncio.run(search(model, PAIRS, TRACES, VALIDATION, settings(stop_at_score=80), allow_empty=False))
    assert [c.seed for c in result.candidates] == [LABELLED]


def test_candidates_that_show_the_same_are_scored_once_and_a_single_one_never() -> None:
    model = ScriptedModel(lambda r: say(True, r))
    both = settings(seeds=(LABELLED, UNSHUFFLED), repairs=NONE)
    result = asyncio.run(search(model, PAIRS, {}, VALIDATION, both, allow_empty=False))
    assert (result.seed, result.demonstrations, len(result.judgements)) == (LABELLED, (), 3)
    assert len(model.requests) == 0
    with_none = settings(seeds=(ZERO_SHOT, LABELLED, UNSHUFFLED), repairs=NONE)
    result = asyncio.run(search(model, PAIRS, TRACES, VALIDATION, with_none, allow_empty=True))
    # Nothing and labelled pairs are one prompt; the other candidate can only draw level, and earlier seeds win.
    assert len(model.requests) == 2
    assert [c.seed for c in result.candidates] == [ZERO_SHOT, LABELLED]


def test_as_published_validation_pairs_are_judged_in_one_order_and_equals_go_to_no_demonstrations() -> None:
    model = ScriptedModel(lambda r: say("question c" in demonstrated(r) or "question v0" in r.messages[-1].content, r))
    result = asyncio.run(search(model, PAIRS, TRACES, VALIDATION, settings(repairs=NONE), allow_empty=True))
    scores = {c.seed: (c.score, c.n_scored) for c in result.candidates}
    assert scores[ZERO_SHOT] == scores[LABELLED] == (50, 2)
    assert scores[UNSHUFFLED] == (100, 2)
    always = ScriptedModel(lambda r: say(True, r))
    result = asyncio.run(search(always, PAIRS, TRACES, VALIDATION, settings(repairs=NONE), allow_empty=True))
    assert (result.seed, result.demonstrations) == (ZERO_SHOT, ())
    repaired = settings(repairs=replace(NONE, ranking=True))
    result = asyncio.run(search(always, PAIRS, TRACES, VALIDATION, repaired, allow_empty=True))
    assert len(result.demonstrations) == 2


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


@given(st.lists(st.lists(st.booleans(), min_size=4, max_size=4), min_size=7, max_size=7), st.booleans(), st.booleans())
def test_the_bound_never_changes_the_winner(rows: list[list[bool]], stop: bool, published: bool) -> None:
    """Against the arg-max over all candidates scored in full, with the same stop and the same rule among equals."""
    scores = dict(zip((*(p.pair_id for p in PAIRS), "none"), rows, strict=True))
    traces = {p.pair_id: next(iter(TRACES.values())).model_copy(update={"pair_id": p.pair_id}) for p in PAIRS}
    asked = [pair(f"v{i}", split="validation") for i in range(4)]
    how = settings(
        seeds=(-3, *range(6)),
        max_bootstrapped=1,
        max_labelled=0,
        stop_at_score=75 if stop else None,
        repairs=NONE if published else Repairs(),
        parallel=3 if published else 1,
    )
    found = asyncio.run(
        search(ScriptedModel(lambda r: say(by_content(scores, r), r)), PAIRS, traces, asked, how, allow_empty=True)
    )
    sets = {seed: draw(seed, traces, 1, 0) for seed in how.seeds}
    full = {seed: sum(scores[ids(shown)[0][0] if shown else "none"]) for seed, shown in sets.items()}
    reached = next((seed for seed in sets if stop and full[seed] >= 3), max(sets))
    tried = [seed for seed in sets if seed <= reached]
    best = max(tried, key=lambda seed: (full[seed], 0 if published else len(sets[seed]), -seed))
    assert sets[found.seed] == sets[best]
    assert found.seed == best


def test_without_validation_pairs_nothing_is_asked() -> None:
    model = ScriptedModel(lambda r: say(True, r))
    result = asyncio.run(search(model, PAIRS, TRACES, [], settings(), allow_empty=True))
    assert (result.seed, len(model.requests)) == (UNSHUFFLED, 0)
    assert ids(result.demonstrations)[0] == ("c1", True)


def test_an_outage_is_an_error_and_not_a_score() -> None:
    model = ScriptedModel(lambda _: RateLimited("busy"))
    with pytest.raises(ModelCallError, match="validation"):
        asyncio.run(search(model, PAIRS, TRACES, VALIDATION, settings(), allow_empty=True))


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


def test_nobody_is_asked_about_what_counts_for_none() -> None:
    race, asked = lossy(["1e0", "111"])
    assert (1, 1) not in asked
    assert all(runner.done for runner in race.runners)
    # Two judgments count: having missed one, the second can only draw level with the first.
    assert lossy(["0ee1", "0111"])[1] == [(0, 0), (0, 1), (0, 2), (0, 3), (1, 0)]


@pytest.mark.parametrize(("places", "candidates"), [(3, 1), (4, 2), (5, 2), (6, 3), (math.inf, 3)])
def test_as_many_candidates_are_asked_as_there_are_places(places: float, candidates: int) -> None:
    race = PrunedSearch(5, 2, 1, stop_at_score=None, first_of_equals=True, parallel=3, places=places)
    for pair_number in (0, 1):
        race.tell(0, pair_number, [Verdict(pair_id="p", swapped=False, outcome="wrong")])
    assert race.next_round() == [(index, (0, 1)) for index in range(1, candidates + 1)]


@pytest.mark.parametrize(
    ("repairs", "judge", "calls"),
    [(NONE, TEXT, 1), (Repairs(ranking=False), JudgeSettings("compact", "logprob_both"), 2)],
)
def test_a_pair_with_one_verdict_counts_once_in_the_bound(repairs: Repairs, judge: JudgeSettings, calls: int) -> None:
    """Nothing shown is right on v0 alone; a candidate that has missed two of three can only draw level."""
    asked = [pair(f"v{i}", split="validation") for i in range(3)]

    def answer(request: Request) -> Response:
        right = "question v0" in "".join(message.content for message in request.messages)
        if request.top_logprobs:
            return label(0.9 if good_is_first(request) == right else 0.1)
        return say(right, request)

    model = ScriptedModel(answer)
    how = settings(judge=judge, repairs=repairs, seeds=(ZERO_SHOT, UNSHUFFLED))
    asyncio.run(search(model, PAIRS, TRACES, asked, how, allow_empty=True))
    assert len(model.requests) == calls * (3 + 2)


def test_a_candidate_without_any_answer_takes_no_judgment_from_the_others() -> None:
    race, _ = lossy(["1100", "eeee", "1110"], exhaustive=True)
    assert [runner.score() for runner in race.runners] == [Fraction(1, 2), None, Fraction(3, 4)]


def test_the_search_compares_on_what_no_candidate_lost() -> None:
    """Nothing shown is right but on v1, which is lost for it in both orders; labelled pairs are right on v0 alone."""

    def answer(request: Request) -> Response | ModelCallError:
        shown, asked = len(request.messages) > 2, request.messages[-1].content
        if "question v1" in asked and not shown:
            return RateLimited("busy")
        return say("question v1" not in asked, request)

    how = settings(seeds=(ZERO_SHOT, LABELLED), exhaustive=True)
    found = asyncio.run(search(ScriptedModel(answer), PAIRS, TRACES, VALIDATION, how, allow_empty=True))
    assert [(c.score, c.n_scored) for c in found.candidates] == [(100, 2), (100, 2)]
    # Equals: more demonstrations win. On its own verdicts alone the empty one would, 100 against 50.
    assert found.seed == LABELLED


def test_rule_among_equals() -> None:
    def candidate(seed: int, score: float | None, odds: float | None, size: int) -> Candidate:
        return Candidate(seed=seed, pair_ids=("x",) * size, score=score, mean_log_odds=odds, n_scored=4)

    ordered = [
        candidate(3, 75, 0.1, 1),
        candidate(2, 50, 0.9, 1),
        candidate(1, 50, 0.5, 2),
        candidate(0, 50, 0.5, 1),
        candidate(5, 50, 0.5, 1),
        candidate(4, 50, None, 3),
        candidate(6, None, None, 3),
    ]
    for i, winner in enumerate(ordered):
        assert max(reversed(ordered[i:]), key=better) == winner
    assert max(ordered[1:], key=lambda c: better(c, ranking=False)).seed == 0


@given(
    st.lists(st.lists(st.booleans(), min_size=4, max_size=4), min_size=7, max_size=7),
    st.sampled_from([None, 50, 75, 100]),
    st.booleans(),
    st.sampled_from([1, 2, 8]),
)
def test_what_the_first_candidates_decide_is_what_the_whole_search_finds(
    rows: list[list[bool]], stop: int | None, allow_empty: bool, parallel: int
) -> None:
    """And they never decide without the stop score, nor where a later candidate might win."""
    names = (*(p.pair_id for p in PAIRS), "none")
    scores = dict(zip(names, rows, strict=True))
    asked = [pair(f"v{i}", split="validation") for i in range(4)]
    how = settings(seeds=(-3, -2, -1, 0), max_labelled=1, stop_at_score=stop, parallel=parallel)
    model = ScriptedModel(lambda r: say(by_content(scores, r), r))
    first = asyncio.run(search_first(model, PAIRS, asked, how, allow_empty=allow_empty))
    alone = len(model.requests)
    assert (alone > 0) == (stop is not None or parallel > 1)
    full = asyncio.run(search(model, PAIRS, TRACES, asked, how, allow_empty=allow_empty))
    decided = (
        stop is not None and full.seed in (ZERO_SHOT, LABELLED) and max(c.score or 0 for c in full.candidates) >= stop
    )
    assert first == (full if decided else None)
    if decided and parallel == 1:
        assert len(model.requests) == alone
