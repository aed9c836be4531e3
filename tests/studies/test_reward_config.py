"""Reward models in a config, without torch: what is refused, who trains them, and what a run lacks."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from personalrm.core.errors import ConfigError
from personalrm.core.extras import EXTRAS
from personalrm.methods.registry import METHODS
from personalrm.methods.reward.hyper import FINE_TUNED, HYPER, BTHyper, FrozenBTHyper, read_hyper
from personalrm.studies.config_load import parse_config
from personalrm.studies.preflight import missing
from personalrm.studies.reward_config import RewardModelConfig
from personalrm.studies.study import Needs
from personalrm.studies.synthesizeme.config import Config
from personalrm.studies.synthesizeme.plan import Plan

LEARNER: dict[str, Any] = {
    "models": {"m": {"model": "m", "api_base": "http://127.0.0.1:9/v1"}},
    "learn": {"models": ["m"]},
}


def config_of(entry: dict[str, Any], **changes: Any) -> Config:  # noqa: ANN401
    raw = {"run": "x", "datasets": {"d": {"path": "votes.jsonl", "shards": 2}}, "methods": ["longer"]}
    return parse_config({**raw, "reward_models": {"rm": entry}, **changes})


@pytest.mark.parametrize(
    ("entry", "changes", "line"),
    [
        ({"methods": ["gop"]}, {}, "reward_models.rm.methods.0: no reward model; known: frozen_bt, user_map"),
        ({"methods": []}, {}, "reward_models.rm.methods: "),
        ({"methods": ["lore", "lore"]}, {}, "reward_models.rm.methods: 'lore' is given twice"),
        ({"seeds": [1, 1]}, {}, "reward_models.rm.seeds: 1 is given twice"),
        ({"seeds": [0, -1]}, {}, "reward_models.rm.seeds.1: Input should be greater than or equal to 0"),
        ({"seeds": [2**32]}, {}, "reward_models.rm.seeds.0: Input should be less than 4294967296"),
        ({"regime": "seen"}, {}, "reward_models.rm.regime: Input should be 'unseen' or 'all-but-test'"),
        ({"bases": "x"}, {}, "reward_models.rm.bases: unknown key; did you mean 'base'?"),
        (
            {"hyper": {"lore": {"stepz": 1}}},
            {},
            "reward_models.rm.hyper.lore.stepz: unknown hyper-parameter; known: k,",
        ),
        ({"hyper": {"lore": {"steps": "x"}}}, {}, "reward_models.rm.hyper.lore.steps: Input should be a valid integer"),
        (
            {"hyper": {"user_map": {"shared": {"zzz": 1}}}},
            {},
            "reward_models.rm.hyper.user_map.shared.zzz: unknown hyper-parameter; known: hidden,",
        ),
        ({"hyper": {"vpl": {}}}, {}, "reward_models.rm.hyper.vpl: not among methods (frozen_bt, user_map, lore)"),
        ({"revision": "main"}, {}, "reward_models.rm.revision: base 'smollm2-135m' is no repository of the hub"),
        ({"datasets": ["e"]}, {}, "reward_models.rm.datasets: no data set 'e'"),
        ({}, {"methods": ["lore"]}, "methods: 'lore' is trained: name it in an entry of reward_models"),
        (
            {},
            {"datasets": {"d": {"path": "votes.jsonl", "max_users": 19}}},
            "reward_models.rm.regime: 'unseen' learns from the train users of the user split, and data set 'd'",
        ),
        ({}, {"datasets": {"d": {"path": "v.jsonl", "users": ["a", "b"]}}}, "reward_models.rm.regime: 'unseen' learns"),
        (
            {"methods": ["bt"], "hyper": {"bt": {"batch": 6}}},
            {},
            "reward_models.rm.hyper.bt.batch: 6 is no multiple of at_once, 4",
        ),
        (
            {"methods": ["frozen_bt"], "hyper": {"bt": {}}},
            {},
            "reward_models.rm.hyper.bt: not among methods (frozen_bt)",
        ),
        ({"methods": ["bt_both"]}, {}, "reward_models.rm.methods: 'bt_both' reads profiles, and learn.models names no"),
        (
            {"methods": ["bt_measured_persona"]},
            {},
            "attributes.models: no model scores the pairs; name one here, or under learn.models",
        ),
        (
            {"methods": ["bt_persona"]},
            {**LEARNER, "evaluate_users": "test"},
            "reward_models.rm.methods: 'bt_persona' is trained on what is said of train users; give evaluate_users",
        ),
        (
            {"methods": ["bt_persona"]},
            {**LEARNER, "variants": ["corrected+o"], "thetas": {"o": {"optimise": {"model": "m"}}}},
            "reward_models.rm.methods: 'bt_persona' reads profiles of the variant 'corrected+o', and train users of",
        ),
        (
            {"methods": ["bt_persona"], "regime": "all-but-test"},
            LEARNER,
            "reward_models.rm.methods: 'bt_persona' must not learn the pairs that its text about the user was made",
        ),
    ],
)
def test_what_is_refused(entry: dict[str, Any], changes: dict[str, Any], line: str) -> None:
    with pytest.raises(ConfigError) as refused:
        config_of(entry, **changes)
    assert any(text.startswith(line) for text in str(refused.value).splitlines()), refused.value


def test_the_control_inside_a_method_is_that_of_the_entry() -> None:
    def found(regime: str = "unseen", **hyper: dict[str, Any]) -> RewardModelConfig:
        methods = ["frozen_bt", "user_map", "lore", "vpl", "pal_a"]
        return config_of({"methods": methods, "regime": regime, "hyper": hyper}).reward_models["rm"]

    bt: dict[str, Any] = {"frozen_bt": {"l2": 5, "l2_grid": [7], "hidden": 9, "steps": 11}}
    linear = FrozenBTHyper(l2=5, l2_grid=(7,))
    stacked: dict[str, Any] = {"vpl": {"stack": True}, "pal_a": {"stack": True}}
    entry = found(**bt, **stacked, lore={"alpha": 1})
    assert entry.hyper_of("frozen_bt") == FrozenBTHyper(l2=5, l2_grid=(7,), hidden=9, steps=11)
    assert (entry.hyper_of("user_map").shared, entry.hyper_of("lore").reference) == (linear, linear)
    assert (entry.hyper_of("vpl").stack, entry.hyper_of("pal_a").stack) == (linear, linear)
    # What is given for the method itself counts.
    own = found(**bt, user_map={"shared": {"l2_grid": [8]}}, lore={"alpha": 1, "reference": {"l2": 6}})
    assert own.hyper_of("user_map").shared == FrozenBTHyper(l2=5, l2_grid=(8,))
    assert own.hyper_of("lore").reference == FrozenBTHyper(l2=6, l2_grid=(7,))
    # Settings on which nothing rests stay as they were, so that nothing is trained again.
    assert own.hyper_of("vpl") == read_hyper("vpl", {})
    assert found(**bt).hyper_of("lore") == read_hyper("lore", {})
    assert found(**stacked).hyper_of("vpl").stack is True
    folds = found("all-but-test", frozen_bt={"l2": 5}, lore={"alpha": 1})
    assert folds.hyper_of("user_map") == read_hyper("user_map", {})
    assert folds.hyper_of("lore").reference == FrozenBTHyper(l2=5)


def test_a_config_says_whether_to_stack_and_no_more() -> None:
    with pytest.raises(ConfigError, match=r"hyper\.vpl\.stack: Input should be a valid boolean"):
        config_of({"methods": ["vpl"], "hyper": {"vpl": {"stack": {"l2": 1}}}})


@pytest.mark.parametrize(
    ("method", "given", "line"),
    [
        ("frozen_bt", {"l2_grid": [1]}, "frozen_bt.l2_grid: validation users choose, and regime all-but-test has none"),
        ("frozen_bt", {"l2_grid": [1]}, "frozen_bt.l2_grid: .* give l2$"),
        ("user_map", {"shared": {"l2_grid": [1]}}, "user_map.shared.l2_grid: .* give l2_grid of user_map, from which"),
        ("lore", {"k_grid": [1, 5], "k": 5}, "lore.k_grid: .* give k$"),
        ("lore", {"reference": {"l2_grid": [1]}}, "lore.reference.l2_grid: .* give reference.l2$"),
        ("vpl", {"stack": True}, "vpl.stack: .* leave it out$"),
        ("pal_a", {"stack": True}, "pal_a.stack: .* leave it out$"),
    ],
)
def test_what_validation_users_alone_choose_is_refused_without_them(
    method: str, given: dict[str, Any], line: str
) -> None:
    entry = {"methods": [method], "hyper": {method: given}}
    with pytest.raises(ConfigError, match=rf"^reward_models\.rm\.hyper\.{line}"):
        config_of({**entry, "regime": "all-but-test"})
    assert config_of(entry).reward_models["rm"].hyper == {method: given}


def test_what_the_other_regime_reads_is_accepted_in_it() -> None:
    hyper = {"frozen_bt": {"l2": 1}, "user_map": {"l2_grid": [1]}, "lore": {"k": 2}, "vpl": {"stack": False}}
    assert config_of({"methods": [*hyper], "hyper": hyper, "regime": "all-but-test"}).reward_models


def test_few_users_train_in_the_other_regime_or_where_the_data_set_is_left_out() -> None:
    few = {"d": {"path": "v.jsonl", "max_users": 3}, "many": {"path": "w.jsonl"}}
    assert config_of({"regime": "all-but-test"}, datasets=few).trained_on("d")
    assert not config_of({"datasets": ["many"]}, datasets=few).trained_on("d")


FOLDED: dict[str, Any] = {
    "datasets": {"mt": {"path": "v.jsonl", "split": {"folds": 3}}, "d": {"path": "w.jsonl"}},
    "k": ["all"],
}


def test_a_data_set_in_folds_is_named_as_it_is_described() -> None:
    config = config_of({"datasets": ["mt"], "regime": "all-but-test"}, **FOLDED)
    assert config.reward_models["rm"].datasets == [f"mt-fold{n}" for n in (1, 2, 3)]
    assert [name for name in config.datasets if config.rewards_on(name)] == [f"mt-fold{n}" for n in (1, 2, 3)]
    one = config_of({"datasets": ["mt-fold2", "d"], "regime": "all-but-test"}, **FOLDED)
    assert one.reward_models["rm"].datasets == ["mt-fold2", "d"]
    assert config_of({"regime": "all-but-test"}, **FOLDED).reward_models["rm"].datasets is None


def test_weights_come_from_no_data_set_in_folds() -> None:
    with pytest.raises(ConfigError) as refused:
        config_of({"train_on_dataset": "mt", "regime": "all-but-test"}, **FOLDED)
    assert str(refused.value).splitlines() == [
        "reward_models.rm.train_on_dataset: 'mt' is in folds, each with weights of its own; describe it once more "
        "under another name, without split.folds, and give that name"
    ]


def test_hyper_parameters_are_typed_and_the_others_keep_their_defaults() -> None:
    entry = config_of({"hyper": {"user_map": {"penalties": ["inf", 1], "shared": {"l2": 1}}}}).reward_models["rm"]
    found = entry.hyper_of("user_map")
    assert (found.penalties, found.shared.l2, found.penalty) == ((float("inf"), 1.0), 1.0, 10.0)
    assert entry.hyper_of("lore") == read_hyper("lore", {})


def test_fine_tuning_has_published_settings_and_shares_those_of_bt() -> None:
    assert read_hyper("bt", {}) == BTHyper(tuning="full", lr=2e-6, batch=512, epochs=1, warmup=0.03, max_tokens=4096)
    trl = read_hyper("bt_both", {"published": "trl", "tuning": "lora"})
    assert (trl.tuning, trl.lr, trl.batch, trl.epochs, trl.schedule) == ("lora", 1e-4, 8, 3, "linear")
    methods = {"methods": ["bt", "bt_oracle"]}
    entry = config_of({**methods, "hyper": {"bt": {"lr": 1, "steps": 3}, "bt_oracle": {"steps": 4}}}).reward_models[
        "rm"
    ]
    assert [(entry.hyper_of(name).lr, entry.hyper_of(name).steps) for name in ("bt", "bt_oracle")] == [(1, 3), (1, 4)]


def test_what_fine_tuning_reads() -> None:
    entry = {"methods": ["bt", "bt_persona", "bt_measured_persona"], "seeds": [0], "device": "cuda", "mem_mb": 9000}
    entry |= {"regime": "all-but-test"}
    attributes = {**LEARNER, "k": [2, 4], "attributes": {}}
    config = config_of(entry, **attributes)
    plan = Plan(config)
    assert plan.jobs("features") == []
    inputs = {job.method: plan.inputs("reward_model", **job._asdict()) for job in plan.jobs("reward_model")}
    profiles = [f"results/x/profiles/d/corrected/m/k4/s0{n}.jsonl" for n in (0, 1)]
    tastes = [f"results/x/tastes/d/m/s0{n}.jsonl" for n in (0, 1)]
    assert {name: (found["profiles"], found["tastes"]) for name, found in inputs.items()} == {
        "bt": ([], []),
        "bt_persona": (profiles, []),
        "bt_measured_persona": ([], tastes),
    }
    assert set(tastes) == set(plan.paths("taste"))
    # What tastes rest on is a job of the run, though none of its methods reads it.
    assert plan.paths("fit") == ["results/x/fitted/d/attributes/m.jsonl"]
    (job, _) = plan.jobs("score")
    judged = plan.inputs("score", **job._asdict())
    assert judged["profiles"] == [f"results/x/profiles/d/corrected/m/k{k}/s00.jsonl" for k in (2, 4)]
    assert (judged["tastes"], judged["features"]) == (tastes[:1], [])
    found = config.reward_models["rm"]
    assert (found.score_gpus, found.score_mb, found.score_threads) == (1, 9000, 2)
    assert config_of({}).reward_models["rm"].score_mb == 2000
    # A prompt, or another k of training personas, is a setting of those trainings alone.
    reads = {job.method: json.loads(plan.reads("reward_model", **job._asdict())) for job in plan.jobs("reward_model")}
    assert {name: found.get("k") for name, found in reads.items()} == {
        "bt": None,
        "bt_persona": 4,
        "bt_measured_persona": 4,
    }


def test_each_reward_model_is_a_method_with_a_control() -> None:
    rows = {name: method for name, method in METHODS.items() if method.needs == "reward"}
    assert set(rows) == set(HYPER)
    controls = {name: method.references[:1] for name, method in rows.items()}
    shared = {"frozen_bt", "bt", "few_shot_prompt", "pref_ft_no_user", "ipo"}
    assert {name for name, control in controls.items() if not control} == shared
    tuned = {name for name in FINE_TUNED if name.startswith("bt_")}
    assert {name for name, control in controls.items() if control == ("bt",)} == tuned
    on_features = set(HYPER) - set(FINE_TUNED)
    assert {name for name, control in controls.items() if control == ("frozen_bt",)} == on_features - {"frozen_bt"}
    assert {name for name, method in rows.items() if method.shows} == tuned
    assert len({method.mark for method in METHODS.values() if method.mark}) == len(
        [method for method in METHODS.values() if method.mark]
    )


def test_a_run_without_reward_models_says_nothing_of_them() -> None:
    assert "reward_models" not in parse_config({"run": "x", "datasets": {"d": {"path": "v.jsonl"}}}).model_dump()


def test_entries_with_one_encoder_share_its_features() -> None:
    entries = {
        "a": {},
        "b": {"methods": ["vpl"], "regime": "all-but-test", "seeds": [7]},
        "c": {"pooling": "last"},
    }
    plan = Plan(config_of({}, reward_models=entries))
    assert len(plan.paths("features")) == 2 * 2
    models = plan.paths("reward_model", reward="b")
    assert models == ["results/x/reward_models/d/b/vpl/7/card.json"]
    job = plan.jobs("score", reward="b")[0]
    inputs = plan.inputs("score", **job._asdict())
    assert inputs["models"] == models
    assert (
        inputs["features"][0]
        in plan.inputs("reward_model", **plan.jobs("reward_model", reward="a")[0]._asdict())["features"]
    )
    assert set(plan.paths("score")) <= set(plan.verdict_paths())
    # What a job reads: seeds and regimes are no affair of features, other methods no affair of a training.
    changed = Plan(config_of({}, reward_models={**entries, "b": {**entries["b"], "regime": "unseen"}}))
    for name, same in (("features", True), ("reward_model", False), ("score", False)):
        jobs = [job for job in plan.jobs(name) if name == "features" or job.reward == "b"]
        assert all((plan.reads(name, **j._asdict()) == changed.reads(name, **j._asdict())) == same for j in jobs)


def test_paths_are_read_alike_in_every_process() -> None:
    """Settings of results hold these patterns: another order would make them again."""
    constraints = Plan(config_of({"seeds": [4, 2, 10, 1, 3, 0, 12, 11]})).constraints
    assert constraints["seed"] == "10|11|12|0|1|2|3|4"


def test_the_missing_extra_is_named_only_where_it_is_needed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(EXTRAS, "train", ("torch_of_nobody",))
    config = config_of({"regime": "all-but-test"})
    assert missing(config, Needs()) == []
    (problem,) = missing(config, Needs(stages={"score"}))
    assert problem.startswith(
        "reward_models: needs torch_of_nobody, not installed here; pip install 'personalrm[train]'"
    )
    assert "make train" in problem


@pytest.mark.parametrize(
    ("entry", "why"),
    [
        ({"base": "smollm2-135"}, "base 'smollm2-135': no folder, no embedded model (smollm2-135m, "),
        ({"base": "./nowhere"}, "base './nowhere': no folder"),
        ({"base": "mine/empty"}, "base 'mine/empty': the folder has no config.json"),
        ({"base": "mine/model", "revision": "v1"}, "base 'mine/model': is not on the hub and has no revision"),
        ({"base": "owner/name", "revision": "v1"}, None),
        ({"base": "mine/model"}, None),
        ({"base": "all-minilm-l6-v2"}, None),
    ],
)
def test_a_base_that_is_nowhere_is_found_before_any_job(
    entry: dict[str, Any], why: str | None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(EXTRAS, "train", ())
    for name in ("empty", "model"):
        Path("mine", name).mkdir(parents=True)
    Path("mine", "model", "config.json").write_text("{}", encoding="utf-8")
    found = missing(config_of({"regime": "all-but-test", **entry}), Needs(stages={"score"}))
    assert len(found) == (why is not None)
    assert all(problem.startswith(f"reward_models.rm.{why}") for problem in found)


def test_a_folder_that_was_written_again_is_another_base(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    Path("mine").mkdir()
    weights = Path("mine", "model.safetensors")
    weights.write_bytes(b"first")
    os.utime(weights, (1, 1))
    entry = config_of({"base": "./mine"}).reward_models["rm"]
    first = entry.base_identity()
    assert entry.base_identity() == first
    # Weights of another training have the same size.
    weights.write_bytes(b"other")
    assert entry.base_identity() != first


def test_a_small_data_set_without_user_split_is_found_before_any_job(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(EXTRAS, "train", ())
    turn = {"role": "user", "content": "Hello?"}

    def votes(**more: str) -> None:
        rows = [
            {"user_id": f"u{n % 4}", "context": [turn], "chosen": f"yes {n}", "rejected": f"no {n}"} | more
            for n in range(40)
        ]
        Path("votes.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")

    votes()
    (problem,) = missing(config_of({}), Needs(stages={"score"}))
    assert problem.startswith("reward_models.rm.regime: 'unseen' learns from the train users")
    assert missing(config_of({"regime": "all-but-test"}), Needs(stages={"score"})) == []
    split = {"d": {"path": "votes.jsonl", "user_split": {"min_users": 4}}}
    assert missing(config_of({}, datasets=split), Needs(stages={"score"})) == []
