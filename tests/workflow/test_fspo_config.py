"""The paper's config of synthetic users is planned as it stands."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.projects import ROOT

from personalrm.personas.synthetic.users import seed_users
from personalrm.studies.config_load import load_config
from workflow.test_shipped_configs import planned


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
