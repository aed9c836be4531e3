"""The configs that the README sends a reader to are planned as they stand."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
from pathlib import Path
from typing import Any

import pytest
from support.warm import run_warm
from typer.testing import CliRunner

from personalrm.app.cli import cli
from personalrm.data.scripted.settings import ScriptedSettings
from personalrm.data.scripted.synthesise import synthesise
from personalrm.methods.reward.hyper import read_hyper
from personalrm.studies.config_load import load_config

ROOT = Path(__file__).parents[2]
Row = dict[str, Any]


def planned(name: str, folder: Path) -> dict[str, int]:
    """Number of jobs of each rule in a dry run of a shipped config, from an empty folder."""
    command = ["snakemake", "-n", "--cores", "4", "--snakefile", str(ROOT / "Snakefile")]
    command += ["--directory", str(folder), "--configfile", str(ROOT / "config" / name)]
    env = {name: value for name, value in os.environ.items() if not name.endswith("_API_KEY")}
    code, said = run_warm(command, folder, env, ROOT / "workflow", timeout_s=300)
    assert code == 0, said
    return {rule: int(count) for rule, count in re.findall(r"(?m)^(\S+) +(\d+)$", said.split("Job stats:")[1])}


@pytest.mark.parametrize("name", ["personalrewardbench.yaml", "open_models.yaml"])
def test_the_short_ways_to_the_papers_tables_ask_no_filter(name: str, tmp_path: Path) -> None:
    jobs = planned(name, tmp_path)
    assert {"fetch_prism", "fetch_arena", "bootstrap", "profile", "judge", "table_main", "figure_main"} <= jobs.keys()
    assert not {"rate", "panel"} & jobs.keys()
    # Eight shards of PRISM and two of Arena, three models, two variants.
    assert jobs["bootstrap"] == 10 * 3 * 2


def test_the_whole_paper_begins_with_the_filters_and_is_planned_without_data_and_keys(tmp_path: Path) -> None:
    jobs = planned("config.yaml", tmp_path)
    assert {"rate", "panel"} <= jobs.keys()
    assert sum(name.startswith("theta_") for name in jobs) == 4
    assert 0 < jobs["total"] <= 8000


def test_persona_inference_of_the_paper_is_planned_without_data_and_keys(tmp_path: Path) -> None:
    jobs = planned("tailoring.yaml", tmp_path)
    # Nine models on four data sets; all judged by GPT-4o, and by themselves where that is another model.
    assert (jobs["infer_personas"], jobs["judge_personas"], jobs["prefer_personas"]) == (36, 36, 36 + 32)
    made = {"table_persona_accuracy", "table_persona_preferences", "figure_persona_saliency", "manifest", "report"}
    made |= {"transcripts"}
    # One job fetches all files of a revision.
    assert {"fetch_beavertails", "prepare_hhh"} | made <= jobs.keys()
    assert "fetch_hhh" not in jobs
    assert "table_main" not in jobs


def test_fine_tuning_needs_no_features(tmp_path: Path) -> None:
    jobs = planned("fine_tuned.yaml", tmp_path)
    assert (jobs["reward_model"], jobs["score"]) == (2, 1)
    assert not {"features", "profile", "judge"} & jobs.keys()


def test_persona_tailoring_of_the_paper_is_planned_without_data(tmp_path: Path) -> None:
    jobs = planned("tailoring_systems.yaml", tmp_path)
    # Three data sets, with and without personas; fifteen systems, of which mnemonics have no gold personas for five.
    assert (jobs["tailor_sft"], jobs["tailor_dpo"], jobs["generate_answers"]) == (6, 6, 45 - 6)
    assert {"fetch_beavertails", "table_tailoring", "table_tailoring_reported", "report"} <= jobs.keys()
    assert not {"infer_personas", "table_persona_accuracy"} & jobs.keys()


def test_few_shot_optimisation_trains_each_stage_once(tmp_path: Path) -> None:
    settings = ScriptedSettings(users=10, short=True, axes=("tone", "company"), tastes=2)
    synthesise(settings, tmp_path / "data" / "fspo")
    jobs = planned("fspo_reward.yaml", tmp_path)
    # pref_ft and fspo, the same without votes, frozen_bt and user_map; two shards, two entries.
    assert (jobs["reward_model"], jobs["score"], jobs["features"]) == (6, 4, 2)
    assert not {"profile", "judge", "fetch_invented"} & jobs.keys()


def test_few_shot_optimisation_at_the_papers_size_is_planned_without_weights_and_processor(tmp_path: Path) -> None:
    config = load_config(ROOT / "config" / "fspo_3b.yaml")
    full, lora = (config.reward_models[name] for name in ("full", "lora"))
    for entry in (full, lora):
        assert (entry.base, entry.max_tokens, entry.gpus) == ("meta-llama/Llama-3.2-3B-Instruct", 8192, 1)
        for method in entry.trainings:
            hyper = entry.hyper_of(method)
            # The published update is of four windows; one of them is in memory at a time.
            assert (hyper.batch, hyper.at_once, hyper.recompute) == (4, 1, True)
            assert (hyper.shots, hyper.mixed, hyper.windows) == (8, False, 0)
            assert hyper.tuning == ("full" if entry is full else "lora")
    for method in full.trainings:
        memory = {"mixed": False, "at_once": 1, "recompute": True}
        assert full.hyper_of(method) == read_hyper(method, memory)
    synthesise(
        ScriptedSettings(users=10, short=True, axes=("tone", "company"), tastes=2), tmp_path / "votes" / "roleplay"
    )
    jobs = planned("fspo_3b.yaml", tmp_path)
    # Two stages, each with and without votes; two entries.
    assert (jobs["reward_model"], jobs["score"]) == (8, 64)
    assert not {"features", "profile", "judge"} & jobs.keys()


def test_the_proof_of_few_shot_optimisation_has_users_enough_and_some_apart(tmp_path: Path) -> None:
    users: dict[str, dict[str, Row]] = {}
    for kind in ("all", "unseen"):
        card = f"data/fspo_full/{kind}/card.json"
        made = subprocess.run(["make", "-n", "-B", card], cwd=ROOT, check=True, capture_output=True, text=True).stdout
        (command,) = (line for line in made.replace("\\\n", "").splitlines() if " synthesise " in line)
        arguments = shlex.split(command)[3:]
        arguments[1] = str((tmp_path / card).parent)
        assert CliRunner().invoke(cli, arguments).exit_code == 0
        users[kind] = json.loads((tmp_path / card).with_name("tastes.json").read_text(encoding="utf-8"))
    judged = {name: one for name, one in users["all"].items() if one["part"] == "test"}
    assert users["unseen"].items() <= judged.items()
    apart = [one["own"] for one in users["unseen"].values()]
    seen = [one["own"] for name, one in judged.items() if name not in users["unseen"]]
    assert len(judged) >= 60
    assert len(apart) >= len(judged) / 3
    trained = {_signs(one["own"]) for one in users["all"].values() if one["part"] == "train"}
    assert not trained & set(map(_signs, apart))
    assert set(map(_signs, seen)) <= trained
    jobs = planned("fspo_full.yaml", tmp_path)
    # All weights are of one data set, those on features also of 75 and of 30 train users; two shards of each data set.
    assert (jobs["reward_model"], jobs["score"], jobs["features"]) == (10, 16, 4)
    assert jobs["figure_train_users"] == 1


def _signs(weights: dict[str, float]) -> frozenset[tuple[str, bool]]:
    return frozenset((axis, weight > 0) for axis, weight in weights.items())
