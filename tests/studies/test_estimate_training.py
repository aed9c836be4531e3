"""What the estimate says of reward models: tokens and steps without the extra, and time with it."""

from __future__ import annotations

import json
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from support.models import pair

from personalrm.core.records import UserData, UserPart
from personalrm.studies.config_load import parse_config
from personalrm.studies.synthesizeme import training_estimate, tuning_estimate
from personalrm.studies.synthesizeme.config import Config
from personalrm.studies.synthesizeme.simulate import SamplePlan
from personalrm.studies.synthesizeme.training_estimate import steps_of, training_notes
from personalrm.studies.synthesizeme.tuning_estimate import seconds_of, tunings, updates_of

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


def test_models_that_read_no_features_have_a_line_of_their_own() -> None:
    made = config(methods=["bt"], hyper={})
    alone, shared = training_notes(made, {"d": people()}, timed=False)
    assert alone.startswith("Reward models one on d, fine-tuned: bt 2 updates on ")
    # So that they are not "as above".
    assert shared.startswith("Reward models two on d: features of 32 texts (")
    both, tuned, _ = training_notes(config(methods=["bt", "frozen_bt"], hyper={}), {"d": people()}, timed=False)
    assert "features of 32 texts (" in both
    assert both.endswith("2 trainings with 0 steps in all; time not measured: not timed.")
    assert tuned == alone


def test_users_who_are_only_judged_need_features() -> None:
    datasets = {name: {"path": "votes.jsonl"} for name in ("d", "e")}
    entry = {"methods": ["frozen_bt", "bt"], "train_on_dataset": "d", "datasets": ["e"]}
    made = parse_config({"run": "r", "datasets": datasets, "methods": ["longer"], "reward_models": {"one": entry}})
    trained, tuned, judged = training_notes(made, {"d": people(), "e": people()}, timed=False)
    assert trained.startswith("Reward models one on d: features of 32 texts (")
    assert "3 trainings with 0 steps in all" in trained
    assert tuned.startswith("Reward models one on d, fine-tuned: bt 3 updates on ")
    assert judged.startswith("Reward models one on e: features of 32 texts (")
    assert "trainings" not in judged


def test_the_plan_of_one_data_set_has_what_judges_by_weights_of_another(tmp_path: Path) -> None:
    datasets = {name: {"path": "votes.jsonl", "train_only": name == "d"} for name in ("d", "e")}
    entry = {"methods": ["frozen_bt", "bt", "fspo"], "train_on_dataset": "d"}
    made = parse_config({"run": "r", "datasets": datasets, "methods": ["longer"], "reward_models": {"one": entry}})
    plan = SamplePlan(made, "e", people()[:2], tmp_path)
    assert {stage.name for stage, _ in plan.makers().values()} >= {"score", "no_model"}


BT: dict[str, Any] = {"published": "trl", "tuning": "lora", "rank": 2}
FEW: dict[str, Any] = {"shots": 1, "windows": 6, "batch": 4, "at_once": 2, "tuning": "lora", "rank": 2, "alpha": 4}


