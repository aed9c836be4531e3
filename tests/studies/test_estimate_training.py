"""What the estimate says of reward models: tokens and steps without the extra, and time with it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from support.models import pair

from personalrm.core.records import UserData, UserPart
from personalrm.studies.config_load import parse_config
from personalrm.studies.synthesizeme.config import Config
from personalrm.studies.synthesizeme.training_estimate import steps_of, training_notes

PARTS: tuple[UserPart, ...] = ("train", "train", "validation", "test")
HYPER: dict[str, Any] = {"lore": {"k_grid": [1, 2], "steps": 12}, "vpl": {"latent": 4, "hidden": 4, "steps": 10}}


def config(**entry: object) -> Config:
    methods = ["frozen_bt", "user_map", "lore", "vpl"]
    entry = {"base": "smollm2-135m", "methods": methods, "hyper": HYPER, "seeds": [0, 1], **entry}
    datasets = {"d": {"path": "votes.jsonl"}}
    both = {"one": entry, "two": {**entry, "methods": ["frozen_bt"], "hyper": {}}}
    return parse_config({"run": "r", "datasets": datasets, "methods": ["longer"], "reward_models": both})


def people() -> list[UserData]:
    found = []
    for number, part in enumerate(PARTS):
        pairs = [
            pair(f"p{number} {n}", chosen=f"w{n} w{number}", rejected=f"w{n + 9} w{number} w1", split=split)  # type: ignore[arg-type]
            for n, split in enumerate(("context", "context", "validation", "test"))
        ]
        found.append(UserData(dataset="d", user_id=f"u{number}", user_split=part, pairs=tuple(pairs)))
    return found


def test_steps_count_seeds_and_the_numbers_that_validation_users_choose_from() -> None:
    entry = config().reward_models["one"]
    assert [steps_of(entry, name, held_out=True) for name in entry.methods] == [0, 0, 2 * 2 * 12, 2 * 10]
    assert steps_of(entry, "lore", held_out=False) == 2 * 12
    network = config(hyper={"frozen_bt": {"hidden": 4, "steps": 7}}, methods=["frozen_bt"]).reward_models["one"]
    assert steps_of(network, "frozen_bt", held_out=True) == 2 * 7


def test_a_line_for_each_entry_counts_shared_features_once() -> None:
    one, two = training_notes(config(), {"d": people()}, timed=False)
    assert one.startswith("Reward models one on d: features of 32 texts (")
    assert "8 trainings with 68 steps in all; time not measured: not timed." in one
    assert two.startswith("Reward models two on d: features as above, 2 trainings with 0 steps")
    alone = {**HYPER, "lore": {"steps": 12}}
    more = training_notes(config(regime="all-but-test", hyper=alone), {"d": people()}, timed=False)
    assert "with 44 steps in all" in more[0]


def test_models_that_read_no_features_are_named_and_count_none() -> None:
    made = config(methods=["bt"], hyper={})
    alone, shared = training_notes(made, {"d": people()}, timed=False)
    assert alone == "Reward models one on d: not estimated: bt."
    # So that they are not "as above".
    assert shared.startswith("Reward models two on d: features of 32 texts (")
    both = training_notes(config(methods=["bt", "frozen_bt"], hyper={}), {"d": people()}, timed=False)[0]
    assert "features of 32 texts (" in both
    assert both.endswith("2 trainings with 0 steps in all; time not measured: not timed. Not in it: bt.")


def test_time_is_measured_with_the_base_itself(tmp_path: Path) -> None:
    pytest.importorskip("torch", reason="needs the extra train: pip install 'personalrm[train]'")
    from support.tiny_models import tiny_llama

    from personalrm.train.encoders import EncoderSettings, open_encoder
    from personalrm.train.features import encode_pairs

    made = config(base=tiny_llama(tmp_path / "base"), dtype="float32", threads=1)
    one, two = training_notes(made, {"d": people()}, timed=True)
    with open_encoder(EncoderSettings(**made.reward_models["one"].encoder)) as encoder:
        tokens = encode_pairs(encoder, [p for user in people() for p in user.pairs])[1]["tokens"]
    assert f"({tokens:,} tokens)" in one
    assert "minutes as measured here, " in one
    assert "tokens a second" in one
    assert two.endswith("0 steps in all: 0 minutes as measured here, without validation and adaptation.")
    # A base that cannot be loaded is no error of the estimate.
    (tmp_path / "base" / "config.json").unlink()
    assert "time not measured: base " in training_notes(made, {"d": people()}, timed=True)[0]
