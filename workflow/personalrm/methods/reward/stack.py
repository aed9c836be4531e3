"""Stacking with frozen Bradley-Terry: how much of a personal model is used is chosen on validation users.

A network that adapts cannot turn itself off: where users have no taste of their own, it loses what it costs to learn
more than one reward for all. With stacking, the log-odds are a·(frozen Bradley-Terry) + b·(the model), a and b not
negative, with the least logistic loss on the target pairs of validation users (stacked regressions, Breiman 1996). No
publication of these models has it; without validation users, and by default, the model stands alone.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.optimize import minimize
from scipy.special import expit

from personalrm.methods.reward import frozen_bt
from personalrm.methods.reward.hyper import FrozenBTHyper
from personalrm.train.checkpoint import Fitted
from personalrm.train.features import Array, Wide

if TYPE_CHECKING:
    from personalrm.methods.reward.base import RewardMethod, TrainingData
    from personalrm.train.trainer import Run


CONTROL = "stack.weights"
"""Name of the weights of frozen Bradley-Terry among the tensors."""
RIDGE = 1e-3
"""Penalty of a² + b² next to the mean loss, where the log-odds have a root mean square of 1."""


def stacked(fitted: Fitted, method: RewardMethod[Any, Any], data: TrainingData, seed: int, run: Run) -> Fitted:
    """The model with the weights of frozen Bradley-Terry, and with a and b in its card (`stack`)."""
    asked = fitted.card["hyper"]["stack"]
    hyper = FrozenBTHyper(**asked) if isinstance(asked, dict) else FrozenBTHyper()
    control = frozen_bt.fit(data, hyper, seed, run)
    own = np.concatenate([method.predict(fitted, one.context, one.target) for one in data.held_out])
    shared = np.concatenate([frozen_bt.log_odds(control, None, one.target) for one in data.held_out])
    card = {**fitted.card, "stack": shares(np.stack([shared, own], axis=1))}
    return replace(fitted, tensors={**fitted.tensors, CONTROL: control.tensors["weights"]}, card=card)


def shares(odds: Wide) -> list[float]:
    """a and b, not negative, from log-odds of the chosen answers, (pairs, 2); 0 for one whose log-odds are all 0."""
    size = np.sqrt((odds**2).mean(axis=0))
    scaled = odds / np.where(size > 0, size, 1.0)

    def objective(weights: Wide) -> tuple[float, Wide]:
        margins = scaled @ weights
        value = np.logaddexp(0, -margins).mean() + RIDGE * weights @ weights
        return float(value), 2 * RIDGE * weights - scaled.T @ expit(-margins) / len(scaled)

    found = minimize(objective, np.ones(2), method="L-BFGS-B", jac=True, bounds=[(0, None)] * 2).x
    return [round(float(one), 9) for one in np.where(size > 0, found / np.where(size > 0, size, 1.0), 0.0)]


def with_control(fitted: Fitted, own: Wide, features: Array) -> Wide:
    """What is returned instead of the model's `own` log-odds or rewards, (n,): the same, or the stack of both.

    Args:
        fitted: of `stacked`, or a model that stands alone.
        own: of the model.
        features: scaled differences of the pairs, or scaled answers, (n, dim).
    """
    if CONTROL not in fitted.tensors:
        return own
    shared, mine = fitted.card["stack"]
    control = features.astype(np.float64) @ fitted.tensors[CONTROL].astype(np.float64)
    found: Wide = shared * control + mine * own
    return found
