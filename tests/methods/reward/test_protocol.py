"""What holds for every reward model on features, whichever it is."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="needs the extra train: pip install 'personalrm[train]'")

import numpy as np

from personalrm.core.errors import ConfigError, DataError
from personalrm.methods.reward.base import HeldOut, RewardMethod, Scale, TrainingData, mean_accuracy
from personalrm.methods.reward.load import REWARD_METHODS, reward_method
from personalrm.train.checkpoint import Fitted
from personalrm.train.features import Pairs, join
from personalrm.train.trainer import Run

from .conftest import QUICK, learned, world

BRIEF: dict[str, Any] = {"steps": 8, "evaluate_every": 4}
"""A few steps, where no accuracy is asked for."""
MARGINS = {"frozen_bt": 0, "user_map": 0.04, "lore": 0.12, "vpl": 0.08, "pal_a": 0.08, "gpo": -0.1, "gpo_pairs": 0.05}
"""By which a method must beat Bradley-Terry on planted tastes, in the small world."""
LINEAR = ("frozen_bt", "user_map")


def accuracy(name: str, fitted: Fitted, test: list[HeldOut]) -> float:
    method = reward_method(name)
    return mean_accuracy(method.predict(fitted, one.context, one.target) for one in test)


def briefly(name: str, data: TrainingData, seed: int = 0) -> Fitted:
    method = reward_method(name)
    return method.fit(data, method.hyper(**{**QUICK[name], **({} if name in LINEAR else BRIEF)}), seed, Run())


def same(one: Fitted, other: Fitted) -> bool:
    return one.tensors.keys() == other.tensors.keys() and all(
        one.tensors[name].tobytes() == other.tensors[name].tobytes() for name in one.tensors
    )


def digest(fitted: Fitted) -> str:
    return hashlib.sha256(b"".join(fitted.tensors[name].tobytes() for name in sorted(fitted.tensors))).hexdigest()


@pytest.fixture(params=REWARD_METHODS)
def method(request: pytest.FixtureRequest) -> RewardMethod[Any, Any]:
    return reward_method(request.param)


def test_exchanged_answers_exchange_the_sign_and_rewards_are_of_single_answers(
    method: RewardMethod[Any, Any],
) -> None:
    fitted, user = learned(method.name), world().test[0]
    state = method.adapt(fitted, user.context)
    odds = method.log_odds(fitted, state, user.target)
    assert odds.shape == (6,)
    assert odds.dtype == np.float64
    assert np.abs(odds).min() > 0
    assert np.allclose(method.log_odds(fitted, state, user.target.exchanged()), -odds, atol=1e-5)
    # Which other pairs are scored does not matter.
    assert np.allclose(method.log_odds(fitted, state, user.target.select(user.target.ids[:1])), odds[:1], atol=1e-5)
    if method.rewards is not None:
        chosen, rejected = (method.rewards(fitted, state, side) for side in (user.target.chosen, user.target.rejected))
        assert np.allclose(chosen - rejected, odds, atol=1e-4)


def test_context_order_and_names_change_no_bit_and_adapting_changes_no_weight(method: RewardMethod[Any, Any]) -> None:
    fitted, user = learned(method.name), world().test[1]
    before = digest(fitted)
    odds = method.predict(fitted, user.context, user.target)
    renamed = Pairs(tuple(f"x{n}" for n in range(10)), user.context.chosen, user.context.rejected)
    shuffled = renamed.select([f"x{n}" for n in (3, 1, 4, 0, 5, 9, 2, 6, 8, 7)])
    assert (method.predict(fitted, shuffled, user.target) == odds).all()
    assert digest(fitted) == before
    flipped = method.predict(fitted, user.context.exchanged(), user.target)
    other = method.predict(fitted, world().test[2].context, user.target)
    assert (flipped == odds).all() != method.adapts
    assert (other == odds).all() != method.adapts


def test_no_context_gives_finite_log_odds(method: RewardMethod[Any, Any]) -> None:
    user = world().test[0]
    empty = user.context.select([])
    odds = method.predict(learned(method.name), empty, user.target)
    assert np.isfinite(odds).all()
    assert np.abs(odds).min() > 0


def test_the_order_and_names_of_train_users_change_no_bit_and_the_seed_may(method: RewardMethod[Any, Any]) -> None:
    data = world(train=24, validation=4, test=0).data
    first = briefly(method.name, data)
    renamed = [Pairs(tuple(f"r{n}" for n in range(len(one))), one.chosen, one.rejected) for one in data.users]
    turned = [one.select(reversed(one.ids)) for one in reversed(renamed)]
    again = TrainingData.of(turned, reversed(data.held_out))
    assert again.fingerprint == data.fingerprint
    assert same(briefly(method.name, again), first)
    assert same(briefly(method.name, data, seed=1), first) == (method.name in LINEAR)


def test_labels_of_test_pairs_cannot_be_reached(method: RewardMethod[Any, Any]) -> None:
    fitted = learned(method.name)
    for user in world().test[:3]:
        odds = method.predict(fitted, user.context, user.target)
        assert np.allclose(method.predict(fitted, user.context, user.target.exchanged()), -odds, atol=1e-5)


def test_saved_weights_give_the_same_bits(method: RewardMethod[Any, Any], tmp_path: Path) -> None:
    fitted, user = learned(method.name), world().test[0]
    fitted.save(tmp_path / "m")
    read = Fitted.load(tmp_path / "m")
    assert same(read, fitted)
    assert read.card == json.loads(json.dumps(fitted.card))
    assert (read.card["method"], read.card["train_users"], read.card["train_pairs"]) == (method.name, 160, 160 * 16)
    odds = method.predict(fitted, user.context, user.target)
    assert (method.predict(read, user.context, user.target) == odds).all()
    (tmp_path / "m" / "weights.safetensors").write_bytes(b"no")
    with pytest.raises(DataError, match="no trained weights"):
        Fitted.load(tmp_path / "m")


def test_planted_tastes_are_found_by_those_that_adapt(method: RewardMethod[Any, Any]) -> None:
    found = accuracy(method.name, learned(method.name), world().test)
    control = accuracy("frozen_bt", learned("frozen_bt"), world().test)
    assert 0.6 < control < 0.7 < world().oracle
    # The published points of GPO need more steps (test_sizes).
    assert found >= control + MARGINS[method.name]
    if method.adapts and method.name != "gpo":
        # The context of a user of the opposite type.
        turned = [HeldOut(world().test[n ^ 1].context, one.target) for n, one in enumerate(world().test)]
        assert accuracy(method.name, learned(method.name), turned) < control - 0.04


def test_without_planted_tastes_none_wins_and_none_loses_much(method: RewardMethod[Any, Any]) -> None:
    nothing = {"personal": 0.0, "shared": 1.1}
    found = accuracy(method.name, learned(method.name, **nothing), world(**nothing).test)
    control = accuracy("frozen_bt", learned("frozen_bt", **nothing), world(**nothing).test)
    assert control > 0.85
    assert control - 0.03 <= found <= control + 0.02


def test_equal_accuracies_are_equal_numbers() -> None:
    def shares(*right: int) -> float:
        return mean_accuracy(np.where(np.arange(5) < n, 1.0, -1.0) for n in right)

    assert shares(1, 2, 3) == shares(2, 2, 2) == 0.4
    assert mean_accuracy([np.array([1.0, 0.0, -1.0, -1.0])]) == 0.375


def test_what_cannot_be_learned_from_is_refused() -> None:
    data = world().data
    with pytest.raises(DataError, match="no train user with pairs"):
        TrainingData.of([data.users[0].select([])])
    short = Pairs(("a",), np.zeros((1, 3), np.float32), np.ones((1, 3), np.float32))
    with pytest.raises(DataError, match=r"lengths \[3, 24\]"):
        TrainingData.of([data.users[0], short])
    leak = HeldOut(data.users[0], data.users[0].select(data.users[0].ids[:1]))
    with pytest.raises(DataError, match="is both context and target"):
        TrainingData.of(data.users, [leak])
    with pytest.raises(ConfigError, match="'nope': unknown; known: frozen_bt, "):
        reward_method("nope")


def test_the_scale_makes_differences_typical_and_leaves_constants() -> None:
    rng = np.random.default_rng(0)
    question = rng.standard_normal((400, 1, 3)) * 50
    sides = (question + rng.standard_normal((400, 2, 3)) * np.array([0.1, 1.0, 0.0]) + 7).astype(np.float32)
    pairs = Pairs(tuple(map(str, range(400))), sides[:, 0], sides[:, 1])
    scale = Scale.of(pairs)
    assert np.allclose(scale.size, [0.1, 1.0, 1.0], rtol=0.1)
    assert np.allclose(scale.mean, 7, atol=10)
    assert np.isfinite(scale.differences(pairs)).all()
    assert np.allclose(scale.answers(pairs.chosen) - scale.answers(pairs.rejected), scale.differences(pairs), atol=1e-3)
    same_answers = Pairs(("a",), np.ones((1, 2), np.float32), np.ones((1, 2), np.float32))
    assert (Scale.of(same_answers).size == 1).all()
    assert join([pairs]).dim == 3
