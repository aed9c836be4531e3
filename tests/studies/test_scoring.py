"""Stage `score_attributes`: who is scored, what is lost, what reruns it, batches, and the estimate of its calls."""

from __future__ import annotations

import asyncio
import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from support.batch_server import BatchServer
from support.models import pair
from support.projects import write_votes
from support.scripted_server import Fault, ScriptedServer
from support.traits import BANK, says

from personalrm.core.errors import ConfigError, ModelCallError
from personalrm.core.files import sha256_file
from personalrm.core.records import UserData, UserScores, read_records, write_records
from personalrm.judge.attribute_bank import DEFAULT_BANK, load_bank
from personalrm.llm.open import RuntimeSettings
from personalrm.methods.base import Method
from personalrm.methods.registry import METHODS
from personalrm.studies.config_load import parse_config
from personalrm.studies.estimate.command import estimate
from personalrm.studies.synthesizeme.config import Config
from personalrm.studies.synthesizeme.facts import attributes_in_use
from personalrm.studies.synthesizeme.plan import Plan
from personalrm.studies.synthesizeme.stages.fit import by_pair
from personalrm.studies.synthesizeme.stages.prepare import prepare_stage
from personalrm.studies.synthesizeme.stages.runner import Job
from personalrm.studies.synthesizeme.stages.scoring import score_settings, score_stage

USERS = (
    UserData(dataset="d", user_id="ann", pairs=(pair("a1"), pair("a2", split="test")), user_split="test"),
    UserData(dataset="d", user_id="ben", pairs=(pair("b1"),), user_split="train"),
    UserData(dataset="d", user_id="cat", excluded="1 pair, fewer than 5"),
    UserData(dataset="d", user_id="dan", pairs=(pair("d1").model_copy(update={"tie": True}),)),
)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Path("bank.yaml").write_text(BANK, encoding="utf-8")
    write_records(Path("users.jsonl"), USERS)
    return tmp_path


def raw(url: str = "http://127.0.0.1:9/v1", attributes: dict[str, Any] | None = None, **model: Any) -> dict[str, Any]:  # noqa: ANN401
    entry = {"backend": "openai", "model": "m", "api_base": url, "max_attempts": 1, **model}
    labels = {"prompts": "compact", "verdicts": ["logprob_both"]}
    return {
        "run": "r",
        "store": "store.sqlite",
        "datasets": {"d": {"path": "votes.jsonl", "shards": 1}},
        "models": {"words": entry, "labels": entry | labels},
        "learn": {"models": ["words", "labels"]},
        "evaluate_users": "test",
        "attributes": {"bank": "bank.yaml", **(attributes or {})},
    }


def rows(config: Config, model: str) -> list[UserScores]:
    """What the stage writes of `USERS`."""
    job = Job(config, RuntimeSettings(Path("servers"), cores=1))
    asyncio.run(score_stage(job, dataset="d", users=Path("users.jsonl"), out=Path("out.jsonl"), model=model))
    return list(read_records(Path("out.jsonl"), UserScores))


@pytest.mark.parametrize("model", ["words", "labels"])
def test_all_pairs_of_all_users_are_scored(folder: Path, model: str) -> None:
    with ScriptedServer(says) as server:
        found = rows(parse_config(raw(server.url)), model)
    assert [row.user_id for row in found] == ["ann", "ben", "cat", "dan"]
    asked = [[(one.pair_id, one.swapped) for one in row.pairs] for row in found]
    assert asked == [[(p.pair_id, swapped) for p in user.pairs for swapped in (False, True)] for user in USERS]
    names = {"is_loud", "is_curious"} | ({"default"} if model == "labels" else set())
    assert all(one.scores.keys() == names for row in found for one in row.pairs)
    assert {ref.stage for row in found for ref in row.calls} == {"score_attributes"}
    assert all({key for one in row.pairs for key in one.calls} == {ref.key for ref in row.calls} for row in found)
    style = "standard" if model == "words" else "compact"
    assert all(f"attributes_{style}" in row.prompts for row in found)
    assert [list(by_pair(row.pairs)) for row in found] == [[one.pair_id for one in user.pairs] for user in USERS]
    assert by_pair(found[0].pairs)["a2"] == list(found[0].pairs[2:])


