"""What goes wrong at the provider is an error or is counted as such, never a tie; what was not learned is said."""

from __future__ import annotations

import logging
from typing import Any

import pytest
from support.scripted_server import Answer, Fault, ScriptedServer

from personalrm import DefaultJudge
from personalrm.core.errors import ModelCallError, NotFittedError, PermanentError, Refused, TransientError

from .conftest import QUICK, asked, items, judge_of, prefers_good

OUTAGE = Fault("status", 503)


def test_an_outage_is_an_error_everywhere_and_never_a_tie() -> None:
    with ScriptedServer(prefers_good, faults=lambda number, body: OUTAGE if asked_now else None) as server:
        asked_now = True
        rm, judge = judge_of(server), DefaultJudge("m", server.url, model_options=QUICK)
        with pytest.raises(ModelCallError, match="503"):
            rm.fit(items(5))
        assert not rm.is_fitted
        with pytest.raises(TransientError, match="503"):
            judge.predict_pairwise("Which?", "GOOD", "BAD")
        with pytest.raises(ModelCallError, match="4 of 4 verdicts failed"):
            judge.evaluate(items(2))
        asked_now = False
        assert judge.evaluate(items(2)).mean == 1.0
        assert rm.fit(items(5)).is_fitted


def test_an_outage_in_the_persona_call_leaves_the_object_unfitted() -> None:
    def fault(_: int, body: dict[str, Any]) -> Fault | None:
        return OUTAGE if "The person chose" in asked(body) else None

    with ScriptedServer(prefers_good, faults=fault) as server:
        rm = judge_of(server)
        with pytest.raises(TransientError, match="503"):
            rm.fit(items(5))
    with pytest.raises(NotFittedError):
        rm.get_persona()


def test_an_outage_in_the_search_leaves_the_object_unfitted() -> None:
    """Some verdicts would be enough to name a winner, but perhaps not the one that all of them name."""
    lost: set[str] = set()

    def fault(_: int, body: dict[str, Any]) -> Fault | None:
        if "What is known about this user" not in body["messages"][0]["content"]:
            return None
        lost.add(asked(body) if not lost else next(iter(lost)))
        return OUTAGE if asked(body) in lost else None

    with ScriptedServer(prefers_good, faults=fault) as server:
        rm = judge_of(server)
        with pytest.raises(ModelCallError, match=r"\d of \d+ calls failed .*503"):
            rm.fit(items(9))
    assert len(lost) == 1
    assert not rm.is_fitted


def test_few_provider_errors_are_counted_and_are_no_wrong_answers() -> None:
    def fault(_: int, body: dict[str, Any]) -> Fault | None:
        return OUTAGE if "question 1?" in asked(body) else None

    with ScriptedServer(prefers_good, faults=fault) as server:
        result = DefaultJudge("m", server.url, model_options=QUICK, max_failed_share=0.5).evaluate(items(3))
    assert (result.outcomes["provider_error"], result.outcomes["correct"], result.mean) == (2, 4, 1.0)
    assert result.results == (1, 1, 1, 1)
    assert (result["upper_bound"], result.mean_readable) == (1.0, 1.0)
    # Two pairs, both right in both orders: Clopper and Pearson leave open 0.16 and more, this interval about as much.
    assert 0.15 < result["lower_bound"] < 0.35


def test_unread_answers_count_as_wrong_and_accuracy_among_read_ones_stands_beside() -> None:
    def answer(body: dict[str, Any]) -> str:
        return "No label." if "question 1?" in asked(body) else "Preference: First"

    with ScriptedServer(answer) as server:
        result = DefaultJudge("m", server.url, model_options=QUICK).evaluate(items(4))
    assert result.outcomes["unparsed"] == 2
    assert (result.mean, result.mean_readable) == (3 / 8, 3 / 6)


def test_calls_that_were_lost_while_learning_stand_in_the_profile_and_fit_again_asks_for_them(
    caplog: pytest.LogCaptureFixture,
) -> None:
    lost: list[str] = []

    def fault(_: int, body: dict[str, Any]) -> Fault | None:
        if "What is known about this user" in body["messages"][0]["content"] and not lost and asked_now:
            lost.append(asked(body))
        return OUTAGE if asked_now and asked(body) in lost else None

    asked_now = True
    with ScriptedServer(prefers_good, faults=fault) as server, caplog.at_level(logging.WARNING, logger="personalrm"):
        rm = judge_of(server, max_failed_share=0.5).fit(items(9))
        assert sum(rm.profile.lost.values()) >= 1
        assert "fit again asks for them" in caplog.text
        asked_now = False
        assert rm.fit(items(9)).profile.lost == {}


def test_a_refused_key_and_a_refusal_are_told_apart() -> None:
    with ScriptedServer(prefers_good, api_key="right") as server:
        judge = DefaultJudge("m", server.url, model_options=QUICK)
        with pytest.raises(PermanentError):
            judge.evaluate(items(2))
    content_filter = {"error": {"message": "blocked", "code": "content_filter", "type": "invalid_request_error"}}
    with ScriptedServer(prefers_good, faults=lambda *_: Fault("status", 400, body=content_filter)) as server:
        judge = DefaultJudge("m", server.url, model_options=QUICK)
        with pytest.raises(Refused):
            judge.predict_pairwise("Which?", "GOOD", "BAD")
        assert judge.evaluate(items(2)).outcomes["refused"] == 4


def test_an_empty_profile_is_the_unpersonalised_judge_and_says_so(caplog: pytest.LogCaptureFixture) -> None:
    def never_right(body: dict[str, Any]) -> str:
        return " " if "The person chose" in asked(body) else "Preference: tie"

    with ScriptedServer(never_right) as server, caplog.at_level(logging.WARNING, logger="personalrm"):
        rm = judge_of(server, max_labeled_demos=0, num_search_candidates=0).fit(items(5))
        judge = DefaultJudge("some/model", server.url)
        assert rm.get_persona() is None
        assert rm.get_demos() == []
        assert rm.get_judge_prompt() == judge.get_judge_prompt()
        assert rm.predict_pairwise("Which?", "a", "b") == 0
    assert any("as DefaultJudge" in event for event in rm.profile.events)
    assert "as DefaultJudge" in caplog.text


def test_answers_that_are_cut_are_told_of_with_the_parameter_to_raise(caplog: pytest.LogCaptureFixture) -> None:
    options = {**QUICK, "max_tokens": 30}
    with (
        ScriptedServer(lambda _: Answer("I think that", finish_reason="length")) as server,
        DefaultJudge("m", server.url, model_options=options) as judge,
        caplog.at_level(logging.WARNING),
    ):
        judge.evaluate(items(2))
    told = [record.getMessage() for record in caplog.records if "were cut" in record.getMessage()]
    assert told == ["model m: 4 of 4 answers were cut at 30 tokens (100 %); raise model_options: max_tokens"]
