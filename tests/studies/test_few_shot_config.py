"""Language models that are shown votes, in a config, without torch: trainings that methods share, another data set."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from personalrm.core.errors import ConfigError
from personalrm.methods.registry import METHODS
from personalrm.methods.reward.few_shot_settings import FEW_SHOT, trainings_of
from personalrm.methods.reward.hyper import read_hyper
from personalrm.studies.config_load import parse_config
from personalrm.studies.synthesizeme.config import Config
from personalrm.studies.synthesizeme.plan import Plan


def config_of(entry: dict[str, Any], **changes: Any) -> Config:  # noqa: ANN401
    sets = {"datasets": {"d": {"path": "v.jsonl", "shards": 2}}}
    return parse_config({"run": "x", **sets, "reward_models": {"rm": entry}, **changes})


def test_few_shot_methods_share_trainings_and_hyper_parameters() -> None:
    methods = ["few_shot_prompt", "fspo_no_shots", "fspo", "ipo", "fspo_oracle"]
    hyper = {"fspo": {"lr": 1, "beta": 0.1}, "ipo": {"lr": 2}, "pref_ft": {"lr": 3}, "pref_ft_no_user": {"lr": 4}}
    config = config_of({"methods": methods, "seeds": [5, 6], "hyper": hyper})
    entry, plan = config.reward_models["rm"], Plan(config)
    trained = ("pref_ft", "fspo", "pref_ft_no_user", "ipo", "pref_ft_description", "fspo_description")
    assert tuple(entry.trainings) == trained
    # Without training one seed is as good as another.
    assert (entry.seeds_of("few_shot_prompt"), entry.seeds_of("fspo_no_shots")) == ([5], [5, 6])
    lr = {"pref_ft": 3, "fspo": 1, "pref_ft_no_user": 4, "ipo": 2, "pref_ft_description": 3, "fspo_description": 1}
    assert {name: entry.hyper_of(name).lr for name in trained} == lr
    assert (entry.hyper_of("ipo").beta, entry.hyper_of("ipo").loss) == (0.1, "ipo")
    jobs = [(job.method, job.seed) for job in plan.jobs("reward_model")]
    assert jobs == [(name, seed) for name in trained for seed in ("5", "6")]
    assert plan.jobs("features") == []
    found = {job.method: plan.inputs("reward_model", **job._asdict()) for job in plan.jobs("reward_model", seed="6")}
    folder = "results/x/reward_models/d/rm"
    assert {name: inputs.get("starts", []) for name, inputs in found.items()} == {
        **{name: [] for name in trained if name.startswith("pref_ft")},
        "fspo": [f"{folder}/pref_ft/6/card.json"],
        "ipo": [f"{folder}/pref_ft_no_user/6/card.json"],
        "fspo_description": [f"{folder}/pref_ft_description/6/card.json"],
    }
    assert found["fspo"]["start_weights"] == [f"{folder}/pref_ft/6/weights.safetensors"]
    (job, _) = plan.jobs("score")
    judged = plan.inputs("score", **job._asdict())
    assert set(judged["models"]) == {f"{folder}/{name}/{seed}/card.json" for name in trained for seed in (5, 6)}
    # Nothing is swapped here, and weights are of the data set's own users.
    assert "others" not in judged
    assert "trained" not in judged
    with pytest.raises(ConfigError, match=r"hyper.pref_ft: not among methods \(frozen_bt\)"):
        config_of({"methods": ["frozen_bt"], "hyper": {"pref_ft": {"lr": 3}}})


def test_hyper_parameters_that_no_training_reads_are_refused() -> None:
    for method, trained in (("fspo_no_shots", "pref_ft, fspo"), ("few_shot_prompt", "none")):
        with pytest.raises(ConfigError, match=f"hyper.{method}: not trained by itself; trained are: {trained}"):
            config_of({"methods": [method], "hyper": {method: {"lr": 3}}})
    config_of({"methods": ["fspo_no_shots"], "hyper": {"fspo": {"lr": 3}, "pref_ft": {"lr": 3}}})


def test_numbers_of_train_users_are_numbers_and_of_trained_methods() -> None:
    config_of({"methods": ["fspo", "fspo_no_shots"], "train_users": 5})
    config_of({"methods": ["few_shot_prompt"]})
    for methods in (["few_shot_prompt"], ["fspo", "few_shot_prompt"]):
        with pytest.raises(ConfigError, match=r"reward_models\.rm\.train_users: few_shot_prompt learns from no user"):
            config_of({"methods": methods, "train_users": 5})
    for wrong in (True, 1.0, 0, "5"):
        with pytest.raises(ConfigError, match=r"reward_models\.rm\.train_users"):
            config_of({"methods": ["fspo"], "train_users": wrong})


def test_best_weights_need_held_out_users() -> None:
    entry = {"methods": ["fspo"], "hyper": {"fspo": {"keep": "best", "evaluate_every": "epoch"}}}
    config_of(entry)
    with pytest.raises(ConfigError, match=r"hyper.fspo.keep: best needs held-out users, and regime all-but-test"):
        config_of({**entry, "regime": "all-but-test"})


def test_an_untrained_model_judges_anew_where_its_settings_changed() -> None:
    def reads(method: str, **changes: Any) -> str:  # noqa: ANN401
        plan = Plan(config_of({"methods": [method], **changes}))
        (job, _) = plan.jobs("score")
        return plan.reads("score", **job._asdict())

    for changes in ({"max_tokens": 512}, {"dtype": "float32"}, {"threads": 1}, {"base": "Qwen/Qwen2.5-0.5B"}):
        assert reads("few_shot_prompt", **changes) != reads("few_shot_prompt")
        # Of a trained one, the weights are another file.
        assert reads("fspo", **changes) == reads("fspo")


def test_published_hyper_parameters_of_few_shot_methods() -> None:
    first, second = read_hyper("pref_ft", {}), read_hyper("fspo", {})
    assert (first.lr, first.loss_on, second.lr, second.loss, second.beta) == (1e-7, "completion", 1e-6, "ipo", 0.01)
    for found in (first, second):
        assert (found.shots, found.tuning, found.epochs, found.batch, found.clip) == (8, "full", 1, 4, 10.0)
        assert (found.optimiser, found.schedule, found.warmup) == ("rmsprop", "constant", 150)


def test_weights_of_one_data_set_judge_all() -> None:
    sets: dict[str, dict[str, Any]] = {name: {"path": "v", "shards": 1} for name in ("invented", "people", "few")}
    sets["few"]["max_users"] = 3
    entry = {"methods": ["frozen_bt", "fspo_other_user"], "seeds": [0], "train_on_dataset": "invented"}
    # The user split of the data set that is trained on is all that counts.
    config = config_of({**entry, "datasets": ["people", "few"]}, datasets=sets)
    plan = Plan(config)
    assert {job.dataset for job in plan.jobs("reward_model")} == {"invented"}
    assert {job.dataset for job in plan.jobs("score")} == {"people", "few"}
    assert {job.dataset for job in plan.jobs("features")} == {"invented", "people", "few"}
    judged = plan.inputs("score", **plan.jobs("score")[0]._asdict())
    assert {Path(path).parts[3] for path in judged["models"]} == {"invented"}
    assert (judged["trained"], judged["others"]) == (plan.shard_paths("invented"), plan.shard_paths("people"))
    assert config.reward_models["rm"].judge_name("rm") == "rm (unseen, trained on invented)"
    with pytest.raises(ConfigError, match=r"reward_models.rm.train_on_dataset: no data set 'other'"):
        config_of({**entry, "train_on_dataset": "other"})


def test_of_a_data_set_that_is_only_trained_on_no_model_is_asked() -> None:
    sets: dict[str, dict[str, Any]] = {name: {"path": "v", "shards": 1} for name in ("invented", "people")}
    entry = {"methods": ["fspo", "frozen_bt"], "train_on_dataset": "invented"}
    more = {
        "models": {"m": {"model": "m", "api_base": "http://127.0.0.1:9/v1", "verdicts": ["logprob_both"]}},
        "learn": {"models": ["m"]},
        "methods": [
            "random",
            "words",
            "default",
            "history",
            "both",
            "attributes",
            "attributes_population",
            "measured_persona",
            "surface",
        ],
        "analysis": {"fidelity": {}, "recovery": {}},
    }

    def asked(**changed: Any) -> set[tuple[str, str]]:  # noqa: ANN401
        plan = Plan(config_of(entry, datasets={**sets, "invented": {**sets["invented"], **changed}}, **more))
        jobs = ((stage, job) for stage in plan.stages for job in plan.jobs(stage))
        return {(name, job.dataset) for name, job in jobs if job.dataset}

    alone = {name for name, dataset in asked(train_only=True) if dataset == "invented"}
    assert alone == {"prepare", "features", "reward_model"}
    assert {one for one in asked() if one[1] == "people"} == {
        one for one in asked(train_only=True) if one[1] == "people"
    }
    assert {name for name, dataset in asked() if dataset == "invented"} > {*alone, "score", "judge", "fit", "taste"}
    # What was prepared for a run that judged it serves one that does not.
    reads = [
        Plan(config_of(entry, datasets={**sets, "invented": one})).reads("prepare", dataset="invented")
        for one in (sets["invented"], {**sets["invented"], "train_only": True})
    ]
    assert reads[0] == reads[1]


def test_a_data_set_that_nobody_learns_from_or_is_judged_in_is_refused() -> None:
    only = {"path": "v", "shards": 1, "train_only": True}
    sets: dict[str, dict[str, Any]] = {"invented": only, "people": {"path": "v", "shards": 1}}
    with pytest.raises(ConfigError, match=r"datasets.invented.train_only: no reward model has train_on_dataset"):
        config_of({"methods": ["frozen_bt"]}, datasets=sets)
    with pytest.raises(ConfigError, match="datasets: all are train_only, so that nobody is judged"):
        config_of({"methods": ["frozen_bt"], "train_on_dataset": "invented"}, datasets={"invented": only})
    models = {"m": {"model": "m", "api_base": "http://127.0.0.1:9/v1"}}
    with pytest.raises(ConfigError, match=r"reward_models.rm.methods: 'bt_persona' reads what is learned of the users"):
        config_of(
            {"methods": ["fspo", "bt_oracle", "bt_persona"], "train_on_dataset": "invented"},
            datasets=sets,
            models=models,
            learn={"models": ["m"]},
        )
    with pytest.raises(ConfigError, match=r"reward_models.rm.datasets: 'invented' is train_only; remove one of both"):
        config_of(
            {"methods": ["bt"], "train_on_dataset": "invented", "datasets": ["invented", "people"]}, datasets=sets
        )
    # A planted taste is in the data, and votes are the judged user's.
    config_of({"methods": ["fspo", "bt_oracle"], "train_on_dataset": "invented"}, datasets=sets)


def test_pairs_that_filters_took_away_are_trained_on_too() -> None:
    sets: dict[str, dict[str, Any]] = {name: {"path": "v", "shards": 1} for name in ("d", "real")}
    sets["d"]["filters"] = {"personalizable": {"model": "m"}}
    entry = {"methods": ["bt"], "train_on_dataset": "d", "datasets": ["real"]}
    models = {"m": {"model": "m", "api_base": "http://127.0.0.1:9/v1"}}

    def unfiltered(**more: Any) -> list[str]:  # noqa: ANN401
        plan = Plan(config_of({**entry, **more}, datasets=sets, models=models))
        (job,) = plan.jobs("score")
        inputs = plan.inputs("score", **job._asdict())
        assert inputs["trained"] == ["results/x/data/d/shards/s00.jsonl"]
        return [str(path) for path in inputs["unfiltered"]]

    assert unfiltered() == ["results/x/data/d/unfiltered/s00.jsonl"]
    assert unfiltered(train_on="benchmark") == unfiltered(methods=["frozen_bt"]) == []


def test_what_is_shown_votes_is_compared_with_what_is_shown_none() -> None:
    expected = {
        "pref_ft": "pref_ft_no_user",
        "pref_ft_description": "pref_ft_no_user",
        "fspo_oracle": "fspo_description",
    }
    expected |= dict.fromkeys(("fspo", "fspo_no_shots", "fspo_other_user", "fspo_description"), "ipo")
    controls = {name: METHODS[name].references[:1] for name in FEW_SHOT}
    assert {name: control[0] for name, control in controls.items() if control} == expected
    assert {name for name in FEW_SHOT if METHODS[name].other_user} == {"fspo_other_user"}
    assert {trainings_of(name) for name in ("fspo", "fspo_no_shots", "fspo_other_user")} == {("pref_ft", "fspo")}
