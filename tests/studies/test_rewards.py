"""The stages of reward models: what training sees, how seeds become rows, and a killed training that goes on."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="needs the extra train: pip install 'personalrm[train]'")

from support.reward_runs import Made, flipped, odds, people
from support.tiny_models import tiny_llama

from personalrm.core.errors import DataError
from personalrm.core.records import JudgedUser, read_records
from personalrm.methods.registry import METHODS
from personalrm.methods.reward.load import REWARD_METHODS, reward_method
from personalrm.results.scores import collect_verdicts
from personalrm.results.tables.differences_table import differences_table
from personalrm.studies.synthesizeme.stages import rewards
from personalrm.train import trainer
from personalrm.train.features import load_pairs, save_pairs


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> str:
    return tiny_llama(tmp_path_factory.mktemp("base"))


@pytest.mark.parametrize("regime", ["unseen", "all-but-test"])
def test_labels_of_judged_test_pairs_reach_no_weight(regime: str, tmp_path: Path, base: str) -> None:
    users = people()
    judged = {user.user_id for user in users if regime == "all-but-test" or user.user_split == "test"}
    plain = odds(Made(tmp_path / "a", base, users, regime=regime).rows())
    other = flipped(users, lambda user, one: user.user_id in judged and one.split == "test")
    exchanged_odds = odds(Made(tmp_path / "b", base, other, regime=regime).rows())
    assert {key[0] for key in plain} == judged
    assert exchanged_odds.keys() == plain.keys()
    # The same answers are preferred, so that what was right is wrong.
    assert {key: -value for key, value in exchanged_odds.items()} == plain
    assert any(plain.values())
    # A test that could not fail: labels that are learned from do change the weights.
    learned = flipped(users, lambda user, one: user.user_split == "train" and one.split == "context")
    assert odds(Made(tmp_path / "c", base, learned, regime=regime).rows()) != plain


def test_in_unseen_the_votes_of_a_test_user_change_that_user_alone(tmp_path: Path, base: str) -> None:
    users = people()
    plain = odds(Made(tmp_path / "a", base, users).rows())
    changed = flipped(users, lambda user, one: user.user_id == "u4")
    found = odds(Made(tmp_path / "b", base, changed).rows())
    assert {key: value for key, value in found.items() if key[0] != "u4"} == {
        key: value for key, value in plain.items() if key[0] != "u4"
    }
    assert users[4].user_split == "test"
    frozen = [key for key in plain if key[:2] == ("u4", "frozen_bt")]
    assert [found[key] for key in frozen] == [-plain[key] for key in frozen]


def test_rows_of_seeds_and_draws(tmp_path: Path, base: str) -> None:
    made = Made(tmp_path, base, people())
    paths = made.verdicts()
    rows = [row for path in paths for row in read_records(path, JudgedUser)]
    assert {row.judge_model for row in rows} == {"tiny (unseen)"}
    mine = [row for row in rows if row.user_id == "u4"]
    numbered = {
        (row.method, row.k): sorted(r.draw for r in mine if (r.method, r.k) == (row.method, row.k)) for row in mine
    }
    # Two seeds; at k = 2 each has two draws of context pairs.
    assert numbered == {
        ("frozen_bt", None): [0, 1],
        **{(name, 2): [0, 1, 2, 3] for name in ("user_map", "lore")},
        **{(name, "all"): [0, 1] for name in ("user_map", "lore")},
    }
    assert {len(row.verdicts) for row in mine} == {3}
    assert {(one.swapped, one.calls) for row in mine for one in row.verdicts} == {(None, ())}
    signs = {(one.outcome, (one.log_odds or 0) > 0) for row in rows for one in row.verdicts}
    assert signs == {("correct", True), ("wrong", False)}
    # Train and validation users have rows without verdicts, which say why.
    others = {(row.status, row.reason) for row in rows if row.user_id in ("u0", "u2")}
    assert others == {
        ("empty", "the reward model was trained on this user"),
        ("empty", "this user chose the reward model's hyper-parameters"),
    }
    at: dict[tuple[Any, ...], list[float | None]] = {}
    for row in rows:
        at.setdefault((row.method, row.k, row.draw), []).extend(one.log_odds for one in row.verdicts)
    # Draws of one seed, then those of the other: LoRe differs by seed, both by the pairs that were drawn.
    assert at["lore", "all", 0] != at["lore", "all", 1]
    assert at["user_map", 2, 0] != at["user_map", 2, 1]
    assert at["user_map", 2, 0] == at["user_map", 2, 2]
    table = differences_table(collect_verdicts(paths), seed=0, n_resamples=99)
    compared = {(row.method, row.k, row.reference): row for row in table.itertuples()}
    assert set(compared) == {(name, k, "frozen_bt") for name in ("user_map", "lore") for k in ("2", "all")}
    assert {row.status for row in compared.values()} == {"ok"}
    assert {key: row.n_draws for key, row in compared.items() if key[0] == "lore"} == {
        ("lore", "2", "frozen_bt"): 4,
        ("lore", "all", "frozen_bt"): 2,
    }


def test_the_card_says_what_was_seen(tmp_path: Path, base: str) -> None:
    made = Made(tmp_path, base, people(), methods=["frozen_bt"], seeds=[5])
    made.do("features")
    (card_file,) = made.do("reward_model")
    card = json.loads(card_file.read_text(encoding="utf-8"))
    assert (card["regime"], card["seed"], card["name"], card["dataset"]) == ("unseen", 5, "tiny", "d")
    assert (card["train_users"], card["train_pairs"], card["validation_users"]) == (4, 4 * 9, 4)
    assert sum(part["texts"] for part in card["features"]) == 2 * 16 * 9
    assert card["features"][0]["base"].startswith("folder ")


def test_so_many_train_users_are_learned_from_and_the_same_are_judged(tmp_path: Path, base: str) -> None:
    made = Made(tmp_path / "few", base, people(), methods=["frozen_bt"], seeds=[5], train_users=2)
    few = odds(made.rows())
    card = json.loads(made.do("reward_model")[0].read_text(encoding="utf-8"))
    assert (card["train_users"], card["train_pairs"], card["validation_users"]) == (2, 2 * 9, 4)
    every = odds(Made(tmp_path / "all", base, people(), methods=["frozen_bt"], seeds=[5]).rows())
    assert few.keys() == every.keys()
    assert few != every


def test_no_train_user_is_an_error_with_a_remedy(tmp_path: Path, base: str) -> None:
    users = [user.model_copy(update={"user_split": None}) for user in people()]
    made = Made(tmp_path, base, users, methods=["frozen_bt"], seeds=[0])
    made.do("features")
    with pytest.raises(DataError, match=r"regime: 'unseen' learns from the train users .* give regime: all-but-test"):
        made.do("reward_model")


def test_features_of_two_versions_of_the_base_are_not_mixed(tmp_path: Path, base: str) -> None:
    made = Made(tmp_path, base, people(), methods=["frozen_bt"], seeds=[0])
    first, _ = made.do("features")
    pairs, card = load_pairs(first)
    save_pairs(first, pairs, card | {"base": "owner/name@another-commit"})
    with pytest.raises(DataError, match=r"several versions of the base \(.*owner/name@another-commit; .*folder "):
        made.do("reward_model")


def test_weights_do_not_judge_features_of_another_version_of_their_base(tmp_path: Path, base: str) -> None:
    made = Made(tmp_path, base, people(), methods=["frozen_bt"], seeds=[0])
    made.verdicts()
    (path, _) = made.do("features")
    pairs, card = load_pairs(path)
    save_pairs(path, pairs, card | {"base": "owner/name@another-commit"})
    with pytest.raises(DataError, match=r"features of another version of the base \(owner/name@another-commit\) than "):
        made.do("score")


@pytest.mark.parametrize("at", [2, 9, 17])
def test_a_killed_training_ends_with_the_same_weights(
    at: int, tmp_path: Path, base: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rewards, "CHECKPOINT_S", 0.0)
    whole = Made(tmp_path / "whole", base, people(), methods=["lore"], seeds=[0])
    whole.do("features")
    (wanted,) = whole.do("reward_model")
    made = Made(tmp_path / "killed", base, people(), methods=["lore"], seeds=[0])
    made.do("features")
    steps: list[int] = []
    before = trainer.generator_of

    def counted(seed: int, step: int) -> torch.Generator:
        steps.append(step)
        if killing and len(steps) == at:
            os.kill(os.getpid(), signal.SIGKILL)
        return before(seed, step)

    monkeypatch.setattr(trainer, "generator_of", counted)
    killing = True
    process = multiprocessing.get_context("fork").Process(target=made.do, args=("reward_model",))
    process.start()
    process.join(120)
    assert process.exitcode == -signal.SIGKILL
    checkpoints = Path(made.plan.run, "checkpoints")
    assert list(checkpoints.iterdir())
    killing = False
    (found,) = made.do("reward_model")
    # Two trainings (K = 1 and 2) of 12 steps: those before the kill are not repeated.
    assert len(steps) == 24 - (at - 1)
    for name in ("card.json", "weights.safetensors"):
        assert found.with_name(name).read_bytes() == wanted.with_name(name).read_bytes()
    assert not list(checkpoints.iterdir())


def test_rows_say_what_the_methods_are() -> None:
    assert {name: METHODS[name].by_k for name in REWARD_METHODS} == {
        name: reward_method(name).adapts for name in REWARD_METHODS
    }


@pytest.mark.parametrize(
    ("method", "regime"), [("frozen_bt", "unseen"), ("frozen_bt", "all-but-test"), ("bt", "all-but-test")]
)
def test_a_vote_of_another_user_on_a_test_pair_changes_no_weight(
    method: str, regime: str, tmp_path: Path, base: str
) -> None:
    users = people()
    shown = users[4].part("test")[0]
    assert (users[0].user_split, users[4].user_split) == ("train", "test")

    def copied(**changes: Any) -> list[Any]:  # noqa: ANN401
        vote = shown.model_copy(update={"pair_id": "copy", "user_id": "u0", "split": "context", **changes})
        return [users[0].model_copy(update={"pairs": (*users[0].pairs, vote)}), *users[1:]]

    def trained(name: str, users: list[Any]) -> tuple[bytes, dict[str, Any]]:
        made = Made(tmp_path / name, base, users, methods=[method], seeds=[0], regime=regime)
        made.do("features")
        (card,) = made.do("reward_model")
        return card.with_name("weights.safetensors").read_bytes(), json.loads(card.read_text(encoding="utf-8"))

    plain, card = trained("plain", users)
    same, counted = trained("copied", copied())
    assert same == plain
    assert counted == card | {"pairs_left_out": 1} | ({"features": counted["features"]} if method != "bt" else {})
    # A test that could not fail: another answer is another pair.
    if method == "frozen_bt":
        assert trained("other", copied(chosen=f"{shown.chosen} w3"))[0] != plain


def test_where_all_votes_are_on_test_pairs_the_error_says_so(tmp_path: Path, base: str) -> None:
    users = people()
    (train, test) = users[0], users[4]
    copy = {"user_id": "u0", "split": "context"}
    same = [one.model_copy(update={**copy, "pair_id": f"copy {one.pair_id}"}) for one in test.part("test")]
    few = [train.model_copy(update={"pairs": tuple(same)}), test]
    made = Made(tmp_path, base, few, methods=["frozen_bt"], seeds=[0])
    made.do("features")
    with pytest.raises(DataError, match="no pair to learn from, 3 left out, on whose answers others are judged"):
        made.do("reward_model")