def test_updates_and_tokens_of_fine_tuning_are_counted() -> None:
    def found(methods: list[str], users: list[UserData], **more: Any) -> dict[str, tuple[int, int]]:  # noqa: ANN401
        hyper = {"bt": BT} if "bt" in methods else {"fspo": FEW, "pref_ft": {**FEW, "epochs": 1.5}}
        made = config(methods=methods, hyper=hyper, **more)
        works = tunings(made, made.reward_models["one"], "d", users)
        return {name: (work.rows, work.updates) for name, work in works.items()}

    # Two train users with four pairs each, in batches of 8, three times, with two seeds.
    assert found(["bt"], people()) == {"bt": (8, 6)}
    assert found(["bt"], people(), regime="all-but-test") == {"bt": (12, 12)}
    assert found(["fspo"], people()) == {"pref_ft": (12, 10), "fspo": (12, 6)}
    # What is described, or told, needs a planted taste.
    assert found(["bt", "bt_oracle"], people())["bt_oracle"] == (0, 0)
    tasty = [user.model_copy(update={"planted_taste": "short"}) for user in people()]
    assert found(["bt", "bt_oracle"], tasty)["bt_oracle"] == (8, 6)
    assert found(["fspo_description"], people())["fspo_description"] == (0, 0)
    # Windows, and a description where there is a vote to describe from.
    (texts, _), (windows, _) = found(["fspo_description"], tasty).values()
    assert 12 == windows < texts <= 24
    once, twice = (config(methods=["bt"], hyper={"bt": {**BT, "epochs": n}}) for n in (1, 2))
    one, more = (tunings(made, made.reward_models["one"], "d", tasty)["bt"] for made in (once, twice))
    assert more.tokens == 2 * one.tokens > 0


def test_time_of_fine_tuning_is_told_apart_from_that_of_features(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training_estimate, "seconds_of", lambda *_: 9000.0)
    (line, _) = training_notes(config(methods=["bt"], hyper={}), {"d": people()}, timed=True)
    assert re.search(
        r"bt 2 updates on [\d,]+ tokens: 2\.5 hours as measured here, without validation and judging", line
    )


@pytest.mark.parametrize(("first", "both", "rate"), [(3.0, 5.0, 2.0), (3.0, 2.0, 1.0), (3.0, 3.0, 1.5)])
def test_training_never_takes_no_time(monkeypatch: pytest.MonkeyPatch, first: float, both: float, rate: float) -> None:
    """Other work may make a shorter measurement the slower one."""
    pytest.importorskip("torch", reason="needs the extra train: pip install 'personalrm[train]'")
    made = config(methods=["bt"], hyper={"bt": BT})
    entry = made.reward_models["one"]
    works = tunings(made, entry, "d", people())
    times = {tuning_estimate.UPDATES: first, 2 * tuning_estimate.UPDATES: both}
    monkeypatch.setattr(tuning_estimate, "_tuned_seconds", lambda _entry, _method, hyper, _words: times[hyper.steps])
    measured_rows = tuning_estimate.UPDATES * entry.hyper_of("bt").at_once
    trained_rows = works["bt"].updates * entry.hyper_of("bt").batch
    assert seconds_of(entry, works) == pytest.approx(rate / measured_rows * trained_rows, rel=0.02)


def test_updates_are_those_of_the_training(tmp_path: Path) -> None:
    pytest.importorskip("torch", reason="needs the extra train: pip install 'personalrm[train]'")
    from support.reward_runs import Made
    from support.reward_runs import people as sixteen
    from support.tiny_models import tiny_llama

    from personalrm.train.fine_tuning import Updates

    for steps, epochs, rows in ((0, 1, 9), (0, 2.5, 9), (0, 0.5, 30), (7, 3, 30)):
        hyper = {"batch": 4, "epochs": epochs, "steps": steps}
        others = {"lr": 1, "at_once": 1, "schedule": "linear", "warmup": 0, "weight_decay": 0, "recompute": False}
        total = Updates(**hyper, **others, device="cpu", dtype="float32").total(rows)  # type: ignore[arg-type]
        assert updates_of(SimpleNamespace(**hyper), rows) == total
    made = Made(tmp_path, tiny_llama(tmp_path / "base"), sixteen(), methods=["bt", "fspo"], seeds=[0])
    entry = made.job.config.reward_models["tiny"]
    works = tunings(made.job.config, entry, "d", sixteen())
    cards = [json.loads(path.read_text(encoding="utf-8")) for path in made.do("reward_model")]
    trained = {card["method"]: (card.get("windows", card["train_pairs"]), card["steps"]) for card in cards}
    assert {name: (work.rows, work.updates) for name, work in works.items()} == trained
    assert 0 < seconds_of(entry, works) < 600


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
