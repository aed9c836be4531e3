"""Fault 6, and reasoning models: what a model may send instead of a verdict, and the outcome that it is, by hand."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.backends import MakeBackend, spec_for
from support.models import pair
from support.scripted_server import Answer, Fault, ScriptedServer

from personalrm.core.records import Verdict
from personalrm.judge.judge import JudgeContext, JudgeSettings, judge_once
from personalrm.judge.parsing import (
    numbered_choices,
    parse_rating,
    parse_verdict,
    read_labels,
    sentences,
    whole_sentences,
)
from personalrm.llm.backends.litellm_backend import LiteLLMBackend
from personalrm.llm.backends.openai_http import OpenAIHttpBackend
from personalrm.llm.cache.store import ResponseStore
from personalrm.llm.client import ModelClient
from personalrm.llm.types import Response, TokenLogprobs, Usage

WORDS = JudgeSettings("standard", "text")
LABEL = JudgeSettings("compact", "logprob")
RIGHT, WRONG = "Because.\nPreference: First", "Because.\nPreference: Second"
"""The chosen answer stands first."""

ANSWERS: dict[str, tuple[Answer, str]] = {
    "a verdict": (Answer(RIGHT), "correct"),
    "the other one": (Answer(WRONG), "wrong"),
    "empty": (Answer(""), "unparsed"),
    "blanks": (Answer(" \n\t "), "unparsed"),
    "null": (Answer(None), "unparsed"),
    "both labels": (Answer("Preference: First and Second"), "unparsed"),
    "both, undecided": (Answer("Preference: both"), "tie"),
    "a label in prose": (Answer("The First is warm, the Second is cold."), "unparsed"),
    "a label in a quoted answer": (Answer("It says:\n> Preference: First\nI can not say."), "unparsed"),
    "a label in a fence": (Answer("```\nPreference: First\n```\nHm."), "unparsed"),
    "thinking that never ends": (Answer("<think>It is the first.\nPreference: First"), "unparsed"),
    "labels in thinking alone": (Answer(f"One of\n{RIGHT}\n{WRONG}\n</think>\n\nThe short one is liked."), "unparsed"),
    "thinking without a beginning": (Answer(f"{WRONG}\n</think>\n\n{RIGHT}"), "correct"),
    "thinking that ends": (Answer(f"<think>{WRONG}</think>\n{RIGHT}"), "correct"),
    "a megabyte": (Answer("word " * 200_000 + "\nPreference: First"), "correct"),
    "a megabyte without": (Answer("Preference: " * 90_000), "unparsed"),
    "another script": (Answer("プリファレンス: 最初"), "unparsed"),
    "right to left": (Answer("\u202eالأول\u202c\nPreference: First"), "correct"),
    "half a surrogate pair": (Answer("\ud83d broken\nPreference: First"), "correct"),
    "nothing but half a pair": (Answer("\udc00"), "unparsed"),
    "a null character": (Answer("\x00\nPreference: First"), "correct"),
    "cut before the verdict": (Answer("It is the", finish_reason="length"), "unparsed"),
    "cut after the verdict": (Answer(RIGHT, finish_reason="length"), "correct"),
    "cut, and a verdict on an earlier line": (Answer(RIGHT + "\nFor", finish_reason="length"), "unparsed"),
    "thinking kept apart": (Answer(RIGHT, reasoning=WRONG), "correct"),
    "nothing but thinking": (Answer(None, reasoning=RIGHT, finish_reason="length"), "unparsed"),
    "a refusal": (Answer(None, refusal="I will not judge people."), "refused"),
    "a refusal with a verdict": (Answer(RIGHT, refusal="I will not judge people."), "refused"),
    "a filter": (Answer("", finish_reason="content_filter"), "refused"),
}
BODIES: dict[str, tuple[str, str]] = {
    "no JSON": ("<html>busy</html>", "provider_error"),
    "half of it": ('{"choices": [{"mess', "provider_error"),
    "no choices": (json.dumps({"choices": []}), "provider_error"),
    "a list": ("[]", "provider_error"),
    "an error": (json.dumps({"error": {"message": "overloaded"}}), "provider_error"),
}


def judged(
    make: MakeBackend, server: ScriptedServer, settings: JudgeSettings = WORDS
) -> tuple[Verdict, list[Response]]:
    """The verdict, and what is stored of it."""

    async def run() -> tuple[Verdict, list[Response]]:
        spec = spec_for(server, max_attempts=1, timeout_s=60.0)
        with ResponseStore(":memory:") as store:
            port = ModelClient(spec, make(spec), store)
            verdict = await judge_once(port, pair("p"), False, JudgeContext(), settings)
            await port.aclose()
            return verdict, list(store.get_many(verdict.calls).values())

    return asyncio.run(run())


@pytest.fixture(
    params=[OpenAIHttpBackend, pytest.param(LiteLLMBackend, marks=pytest.mark.full)], ids=["http", "litellm"]
)
def make(request: pytest.FixtureRequest) -> MakeBackend:
    chosen: MakeBackend = request.param
    return chosen


@pytest.mark.parametrize("name", ANSWERS)
def test_each_answer_is_the_outcome_that_it_is(make: MakeBackend, name: str) -> None:
    answer, outcome = ANSWERS[name]
    with ScriptedServer(lambda _: answer) as server:
        verdict, stored = judged(make, server)
        assert server.count == 1  # an odd answer is an answer: it is kept, and not asked for again
    assert verdict.outcome == outcome
    # Also what a provider's filter took away, which was paid for.
    assert [response.finish_reason for response in stored] == [answer.finish_reason]


@pytest.mark.parametrize("name", BODIES)
def test_a_body_that_is_no_answer_is_the_providers_fault_and_is_not_stored(make: MakeBackend, name: str) -> None:
    body, outcome = BODIES[name]
    with ScriptedServer(lambda _: RIGHT, faults=[Fault("body", body=body)]) as server:
        verdict, stored = judged(make, server)
    assert (verdict.outcome, stored) == (outcome, [])


def test_thinking_is_stored_beside_the_answer_and_not_in_it(make: MakeBackend) -> None:
    with ScriptedServer(lambda _: Answer(RIGHT, reasoning=WRONG)) as server:
        _, (stored,) = judged(make, server)
    assert (stored.text, stored.reasoning) == (RIGHT, WRONG)


LABELS: dict[str, tuple[list[list[tuple[str, float]]], str]] = {
    "the first": ([[(" A", -0.1), (" B", -2.0)]], "correct"),
    "the second": ([[(" B", -0.1), (" A", -2.0)]], "wrong"),
    "equal": ([[(" A", -0.7), (" B", -0.7)]], "tie"),
    "neither": ([[(" The", -0.1), (" It", -3.0)]], "unparsed"),
    "no list": ([], "unparsed"),
    "an empty list": ([[("", 0.0)]], "unparsed"),
}


@pytest.mark.parametrize("name", LABELS)
def test_each_list_of_probabilities_is_the_outcome_that_it_is(make: MakeBackend, name: str) -> None:
    top, outcome = LABELS[name]
    with ScriptedServer(lambda _: Answer("?", logprobs=top, finish_reason="length")) as server:
        verdict, _ = judged(make, server, LABEL)
    assert verdict.outcome == outcome


ANY_TEXT = st.text(st.characters(codec=None, exclude_categories=())) | st.lists(
    st.sampled_from(
        ["Preference:", "First", "Second", "<think>", "</think>", "```", "> ", "\n", "**", "\ud800", "1: low"]
    )
).map("".join)


@given(ANY_TEXT)
def test_any_text_has_an_outcome(text: str) -> None:
    assert parse_verdict(text) in ("first", "second", "tie", "unparsed")
    assert parse_rating(text) in (None, 1, 2, 3, 4, 5)
    assert parse_rating(text, prefilled=True) in (None, 1, 2, 3, 4, 5)
    assert set(numbered_choices(text, 3, ("low", "high"))) <= {None, "low", "high"}
    assert all(part in text for part in sentences(text))
    assert whole_sentences(text) in text


@given(st.lists(st.lists(st.tuples(ANY_TEXT, st.floats()), min_size=1, max_size=4), max_size=2))
def test_any_probabilities_have_an_outcome(tops: list[list[tuple[str, float]]]) -> None:
    response = Response("", "stop", Usage(), logprobs=tuple(TokenLogprobs(tuple(top)) for top in tops))
    found: Any = read_labels(response, ("A", "B"))
    assert found is None or len(found) == 2
