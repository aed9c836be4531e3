"""User-MAP: frozen Bradley-Terry weights for all, and each user's deviation from them by maximum a posteriori.

r_u = (w + d_u)·e, with d_u that minimises the logistic loss of the user's context pairs plus penalty·|d_u|². The
simplest personal model: convex, and frozen Bradley-Terry at an infinite penalty. With validation users, w is that of
the method `frozen_bt`; without them, folds choose both penalties together, so that w may be smaller than there. PReF
(https://arxiv.org/abs/2503.06358) is the same idea in a learned space of few dimensions, without a penalty.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from scipy.special import expit

from personalrm.methods.reward import frozen_bt
from personalrm.methods.reward.base import (
    HeldOut,
    RewardMethod,
    Scale,
    TrainingData,
    canonical,
    card_of,
    mean_accuracy,
    shared_answers,
)
from personalrm.methods.reward.hyper import UserMAPHyper
from personalrm.train.checkpoint import Fitted
from personalrm.train.features import Array, Pairs, Wide

if TYPE_CHECKING:
    from personalrm.train.trainer import Run


MOST_STEPS = 100
"""Of Newton's method; it needs about ten."""


def fit(data: TrainingData, hyper: UserMAPHyper, seed: int, run: Run) -> Fitted:
    """Bradley-Terry weights and the penalty of deviations."""
    if data.held_out:
        shared = frozen_bt.fit(data, hyper.shared, seed, run)
        accuracy = {
            (shared.card["l2"], penalty): mean_accuracy(_predicted(shared, data.held_out, penalty))
            for penalty in hyper.penalties
        }
    else:
        accuracy = _accuracy_of_folds(data, hyper, seed, run)
    l2, penalty = max(accuracy, key=lambda one: (accuracy[one], one), default=(hyper.shared.l2, hyper.penalty))
    if not data.held_out:
        shared = frozen_bt.fit(data, replace(hyper.shared, l2=l2), seed, run)
    # JSON has no infinity.
    held_out = {str(one): value for (with_l2, one), value in accuracy.items() if with_l2 == l2}
    facts = {"l2": l2, "penalty": str(penalty), "held_out": held_out}
    card = card_of("user_map", hyper, seed, data, **facts)
    infinite = {"penalty": str(hyper.penalty), "penalties": [str(one) for one in hyper.penalties]}
    return Fitted(shared.tensors, {**card, "hyper": {**card["hyper"], **infinite}})


def _predicted(shared: Fitted, held_out: Iterable[HeldOut], penalty: float) -> Iterator[Wide]:
    """Log-odds of the target pairs of each user."""
    return (log_odds(shared, deviation(shared, one.context, penalty), one.target) for one in held_out)


def _accuracy_of_folds(
    data: TrainingData, hyper: UserMAPHyper, seed: int, run: Run
) -> dict[tuple[float, float], float]:
    """Accuracy on half of the pairs of held-out users (`_halves`), adapted with the other half, for each pair of
    penalties."""
    able = [user for user in data.users if len(set(shared_answers(user))) > 1]
    folds = min(hyper.folds, len(able))
    found: dict[tuple[float, float], list[Wide]] = {}
    for fold in range(folds if folds > 1 else 0):
        # Users are sorted by a hash of their features, so that parts are as good as random.
        part = able[fold::folds]
        held_out = [_halves(one) for one in part]
        others = TrainingData.of(one for one in data.users if not any(one is user for user in part))
        for l2 in hyper.l2_grid:
            shared = frozen_bt.fit(others, replace(hyper.shared, l2=l2), seed, run)
            for penalty in hyper.penalties:
                found.setdefault((l2, penalty), []).extend(_predicted(shared, held_out, penalty))
    return {penalties: mean_accuracy(odds) for penalties, odds in found.items()}


def _halves(pairs: Pairs) -> HeldOut:
    """Every second pair to measure on, and the others to adapt with. Pairs that share an answer, as those of one turn
    may, stand on one side: each is largely known from the others."""
    groups = shared_answers(pairs)
    side = {group: place % 2 for place, group in enumerate(dict.fromkeys(groups))}
    ids = [[one for one, group in zip(pairs.ids, groups, strict=True) if side[group] == half] for half in (0, 1)]
    return HeldOut(*map(pairs.select, ids))


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

    # Newton's method: the objective is strictly convex.
    z, now = np.zeros(len(sizes)), loss(np.zeros(len(sizes)))
    for _ in range(MOST_STEPS):
        sure = expit(base + seen @ z)
        gradient = 2 * penalty * z - seen.T @ (1 - sure)
        curvature = (seen.T * (sure * (1 - sure))) @ seen + 2 * penalty * np.eye(len(z))
        step = np.linalg.solve(curvature, gradient)
        size = next((size for size in 0.5 ** np.arange(40) if loss(z - size * step) < now), 0.0)
        z = z - size * step
        now = loss(z)
        if size * np.abs(step).max() < 1e-10:
            break
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


USER_MAP = RewardMethod("user_map", "User-MAP: own deviation", UserMAPHyper, fit, adapt, log_odds, rewards)
