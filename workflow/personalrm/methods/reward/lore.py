"""LoRe: a user's reward is a mixture of K shared linear rewards (https://arxiv.org/abs/2504.14439).

r_u(e) = softmax(w_u)·(V e) / 100, with V (K, dim) shared and w_u (K,) per user. Training alternates Adam steps on all w
and on V. A new user has w alone, fitted to the context with V fixed, from equal weights; K = 1 is Bradley-Terry.

Differs from the authors' code: the pull of V toward a reference reward is off by default, since a general base has no
reward head; where it is on, the reference is Bradley-Terry on the same features. A new user's fit starts from equal
weights, not from random ones, so that a user without context has the mean of all rewards.
"""

from __future__ import annotations

import numpy as np
import torch
from scipy.special import expit, softmax
from torch import nn

from personalrm.methods.reward import frozen_bt
from personalrm.methods.reward.base import RewardMethod, Scale, TrainingData, canonical, card_of, mean_accuracy
from personalrm.methods.reward.hyper import LoReHyper
from personalrm.train.checkpoint import Fitted
from personalrm.train.features import Array, Pairs, Wide
from personalrm.train.trainer import Group, Plan, Run, seeded, train

TEMPERATURE = 100.0
"""By which the authors' code divides rewards."""


class LoRe(nn.Module):
    """Shared rewards `basis` (K, dim) and the train users' `mixtures` (users, K), before the softmax."""

    def __init__(self, users: int, dim: int, k: int) -> None:
        super().__init__()
        self.basis = nn.Parameter(torch.randn(k, dim) / dim**0.5)
        self.mixtures = nn.Parameter(torch.randn(users, k) / k**0.5)

    def forward(self, differences: torch.Tensor, owners: torch.Tensor, *, moves_basis: bool) -> torch.Tensor:
        """Log-odds of pairs, (pairs,), from scaled differences (pairs, dim) and their users; of basis and mixtures only
        one has a gradient."""
        basis = self.basis if moves_basis else self.basis.detach()
        mixtures = self.mixtures.detach() if moves_basis else self.mixtures
        shares = torch.softmax(mixtures, dim=1)[owners]
        return (shares * (differences @ basis.T)).sum(dim=1) / TEMPERATURE


def fit(data: TrainingData, hyper: LoReHyper, seed: int, run: Run) -> Fitted:
    """The shared rewards, K of them as validation users choose."""
    found = {k: _fit_k(data, hyper, k, seed, run) for k in (hyper.k_grid if data.held_out else (hyper.k,))}
    if not data.held_out:
        return found[hyper.k]
    accuracy = {k: LORE.held_out_accuracy(fitted, data) for k, fitted in found.items()}
    k = max(accuracy, key=lambda one: (accuracy[one], -one))
    return Fitted(found[k].tensors, {**found[k].card, "held_out": {str(one): x for one, x in accuracy.items()}})


def _fit_k(data: TrainingData, hyper: LoReHyper, k: int, seed: int, run: Run) -> Fitted:
    pairs = data.pairs
    scale = Scale.of(pairs)
    differences = torch.from_numpy(scale.differences(pairs)).to(run.device)
    sizes = torch.tensor([len(user) for user in data.users])
    owners = torch.repeat_interleave(torch.arange(len(sizes)), sizes).to(run.device)
    reference = None
    if hyper.alpha:
        reference = torch.from_numpy(frozen_bt.fit(data, hyper.reference, seed, run).tensors["weights"]).to(run.device)
    with seeded(seed):
        network = LoRe(len(data.users), data.dim, k).to(run.device)

    def loss(step: int, _generator: torch.Generator) -> torch.Tensor:
        moves_basis = step % 2 == 1
        value = nn.functional.softplus(-network(differences, owners, moves_basis=moves_basis)).mean()
        ramp = min(1.0, max(0.0, (step / hyper.steps - 0.2) / 0.6))
        if reference is not None and moves_basis and ramp > 0:
            value = (
                value
                + hyper.alpha * ramp * (1 - nn.functional.cosine_similarity(network.basis, reference[None])).mean()
            )
        return value

    def evaluate() -> float:
        basis = network.basis.detach().cpu().numpy()
        return mean_accuracy(
            _log_odds(basis, mixture(basis, scale, one.context, hyper), scale, one.target) for one in data.held_out
        )

    groups = [Group([network.mixtures], hyper.lr), Group([network.basis], hyper.lr, hyper.weight_decay)]
    plan = Plan(hyper.steps, seed, "adamw", evaluate_every=hyper.evaluate_every)
    card = card_of("lore", hyper, seed, data, k=k)
    own = run.part(f"k{k}")
    course = train(network, loss, groups, plan, own, card, evaluate if data.held_out else None)
    tensors = {"basis": network.basis.detach().cpu().numpy(), **scale.tensors}
    return Fitted(tensors, {**card, "curve": course.curve, "best_step": course.best})


def mixture(basis: Array, scale: Scale, context: Pairs, hyper: LoReHyper) -> Wide:
    """The softmax weights of a new user, (K,): Adam on w alone, on all context pairs at once."""
    w = np.zeros(len(basis))
    if not len(context) or len(basis) == 1:
        found: Wide = softmax(w)
        return found
    seen = scale.differences(canonical(context)).astype(np.float64) @ basis.T.astype(np.float64) / TEMPERATURE
    first, second = np.zeros_like(w), np.zeros_like(w)
    for step in range(1, hyper.adapt_steps + 1):
        shares = np.exp(w - w.max())
        shares /= shares.sum()
        toward = -(expit(-(seen @ shares)) @ seen) / len(seen)
        gradient = shares * (toward - shares @ toward)
        # Adam with torch's defaults.
        first = 0.9 * first + 0.1 * gradient
        second = 0.999 * second + 0.001 * gradient**2
        w -= hyper.lr * (first / (1 - 0.9**step)) / (np.sqrt(second / (1 - 0.999**step)) + 1e-8)
    shares_found: Wide = softmax(w)
    return shares_found


def _hyper(fitted: Fitted) -> LoReHyper:
    stored = fitted.card["hyper"]
    return LoReHyper(lr=stored["lr"], adapt_steps=stored["adapt_steps"])


def adapt(fitted: Fitted, context: Pairs) -> Wide:
    """The user's softmax weights, (K,); equal ones without context."""
    return mixture(fitted.tensors["basis"], Scale.in_weights(fitted), context, _hyper(fitted))


def _log_odds(basis: Array, state: Wide, scale: Scale, pairs: Pairs) -> Wide:
    own = state @ basis.astype(np.float64) / TEMPERATURE
    found: Wide = scale.differences(pairs).astype(np.float64) @ own
    return found


def log_odds(fitted: Fitted, state: Wide, pairs: Pairs) -> Wide:
    """r(chosen) - r(rejected), (pairs,)."""
    return _log_odds(fitted.tensors["basis"], state, Scale.in_weights(fitted), pairs)


def rewards(fitted: Fitted, state: Wide, answers: Array) -> Wide:
    """Rewards of answers, (answers,)."""
    own = state @ fitted.tensors["basis"].astype(np.float64) / TEMPERATURE
    found: Wide = Scale.in_weights(fitted).answers(answers).astype(np.float64) @ own
    return found


LORE = RewardMethod("lore", "LoRe: mixture of shared rewards", LoReHyper, fit, adapt, log_odds, rewards)
