"""User-MAP: frozen Bradley-Terry weights for all, and each user's deviation from them by maximum a posteriori.

r_u = (w + d_u)·e, with d_u that minimises the logistic loss of the user's context pairs plus penalty·|d_u|². The
simplest personal model: convex, no training beyond frozen Bradley-Terry, and equal to it at an infinite penalty. PReF
(https://arxiv.org/abs/2503.06358) is the same idea in a learned space of few dimensions, without a penalty.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from scipy.optimize import minimize
from scipy.special import expit

from personalrm.methods.reward import frozen_bt
from personalrm.methods.reward.base import RewardMethod, Scale, TrainingData, canonical, card_of, mean_accuracy
from personalrm.methods.reward.hyper import UserMAPHyper
from personalrm.train.checkpoint import Fitted

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from personalrm.train.features import Pairs
    from personalrm.train.trainer import Run

    Array = NDArray[np.float32]
    Wide = NDArray[np.float64]


def fit(data: TrainingData, hyper: UserMAPHyper, seed: int, run: Run) -> Fitted:
    """Bradley-Terry weights and the penalty. Raises ValueError for a shared model with hidden layers."""
    if hyper.shared.hidden:
        raise ValueError("user_map: the shared weights are linear; set shared.hidden to 0")
    shared = frozen_bt.fit(data, hyper.shared, seed, run)
    accuracy = {
        penalty: mean_accuracy(
            log_odds(shared, deviation(shared, one.context, penalty), one.target) for one in data.held_out
        )
        for penalty in (hyper.penalties if data.held_out else ())
    }
    penalty = max(accuracy, key=lambda one: (accuracy[one], one)) if accuracy else hyper.penalty
    held_out = {str(one): value for one, value in accuracy.items()}
    # JSON has no infinity.
    facts = {"l2": shared.card["l2"], "penalty": str(penalty), "held_out": held_out}
    return Fitted(shared.tensors, {**card_of("user_map", hyper, seed, data, **facts), "hyper": _hyper(hyper)})


def _hyper(hyper: UserMAPHyper) -> dict[str, object]:
    card = {"penalty": str(hyper.penalty), "penalties": [str(one) for one in hyper.penalties]}
    return {**card, "shared": hyper.shared.__dict__}


def adapt(fitted: Fitted, context: Pairs) -> Wide:
    """The user's deviation, (dim,); 0 without context."""
    return deviation(fitted, context, float(fitted.card["penalty"]))


def deviation(fitted: Fitted, context: Pairs, penalty: float) -> Wide:
    """The unique minimum, found in the space of the context's differences, where it lies: (dim,)."""
    dim = len(fitted.tensors["weights"])
    if not len(context) or math.isinf(penalty):
        return np.zeros(dim)
    sorted_pairs = canonical(context)
    base = frozen_bt.log_odds(fitted, None, sorted_pairs)
    rows = Scale.in_weights(fitted).differences(sorted_pairs).astype(np.float64)
    # rows = seen @ axes, with orthonormal axes: a deviation axes.T @ z has the norm of z.
    left, sizes, axes = np.linalg.svd(rows, full_matrices=False)
    seen = left * sizes

    def loss(z: Wide) -> float:
        return float(np.logaddexp(0, -(base + seen @ z)).sum() + penalty * z @ z)

    def gradient(z: Wide) -> Wide:
        found: Wide = 2 * penalty * z - seen.T @ expit(-(base + seen @ z))
        return found

    def curvature(z: Wide) -> Wide:
        sure = expit(base + seen @ z)
        found: Wide = (seen.T * (sure * (1 - sure))) @ seen + 2 * penalty * np.eye(len(z))
        return found

    z = minimize(loss, np.zeros(len(sizes)), method="trust-exact", jac=gradient, hess=curvature).x
    found: Wide = axes.T @ z
    return found


def log_odds(fitted: Fitted, state: Wide, pairs: Pairs) -> Wide:
    """r(chosen) - r(rejected), (pairs,)."""
    found: Wide = frozen_bt.log_odds(fitted, None, pairs) + Scale.in_weights(fitted).differences(pairs) @ state
    return found


def rewards(fitted: Fitted, state: Wide, answers: Array) -> Wide:
    """Rewards of answers, (answers,)."""
    found: Wide = frozen_bt.rewards(fitted, None, answers) + Scale.in_weights(fitted).answers(answers) @ state
    return found


USER_MAP = RewardMethod("user_map", UserMAPHyper, fit, adapt, log_odds, rewards)
