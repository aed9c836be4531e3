"""Rewards in the form of TRL's trainers, from judges with and without a user."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from support.scripted_server import Fault, ScriptedServer
from support.traits import BANK, says

from personalrm import DefaultJudge, PersonalRM, TasteModel
from personalrm.app.library.reward import NO_ANSWER
from personalrm.core.errors import DataError, ModelCallError

from .conftest import QUICK, items, judge_of, prefers_good

TURNS = [{"role": "user", "content": "Which?"}]


def taste_of(server: ScriptedServer, folder: Path) -> TasteModel:
    (folder / "bank.yaml").write_text(BANK, encoding="utf-8")
    votes = [{"context": f"q {n}?", "chosen": f"Yes {n}!", "rejected": f"Yes {n}."} for n in range(6)]
    return TasteModel("m", model_url=server.url, bank=folder / "bank.yaml", model_options=QUICK).fit(votes)


def test_each_group_has_a_mean_of_zero_and_order_changes_nothing(tmp_path: Path) -> None:
    answers = ["Hm.", "Hm!", "Hm!! Or?", "Well?", "Hm!"]
    with ScriptedServer(says) as server:
        rm = taste_of(server, tmp_path)
        before = len(server.requests)
        rewards = rm.reward([TURNS] * 5 + ["Why?"] * 2, [*answers, "A!", "B."], completion_ids=[[1]] * 7, other=None)
        # Ten comparisons, one of them of equal answers, three of them asked about already; and one; in two orders.
        assert len(server.requests) - before == 2 * (6 + 1)
        assert sum(rewards[:5]) == pytest.approx(0, abs=1e-9)
        assert rewards[5] == -rewards[6] > 0
        assert rewards[1] == rewards[4] > rewards[0]
        turned = rm.reward([TURNS] * 5, answers[::-1])
        assert turned[::-1] == pytest.approx(rewards[:5], abs=1e-9)
        assert asyncio.run(rm.areward([TURNS] * 5, answers)) == rewards[:5]
    assert rm.reward.__name__ == "reward"  # TRL names its logs so


def test_a_reference_gives_log_odds_against_it(tmp_path: Path) -> None:
    with ScriptedServer(says) as server:
        rm = taste_of(server, tmp_path)
        forward = rm.reward(["Which?"] * 3, ["A!", "B.", "B."], reference=["B.", "A!", "B."])
        assert forward[0] == -forward[1] > 0
        assert forward[2] == 0
        said = [{"role": "assistant", "content": "A!"}]
        (alone,) = rm.reward([TURNS], [said], [{"role": "assistant", "content": "B."}])
        assert alone == forward[0]
        probability = rm.predict_proba("Which?", "A!", "B.")
        assert probability is not None
        assert alone > 0
        assert probability > 0.5


def test_any_judge_in_words_gives_shares_of_won_comparisons() -> None:
    with ScriptedServer(prefers_good) as server:
        judges: list[PersonalRM] = [DefaultJudge("m", server.url, model_options=QUICK), judge_of(server).fit(items(5))]
        for judge in judges:
            assert judge.reward(["Which?"] * 2, ["BAD one", "GOOD one"]) == [-1.0, 1.0]
            assert judge.reward(["Which?"] * 2, ["GOOD one", "BAD one"], ["BAD", "GOOD"]) == [1.0, -1.0]


def test_what_a_judge_cannot_say_is_zero_and_an_outage_an_error(caplog: pytest.LogCaptureFixture) -> None:
    with ScriptedServer(lambda body: "No label.") as server:
        judge = DefaultJudge("m", server.url, model_options=QUICK)
        assert judge.reward(["Which?"] * 2, ["A", "B"]) == [0.0, 0.0]
        assert "2 of 2 verdicts could not be had" in caplog.text
    with ScriptedServer(prefers_good, faults=lambda *_: Fault("status", 503)) as server:
        judge = DefaultJudge("m", server.url, model_options=QUICK)
        with pytest.raises(ModelCallError, match="503"):
            judge.reward(["Which?"] * 2, ["GOOD", "BAD"])


def test_a_blank_completion_is_shown_as_no_answer(tmp_path: Path) -> None:
    with ScriptedServer(says) as server:
        judge = taste_of(server, tmp_path)
        blank = judge.reward(["Which?"] * 3, ["", " \n", "Well!"])
        assert blank[0] == blank[1] < 0 < blank[2]
        assert NO_ANSWER in str(server.requests[-1]["messages"])


def test_what_cannot_be_compared_is_named(tmp_path: Path) -> None:
    with ScriptedServer(prefers_good) as server:
        judge = DefaultJudge("m", server.url, model_options=QUICK)
        with pytest.raises(DataError, match=r"^completions\[2\]: is the only one of its prompt"):
            judge.reward(["a", "a", "b"], ["x", "y", "z"])
        with pytest.raises(DataError, match="3 completions for 2 prompts"):
            judge.reward(["a", "a"], ["x", "y", "z"])
        with pytest.raises(DataError, match="1 reference for 2 prompts"):
            judge.reward(["a", "a"], ["x", "y"], ["z"])
        with pytest.raises(DataError, match=r"^completions\[1\]: is int"):
            judge.reward(["a", "a"], ["x", 3])  # type: ignore[list-item]
        with pytest.raises(DataError, match=r"^reference\[1\]: is NoneType"):
            judge.reward(["a", "a"], ["x", "y"], ["z", None])  # type: ignore[list-item]
        assert server.requests == []
        assert judge.reward([], []) == []
