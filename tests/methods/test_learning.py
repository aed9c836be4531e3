"""Stages 1 to 3 on scripted models whose right answers are computed by hand."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.learning import BOOT, PAIRS, VALIDATION, say, settings
from support.models import ScriptedModel, good_is_first, label, pair, text

from personalrm.core.conditions import K
from personalrm.core.errors import ContextOverflow, ModelCallError, RateLimited, Refused
from personalrm.core.records import CallRef, Demonstration, PreferencePair, UserData, UserTraces
from personalrm.judge.judge import JudgeContext, JudgeSettings, presented_swapped
from personalrm.judge.parsing import without_verdict
from personalrm.llm.types import Request, Response
from personalrm.methods.synthesizeme.bootstrap import (
    bootstrap_pair,
    bootstrap_pairs,
    verified,
)
from personalrm.methods.synthesizeme.persona import Induced, PersonaSettings, induce_persona
from personalrm.methods.synthesizeme.profile import ProfileSettings, context_subset, learn_profile
from personalrm.methods.synthesizeme.variants import VARIANTS

LABEL = JudgeSettings("compact", "logprob_both")


def test_a_right_first_guess_is_one_greedy_attempt() -> None:
    model = ScriptedModel(lambda r: say(True, r))
    (trace,) = asyncio.run(bootstrap_pair(model, pair("p"), JudgeContext(), BOOT))
    assert (trace.outcome, trace.attempt, trace.reasoning) == ("correct", 0, "Because.")
    assert trace.swapped == presented_swapped(pair("p"), "0")
    assert len(trace.calls) == 1


def test_a_wrong_guess_is_sampled_again_at_a_temperature_and_kept_when_right() -> None:
    model = ScriptedModel(lambda r: say(r.sample_index == 2, r))
    traces = asyncio.run(bootstrap_pair(model, pair("p"), JudgeContext(), BOOT))
    assert [t.outcome for t in traces] == ["wrong", "wrong", "correct"]
    requests = list(model.requests.values())
    assert [r.temperature for r in requests] == [0.0, 0.7, 0.7]
    assert len({r.seed for r in requests}) == 3
    assert set(verified(traces)) == {"p"}


@pytest.mark.parametrize("right", [0, 1, 2, 3])
def test_attempts_side_by_side_give_the_same_traces_and_ask_for_all_that_may_be_needed(right: int) -> None:
    one, all_at_once = (ScriptedModel(lambda r: say(r.sample_index == right, r)) for _ in range(2))
    traces = asyncio.run(bootstrap_pairs(one, [pair("p")], JudgeContext(), BOOT))
    assert asyncio.run(bootstrap_pairs(all_at_once, [pair("p")], JudgeContext(), BOOT, side_by_side=True)) == traces
    assert len(one.requests) == min(right + 1, 3)
    assert len(all_at_once.requests) == (1 if right == 0 else 3)


@pytest.mark.parametrize(
    ("answer", "attempts"),
    [
        (ContextOverflow("too long"), 1),
        (Refused("not this"), 1),
        (RateLimited("busy"), 3),
        (text("", finish_reason="content_filter"), 3),
        (text("Hm."), 3),
    ],
)
def test_a_request_that_is_rejected_as_it_is_is_not_sampled_again(
    answer: Response | ModelCallError, attempts: int
) -> None:
    traces = asyncio.run(bootstrap_pair(ScriptedModel(lambda _: answer), pair("p"), JudgeContext(), BOOT))
    assert [trace.attempt for trace in traces] == list(range(attempts))


def test_a_user_who_is_never_understood_has_no_trace() -> None:
    traces = asyncio.run(bootstrap_pairs(ScriptedModel(lambda r: say(False, r)), [pair("p")], JudgeContext(), BOOT))
    assert [t.outcome for t in traces] == ["wrong"] * 3
    assert verified(traces) == {}


def test_label_mode_writes_reasoning_first_and_reads_the_label_after_it() -> None:
    def answer(request: Request) -> Response:
        if request.top_logprobs:
            assert request.messages[-1].content == "The user seems to care about brevity. The user prefers Response"
            return label(0.9 if good_is_first(request) else 0.1)
        assert request.messages[-1].content == "The user seems to care about"
        return text(" brevity. And the")

    settings = replace(BOOT, judge=LABEL, max_tokens=40)
    (trace,) = asyncio.run(bootstrap_pair(ScriptedModel(answer), pair("p"), JudgeContext(), settings))
    assert trace.outcome == "correct"
    assert trace.reasoning == "The user seems to care about brevity."
    assert trace.log_odds is not None
    assert trace.log_odds > 0
    assert len(trace.calls) == 2


def test_without_verdict() -> None:
    assert without_verdict("a\nb\nPreference: First\n") == "a\nb"
    assert without_verdict("Preference: First") == ""


def test_persona_of_a_compact_prompt_continues_the_given_start() -> None:
    model = ScriptedModel(lambda _: text(" are short. They also", finish_reason="length"))
    shown = [Demonstration(pair=pair("a"), swapped=False)]
    induced = asyncio.run(induce_persona(model, shown, PersonaSettings("compact", 64)))
    assert induced == Induced("This user likes answers that are short.", ())


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
    assert induced == Induced("Likes tea.", ("persona input shortened by 2 of 4 judgements",))


def test_without_the_repair_a_persona_input_that_overflows_is_an_error_at_once() -> None:
    model = ScriptedModel(lambda _: ContextOverflow("too long"))
    shown = [Demonstration(pair=pair(f"{i}"), swapped=False) for i in range(4)]
    with pytest.raises(ContextOverflow):
        asyncio.run(induce_persona(model, shown, PersonaSettings("standard", 64, shortening=False)))
    assert len(model.requests) == 1


@given(st.integers(1, 6), st.integers(0, 3))
def test_subsets_of_context_pairs_are_nested_and_in_order(k: K, draw: int) -> None:
    smaller, larger = context_subset(PAIRS, k, draw, 1), context_subset(PAIRS, k + 1, draw, 1)
    assert set(smaller) <= set(larger)
    assert len(smaller) == k
    assert [p.pair_id for p in larger] == sorted(p.pair_id for p in larger)
    assert context_subset(PAIRS, "all", draw, 1) == tuple(PAIRS)


def user(**changes: object) -> UserData:
    tests = tuple(pair(f"t{i}", split="test") for i in range(2))
    return UserData(dataset="d", user_id="u", pairs=(*PAIRS, *VALIDATION, *tests)).model_copy(update=changes)


def learn(
    answer: object,
    who: UserData | None = None,
    k: K = "all",
    rebootstrap: bool = True,
    variant: str = "corrected",
    **search: object,
) -> object:
    who = who or user()
    model = ScriptedModel(answer)  # type: ignore[arg-type]
    rows = asyncio.run(bootstrap_pairs(model, who.part("context"), JudgeContext(), BOOT))
    traces = UserTraces(dataset="d", user_id="u", model="scripted", variant=variant, status="ok", traces=rows)
    chosen = settings(repairs=VARIANTS[variant], **search)
    how = ProfileSettings(BOOT, PersonaSettings(), chosen, rebootstrap=rebootstrap)
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
    assert (profile.status, profile.reason, profile.lost) == ("failed", "provider_error: busy", {"persona": 1})
    assert profile.calls  # what was paid for before stays accounted for


def test_calls_that_the_search_lost_are_counted() -> None:
    def answer(request: Request) -> Response | ModelCallError:
        return RateLimited("busy") if "question v1" in request.messages[-1].content else persona_or_verdict(request)

    profile, _ = learn(answer)  # type: ignore[misc]
    assert profile.status == "ok"
    assert re.fullmatch(r"[1-9]\d* calls failed at the provider", profile.events[-1])
    assert set(profile.lost) == {"search", "search_persona"}
    assert profile.events[-1].startswith(f"{sum(profile.lost.values())} calls")


def test_a_lost_attempt_marks_the_profiles_that_its_pair_is_in_and_only_these() -> None:
    """The first attempt at c0 is lost, the second is right: the trace is verified, but not the one of a calm run."""

    def answer(request: Request) -> Response | ModelCallError:
        asked = request.messages[-1].content
        lost = request.temperature == 0 and "question c0" in asked and "--- Choice" not in asked
        return RateLimited("busy") if lost else persona_or_verdict(request)

    profile, _ = learn(answer, rebootstrap=False)  # type: ignore[misc]
    assert (profile.status, profile.lost) == ("ok", {"bootstrap": 1})
    assert [p.pair_id for p in context_subset(PAIRS, 1, 0, 0)] != ["c0"]
    smaller, _ = learn(answer, k=1, rebootstrap=False)  # type: ignore[misc]
    assert smaller.lost == {}


def test_a_profile_without_a_lost_call_has_no_field_of_them() -> None:
    profile, _ = learn(persona_or_verdict)  # type: ignore[misc]
    assert "lost" not in profile.model_dump_json()
    lossy = profile.model_copy(update={"lost": {"search": 1}})
    assert type(profile).model_validate_json(lossy.model_dump_json()) == lossy


def test_a_profile_says_so_where_its_persona_says_nothing() -> None:
    clash = "Likes long answers. Dislikes long answers."

    def answer(request: Request) -> Response:
        return text(clash) if "--- Choice" in request.messages[-1].content else persona_or_verdict(request)

    profile, _ = learn(answer, rebootstrap=False)  # type: ignore[misc]
    assert (profile.status, profile.persona, profile.persona_flaw) == ("ok", clash, "contradiction")
    assert any("the persona says nothing: contradiction" in event for event in profile.events)
    sound, _ = learn(persona_or_verdict, rebootstrap=False)  # type: ignore[misc]
    assert sound.persona_flaw is None


def test_a_user_without_context_pairs_has_an_empty_profile() -> None:
    profile, model = learn(persona_or_verdict, user(pairs=(), excluded="3 pairs, fewer than 5"))  # type: ignore[misc]
    assert (profile.status, profile.reason) == ("empty", "3 pairs, fewer than 5")
    assert model.requests == {}


@pytest.mark.parametrize(
    ("k", "pairs", "excluded", "status", "reason"),
    [
        ("all", (), None, "empty", "no context pairs"),
        ("halves", (), None, "empty", "no context pairs"),
        ("halves", PAIRS[:1], None, "not_applicable", "the context has one conversation"),
        ("halves", PAIRS[:1], "3 pairs, fewer than 5", "empty", "3 pairs, fewer than 5"),
    ],
)
def test_a_profile_says_why_there_is_none(
    k: K, pairs: Sequence[PreferencePair], excluded: str | None, status: str, reason: str
) -> None:
    profile, _ = learn(persona_or_verdict, user(pairs=tuple(pairs), excluded=excluded), k=k)  # type: ignore[misc]
    assert (profile.status, profile.reason) == (status, reason)


def test_a_profile_rests_on_the_attempts_at_its_own_pairs() -> None:
    model = ScriptedModel(persona_or_verdict)
    rows = asyncio.run(bootstrap_pairs(model, PAIRS, JudgeContext(), BOOT))
    keys = {trace.pair_id: trace.calls for trace in rows}
    calls = tuple(CallRef(key=key, stage="bootstrap", tokens_in=9, tokens_out=9) for (key,) in keys.values())
    traces = UserTraces(dataset="d", user_id="u", model="m", variant="v", status="ok", traces=rows, calls=calls)
    how = ProfileSettings(BOOT, PersonaSettings(), settings(), rebootstrap=False)
    profile = asyncio.run(learn_profile(model, user(), traces, 1, 0, how))
    (only,) = context_subset(PAIRS, 1, 0, how.seed)
    assert "1 of 1 pairs have a trace" in profile.events
    assert tuple(ref.key for ref in profile.calls if ref.stage == "bootstrap") == keys[only.pair_id]


def test_k_limits_what_is_shown() -> None:
    profile, _ = learn(persona_or_verdict, k=1, rebootstrap=False)  # type: ignore[misc]
    names = {d.pair.pair_id for d in (*profile.plain_demonstrations, *profile.demonstrations)}
    assert len(names) == 1


def nothing_is_understood(request: Request) -> Response:
    """A model that never sees why the user chose, and writes down how many choices the persona was made from."""
    prompt = request.messages[-1].content
    if "Choice" in prompt or "choices that one person made" in prompt:
        return text(f"Made from {prompt.count('--- Choice')} choices.")
    return say(False, request)


def test_without_any_demonstration_the_persona_reads_all_labelled_pairs() -> None:
    profile, _ = learn(nothing_is_understood, max_labelled=0)  # type: ignore[misc]
    assert profile.persona == "Made from 6 choices."
    assert profile.persona_pairs == tuple(p.pair_id for p in PAIRS)
    assert "no demonstration was found: the persona reads all labelled pairs" in profile.events


def test_as_published_the_persona_is_then_made_from_nothing() -> None:
    profile, _ = learn(nothing_is_understood, variant="as_published", max_labelled=0)  # type: ignore[misc]
    assert (profile.persona, profile.persona_pairs) == ("Made from 0 choices.", ())


def test_as_published_the_persona_reads_labelled_pairs_that_no_prompt_of_the_judge_shows() -> None:
    profile, model = learn(nothing_is_understood, variant="as_published")  # type: ignore[misc]
    assert profile.persona == "Made from 3 choices."
    assert len(profile.persona_pairs) == 3
    assert profile.demonstrations == profile.plain_demonstrations == ()
    assert "3 labelled demonstrations were drawn and reach no prompt (as published)" in profile.events
    assert all(len(r.messages) == 2 for r in model.requests.values())
    assert not any("The user chose:" in r.messages[0].content for r in model.requests.values())


@pytest.mark.parametrize("parallel", [1, 2, 8])
@pytest.mark.parametrize("helps", ["persona", "labelled", "nothing"])
def test_traces_are_made_anew_only_if_the_search_needs_them(helps: str, parallel: int) -> None:
    """With the persona known no guess of the user's pairs is right at once: each would be sampled again."""

    def answer(request: Request) -> Response:
        asked, known = request.messages[-1].content, "Likes GOOD" in request.messages[0].content
        if "--- Choice" in asked:
            return text("Likes GOOD things.")
        right = helps == "persona" or (helps == "labelled" and "The user chose:" in request.messages[0].content)
        return say(right if "question v" in asked else not known, request)

    profile, model = learn(answer, parallel=parallel, stop_at_score=80)  # type: ignore[misc]
    again = [r for r in model.requests.values() if r.sample_index and "Likes GOOD" in r.messages[0].content]
    assert bool(again) == (helps == "nothing")
    guesses = [r for r in model.requests.values() if "question c" in r.messages[-1].content and r not in again]
    known = [r for r in guesses if "Likes GOOD" in r.messages[0].content]
    assert bool(known) == (helps == "nothing" or parallel > 1)
    seeds = [candidate.seed for candidate in profile.search["with_persona"]]
    assert seeds[:2] == [-3, -2][: 1 if helps == "persona" else 2]
    assert profile.winners["with_persona"] == {"persona": -3, "labelled": -2}.get(
        helps, profile.winners["with_persona"]
    )


def test_a_profile_says_where_the_user_has_fewer_pairs_than_k() -> None:
    told = f"only {len(PAIRS)} context pairs for k = {len(PAIRS) + 1}"
    for k, expected in ((len(PAIRS) + 1, True), (len(PAIRS), False), ("all", False)):
        profile, _ = learn(persona_or_verdict, k=k)  # type: ignore[misc]
        assert (told in profile.events) == expected
        assert any(event.startswith("only ") for event in profile.events) == expected
