"""TasteModel of a user who likes loud answers about food and calm ones about work."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from support.scripted_judge import Answer
from support.scripted_server import Fault, ScriptedServer
from support.traits import sorts

from personalrm.app.library.readout import reasons_of
from personalrm.core.errors import ConfigError, DataError, ModelCallError

from .conftest import Item, taste_model

LOUD, CALM = "Sure! Do it!", "Sure. Do it."
FOOD, WORK = "About food: what now?", "About work: what now?"
NAMING = "You sort the questions"


def vote(number: int) -> Item:
    topic = ("food", "work")[number % 2]
    answers = [f"Loud{'!' * (1 + number % 3)} {number}", f"Calm {number}"]
    chosen, rejected = answers if topic == "food" else answers[::-1]
    return {"context": f"About {topic}: how is {number}?", "chosen": chosen, "rejected": rejected, "type": topic}


VOTES = [vote(number) for number in range(24)]


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    with ScriptedServer(sorts) as running:
        yield running


def named(server: ScriptedServer) -> int:
    """How often questions were sorted."""
    return sum(NAMING in str(body["messages"]) for body in server.requests)


def test_weights_predictions_reasons_and_persona_are_those_of_the_kind(server: ScriptedServer, bank: Path) -> None:
    rm = taste_model(server, bank, kinds="model").fit(VOTES)
    assert named(server) == 1
    assert rm.predict_pairwise(FOOD, LOUD, CALM) == rm.predict_pairwise(WORK, CALM, LOUD) == 1
    assert named(server) == 3
    # A prompt of the votes has the kind that it had.
    assert rm.predict_pairwise(str(VOTES[1]["context"]), LOUD, CALM) == -1
    assert named(server) == 3
    food, work = (
        next(one for one in rm.explain(prompt, LOUD, CALM) if one.attribute == "is_loud") for prompt in (FOOD, WORK)
    )
    assert (food.kind, food.option, work.kind, work.option) == ("food", 1, "work", -1)
    assert str(work).endswith(" for option2: calm answers, when asked about work")
    loud = {one.kind: one.weight for one in rm.weights() if one.attribute == "is_loud"}
    assert loud["food"] > 0 > loud["work"]
    assert set(loud) == {None, "food", "work"}
    # A kind without weights of its own has those that all share.
    taste = rm.learned.taste
    assert {one.kind for one in reasons_of(taste, rm.bank, np.ones(len(taste.names)), "travel")} == {None}
    text = str(rm.get_persona())
    assert "When asked about food, this person clearly prefers loud answers." in text
    assert "When asked about work, this person clearly prefers calm answers." in text


def test_a_new_prompt_has_the_kind_of_the_votes_that_it_is_sorted_with(bank: Path) -> None:
    def renames(body: Item) -> Answer:
        """Other names for the same kinds, in an order of their own, once there is a new prompt; a vote astray."""
        said = sorts(body)
        if NAMING not in str(body["messages"]) or "what now?" not in str(body["messages"]):
            return said
        groups = {one["name"]: one["questions"] for one in json.loads(str(said.text))["kinds"]}
        return Answer(json.dumps({"a job": [*groups["work"], groups["food"][0]], "to eat": groups["food"][1:]}))

    with ScriptedServer(renames) as server:
        rm = taste_model(server, bank, kinds="model").fit(VOTES)
        assert rm.predict_pairwise(FOOD, LOUD, CALM) == rm.predict_pairwise(WORK, CALM, LOUD) == 1
        # One that is with none of them has the weights that all share.
        other = rm.explain("what now?", LOUD, CALM)
    assert {one.kind for one in other} == {None}


def test_a_new_pair_with_the_id_of_a_vote_has_the_kind_of_its_own_prompt(server: ScriptedServer, bank: Path) -> None:
    """As where each file counts its rows from 0."""
    rm = taste_model(server, bank, kinds="model").fit([{**one, "pair_id": str(at)} for at, one in enumerate(VOTES)])
    fresh = [{**vote(31 + at), "pair_id": str(at)} for at in range(6)]
    assert rm.evaluate(fresh).outcomes["correct"] == 6
    # With none of the votes: not in the kind of the vote that has its id.
    other: Item = {"context": "what now?", "chosen": LOUD, "rejected": CALM}
    odds = [rm.evaluate([{**other, "pair_id": name}]).verdicts[0].log_odds for name in ("0", "1", "new")]
    assert len(set(odds)) == 1


def test_types_of_the_votes_are_kinds_without_a_call(server: ScriptedServer, bank: Path) -> None:
    rm = taste_model(server, bank, kinds="conversation_type").fit(VOTES)
    assert set(rm.learned.taste.kinds) == {"food", "work"}
    fresh = [vote(number) for number in range(30, 36)]
    assert rm.evaluate(fresh).outcomes["correct"] == 6
    assert named(server) == 0
    plain = taste_model(server, bank).fit(VOTES)
    assert (plain.learned.taste.kinds, plain.learned.scores.kinds) == ({}, None)
    for unnamed in (None, 3, " "):
        votes = [{**one, "type": unnamed} for one in VOTES]
        without = taste_model(server, bank, kinds="conversation_type").fit(votes)
        assert "kinds of question: none named (no type of a vote is a text)" in without.events
    spaced = [{**one, "type": f" small\n{one['type']} "} for one in VOTES]
    assert set(taste_model(server, bank, kinds="conversation_type").fit(spaced).learned.taste.kinds) == {
        "small food",
        "small work",
    }


@pytest.mark.parametrize("votes", [VOTES[:5], [{**one, "context": FOOD} for one in VOTES]])
def test_a_reader_knows_where_no_kinds_could_be_named(server: ScriptedServer, bank: Path, votes: list[Item]) -> None:
    said = "kinds of question: none named (fewer than 6 votes, or one prompt alone)"
    assert said in taste_model(server, bank, kinds="model").fit(votes).events
    assert said not in taste_model(server, bank).fit(votes).events
    assert named(server) == 0


def test_no_prompt_is_sorted_for_a_user_whose_taste_is_the_same_everywhere(server: ScriptedServer, bank: Path) -> None:
    rm = taste_model(server, bank, kinds="model").fit([vote(number) for number in range(0, 30, 2)])
    assert rm.learned.scores.kinds is not None
    assert rm.predict_pairwise(FOOD, LOUD, CALM) == 1
    assert named(server) == 1


def test_kinds_are_saved_loaded_named_again_and_the_same_in_a_loop(
    server: ScriptedServer, bank: Path, tmp_path: Path
) -> None:
    rm = taste_model(server, bank, kinds="model", user_id="ann").fit(VOTES[:12])
    assert "question_kinds" in rm.learned.scores.prompts
    file = rm.save(tmp_path / "ann.json")
    loaded = type(rm).from_saved(file)
    assert loaded.learned == rm.learned
    before = named(server)
    assert set(loaded.add([]).learned.taste.kinds) == {"food", "work"}
    assert named(server) == before
    assert loaded.predict_pairwise(WORK, LOUD, CALM) == -1
    assert (
        loaded.add(VOTES[12:]).learned.record
        == taste_model(server, bank, kinds="model", user_id="ann").fit(VOTES).learned.record
    )
    for kinds in ("none", "conversation_type"):
        with pytest.raises(DataError, match=f"kinds='model', not '{kinds}'"):
            taste_model(server, bank, kinds=kinds).load(file)

    async def inside() -> tuple[int, str | None]:
        other = await taste_model(server, bank, kinds="model", user_id="ann").afit(VOTES[:12])
        return await other.apredict_pairwise(WORK, LOUD, CALM), (await other.aexplain(WORK, LOUD, CALM))[0].kind

    assert asyncio.run(inside()) == (-1, "work")


@pytest.mark.parametrize("options", [{"kinds": "topic"}, {"scoring_options": {"kinds": "model"}}])
def test_wrong_kinds_are_refused(server: ScriptedServer, bank: Path, options: Item) -> None:
    with pytest.raises(ConfigError, match=r"^(kinds: |scoring_options: kinds: no key of it)"):
        taste_model(server, bank, **options)


def test_a_lost_call_is_no_prediction_and_an_unread_one_is_told(bank: Path) -> None:
    def fails(_number: int, body: Item) -> Fault | None:
        return (
            Fault("status", 503) if NAMING in str(body["messages"]) and "what now?" in str(body["messages"]) else None
        )

    with ScriptedServer(sorts, faults=fails) as server:
        rm = taste_model(server, bank, kinds="model").fit(VOTES)
        with pytest.raises(ModelCallError):
            rm.predict_pairwise(WORK, LOUD, CALM)
        with pytest.raises(ModelCallError):
            rm.explain(WORK, LOUD, CALM)
    with ScriptedServer(lambda body: Answer("I cannot") if NAMING in str(body["messages"]) else sorts(body)) as server:
        rm = taste_model(server, bank, kinds="model").fit(VOTES)
        assert "kinds of question: none named (unparsed)" in rm.events


def test_a_lost_call_for_kinds_fails_a_fit_and_is_asked_again(bank: Path) -> None:
    def fails(_number: int, body: Item) -> Fault | None:
        return Fault("status", 503) if NAMING in str(body["messages"]) and down else None

    down = True
    with ScriptedServer(sorts, faults=fails) as server:
        with pytest.raises(ModelCallError):
            taste_model(server, bank, kinds="model").fit(VOTES)
        rm = taste_model(server, bank, kinds="model", max_failed_share=0.5).fit(VOTES)
        assert rm.events[:2] == (
            "1 calls were lost to provider errors; fit again asks for them",
            "kinds of question: none named (provider_error)",
        )
        down = False
        assert set(rm.add([]).learned.taste.kinds) == {"food", "work"}
