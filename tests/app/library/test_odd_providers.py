"""A whole path, from votes to verdicts on new pairs, at providers that answer oddly: the kinds of public reports."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from support.backends import error_body
from support.scripted_server import Answer, Fault, ScriptedServer

from personalrm.judge.label_probe import UnreadableLabels

from .conftest import Item, asked, items, judge_of, prefers_good

PATIENT = {"max_attempts": 6, "timeout_s": 10.0}
ODD = "question 21?"
"""One of the pairs that are judged."""
BROKEN_OFF = {
    "model": "m",
    "choices": [
        {
            "message": {"role": "assistant", "content": ""},
            "finish_reason": "error",
            "error": {"code": 502, "message": "upstream overloaded"},
        }
    ],
}
A_MINUTE = {
    "error": {
        "code": 429,
        "status": "RESOURCE_EXHAUSTED",
        "message": "You exceeded your current quota, please check your plan and billing details",
        "details": [{"violations": [{"quotaId": "GenerateRequestsPerMinutePerProject"}]}, {"retryDelay": "0.02s"}],
    }
}
Plan = Callable[[int, dict[str, Any]], Fault | None]


def about_one_pair(fault: Fault) -> Plan:
    return lambda _, body: fault if ODD in asked(body) else None


def each(nth: int, fault: Fault) -> Plan:
    return lambda number, _: fault if number % nth == nth - 1 else None


def once(at: int, fault: Fault) -> Plan:
    return lambda number, _: fault if number == at else None


PLANS: dict[str, tuple[Plan, dict[str, int]]] = {
    "a filter for one pair": (
        about_one_pair(Fault("status", 400, error_body("Content Exists Risk", "invalid_request_error"))),
        {"correct": 6, "refused": 2},
    ),
    "one pair beyond the window": (
        about_one_pair(
            Fault(
                "status",
                400,
                error_body("The decoder prompt (length 9001) is longer than the maximum model length of 8192."),
            )
        ),
        {"correct": 6, "context_overflow": 2},
    ),
    "a limit a minute in the words of no credit": (each(5, Fault("status", 429, A_MINUTE)), {"correct": 8}),
    "a failure inside status 200": (once(3, Fault("body", body=BROKEN_OFF)), {"correct": 8}),
}


@pytest.mark.parametrize("name", PLANS)
def test_an_odd_refusal_costs_at_most_its_own_pair(name: str) -> None:
    plan, expected = PLANS[name]
    with ScriptedServer(prefers_good, faults=plan) as server:
        rm = judge_of(server, model_options=PATIENT).fit(items(6))
        result = rm.evaluate(items(4, first=20))
        before = server.count
        assert rm.evaluate(items(4, first=20)).verdicts == result.verdicts
        # Answers are stored; refusals are not, and one call for each order of the pair is made again.
        assert server.count - before == 8 - expected["correct"]
    assert {outcome: count for outcome, count in result.outcomes.items() if count} == expected
    assert rm.get_persona() == "Likes what is good."


@pytest.mark.parametrize(
    "thought",
    [
        "<think>\nPerhaps this person hates cats?\nPreference: Second\n</think>\n\n",
        "Hates cats? Preference: First\n</think>\n",
    ],
)
def test_thinking_in_the_text_reaches_neither_personas_nor_prompts_nor_verdicts(thought: str) -> None:
    with ScriptedServer(lambda body: thought + prefers_good(body)) as server:
        rm = judge_of(server).fit(items(6))
        assert rm.evaluate(items(4, first=20)).outcomes["correct"] == 8
        assert "cats" not in str(rm.profile.demonstrations) + str(rm.get_persona())
        assert not [body for body in server.requests if "cats" in str(body["messages"])]


def test_answers_that_hold_nothing_at_the_limit_are_told_of_and_no_verdicts(caplog: pytest.LogCaptureFixture) -> None:
    with ScriptedServer(lambda _: Answer(None, finish_reason="length")) as server:
        rm = judge_of(server, model_options={**PATIENT, "max_tokens": 30}).fit(items(4))
        result = rm.evaluate(items(2, first=20))
    assert rm.get_persona() is None
    assert not any(one.reasoning for one in rm.profile.demonstrations)
    assert result.outcomes["unparsed"] == 4
    assert any(
        "were cut at 30 tokens (100 %); raise model_options: max_tokens" in one.getMessage() for one in caplog.records
    )


def test_log_probabilities_of_another_place_are_no_verdicts() -> None:
    options: Item = {**PATIENT, "verdicts": ["logprob_both"], "prompts": "compact"}
    turn = Answer("Based", logprobs=[[("Based", -0.4), ("The", -1.6), ("I", -2.5), ("A", -5.2), ("This", -6.0)]])
    for answer, said in (
        (turn, "open a new turn.*extra_body"),
        (replace(turn, logprobs=()), "sends no log-probabilities"),
    ):
        with ScriptedServer(lambda _, answer=answer: answer) as server, pytest.raises(UnreadableLabels, match=said):
            judge_of(server, model_options=options).fit(items(4))