def test_lost_calls_are_counted_and_too_many_end_the_job(folder: Path) -> None:
    def fault(number: int, body: dict[str, Any]) -> Fault | None:
        lost = "question a2" in str(body["messages"]) and "is loud?" in str(body["messages"])
        return Fault("status", 500) if lost else None

    with ScriptedServer(says, faults=fault) as server:
        with pytest.raises(ModelCallError, match="2 of 24 score_attributes calls failed"):
            rows(parse_config(raw(server.url)), "labels")
        ann, *others = rows(parse_config(raw(server.url) | {"max_failed_share": 0.1}), "labels")
    assert ann.lost == 2
    assert [one.scores.keys() for one in ann.pairs[2:]] == [{"is_curious", "default"}] * 2
    assert not any(row.lost for row in others)


def test_a_model_scores_by_its_first_kind_of_verdict(folder: Path) -> None:
    for verdicts in (["text", "logprob"], ["logprob", "text"]):
        config = parse_config(raw(verdicts=verdicts))
        assert score_settings(config, "words").mode == verdicts[0]


@pytest.mark.parametrize("model", ["words", "labels"])
def test_batches_give_the_same_rows(folder: Path, model: str) -> None:
    with ScriptedServer(says) as server:
        plain = rows(parse_config(raw(server.url, snapshot="s", same_weights=True)), model)
    Path("store.sqlite").unlink()
    quick = {"gather_s": 0.2, "poll_s": 0.05, "max_poll_s": 0.1, "settle_s": 0.2}
    with BatchServer(says) as server:
        batched = rows(parse_config(raw(server.url, snapshot="s", same_weights=True, batch=quick)), model)
        # The probe of labels does not wait for a batch.
        assert (len(server.batches), server.count) == (1, 0 if model == "words" else 1)
    assert batched == plain


def reads(config: dict[str, Any], model: str = "words") -> str:
    return Plan(parse_config(config)).reads("score_attributes", dataset="d", model=model, shard="s00")


def test_what_is_asked_reruns_a_job_and_nothing_else_does(folder: Path) -> None:
    before = {model: reads(raw(), model) for model in ("words", "labels")}
    for same in (raw() | {"seed": 5, "evaluate_users": "all"}, raw(attributes={"models": ["labels"]})):
        assert {model: reads(same, model) for model in before} == before
    for other in (raw(attributes={"use": "core"}), raw(attributes={"orders": "one"}), raw(context_length=4096)):
        assert not set(before.values()) & {reads(other, model) for model in before}
    shorter = raw(attributes={"max_tokens": 99, "json_schema": False})
    assert [reads(shorter, model) == before[model] for model in ("words", "labels")] == [False, True]
    Path("bank.yaml").write_text(BANK.replace("less: calm answers", "less: quiet answers"), encoding="utf-8")
    assert reads(raw()) == before["words"]
    Path("bank.yaml").write_text(BANK.replace("comparative: loud", "comparative: louder"), encoding="utf-8")
    assert reads(raw()) != before["words"]


def test_the_manifest_says_by_which_attributes_pairs_were_scored(folder: Path) -> None:
    bank = hashlib.sha256(BANK.encode()).hexdigest()
    both = {"bank_sha256": bank, "ids": ["is_loud", "is_curious"]}
    assert attributes_in_use(parse_config(raw())) == both
    assert attributes_in_use(parse_config(raw(attributes={"use": ["is_loud"]}))) == both | {"ids": ["is_loud"]}
    named = parse_config(raw(attributes={"bank": None}))
    assert attributes_in_use(named) == {"bank_sha256": sha256_file(DEFAULT_BANK), "ids": list(load_bank().ids)}
    assert attributes_in_use(named.model_copy(update={"attributes": None})) is None


def jobs(config: dict[str, Any]) -> list[tuple[str, str]]:
    return [(job.dataset, job.model) for job in Plan(parse_config(config)).jobs("score_attributes")]


