"""Stacking with Bradley-Terry: what validation users choose where a model helps, and where it does not."""

from __future__ import annotations

import json
from functools import cache
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="needs the extra train: pip install 'personalrm[train]'")

import numpy as np

from personalrm.methods.reward.base import TrainingData, mean_accuracy
from personalrm.methods.reward.hyper import FrozenBTHyper
from personalrm.methods.reward.load import reward_method
from personalrm.methods.reward.stack import CONTROL, shares
from personalrm.train.checkpoint import Fitted
from personalrm.train.trainer import Run

from .conftest import QUICK, learned, world

NOTHING = {"personal": 0.0, "shared": 1.1}


@cache
def stacked(name: str, *, taste: bool) -> Fitted:
    method = reward_method(name)
    data = world(**({} if taste else NOTHING)).data
    return method.fit(data, method.hyper(**QUICK[name], stack=True), 0, Run())


def accuracy(name: str, fitted: Fitted, **changes: Any) -> float:  # noqa: ANN401
    return mean_accuracy(reward_method(name).predict(fitted, u.context, u.target) for u in world(**changes).test)


@pytest.mark.parametrize("name", ["vpl", "pal_a"])
def test_little_is_lost_without_tastes_and_with_tastes_the_gain_stays(name: str) -> None:
    control = accuracy("frozen_bt", learned("frozen_bt", **NOTHING), **NOTHING)
    assert accuracy(name, stacked(name, taste=False), **NOTHING) >= control - 0.01
    assert accuracy(name, stacked(name, taste=True)) >= accuracy(name, learned(name)) - 0.02
    # The model counts for more, next to Bradley-Terry, where users have tastes of their own.
    alone = learned(name)
    assert CONTROL not in alone.tensors
    (shared, own), (with_shared, with_own) = (stacked(name, taste=taste).card["stack"] for taste in (False, True))
    assert shared > 0 < with_own
    assert with_own / max(with_shared, 1e-9) > own / shared


@pytest.mark.parametrize("name", ["vpl", "pal_a"])
def test_rewards_of_answers_differ_by_the_log_odds(name: str) -> None:
    method, user, fitted = reward_method(name), world(**NOTHING).test[0], stacked(name, taste=False)
    state = method.adapt(fitted, user.context)
    odds = method.log_odds(fitted, state, user.target)
    assert method.rewards is not None
    chosen, rejected = (method.rewards(fitted, state, side) for side in (user.target.chosen, user.target.rejected))
    assert np.allclose(chosen - rejected, odds, atol=1e-4)
    assert np.allclose(method.log_odds(fitted, state, user.target.exchanged()), -odds, atol=1e-5)
    # The sum of both models, in the shares of the card.
    a, b = fitted.card["stack"]
    assert a > 0
    own = Fitted({key: value for key, value in fitted.tensors.items() if key != CONTROL}, fitted.card)
    both = a * reward_method("frozen_bt").predict(learned("frozen_bt", **NOTHING), user.context, user.target)
    assert np.allclose(both + b * method.log_odds(own, state, user.target), odds, atol=1e-4)


@pytest.mark.parametrize("name", ["vpl", "pal_a"])
def test_the_control_has_the_hyper_parameters_that_are_asked_for(name: str) -> None:
    method, data, asked = reward_method(name), world().data, FrozenBTHyper(l2_grid=(30.0,))
    fitted = method.fit(data, method.hyper(**{**QUICK[name], "steps": 2, "stack": asked}), 0, Run())
    control = reward_method("frozen_bt").fit(data, asked, 0, Run())
    assert np.array_equal(fitted.tensors[CONTROL], control.tensors["weights"])
    usual = reward_method("frozen_bt").fit(data, FrozenBTHyper(), 0, Run())
    assert not np.allclose(fitted.tensors[CONTROL], usual.tensors["weights"])
    # Weights and card as files.
    assert Fitted(fitted.tensors, json.loads(json.dumps(fitted.card))).card["hyper"]["stack"]["l2_grid"] == [30.0]
    user = world().test[0]
    assert np.isfinite(method.predict(fitted, user.context, user.target)).all()


def test_without_validation_users_the_model_stands_alone() -> None:
    method = reward_method("vpl")
    data = TrainingData(world().data.users[:6])
    brief = {**QUICK["vpl"], "steps": 2}
    one, other = (method.fit(data, method.hyper(**brief, stack=stack), 0, Run()) for stack in (True, False))
    assert one.tensors.keys() == other.tensors.keys()


def test_shares_are_not_negative_and_leave_out_what_does_not_help() -> None:
    rng = np.random.default_rng(0)
    good = rng.normal(1.0, 1.0, 4000)
    noise = rng.normal(0.0, 5.0, 4000)
    a, b = shares(np.stack([good, noise], axis=1))
    assert a > 1
    assert b == pytest.approx(0, abs=0.01)
    assert shares(np.stack([good, -good], axis=1))[1] == 0
    assert shares(np.stack([good, 0 * good], axis=1))[1] == 0
    # Twice the log-odds have half the share.
    assert shares(np.stack([good, 2 * noise], axis=1))[0] == pytest.approx(a, rel=1e-3)
    assert shares(np.stack([2 * good, noise], axis=1))[0] == pytest.approx(a / 2, rel=1e-3)
