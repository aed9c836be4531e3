"""Probabilities, many pairs at once, and rankings, of judges with and without log-odds."""

from __future__ import annotations

import asyncio
import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from support.scripted_server import Answer, Fault, ScriptedServer
from support.traits import says

from personalrm import DefaultJudge
from personalrm.core.errors import ConfigError, DataError, ModelCallError, NotFittedError, PermanentError

from .conftest import QUICK, asked, items, judge_of, prefers_good, taste_model, votes


def one_order(body: dict[str, Any]) -> str:
    """Prefers what is marked GOOD; of two that are, the first; says nothing of UNREAD."""
    text = asked(body)
    if "UNREAD" in text:
        return "No label."
    return prefers_good(body) if "BAD" in text else "Preference: First"


def test_in_words_a_probability_is_one_a_half_or_zero() -> None:
    with ScriptedServer(one_order) as server:
        for judge in (DefaultJudge("m", server.url, model_options=QUICK), judge_of(server).fit(items(5))):
            assert judge.predict_proba("Which?", "GOOD", "BAD") == 1.0
            assert judge.predict_proba("Which?", "BAD", "GOOD") == 0.0
            assert judge.predict_proba("Which?", "GOOD", "GOOD!") == 0.5
            assert judge.predict_proba("Which?", "GOOD", "GOOD!", abstain=0.6) is None
            assert judge.predict_proba("Which?", "UNREAD", "BAD") is None
            assert asyncio.run(judge.apredict_proba("Which?", "GOOD", "BAD")) == 1.0
            with pytest.raises(ConfigError, match=r"^abstain: must be a probability"):
                judge.predict_proba("Which?", "GOOD", "BAD", abstain=0.3)
        with pytest.raises(NotFittedError):
            judge_of(server).predict_proba("Which?", "GOOD", "BAD")


def test_log_odds_of_both_orders_give_the_probability() -> None:
    def label(body: dict[str, Any]) -> Answer:
        text = asked(body)
        first = text.index("GOOD") < text.index("BAD")
        # Sure in one order (0.9), less so in the other (0.6).
        share = 0.9 if first else 0.4
        labels = ("A", "B") if body["messages"][-1]["content"].endswith("Response") else ("First", "Second")
        pairs = ((f" {labels[0]}", math.log(share)), (f" {labels[1]}", math.log(1 - share)))
        return Answer(labels[0], logprobs=[sorted(pairs, key=lambda one: -one[1])])

    options = {**QUICK, "verdicts": ["logprob"], "prompts": "compact"}
    with ScriptedServer(lambda body: label(body) if "GOOD" in asked(body) else Answer(
        "A", logprobs=[[(" A", -0.01), (" B", -5.0)]]
    )) as server:  # fmt: skip
        judge = DefaultJudge("m", server.url, model_options=options)
        found = judge.predict_proba("Which?", "GOOD", "BAD")
        odds = (math.log(0.9 / 0.1) + math.log(0.6 / 0.4)) / 2
        assert found == pytest.approx(1 / (1 + math.exp(-odds)), abs=1e-5)
        assert judge.predict_proba("Which?", "BAD", "GOOD") == pytest.approx(1 - found, abs=1e-5)
        assert judge.predict_proba("Which?", "GOOD", "BAD", abstain=0.95) is None


def test_many_pairs_are_judged_at_once_in_order_and_a_failure_loses_its_pair_alone() -> None:
    def fault(_: int, body: dict[str, Any]) -> Fault | None:
        text = asked(body)
        half = "half" in text and text.index("GOOD") < text.index("BAD")
        return Fault("status", 503) if "lost" in text or half else None

    pairs = [(f"question {n}?", "GOOD", "BAD") for n in range(6)]
    pairs[2], pairs[4], pairs[5] = ("lost?", "GOOD", "BAD"), ("q?", "BAD", "GOOD"), ("q?", "UNREAD", "BAD")
    with ScriptedServer(one_order, faults=fault, latency=0.05) as server:
        judge = DefaultJudge("m", server.url, model_options=QUICK, num_workers=14)
        found = judge.predict_many([*pairs, pairs[0]])
        assert server.most_in_flight > 2
        assert server.count == 12  # the seventh pair is the first
        assert [one.preference for one in found] == [1, 1, None, 1, -1, 0, 1]
        assert [one.probability for one in found] == [1.0, 1.0, None, 1.0, 0.0, None, 1.0]
        assert found[0].outcomes == ("correct", "correct")
        assert found[2].outcomes == ("provider_error", "provider_error")
        # One order alone would favour an answer by its place.
        (half,) = judge.predict_many([("half?", "GOOD", "BAD")])
        assert (half.preference, half.probability) == (None, None)
        assert sorted(half.outcomes) == ["correct", "provider_error"]
        assert list(found.to_frame()["probability"].isna()) == [False, False, True, False, False, True, False]
        assert asyncio.run(judge.apredict_many(pairs))[4] == found[4]
        assert judge.predict_many([]) == ()


