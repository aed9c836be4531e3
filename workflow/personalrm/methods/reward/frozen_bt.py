"""Bradley-Terry on frozen features: one reward for all users, r = w·e. The control of every method that adapts.

What a personal method reaches beyond this row is personal; it sees the same features and the same pairs. `hidden` gives
the same network as VPL's decoder without the latent vector, for methods that are not linear.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
from scipy.optimize import minimize
from torch import nn

from personalrm.methods.reward.base import RewardMethod, Scale, TrainingData, card_of, mean_accuracy
from personalrm.methods.reward.hyper import FrozenBTHyper
from personalrm.methods.reward.networks import decoder, weights_of, with_weights
from personalrm.train.checkpoint import Fitted
from personalrm.train.features import Array, Pairs, Wide
from personalrm.train.trainer import Course, Group, Plan, Run, deterministic, seeded, train


def fit(data: TrainingData, hyper: FrozenBTHyper, seed: int, run: Run) -> Fitted:
    """The weights (linear: the unique minimum, whatever the seed)."""
    scale = Scale.of(data.pairs)
    if hyper.hidden:
        return _fit_network(data, scale, hyper, seed, run)
    grid = hyper.l2_grid if data.held_out else (hyper.l2,)
    with deterministic(run.threads):
        rows = torch.from_numpy(scale.differences(data.pairs)).double()
        weights = dict[float, "Wide"]()
        for l2 in sorted(grid, reverse=True):
            weights[l2] = minimise_logistic(rows, l2, next(reversed(weights.values()), None))
    accuracy = {l2: _accuracy(found, scale, data) for l2, found in weights.items()} if data.held_out else {}
    # Of equal penalties the largest.
    l2 = max(accuracy, key=lambda one: (accuracy[one], one)) if accuracy else hyper.l2
    tensors = {"weights": weights[l2].astype(np.float32), **scale.tensors}
    chosen = {"l2": l2, "held_out": {str(one): value for one, value in sorted(accuracy.items())}}
    return Fitted(tensors, card_of("frozen_bt", hyper, seed, data, **chosen))


def minimise_logistic(rows: torch.Tensor, l2: float, start: Wide | None = None) -> Wide:
    """The weights that minimise mean(-log s(rows·w)) + l2·|w|², (dim,).

    Args:
        rows: scaled differences, chosen minus rejected, (pairs, dim), float64.
        l2: above 0, or 0 where no weights separate the pairs.
        start: weights to begin with; the minimum is unique.
    """

    def objective(weights: Wide) -> tuple[float, Wide]:
        wanted = torch.from_numpy(weights)
        margins = rows @ wanted
        value = nn.functional.softplus(-margins).mean() + l2 * wanted @ wanted
        gradient = 2 * l2 * wanted - rows.T @ torch.sigmoid(-margins) / len(rows)
        return float(value), gradient.numpy()

    begin = np.zeros(rows.shape[1]) if start is None else start
    options = {"maxiter": 5000, "maxfun": 10_000, "ftol": 1e-12, "gtol": 1e-7, "maxcor": 20}
    found: Wide = minimize(objective, begin, method="L-BFGS-B", jac=True, options=options).x
    return found


def _accuracy(weights: Wide, scale: Scale, data: TrainingData) -> float:
    return mean_accuracy(scale.differences(one.target).astype(np.float64) @ weights for one in data.held_out)


def _fit_network(data: TrainingData, scale: Scale, hyper: FrozenBTHyper, seed: int, run: Run) -> Fitted:
    pairs = data.pairs
    chosen, rejected = (torch.from_numpy(scale.answers(side)) for side in (pairs.chosen, pairs.rejected))
    with seeded(seed):
        network = decoder(data.dim, hyper.hidden)

    def loss(_step: int, generator: torch.Generator) -> torch.Tensor:
        drawn = torch.randint(len(chosen), (hyper.batch,), generator=generator)
        margins: torch.Tensor = network(chosen[drawn]) - network(rejected[drawn])
        return nn.functional.softplus(-margins).mean()

    def evaluate() -> float:
        return mean_accuracy(_compare(network, scale, one.target) for one in data.held_out)

    groups = [Group(list(network.parameters()), hyper.lr, hyper.weight_decay)]
    plan = Plan(hyper.steps, seed, "adamw", evaluate_every=hyper.evaluate_every)
    card = card_of("frozen_bt", hyper, seed, data)
    course: Course = train(network, loss, groups, plan, run, card, evaluate if data.held_out else None)
    return Fitted({**weights_of(network), **scale.tensors}, {**card, "curve": course.curve, "best_step": course.best})


@lru_cache(maxsize=8)
def _network(fitted: Fitted) -> nn.Sequential:
    return with_weights(decoder(fitted.card["dim"], fitted.card["hyper"]["hidden"]), fitted)


def _compare(network: nn.Sequential, scale: Scale, pairs: Pairs) -> Wide:
    return _rate(network, scale.answers(pairs.chosen)) - _rate(network, scale.answers(pairs.rejected))


def _rate(network: nn.Sequential, answers: Array) -> Wide:
    with torch.inference_mode():
        found: Wide = network(torch.from_numpy(answers))[:, 0].double().numpy()
    return found


def adapt(_fitted: Fitted, _context: Pairs) -> None:
    """Nothing: all users have one reward."""


def rewards(fitted: Fitted, _state: None, answers: Array) -> Wide:
    """Rewards of answers, (answers,)."""
    scaled = Scale.in_weights(fitted).answers(answers)
    if "weights" not in fitted.tensors:
        return _rate(_network(fitted), scaled)
    found: Wide = scaled.astype(np.float64) @ fitted.tensors["weights"].astype(np.float64)
    return found


def log_odds(fitted: Fitted, _state: None, pairs: Pairs) -> Wide:
    """r(chosen) - r(rejected), (pairs,)."""
    scale = Scale.in_weights(fitted)
    if "weights" not in fitted.tensors:
        return _compare(_network(fitted), scale, pairs)
    found: Wide = scale.differences(pairs).astype(np.float64) @ fitted.tensors["weights"].astype(np.float64)
    return found


FROZEN_BT = RewardMethod(
    "frozen_bt", "Bradley-Terry on frozen features", FrozenBTHyper, fit, adapt, log_odds, rewards, adapts=False
)
