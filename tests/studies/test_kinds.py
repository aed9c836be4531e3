"""Kinds of question: who names them, what is shown for it, and what scores, tastes, verdicts and cost make of them."""

from __future__ import annotations

import asyncio
import json
import re
from pathlib import Path
from typing import Any

import pytest
from support.models import ScriptedModel, pair, text
from support.projects import write_votes
from support.scripted_judge import Answer
from support.scripted_server import Fault, ScriptedServer
from support.traits import BANK, says, sorts

from personalrm.core.errors import ConfigError
from personalrm.core.records import JudgedUser, PreferencePair, Turn, UserData, UserScores, read_records, write_records
from personalrm.core.tastes import UserTaste
from personalrm.judge.question_kinds import LONGEST_PROMPT, name_kinds, prompts_of
from personalrm.llm.open import RuntimeSettings
from personalrm.studies.config_load import parse_config
from personalrm.studies.estimate.command import estimate
from personalrm.studies.synthesizeme.plan import Plan
from personalrm.studies.synthesizeme.stages.fit import fit_stage
from personalrm.studies.synthesizeme.stages.runner import Job
from personalrm.studies.synthesizeme.stages.scoring import score_stage
from personalrm.studies.synthesizeme.stages.tasting import taste_stage
from personalrm.studies.synthesizeme.stages.weighing import weigh_stage

PAIRS = 24


def vote(number: int) -> PreferencePair:
    """A vote for the loud answer about food, and for the calm one about work."""
    loud, calm = f"Loud{'!' * (1 + number % 3)} {number}", f"Calm {number}"
    topic = ("food", "work")[number % 2]
    return pair(f"p{number:02}", order=number, split=("context", "context", "test")[number % 3]).model_copy(
        update={
            "context": (Turn(role="user", content=f"About {topic}: how is {number}?"),),
            "chosen": loud if topic == "food" else calm,
            "rejected": calm if topic == "food" else loud,
            "conversation_type": topic,
        }
    )


ANN = UserData(dataset="d", user_id="ann", pairs=tuple(map(vote, range(PAIRS))))
FEW = UserData(dataset="d", user_id="few", pairs=tuple(map(vote, range(0, 10, 2))))
"""Another user, who always prefers loud answers: others say how strong tastes are."""


def raw(url: str = "http://127.0.0.1:9/v1", kinds: str | None = "model", **more: Any) -> dict[str, Any]:  # noqa: ANN401
    attributes = {"bank": "bank.yaml"} | ({"kinds": kinds} if kinds else {})
    return {
        "run": "r",
        "store": "store.sqlite",
        "datasets": {"d": {"path": "votes.jsonl", "shards": 1}},
        "models": {"m": {"backend": "openai", "model": "m", "api_base": url, "max_attempts": 1}},
        "learn": {"models": ["m"]},
        "methods": ["attributes", "measured_persona"],
        "max_failed_share": 0.5,
        "attributes": attributes,
        **more,
    }


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Path("bank.yaml").write_text(BANK, encoding="utf-8")
    write_records(Path("users"), [ANN, FEW])
    return tmp_path


def scores(config: dict[str, Any]) -> list[UserScores]:
    """What `score_attributes` writes of both users."""
    job = Job(parse_config(config), RuntimeSettings(Path("servers"), cores=1))
    asyncio.run(score_stage(job, dataset="d", users=Path("users"), out=Path("scores"), model="m"))
    return list(read_records(Path("scores"), UserScores))


def judged(config: dict[str, Any]) -> tuple[UserTaste, JudgedUser]:
    """The taste of `ANN`, and the verdicts by it, from the scores that were written last."""
    job, files = Job(parse_config(config), RuntimeSettings(Path("servers"), 1)), {"users": Path("users")}
    shared = {**files, "scores": Path("scores"), "fitted": [Path("fit")]}
    scored = [Path("scores")]
    fit_stage(job, users=[Path("users")], out=Path("fit"), dataset="d", method="attributes", model="m", scores=scored)
    taste_stage(job, out=Path("tastes"), **shared)
    weigh_stage(job, out=Path("rows"), judge="m", **shared)
    return next(read_records(Path("tastes"), UserTaste)), next(read_records(Path("rows"), JudgedUser))


def right(row: JudgedUser) -> float:
    return sum(one.outcome == "correct" for one in row.verdicts) / len(row.verdicts)


def test_a_taste_that_depends_on_the_kind_is_found_and_said_by_kind() -> None:
    with ScriptedServer(sorts) as server:
        plain = scores(raw(server.url, None))
        _, without = judged(raw(server.url, None))
        (ann, few), asked = scores(raw(server.url)), server.count
        # Scores are in the store; one call names the kinds of the user who has enough pairs.
        assert asked == len({ref.key for row in plain for ref in row.calls}) + 1
    assert [row.kinds for row in plain] == [None, None]
    assert b'"kinds"' not in write_and_read(plain)
    assert few.kinds is None
    assert ann.kinds is not None
    assert ann.kinds.names == {one.pair_id: one.conversation_type for one in ANN.pairs}
    assert (ann.pairs, ann.lost) == (plain[0].pairs, 0)
    assert set(ann.kinds.calls) == {ref.key for ref in ann.calls} - {ref.key for ref in plain[0].calls}
    assert "question_kinds" in ann.prompts
    taste, row = judged(raw())
    assert (right(without), right(row)) == (pytest.approx(0.5, abs=0.2), 1.0)
    assert "When asked about food, this person strongly prefers loud answers." in str(taste.persona)
    assert "When asked about work, this person strongly prefers calm answers." in str(taste.persona)
    for rests in (taste, row):
        assert set(ann.kinds.calls) <= {ref.key for ref in rests.calls}


