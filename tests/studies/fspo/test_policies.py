"""Answers of a causal language model and of its trainings to held-out questions, compared with those of the base."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

torch = pytest.importorskip("torch", reason="needs the extra train: pip install 'personalrm[train]'")

from support.scripted_server import ScriptedServer
from support.synthetic_world import world
from support.tiny_models import tiny_llama

from personalrm.core.errors import ConfigError
from personalrm.core.generations import Generation
from personalrm.core.records import PreferencePair, Turn, read_all
from personalrm.core.synthetic import SyntheticUser
from personalrm.methods.reward.few_shot_settings import PrefFTHyper
from personalrm.methods.reward.fspo import Question, Taught, fit, open_few_shot, open_new
from personalrm.studies.config_load import parse_config
from personalrm.studies.estimate.command import estimate
from personalrm.studies.fspo.plan import Plan
from personalrm.studies.fspo.study import STUDY
from personalrm.studies.study import Needs
from personalrm.train.policy_settings import PolicySettings
from personalrm.train.trainer import Run
from studies.fspo.cases import raw, run, table

DOMAIN = {"questions": {"general": 6, "held_out": 0.3}}


@pytest.fixture(scope="module")
def policy(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The section of a config: a tiny base, and one training that changes its answers."""
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("policy")
    base = tiny_llama(folder / "base", tokens=300)
    pairs = tuple(
        PreferencePair(
            user_id="u",
            pair_id=str(n),
            context=(Turn(role="user", content=f"w{n}"),),
            chosen="w7 w7 w7",
            rejected="w9",
            order=n,
        )
        for n in range(8)
    )
    hyper = PrefFTHyper(shots=2, windows=8, lr=0.05, batch=4, warmup=0, optimiser="adamw", tuning="lora", epochs=2)
    with open_new(PolicySettings(base, dtype="float32"), hyper.weights, 0, "pref_ft", []) as model:
        fit(model, [Taught(pairs)], [], hyper, 0, Run()).save(folder / "trained" / "pref_ft" / "3")
    found = {"base": base, "trained": str(folder / "trained"), "methods": ["pref_ft"], "seed": 3}
    return found | {"dtype": "float32", "threads": 1}


def compare(policy: dict[str, Any]) -> dict[str, Any]:
    return {"policy": policy, "shots": [2], "judges": ["m"], "max_tokens": 6}


def answers(plan: Plan, system: str) -> list[Generation]:
    return list(read_all([Path(path) for path in plan.paths("generate_answers", method=system)], Generation))


def test_a_base_and_its_trainings_answer_and_are_compared(tmp_path: Path, policy: dict[str, Any]) -> None:
    with ScriptedServer(world()) as server:
        plan = run(tmp_path, server.url, compare=compare(policy), domain=DOMAIN)
        sent = [request["messages"][0]["content"] for request in server.requests]
    assert plan.config.compare
    assert list(plan.config.compare.written) == ["base", "prompted2", "pref_ft2", "oracle"]
    rows = {name: answers(plan, name) for name in plan.config.compare.written}
    people = {user.user_id: user for user in read_all([Path(p) for p in plan.paths("describe_users")], SyntheticUser)}
    assert {len(found) for found in rows.values()} == {2 * len(people)}
    settings = PolicySettings(policy["base"], dtype="float32")

    def again(row: Generation, description: str = "") -> str:
        asked = Question((), (Turn(role="user", content=row.prompt),), description)
        with open_few_shot(settings, "few_shot_prompt", []) as model:
            return model.answers([asked], 6)[0].text.strip()

    for row in rows["base"][:2]:
        assert (row.response, row.persona, row.outcome) == (again(row), "", "ok")
    told = rows["oracle"][0]
    assert told.persona == people[told.pair_id.split("/")[0]].description
    assert told.response == again(told, told.persona)
    # Votes are shown, and the weights are those of the training.
    assert [row.response for row in rows["prompted2"]] != [row.response for row in rows["base"]]
    assert [row.response for row in rows["pref_ft2"]] != [row.response for row in rows["prompted2"]]
    assert sum("w7" in row.response for row in rows["pref_ft2"]) > len(rows["pref_ft2"]) / 2
    assert {row.prompts["few_shot_preferences"][:2] for found in rows.values() for row in found} == {"v1"}
    # No model of the client wrote any of them.
    assert not plan.paths("write_answers")
    assert not any("Earlier question" in text for text in sent)
    found = table(plan, "win_rates").set_index("system")
    assert list(found.index) == ["oracle", "pref_ft2", "prompted2"]
    assert found.loc["pref_ft2", ["wins", "losses", "order_dependent", "ties"]].sum() == 2 * len(people)
    (weights,) = STUDY.facts(plan)["trained_sha256"]
    assert weights.endswith("trained/pref_ft/3/weights.safetensors")


def test_the_estimate_needs_no_weights(tmp_path: Path, policy: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    values = raw(tmp_path, "http://127.0.0.1:9/v1", compare=compare(policy | {"trained": "nowhere"}), domain=DOMAIN)
    values["models"]["m"] |= {"price_in": 1.0, "price_out": 1.0}
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(values), encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    rows = json.loads(estimate(tmp_path / "run.yaml", 1, as_json=True, timed=False))["rows"]
    calls = {row["stage"]: row["calls"] for row in rows}
    assert not {"write_answers", "generate_answers"} & calls.keys()
    # Three users are asked 1.8 questions on average, of three systems, in both orders.
    assert calls["compare_answers"] == 32


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"model": "m"}, "compare: give model or policy, one of them"),
        ({"policy": None}, "compare: give model or policy, one of them"),
        ({"policy": {"methods": ["fspo"]}}, "compare.policy.trained: is not given"),
        ({"policy": {"methods": ["fspo_no_shots"]}}, "'fspo_no_shots' is no training; known: pref_ft_no_user, "),
        ({"policy": {"methods": ["fspo", "fspo"]}}, "compare.policy.methods: 'fspo' is given twice"),
        ({"temperature": 0.5}, "compare.temperature: a policy takes the most probable token"),
    ],
)
def test_wrong_policies_are_named_by_their_key(change: dict[str, Any], said: str, tmp_path: Path) -> None:
    given = {"policy": {}, "shots": [2], "judges": ["m"]} | change
    with pytest.raises(ConfigError) as caught:
        parse_config(raw(tmp_path, "http://x/v1", compare=given, domain=DOMAIN))
    assert said in str(caught.value)


def test_trainings_that_are_not_there_are_named_before_anything_runs(tmp_path: Path, policy: dict[str, Any]) -> None:
    absent = policy | {"methods": ["fspo", "pref_ft"]}
    config: Any = parse_config(raw(tmp_path, "http://x/v1", compare=compare(absent), domain=DOMAIN))
    (problem,) = STUDY.missing(config, Needs(stages={"generate_answers"}))
    assert problem.startswith(f"compare.policy.trained: no training in {Path(policy['trained'], 'fspo', '3')}; ")
    assert STUDY.missing(config, Needs()) == []
