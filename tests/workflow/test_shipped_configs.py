"""The configs that the README sends a reader to are planned as they stand."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
from support.warm import run_warm

from personalrm.data.scripted.settings import ScriptedSettings
from personalrm.data.scripted.synthesise import synthesise
from personalrm.personas.synthetic.users import seed_users
from personalrm.studies.config_load import load_config

ROOT = Path(__file__).parents[2]


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


def test_the_four_domains_of_fspo_are_planned_without_keys(tmp_path: Path) -> None:
    jobs = planned("fspo.yaml", tmp_path)
    assert (jobs["ask_questions"], jobs["pair_answers"], jobs["describe_users"]) == (4, 4, 4)
    # Eleven models, and the labels of all users, in the shards of the domains.
    assert (jobs["answer_questions"], jobs["label_pairs"]) == (11 * (4 + 4 + 16 + 32), 4 + 4 + 16 + 32)
    # Base, two numbers of shots and the oracle; all but Base are compared with it.
    assert (jobs["write_answers"], jobs["compare_answers"]) == (4 * (4 + 4 + 16 + 32), 3 * (4 + 4 + 16 + 32))
    assert {
        "prepare_roleplay",
        "table_win_rates",
        "table_disagreement",
        "figure_disagreement",
        "table_diversity",
    } <= jobs.keys()


def test_the_domains_of_fspo_have_the_papers_numbers_of_users_and_labels() -> None:
    config = load_config(ROOT / "config" / "fspo.yaml")
    users = {name: seed_users(domain, config.seed) for name, domain in config.datasets.items()}
    assert {name: len(mine) for name, mine in users.items()} == {
        **{"review": 8, "elix_easy": 5, "elix_hard": 550, "roleplay": 1500},
    }
    labels = {name: len(users[name]) * (d.pairs.shared + d.pairs.own) for name, d in config.datasets.items()}
    reported = {"review": 130_000, "elix_easy": 235_000, "elix_hard": 267_000, "roleplay": 362_000}
    assert labels == pytest.approx(reported, rel=0.01)
    # The questions to learn from give so many pairs.
    for domain in config.datasets.values():
        asked = domain.questions.general + domain.questions.per_trait * len(domain.trait_texts)
        general = domain.questions.general * (1 - domain.questions.held_out) * domain.pairs.per_question
        assert domain.pairs.shared <= general
        assert (
            domain.pairs.shared + domain.pairs.own
            <= asked * (1 - domain.questions.held_out) * domain.pairs.per_question
        )