def write_and_read(found: list[UserScores]) -> bytes:
    write_records(Path("again"), found)
    return Path("again").read_bytes()


def test_the_source_may_name_kinds_without_a_call_at_most_four_of_each_user() -> None:
    other = [one.model_copy(update={"conversation_type": f"rare {one.order}"}) for one in ANN.pairs[:4]]
    write_records(Path("users"), [ANN.model_copy(update={"pairs": (*other, *ANN.pairs[4:])})])
    with ScriptedServer(says) as server:
        (ann,) = scores(raw(server.url, "conversation_type"))
    assert ann.kinds is not None
    assert set(ann.kinds.names.values()) == {"food", "work", "rare 0", "rare 1"}
    assert not ann.kinds.calls
    assert "question_kinds" not in ann.prompts
    _, row = judged(raw(kinds="conversation_type"))
    assert {one.outcome for one in row.verdicts if ann.kinds.names.get(one.pair_id) in ("food", "work")} == {"correct"}


@pytest.mark.parametrize("reason", ["unparsed", "refused", "provider_error"])
def test_without_a_readable_answer_there_are_no_kinds_and_a_reason(reason: str) -> None:
    def silent(body: dict[str, Any]) -> Answer:
        if "You sort the questions" not in str(body["messages"]):
            return says(body)
        return Answer("They are all alike.", finish_reason="content_filter" if reason == "refused" else "stop")

    def fault(_number: int, body: dict[str, Any]) -> Fault | None:
        lost = reason == "provider_error" and "You sort the questions" in str(body["messages"])
        return Fault("status", 500) if lost else None

    with ScriptedServer(silent, faults=fault) as server:
        ann, _ = scores(raw(server.url))
        plain = scores(raw(server.url, None))
    assert ann.kinds is not None
    assert (ann.kinds.names, ann.kinds.reason) == ({}, reason)
    assert ann.lost == (reason == "provider_error")
    assert ann.pairs == plain[0].pairs
    _, row = judged(raw())
    assert row.status == "ok"
    assert {one.outcome for one in row.verdicts} <= {"correct", "wrong"}


def test_only_prompts_are_shown_each_once_and_in_any_order_of_rows() -> None:
    long = pair("z", order=PAIRS).model_copy(update={"context": (Turn(role="user", content="word " * 200),)})
    twice = ANN.pairs[0].model_copy(update={"pair_id": "twice", "chosen": "Other!", "order": 1})
    people = [*ANN.pairs, long, twice]
    answer = text('{"kinds": {"food": [1], "work": [2, 3], "all": [3]}}')
    seen = []
    for pairs in (people, people[::-1]):
        model = ScriptedModel(lambda _: answer)
        found = asyncio.run(name_kinds(model, pairs))
        assert found is not None
        # A question in two kinds has none, and equal questions have the same one.
        assert found.names == {"p00": "food", "twice": "food", "p01": "work"}
        (request,) = model.requests.values()
        seen.append([message.content for message in request.messages])
    assert seen[0] == seen[1]
    said = "\n".join(seen[0])
    assert said.count("how is 0?") == 1
    assert not re.search(r"Loud|Calm|Other|GOOD|BAD", said)
    assert max(map(len, prompts_of(people))) < LONGEST_PROMPT + 10
    assert asyncio.run(name_kinds(ScriptedModel(lambda _: answer), people[:1])) is None


def test_kinds_rerun_scores_and_only_where_they_are_asked_for() -> None:
    def reads(kinds: str | None) -> str:
        return Plan(parse_config(raw(kinds=kinds))).reads("score_attributes", dataset="d", model="m", shard="s00")

    assert reads(None) == reads("none") != reads("model") != reads("conversation_type") != reads("none")
    # Kinds are written in words also by a model whose scores are read from labels.
    labels = raw(kinds="model")
    labels["models"]["m"] |= {"prompts": "compact", "verdicts": ["logprob"]}
    plain = {**labels, "attributes": {**labels["attributes"], "json_schema": False}}
    job = {"dataset": "d", "model": "m", "shard": "s00"}
    assert len({Plan(parse_config(one)).reads("score_attributes", **job) for one in (labels, plain)}) == 2
    with pytest.raises(ConfigError, match="kinds"):
        parse_config(raw(kinds="some"))


def test_the_estimate_counts_the_call_that_names_kinds() -> None:
    rows = [one.model_copy(update={"user_id": user}) for user in ("ann", "bob") for one in ANN.pairs]
    keep = ("user_id", "chosen", "rejected", "context")
    write_votes(Path("votes.jsonl"), [{name: one.model_dump()[name] for name in keep} for one in rows])
    found = []
    for kinds in ("none", "model"):
        Path("run.yaml").write_text(json.dumps(raw(kinds=kinds)), encoding="utf-8")
        table = json.loads(estimate(Path("run.yaml"), 2, as_json=True))["rows"]
        found.append(next(row for row in table if row["stage"] == "score_attributes"))
    assert found[1]["calls"] == found[0]["calls"] + 1  # both users ask the same
    assert found[1]["generated_tokens"] - found[0]["generated_tokens"] == pytest.approx(4 * PAIRS, rel=0.2)