def test_pairs_are_scored_where_the_config_or_a_method_asks_for_it(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    without = {name: value for name, value in raw().items() if name != "attributes"}
    assert jobs(raw()) == [("d", "words"), ("d", "labels")]
    assert jobs(raw(attributes={"models": ["labels"]})) == [("d", "labels")]
    assert jobs(without) == []
    nothing: Method[Any] = Method("taste", "scores", lambda known: None, learns=True, judge=lambda state, pairs: ())
    monkeypatch.setitem(METHODS, "taste", nothing)
    assert jobs(without | {"methods": ["default", "taste"]}) == [("d", "words"), ("d", "labels")]


@pytest.mark.parametrize(
    ("attributes", "line"),
    [
        ({"models": ["who"]}, "attributes.models: no model 'who' under 'models'"),
        ({"models": []}, "attributes.models: no model scores the pairs"),
        ({"bank": "absent.yaml"}, "attributes: absent.yaml: no such file of attributes"),
        ({"use": ["is_loud", "is_old"]}, "attributes: bank.yaml: no attribute 'is_old'; there are is_loud, is_curious"),
        ({"use": "most"}, "attributes.use: "),
        ({"orders": "none"}, "attributes.orders: "),
        ({"ordres": "one"}, "attributes.ordres: unknown key; did you mean 'orders'?"),
    ],
)
def test_what_cannot_be_scored_is_named_before_the_run(folder: Path, attributes: dict[str, Any], line: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_config(raw(attributes=attributes))
    assert any(found.startswith(line) for found in str(caught.value).splitlines()), str(caught.value)


def test_the_estimate_is_within_a_tenth_of_the_calls(folder: Path) -> None:
    votes = [
        {
            "user_id": f"u{user}",
            "context": [{"role": "user", "content": f"{user}, {number}?"}],
            "chosen": f"Go {user} {number}!",
            "rejected": f"Stay {user} {number}?",
        }
        for user in range(6)
        for number in range(6)
    ]
    write_votes(Path("votes.jsonl"), votes)
    config = raw(attributes={"models": ["words", "labels"]}) | {"learn": {}, "methods": ["longer"]}
    # Train users are scored, too, and are not among those that are simulated.
    config["datasets"]["d"]["user_split"] = {"min_users": 2, "fractions": [0.4, 0.1, 0.5]}
    Path("run.yaml").write_text(json.dumps(config), encoding="utf-8")
    found = json.loads(estimate(Path("run.yaml"), 1, as_json=True))["rows"]
    estimated = {row["model"]: row for row in found if row["stage"] == "score_attributes"}
    with ScriptedServer(says) as server:
        typed = parse_config(config | {"models": raw(server.url)["models"]})
        plan = Plan(typed)
        prepare_stage(plan, "d")
        Path("users.jsonl").write_bytes(Path(plan.shard_paths("d")[0]).read_bytes())
        assert {user.user_split for user in read_records(Path("users.jsonl"), UserData)} >= {"train", "test"}
        for model in ("words", "labels"):
            calls = {ref.key: ref for row in rows(typed, model) for ref in row.calls}
            assert 0 < estimated[model]["calls"] == pytest.approx(len(calls), rel=0.1)
            assert estimated[model]["generated_tokens"] > 0


def test_a_method_that_shows_profile_and_taste_needs_tastes_by_every_model_that_learns(folder: Path) -> None:
    methods = {"methods": ["measured_persona_demos"]}
    with pytest.raises(ConfigError, match=r"models: .measured_persona_demos. needs tastes by .*: labels"):
        parse_config(raw(attributes={"models": ["words"]}) | methods)
    plan = Plan(parse_config(raw() | methods))
    made = plan.makers()
    tastes = [plan.inputs("judge", **job._asdict())["tastes"] for job in plan.jobs("judge")]
    assert tastes == [["results/r/tastes/d/words/s00.jsonl"], ["results/r/tastes/d/labels/s00.jsonl"]]
    assert all(path in made for paths in tastes for path in paths)
