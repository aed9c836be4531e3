"""A data set in folds: the data sets that a config makes of it, and what is refused."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest

from personalrm.core.errors import ConfigError
from personalrm.data.cross_validation import pooled_names, pools_of
from personalrm.studies.config_load import load_config, parse_config, read_resolved, write_resolved

ROOT = Path(__file__).parents[2]
RAW: dict[str, Any] = {
    "run": "x",
    "datasets": {
        "a": {"path": "votes.jsonl"},
        "b": {"path": "votes.jsonl", "max_users": 3, "split": {"folds": 3, "keep_together": "none"}},
    },
    "methods": ["random"],
}


def test_folds_are_data_sets_that_differ_by_the_fold_alone(tmp_path: Path) -> None:
    config = parse_config(copy.deepcopy(RAW))
    assert list(config.datasets) == ["a", "b-fold1", "b-fold2", "b-fold3"]
    folds = [config.datasets[name] for name in list(config.datasets)[1:]]
    assert [entry.split.fold for entry in folds] == [(1, 3), (2, 3), (3, 3)]
    others = [entry.model_dump(exclude={"name": True, "split": {"fold"}}) for entry in folds]
    assert others[0] == others[1] == others[2]
    assert (others[0]["max_users"], others[0]["split"]["keep_together"]) == (3, "none")
    pools = pools_of(config.datasets)
    assert pools == {"b": ["b-fold1", "b-fold2", "b-fold3"]}
    assert pooled_names(config.datasets, pools) == ["a", "b"]
    # What the jobs of a run read, and a later start of it as its config file, is made of folds already.
    write_resolved(tmp_path / "run.json", config)
    assert read_resolved(tmp_path / "run.json") == load_config(tmp_path / "run.json") == config


def test_without_folds_there_is_no_pool_and_the_resolved_config_is_what_it_was() -> None:
    config = parse_config({**RAW, "datasets": {"a": {"path": "votes.jsonl", "split": {"fold": [1, 3]}}}})
    assert pools_of(config.datasets) == {}
    assert "folds" not in config.datasets["a"].model_dump()["split"]


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"b": {"path": "v", "split": {"folds": 1}}}, "datasets.b.split.folds: "),
        ({"b": {"path": "v", "split": {"folds": "4"}}}, "datasets.b.split.folds: "),
        ({"b": {"path": "v", "split": {"folds": 101}}}, "datasets.b.split.folds: "),
        ({"b": {"path": "v", "split": {"folds": 4, "fold": [1, 2]}}}, "datasets.b.split: folds: stands alone"),
        ({"b": {"path": "v", "split": {"folds": 4, "fold": [1, 4]}}}, "datasets.b.split: give folds alone"),
        ({"b-fold2": {"path": "w"}}, "datasets.b.split: folds: stands alone"),
        (
            {"b": {"source": "personalrewardbench", "path": "v", "split": {"folds": 2}}},
            "datasets.b.split.folds: the released parts are kept; set keep_splits: false",
        ),
    ],
)
def test_what_could_not_be_pooled_is_refused(changes: dict[str, Any], line: str) -> None:
    with pytest.raises(ConfigError) as raised:
        parse_config({**RAW, "datasets": {**RAW["datasets"], **changes}})
    assert line in str(raised.value)


def test_folds_are_judged_with_all_context_pairs_alone() -> None:
    with pytest.raises(ConfigError, match=r"k: data sets in folds \(b\) are judged with all context pairs"):
        parse_config({**RAW, "k": [2, "all"]})


def test_the_bundled_config_has_four_folds_of_all_users() -> None:
    config = load_config(ROOT / "config" / "folds.yaml", overrides={"learn": {"models": ["qwen2.5-coder-1.5b"]}})
    assert {len(folds) for folds in pools_of(config.datasets).values()} == {4}
    assert config.learn.models == ["qwen2.5-coder-1.5b"]
    assert all(entry.max_users is None for entry in config.datasets.values())
