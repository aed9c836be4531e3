"""Bradley-Terry, user-MAP and LoRe: where one is the other, and what a library or torch finds."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace

import pytest

torch = pytest.importorskip("torch", reason="needs the extra train: pip install 'personalrm[train]'")

import numpy as np
from scipy.special import softmax
from sklearn.linear_model import LogisticRegression

from personalrm.methods.reward import lore, user_map
from personalrm.methods.reward.base import Scale, TrainingData, mean_accuracy
from personalrm.methods.reward.frozen_bt import FROZEN_BT
from personalrm.methods.reward.hyper import FrozenBTHyper, LoReHyper, UserMAPHyper
from personalrm.methods.reward.lore import LORE
from personalrm.methods.reward.user_map import USER_MAP
from personalrm.train.checkpoint import Fitted
from personalrm.train.features import Pairs
from personalrm.train.trainer import Run

from .conftest import learned, world


def without_validation() -> TrainingData:
    return TrainingData.of(world().data.users)


def test_bradley_terry_is_the_logistic_regression_of_a_library() -> None:
    data = without_validation()
    fitted = FROZEN_BT.fit(data, FrozenBTHyper(l2=0.02), 0, Run())
    assert fitted.card["l2"] == 0.02
    rows = Scale.of(data.pairs).differences(data.pairs).astype(np.float64)
    known = LogisticRegression(C=1 / (2 * 0.02 * len(rows)), fit_intercept=False, tol=1e-10, max_iter=10_000)
    known.fit(np.concatenate([rows, -rows]), [1] * len(rows) + [0] * len(rows), [0.5] * 2 * len(rows))
    assert np.allclose(fitted.tensors["weights"], known.coef_[0], atol=1e-5)


def rankings(rng: np.random.Generator, user: str) -> Pairs:
    """All pairs of four answers that are ranked by chance, in four turns."""
    sides: list[tuple[np.ndarray, ...]] = []
    for _ in range(4):
        sides += itertools.combinations(rng.standard_normal((4, 8)).astype(np.float32), 2)
    chosen, rejected = (np.stack(side) for side in zip(*sides, strict=True))
    return Pairs(tuple(f"{user} {number}" for number in range(len(sides))), chosen, rejected)


def test_no_penalty_is_chosen_by_pairs_that_share_answers_with_those_that_are_learned() -> None:
    rng = np.random.default_rng(0)
    data = TrainingData.of(rankings(rng, f"u{number}") for number in range(40))
    fitted = USER_MAP.fit(data, UserMAPHyper(), 0, Run())
    # With pairs of one turn on both sides it is 0.62.
    assert max(fitted.card["held_out"].values()) < 0.56
    half = user_map._halves(data.users[0])
    assert len(half.context) == len(half.target) == 12


def test_validation_users_choose_the_penalty() -> None:
    fitted = learned("frozen_bt")
    found = {float(l2): value for l2, value in fitted.card["held_out"].items()}
    assert sorted(found) == sorted(FrozenBTHyper().l2_grid)
    assert found[fitted.card["l2"]] == max(found.values()) == FROZEN_BT.held_out_accuracy(fitted, world().data)
    own = learned("user_map").card
    assert own["held_out"][own["penalty"]] == max(own["held_out"].values())
    assert USER_MAP.held_out_accuracy(learned("user_map"), world().data) == pytest.approx(max(own["held_out"].values()))


def test_an_infinite_penalty_is_bradley_terry_and_none_separates_the_context() -> None:
    fitted = USER_MAP.fit(without_validation(), UserMAPHyper(penalties=(math.inf,), l2_grid=(0.01,), folds=2), 0, Run())
    user = world().test[0]
    shared = FROZEN_BT.predict(fitted, user.context, user.target)
    assert (USER_MAP.predict(fitted, user.context, user.target) == shared).all()
    assert fitted.card["penalty"] == "inf"
    near = user_map.log_odds(fitted, user_map.deviation(fitted, user.context, 1e7), user.target)
    assert np.allclose(near, shared, atol=1e-3)
    for one in world().test[:10]:
        assert (user_map.log_odds(fitted, user_map.deviation(fitted, one.context, 1e-4), one.context) > 2).all()
        assert (user_map.log_odds(fitted, user_map.deviation(fitted, one.context, 1e-9), one.context) > 10).all()


def test_without_validation_users_folds_choose_penalties_that_let_deviations_explain() -> None:
    # Opposite tastes and few pairs: shared weights could fit every pair of the users whom they are learned from.
    made = world(train=0, validation=0, test=12, dim=60, types=2, shared=0.0, context=8, target=20)
    data = TrainingData.of(user.context for user in made.test)
    fitted = USER_MAP.fit(data, UserMAPHyper(), 0, Run())
    assert fitted.card["held_out"][fitted.card["penalty"]] == max(fitted.card["held_out"].values())
    own, shared = (
        mean_accuracy(method.predict(fitted, one.context, one.target) for one in made.test)
        for method in (USER_MAP, FROZEN_BT)
    )
    greedy = USER_MAP.fit(data, UserMAPHyper(l2_grid=(1e-5,)), 0, Run())
    assert own > max(shared, mean_accuracy(USER_MAP.predict(greedy, one.context, one.target) for one in made.test))
    one = TrainingData.of([made.test[0].context])
    assert USER_MAP.fit(one, UserMAPHyper(penalty=7.0), 0, Run()).card["penalty"] == "7.0"


def test_the_deviation_is_the_minimum() -> None:
    fitted, user = learned("user_map"), world().test[3]
    rows = Scale.in_weights(fitted).differences(user.context).astype(np.float64)
    base = FROZEN_BT.log_odds(fitted, None, user.context)
    found = user_map.deviation(fitted, user.context, 0.7)
    gradient = 2 * 0.7 * found - rows.T @ (1 / (1 + np.exp(base + rows @ found)))
    assert np.abs(gradient).max() < 1e-7
    assert np.linalg.norm(found) > 0.1
    # Pairs given twice under other ids weigh twice.
    twice = user.context.select([*user.context.ids])
    double = Pairs(tuple(map(str, range(20))), np.tile(twice.chosen, (2, 1)), np.tile(twice.rejected, (2, 1)))
    assert np.allclose(user_map.deviation(fitted, double, 1.4), found, atol=1e-4)


def test_lore_with_one_reward_is_bradley_terry_without_adaptation() -> None:
    data = without_validation()
    fitted = LORE.fit(data, LoReHyper(k=1, lr=1.0, steps=1000), 0, Run())
    plain = FROZEN_BT.fit(data, FrozenBTHyper(l2=0.0), 0, Run())
    for user in world().test[:5]:
        odds = LORE.predict(fitted, user.context, user.target)
        assert (LORE.predict(fitted, world().test[7].context, user.target) == odds).all()
        assert np.allclose(odds, FROZEN_BT.predict(plain, user.context, user.target), atol=0.02)


def test_a_new_users_mixture_is_what_adam_of_torch_finds() -> None:
    fitted, user = learned("lore"), world().test[4]
    scale = Scale.in_weights(fitted)
    seen = torch.from_numpy(scale.differences(user.context) @ fitted.tensors["basis"].T / lore.TEMPERATURE).double()
    w = torch.zeros(len(fitted.tensors["basis"]), dtype=torch.float64, requires_grad=True)
    optimiser = torch.optim.Adam([w], lr=0.5)
    for _ in range(60):
        optimiser.zero_grad()
        torch.nn.functional.softplus(-(seen @ torch.softmax(w, 0))).mean().backward()
        optimiser.step()
    found = lore.mixture(fitted.tensors["basis"], scale, user.context, LoReHyper(adapt_steps=60))
    assert np.allclose(found, softmax(w.detach().numpy()), atol=1e-4)
    assert found.max() > 0.5
    assert lore.mixture(fitted.tensors["basis"], scale, user.context.select([]), LoReHyper()).tolist() == [0.25] * 4


def test_lore_is_pulled_to_the_reference_where_that_is_asked_for() -> None:
    data = without_validation()
    near, far = (
        LORE.fit(data, LoReHyper(k=3, lr=1.0, steps=100, alpha=alpha), 0, Run()).tensors["basis"]
        for alpha in (1e4, 0.0)
    )
    reference = FROZEN_BT.fit(data, FrozenBTHyper(), 0, Run()).tensors["weights"]

    def cosines(basis: np.ndarray) -> np.ndarray:
        return basis @ reference / np.linalg.norm(basis, axis=1) / np.linalg.norm(reference)

    assert cosines(near).min() > 0.8 > cosines(far).min()


def test_hidden_layers_find_what_is_not_linear() -> None:
    rng = np.random.default_rng(0)
    sides = rng.standard_normal((2, 4000, 4)).astype(np.float32)
    # The answer whose first two features agree in sign is preferred.
    first = np.prod(sides[0][:, :2], axis=1) > np.prod(sides[1][:, :2], axis=1)
    chosen, rejected = (np.where(side[:, None], sides[0], sides[1]) for side in (first, ~first))
    ids = tuple(map(str, range(4000)))
    pairs = Pairs(ids, chosen, rejected)
    data = TrainingData.of([pairs.select(ids[:3000])])
    rest = pairs.select(ids[3000:])
    hyper = FrozenBTHyper(hidden=16, lr=1e-2, steps=300)
    deep, flat = (FROZEN_BT.fit(data, one, 0, Run()) for one in (hyper, replace(hyper, hidden=0)))

    def right(fitted: Fitted) -> float:
        return mean_accuracy([FROZEN_BT.log_odds(fitted, None, rest)])

    assert right(deep) > 0.85
    assert right(flat) < 0.55
    assert deep.card["curve"][-1].step == 300
