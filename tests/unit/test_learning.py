"""Stages 1 to 3 on scripted models whose right answers are computed by hand."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.models import ScriptedModel, good_is_first, label, last_user, pair, text

from personalrm.bootstrap import BootstrapSettings, bootstrap_pair, bootstrap_pairs, strip_verdict, verified
from personalrm.errors import ContextOverflow, ModelCallError, RateLimited
from personalrm.judge import JudgeSettings, Shown, presented_swapped
from personalrm.llm.types import Request, Response
from personalrm.persona import PersonaSettings, induce_persona
from personalrm.profile import ProfileSettings, context_subset, learn_profile
from personalrm.records import ALL_PAIRS, Candidate, Demonstration, Trace, UserData, UserTraces
from personalrm.search import LABELLED, UNSHUFFLED, ZERO_SHOT, SearchSettings, better, build_candidate, search

TEXT = JudgeSettings("standard", "text")
LABEL = JudgeSettings("compact", "logprob_both")
BOOT = BootstrapSettings(TEXT, attempts=3)


def say(right: bool, request: Request) -> Response:
    first = good_is_first(request) == right
    return text(f"Because.\nPreference: {'First' if first else 'Second'}")


def test_a_right_first_guess_is_one_greedy_attempt() -> None:
    model = ScriptedModel(lambda r: say(True, r))
    (trace,) = asyncio.run(bootstrap_pair(model, pair("p"), Shown(), BOOT))
    assert (trace.outcome, trace.attempt, trace.reasoning) == ("correct", 0, "Because.")
    assert trace.swapped == presented_swapped(pair("p"), "0")
    assert len(trace.calls) == 1


def test_a_wrong_guess_is_sampled_again_at_a_temperature_and_kept_when_right() -> None:
    model = ScriptedModel(lambda r: say(r.sample_index == 2, r))
    traces = asyncio.run(bootstrap_pair(model, pair("p"), Shown(), BOOT))
    assert [t.outcome for t in traces] == ["wrong", "wrong", "correct"]
    requests = list(model.requests.values())
    assert [r.temperature for r in requests] == [0.0, 0.7, 0.7]
    assert len({r.seed for r in requests}) == 3
    assert set(verified(traces)) == {"p"}


def test_a_user_who_is_never_understood_has_no_trace() -> None:
    traces = asyncio.run(bootstrap_pairs(ScriptedModel(lambda r: say(False, r)), [pair("p")], Shown(), BOOT))
    assert [t.outcome for t in traces] == ["wrong"] * 3
    assert verified(traces) == {}


def test_label_mode_writes_reasoning_first_and_reads_the_label_after_it() -> None:
    def answer(request: Request) -> Response:
        if request.top_logprobs:
            assert request.messages[-1].content == "This user seems to care about brevity. The user prefers Response"
            return label(0.9 if good_is_first(request) else 0.1)
        assert request.messages[-1].content == "This user seems to care about"
        return text(" brevity. And the")

    settings = BootstrapSettings(LABEL, max_tokens=40)
    (trace,) = asyncio.run(bootstrap_pair(ScriptedModel(answer), pair("p"), Shown(), settings))
    assert trace.outcome == "correct"
    assert trace.reasoning == "This user seems to care about brevity."
    assert trace.log_odds is not None
    assert trace.log_odds > 0
    assert len(trace.calls) == 2


def test_strip_verdict() -> None:
    assert strip_verdict("a\nb\nPreference: First\n") == "a\nb"
    assert strip_verdict("Preference: First") == ""


PAIRS = [pair(f"c{i}", split="context") for i in range(6)]
VALIDATION = [pair(f"v{i}", split="validation") for i in range(2)]


def trace_of(name: str) -> Trace:
    return Trace(pair_id=name, swapped=False, reasoning=f"why {name}", outcome="correct")


TRACES = {name: trace_of(name) for name in ("c1", "c3", "c4")}


def settings(**changes: object) -> SearchSettings:
    values: dict[str, object] = {"judge": TEXT, "seeds": (ZERO_SHOT, LABELLED, UNSHUFFLED, 0, 1), "max_bootstrapped": 2}
    return SearchSettings(**{**values, "max_labelled": 3, "stop_at_score": None, **changes})  # type: ignore[arg-type]


def ids(shown: tuple[Demonstration, ...]) -> list[tuple[str, bool]]:
    return [(d.pair.pair_id, d.reasoning is not None) for d in shown]


def test_candidates() -> None:
    assert build_candidate(ZERO_SHOT, PAIRS, TRACES, settings()) == ()
    assert ids(build_candidate(LABELLED, PAIRS, TRACES, settings())) == [("c0", False), ("c1", False), ("c2", False)]
    assert ids(build_candidate(UNSHUFFLED, PAIRS, TRACES, settings())) == [("c1", True), ("c3", True), ("c0", False)]
    assert ids(build_candidate(UNSHUFFLED, PAIRS, {}, settings())) == [("c0", False), ("c1", False), ("c2", False)]


@given(st.integers(0, 50), st.integers(1, 6), st.integers(0, 4))
def test_random_candidates_are_small_distinct_and_repeatable(seed: int, boot: int, lab: int) -> None:
    chosen = settings(max_bootstrapped=boot, max_labelled=lab)
    shown = build_candidate(seed, PAIRS, TRACES, chosen)
    names = [d.pair.pair_id for d in shown]
    assert len(names) == len(set(names)) <= max(boot, lab)
    assert shown == build_candidate(seed, PAIRS, TRACES, chosen)


def demonstrated(request: Request) -> str:
    return " ".join(m.content for m in request.messages[1:-1] if m.role == "user")


def test_search_takes_the_candidate_that_helps() -> None:
    model = ScriptedModel(lambda r: say("question c3" in demonstrated(r), r))
    result = asyncio.run(search(model, PAIRS, TRACES, VALIDATION, settings(), allow_empty=True))
    assert result.seed in (UNSHUFFLED, 0, 1)
    assert "c3" in [d.pair.pair_id for d in result.demonstrations]
    by_seed = {c.seed: c.score for c in result.candidates}
    assert by_seed[ZERO_SHOT] == by_seed[LABELLED] == 0
    assert by_seed[UNSHUFFLED] == 100
    # Two pairs in both orders; a candidate that can not win any more is left after the first pair.
    scored = {c.seed: c.n_scored for c in result.candidates}
    assert scored == {ZERO_SHOT: 4, LABELLED: 4, UNSHUFFLED: 4, 0: 4 if by_seed[0] == 100 else 2, 1: scored[1]}


def test_search_stops_at_the_stop_score_and_stage_1_has_no_empty_candidate() -> None:
    model = ScriptedModel(lambda r: say(True, r))
    result = asyncio.run(search(model, PAIRS, TRACES, VALIDATION, settings(stop_at_score=80), allow_empty=False))
    assert [c.seed for c in result.candidates] == [LABELLED]


def test_candidates_that_show_the_same_are_scored_once_and_a_single_one_never() -> None:
    model = ScriptedModel(lambda r: say(True, r))
    same = settings(seeds=(LABELLED, UNSHUFFLED))
    result = asyncio.run(search(model, PAIRS, {}, VALIDATION, same, allow_empty=False))
    assert (result.seed, len(model.requests)) == (LABELLED, 0)
    with_none = settings(seeds=(ZERO_SHOT, LABELLED, UNSHUFFLED))
    result = asyncio.run(search(model, PAIRS, {}, VALIDATION, with_none, allow_empty=True))
    assert len(model.requests) == 2 * 4  # two distinct candidates, two pairs in both orders
    assert [c.seed for c in result.candidates] == [ZERO_SHOT, LABELLED, UNSHUFFLED]


@given(st.lists(st.lists(st.booleans(), min_size=8, max_size=8), min_size=2, max_size=5), st.booleans())
def test_the_bound_never_changes_the_winner(right: list[list[bool]], stop: bool) -> None:
    """Against the arg-max over all candidates scored in full, with the same stop and the same rule among equals."""
    pairs = [pair(f"c{i}", split="context") for i in range(len(right))]
    traces = {p.pair_id: trace_of(p.pair_id) for p in pairs}
    asked = [pair(f"v{i}", split="validation") for i in range(4)]
    sets = {seed: build_candidate(seed, pairs, traces, settings(max_bootstrapped=1)) for seed in range(len(right))}
    row_of = {sets[seed]: right[seed] for seed in sets}

    def answer(request: Request) -> Response:
        shown = next(s for s in row_of if all(d.pair.context[0].content in demonstrated(request) for d in s))
        number = int(last_user(request).split("question v")[1][0])
        return say(row_of[shown][2 * number + good_is_first(request)], request)

    chosen = settings(seeds=tuple(sets), max_bootstrapped=1, max_labelled=0, stop_at_score=75 if stop else None)
    found = asyncio.run(search(ScriptedModel(answer), pairs, traces, asked, chosen, allow_empty=False))
    full = {seed: sum(row_of[sets[seed]]) / 8 * 100 for seed in sets}
    reached = next((seed for seed in sets if stop and full[seed] >= 75), max(sets))
    tried = [seed for seed in sets if seed <= reached]
    best = max(tried, key=lambda seed: (full[seed], -seed))
    assert sets[found.seed] == sets[best]


def test_without_validation_pairs_nothing_is_asked() -> None:
    model = ScriptedModel(lambda r: say(True, r))
    result = asyncio.run(search(model, PAIRS, TRACES, [], settings(), allow_empty=True))
    assert (result.seed, len(model.requests)) == (UNSHUFFLED, 0)
    assert ids(result.demonstrations)[0] == ("c1", True)


def test_an_outage_is_an_error_and_not_a_score() -> None:
    model = ScriptedModel(lambda _: RateLimited("busy"))
    with pytest.raises(ModelCallError, match="validation"):
        asyncio.run(search(model, PAIRS, TRACES, VALIDATION, settings(), allow_empty=True))


def test_rule_among_equals() -> None:
    def candidate(seed: int, score: float, odds: float | None, size: int) -> Candidate:
        return Candidate(seed=seed, pair_ids=("x",) * size, score=score, mean_log_odds=odds, n_scored=4)

    ordered = [
        candidate(3, 75, 0.1, 1),
        candidate(2, 50, 0.9, 1),
        candidate(1, 50, 0.5, 2),
        candidate(0, 50, 0.5, 1),
        candidate(5, 50, 0.5, 1),
    ]
    for i, winner in enumerate(ordered):
        assert max(reversed(ordered[i:]), key=better) == winner


def test_persona_of_a_compact_prompt_continues_the_given_start() -> None:
    model = ScriptedModel(lambda _: text(" are short. They also", finish_reason="length"))
    shown = [Demonstration(pair=pair("a"), swapped=False)]
    induced = asyncio.run(induce_persona(model, shown, PersonaSettings("compact", 64)))
    assert induced == ("This user likes answers that are short.", ())


def test_persona_input_is_shortened_by_whole_judgements_oldest_first_and_recorded() -> None:
    model = ScriptedModel(lambda _: text("Likes tea."), context_length=1000)
    shown = [Demonstration(pair=pair(f"{i} " + "word " * 150), swapped=False) for i in range(8)]
    induced = asyncio.run(induce_persona(model, shown, PersonaSettings("standard", 64)))
    (request,) = model.requests.values()
    prompt = request.messages[1].content
    assert "question 7" in prompt
    assert "question 0" not in prompt
    kept = prompt.count("--- Choice")
    assert induced.events == (f"persona input shortened by {8 - kept} of 8 judgements",)


def test_persona_input_is_shortened_when_the_provider_says_it_overflows() -> None:
    def answer(request: Request) -> Response | ModelCallError:
        shown = request.messages[1].content.count("--- Choice")
        return ContextOverflow("too long") if shown > 2 else text("Likes tea.")

    shown = [Demonstration(pair=pair(f"{i}"), swapped=False) for i in range(4)]
    induced = asyncio.run(induce_persona(ScriptedModel(answer), shown, PersonaSettings("standard", 64)))
    assert induced == ("Likes tea.", ("persona input shortened by 2 of 4 judgements",))


def test_no_judgement_gives_no_persona_and_no_call() -> None:
    model = ScriptedModel(lambda _: text("x"))
    assert asyncio.run(induce_persona(model, [], PersonaSettings())).persona is None
    assert model.requests == {}


@given(st.integers(1, 6), st.integers(0, 3))
def test_subsets_of_context_pairs_are_nested_and_in_order(k: int, draw: int) -> None:
    smaller, larger = context_subset(PAIRS, k, draw, 1), context_subset(PAIRS, k + 1, draw, 1)
    assert set(smaller) <= set(larger)
    assert len(smaller) == k
    assert [p.pair_id for p in larger] == sorted(p.pair_id for p in larger)
    assert context_subset(PAIRS, ALL_PAIRS, draw, 1) == tuple(PAIRS)


def user(**changes: object) -> UserData:
    tests = tuple(pair(f"t{i}", split="test") for i in range(2))
    return UserData(dataset="d", user_id="u", pairs=(*PAIRS, *VALIDATION, *tests)).model_copy(update=changes)


def learn(answer: object, who: UserData | None = None, k: int = ALL_PAIRS, rebootstrap: bool = True) -> object:
    who = who or user()
    model = ScriptedModel(answer)  # type: ignore[arg-type]
    rows = asyncio.run(bootstrap_pairs(model, who.part("context"), Shown(), BOOT))
    traces = UserTraces(dataset="d", user_id="u", model="scripted", variant="corrected", status="ok", traces=rows)
    how = ProfileSettings(BOOT, PersonaSettings(), settings(), rebootstrap=rebootstrap)
    return asyncio.run(learn_profile(model, who, traces, k, 0, how)), model


def persona_or_verdict(request: Request) -> Response:
    return text("Likes GOOD things.") if "--- Choice" in request.messages[-1].content else say(True, request)


def test_profile_has_persona_demonstrations_and_its_calls() -> None:
    profile, model = learn(persona_or_verdict)  # type: ignore[misc]
    assert profile.status == "ok"
    assert profile.persona == "Likes GOOD things."
    assert profile.plain_demonstrations
    assert {ref.stage for ref in profile.calls} == {"search", "persona", "rebootstrap", "search_persona"}
    assert all(ref.key in model.requests for ref in profile.calls)


def test_no_test_pair_reaches_any_prompt_of_learning() -> None:
    _, model = learn(persona_or_verdict)  # type: ignore[misc]
    assert model.requests
    for request in model.requests.values():
        assert not any(f"question t{i}" in m.content for m in request.messages for i in range(2))


def test_a_failed_persona_call_is_a_failed_profile_with_its_reason() -> None:
    def answer(request: Request) -> Response | ModelCallError:
        return RateLimited("busy") if "--- Choice" in request.messages[-1].content else say(True, request)

    profile, _ = learn(answer)  # type: ignore[misc]
    assert (profile.status, profile.reason) == ("failed", "provider_error: busy")
    assert profile.calls  # what was paid for before stays accounted for


def test_a_user_without_context_pairs_has_an_empty_profile() -> None:
    profile, model = learn(persona_or_verdict, user(pairs=(), excluded="3 pairs, fewer than 5"))  # type: ignore[misc]
    assert (profile.status, profile.reason) == ("empty", "3 pairs, fewer than 5")
    assert model.requests == {}


def test_k_limits_what_is_shown() -> None:
    profile, _ = learn(persona_or_verdict, k=1, rebootstrap=False)  # type: ignore[misc]
    names = {d.pair.pair_id for d in (*profile.plain_demonstrations, *profile.demonstrations)}
    assert len(names) == 1
