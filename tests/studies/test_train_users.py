"""Reward models that learn from some of the train users: who they are, how rows are named, and what depends on it."""

from __future__ import annotations

import itertools
import random
from pathlib import Path

import pytest
from support.reward_runs import people

from personalrm.core.errors import ConfigError, DataError
from personalrm.core.records import UserData, write_records
from personalrm.methods.registry import METHODS
from personalrm.studies.synthesizeme.plan import Plan
from personalrm.studies.synthesizeme.run_results import conditions, result_settings
from personalrm.studies.synthesizeme.stages.fine_tuning import lessons_for
from personalrm.studies.synthesizeme.stages.reward_data import some_train_users

from .test_reward_config import config_of


def train_ids(users: list[UserData]) -> set[str]:
    return {user.user_id for user in users if user.user_split == "train"}


def test_a_smaller_number_of_train_users_is_a_part_of_a_larger_one_and_all_others_stay() -> None:
    users = people()
    every = train_ids(users)
    drawn = [some_train_users(users, count, 3) for count in range(1, len(every) + 1)]
    for number, found in enumerate(drawn, 1):
        assert len(train_ids(found)) == number
        assert [user for user in found if user.user_split != "train"] == [u for u in users if u.user_split != "train"]
    assert all(train_ids(few) < train_ids(more) for few, more in itertools.pairwise(drawn))
    assert some_train_users(users, None, 3) == users
    assert len({min(train_ids(some_train_users(users, 1, seed))) for seed in range(20)}) > 1


def test_names_and_order_of_users_draw_nobody() -> None:
    users = people()
    few = train_ids(some_train_users(users, 2, 0))
    shuffled = random.Random(1).sample(users, len(users))
    assert train_ids(some_train_users(shuffled, 2, 0)) == few
    renamed = [user.model_copy(update={"user_id": f"x{9 - place}"}) for place, user in enumerate(users)]
    names = {new.user_id: old.user_id for new, old in zip(renamed, users, strict=True)}
    assert {names[one] for one in train_ids(some_train_users(renamed, 2, 0))} == few


def test_more_train_users_than_there_are_is_an_error_with_both_numbers() -> None:
    with pytest.raises(DataError, match=r"data set d: has 4 train users, and train_users asks for 9; give fewer"):
        some_train_users(people(), 9, 0)


def test_what_tunes_the_base_learns_from_them_alone(tmp_path: Path) -> None:
    write_records(tmp_path / "users.jsonl", people())
    config = config_of({"methods": ["bt"], "train_users": 2})
    entry = config.reward_models["rm"]
    found = lessons_for(config, entry, "d", METHODS["bt"], [tmp_path / "users.jsonl"], [])
    drawn = train_ids(some_train_users(people(), 2, config.seed))
    assert {user.user_id for user, _ in found.train} == drawn
    assert len(found.held_out) == 4


def test_the_regime_without_train_users_refuses_it() -> None:
    with pytest.raises(ConfigError, match=r"reward_models.rm.train_users: only regime 'unseen' has train users"):
        config_of({"regime": "all-but-test", "train_users": 2})


def test_rows_are_named_by_the_number_and_trainings_depend_on_it() -> None:
    few = {"train_users": 3, "methods": ["lore"]}
    entries = {"few": few, "all": {}, "other": {"pooling": "last"}, "more": {"methods": ["vpl"]}}
    plan = Plan(config_of({}, reward_models=entries))
    judges = {name: entry.judge_name(name) for name, entry in plan.config.reward_models.items()}
    assert judges == {
        "few": "few (unseen, 3 train users)",
        "all": "all (unseen)",
        "other": "other (unseen)",
        "more": "more (unseen)",
    }
    assert result_settings(plan).fewer_users == {judges[name]: ("all", name, "") for name in ("few", "all", "more")}
    assert conditions(plan)["train_users"]
    datasets = {name: {"path": f"{name}.jsonl", "shards": 1} for name in ("d", "e")}
    away = {name: {**entries[name], "train_on_dataset": "d"} for name in ("few", "all")}
    found = result_settings(Plan(config_of({}, datasets=datasets, reward_models=away))).fewer_users
    assert list(found.values()) == [("all", name, "d") for name in away]
    changed = Plan(config_of({}, reward_models={**entries, "few": {**few, "train_users": 2}}))
    for name in ("few", "all"):
        jobs = [job._asdict() for job in plan.jobs("reward_model", reward=name)]
        same = [plan.reads("reward_model", **job) == changed.reads("reward_model", **job) for job in jobs]
        assert same == [name == "all"] * len(jobs)
    for one in ({"few": {"train_users": 3}}, {name: entries[name] for name in ("all", "other", "more")}):
        assert not conditions(Plan(config_of({}, reward_models=one)))["train_users"]