def test_what_is_no_triple_is_named_by_its_place_and_a_wrong_key_ends_all() -> None:
    with ScriptedServer(one_order, api_key="right") as server:
        judge = DefaultJudge("m", server.url, model_options=QUICK)
        with pytest.raises(DataError, match=r"^pairs\[1\]: is no triple"):
            judge.predict_many([("q?", "a", "b"), ("q?", "a")])  # type: ignore[list-item]
        with pytest.raises(DataError, match=r"^pairs\[1\], option2"):
            judge.predict_many([("q?", "a", "b"), ("q?", "a", 3)])  # type: ignore[list-item]
        with pytest.raises(DataError, match=r"^pairs: is no list"):
            judge.predict_many(None)  # type: ignore[arg-type]
        assert server.count == 0
        with pytest.raises(PermanentError):
            judge.predict_many([("q?", "a", "b")])


def test_a_ranking_puts_the_preferred_answer_first(bank: Path) -> None:
    answers = ["Well.", "Well!", "Well?", "Well!! Or?"]
    with ScriptedServer(says) as server:
        rm = taste_model(server, bank).fit(votes(8))
        before = server.count
        ranked = rm.rank("Which?", answers)
        assert server.count - before == 2 * 6
        assert [one.answer for one in ranked] == [answers[one.place] for one in ranked]
        assert ranked[0].answer.count("!") > ranked[-1].answer.count("!")  # type: ignore[union-attr]
        assert [one.score for one in ranked] == sorted((one.score for one in ranked), reverse=True)
        assert sum(one.score for one in ranked) == pytest.approx(0, abs=1e-9)
        assert asyncio.run(rm.arank("Which?", answers)) == ranked
        assert list(ranked.to_frame().columns) == ["place", "score", "answer"]


def test_a_ranking_in_words_keeps_the_given_order_among_equals() -> None:
    with ScriptedServer(one_order) as server:
        judge = DefaultJudge("m", server.url, model_options=QUICK)
        ranked = judge.rank("Which?", ["GOOD one", "BAD", {"role": "assistant", "content": "GOOD two"}])
        assert [(one.place, one.score) for one in ranked] == [(0, 0.5), (2, 0.5), (1, -1.0)]
        asked_so_far = server.count
        texts = ["GOOD one", "BAD", "GOOD two"]
        for form in (iter(texts), np.array(texts), pd.Series(texts, index=[7, 8, 9])):
            assert [(one.place, one.answer) for one in judge.rank("Which?", form)] == [
                (0, texts[0]), (2, texts[2]), (1, texts[1])
            ]  # fmt: skip
        assert [tuple(one) for one in judge.rank("Which?", ["alone"])] == [(0, 0.0, "alone")]
        assert judge.rank("Which?", []) == ()
        with pytest.raises(DataError, match=r"^answers: is one answer"):
            judge.rank("Which?", "one answer")
        with pytest.raises(DataError, match=r"^answers: is no list"):
            judge.rank("Which?", None)  # type: ignore[arg-type]
        assert server.count == asked_so_far
    with ScriptedServer(one_order, faults=lambda *_: Fault("status", 503)) as server:
        with pytest.raises(ModelCallError, match="503"):
            DefaultJudge("m", server.url, model_options=QUICK).rank("Which?", ["GOOD", "BAD"])
        with pytest.raises(NotFittedError):
            judge_of(server).rank("Which?", ["alone"])
