"""The demonstration search: candidates, what is asked of them, and the rules among equals, by hand and at random."""

from __future__ import annotations

import asyncio
import random
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.learning import (
    PAIRS,
    TEXT,
    TRACES,
    VALIDATION,
    by_content,
    demonstrated,
    draw,
    ids,
    say,
    settings,
)
from support.models import ScriptedModel, good_is_first, label, pair

from personalrm.core.errors import ModelCallError, RateLimited
from personalrm.core.records import Candidate, Verdict
from personalrm.judge.judge import JudgeSettings
from personalrm.llm.types import Request, Response
from personalrm.methods.synthesizeme.search import (
    LABELLED,
    UNSHUFFLED,
    ZERO_SHOT,
    SearchSettings,
    better,
    score,
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


def test_how_many_share_the_best_score_is_said() -> None:
    model = ScriptedModel(lambda r: say("question c3" in demonstrated(r), r))
    result = asyncio.run(search(model, PAIRS, TRACES, VALIDATION, settings(seeds=(-3, -2, -1)), allow_empty=True))
    assert [candidate.score for candidate in result.candidates] == [0, 100, 100]
    assert result.events == ("2 of 3 candidates share the best score",)


def test_the_log_odds_of_a_candidate_are_their_mean() -> None:
    verdicts = [Verdict(pair_id="p", swapped=False, outcome="correct", log_odds=odds) for odds in (1.0, 1.5, 5.0)]
    assert score(0, (), verdicts, rounded=False).mean_log_odds == 2.5


def test_search_stops_at_the_stop_score_and_stage_1_has_no_empty_candidate() -> None:
    model = ScriptedModel(lambda r: say(True, r))
    result = asyncio.run(search(model, PAIRS, TRACES, VALIDATION, settings(stop_at_score=80), allow_empty=False))
    assert [c.seed for c in result.candidates] == [LABELLED]
    model = ScriptedModel(lambda r: say(True, r))
    asyncio.run(search_first(model, PAIRS, VALIDATION, settings(stop_at_score=80), allow_empty=True))
    assert len(model.requests) == 2 * len(VALIDATION)


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


@pytest.mark.parametrize(("repairs", "seed"), [(Repairs(), ZERO_SHOT), (NONE, LABELLED)])
def test_a_candidate_that_holds_no_demonstration_is_one_only_as_published(repairs: Repairs, seed: int) -> None:
    model = ScriptedModel(lambda r: say(True, r))
    bare = settings(max_labelled=0, repairs=repairs)
    result = asyncio.run(search(model, PAIRS, {}, VALIDATION, bare, allow_empty=False))
    assert (result.seed, result.judgements, model.requests) == (seed, (), {})
    assert ("no candidate holds a demonstration" in result.events) == (seed == ZERO_SHOT)


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


def test_a_pair_with_two_verdicts_counts_twice_in_the_bound() -> None:
    """Nothing shown is right on six of ten; a candidate that has missed five can be right on five."""

    def answer(request: Request) -> Response:
        asked = request.messages[-1].content
        return say(
            "question c" not in demonstrated(request) and any(f"question v{n}" in asked for n in range(6)), request
        )

    model = ScriptedModel(answer)
    asked = [pair(f"v{n}", split="validation") for n in range(10)]
    asyncio.run(search(model, PAIRS, TRACES, asked, settings(seeds=(ZERO_SHOT, UNSHUFFLED)), allow_empty=True))
    assert len(model.requests) == 2 * (10 + 5)


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
