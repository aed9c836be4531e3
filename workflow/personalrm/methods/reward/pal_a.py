"""PAL-A: a user's ideal point is a mixture of K shared prototypes (https://arxiv.org/abs/2406.08469).

A network f maps features of answers and prototypes P (K, dim) into one space. User u has weights w_u and the ideal
point f(softmax(w_u)·P); an answer's score is minus its distance to that point, trained with a hinge (`dist`), or its
scaled cosine, trained with cross-entropy (`angle`). A new user has w_u alone, everything else is frozen. K = 1 is a
reward that all users share.

Differs from the authors' code: features are frozen, so that the loss is taken at the whole answer and not at every
token; w_u starts from equal weights, for train users and new ones; a new user's steps see all context pairs at once.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
import torch
from torch import nn

from personalrm.methods.reward.base import RewardMethod, Scale, TrainingData, canonical, card_of, mean_accuracy
from personalrm.methods.reward.hyper import PALAHyper, PALKind
from personalrm.methods.reward.networks import one_user, weights_of, with_weights
from personalrm.methods.reward.stack import stacked, with_control
from personalrm.train.checkpoint import Fitted
from personalrm.train.features import Array, Pairs, Wide
from personalrm.train.trainer import Group, Plan, Run, seeded, train

MARGIN = 1.0
"""Of the hinge, as published."""
MOST_SCALE = 100.0
"""Of the cosine; it starts at 1 / 0.07."""


class Network(nn.Module):
    """The shared network, the prototypes, and the train users' weights before the softmax, (users, K)."""

    def __init__(self, users: int, dim: int, k: int, width: int) -> None:
        super().__init__()
        self.skip = nn.Linear(dim, width)
        first = (nn.Linear(dim, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU())
        self.residual = nn.Sequential(*first, nn.Linear(width, width))
        self.prototypes = nn.Parameter(torch.randn(k, dim))
        self.mixtures = nn.Parameter(torch.zeros(users, k))
        self.log_scale = nn.Parameter(torch.tensor(math.log(1 / 0.07)))

    def place(self, features: torch.Tensor) -> torch.Tensor:
        """f: scaled features (…, dim) to the common space, (…, width)."""
        placed: torch.Tensor = self.skip(features) + self.residual(features)
        return placed

    def ideal(self, mixtures: torch.Tensor) -> torch.Tensor:
        """Ideal points of users, (users, width), from their weights before the softmax, (users, K)."""
        return self.place(torch.softmax(mixtures, dim=-1) @ self.prototypes)

    def rate(self, placed: torch.Tensor, ideal: torch.Tensor, kind: PALKind) -> torch.Tensor:
        """Scores of answers, (…), from their places and the ideal points, (…, width) each."""
        if kind == "dist":
            return -(placed - ideal).norm(dim=-1)
        scale = self.log_scale.exp().clamp(max=MOST_SCALE)
        cosine: torch.Tensor = scale * nn.functional.cosine_similarity(placed, ideal, dim=-1)
        return cosine


def loss_of(margins: torch.Tensor, kind: PALKind) -> torch.Tensor:
    """Mean loss, (), of score differences, chosen minus rejected."""
    if kind == "dist":
        return nn.functional.relu(MARGIN - margins).mean()
    return nn.functional.softplus(-margins).mean()


def fit(data: TrainingData, hyper: PALAHyper, seed: int, run: Run) -> Fitted:
    """The network and the prototypes."""
    pairs = data.pairs
    scale = Scale.of(pairs)
    chosen, rejected = (torch.from_numpy(scale.answers(x)).to(run.device) for x in (pairs.chosen, pairs.rejected))
    sizes = torch.tensor([len(user) for user in data.users])
    owners = torch.repeat_interleave(torch.arange(len(sizes)), sizes)
    with seeded(seed):
        network = Network(len(data.users), data.dim, hyper.k, hyper.width).to(run.device)

    def loss(_step: int, generator: torch.Generator) -> torch.Tensor:
        drawn = torch.randint(len(chosen), (hyper.batch,), generator=generator)
        ideal = network.ideal(network.mixtures[owners[drawn].to(run.device)])
        placed = network.place(torch.stack([chosen[drawn], rejected[drawn]]))
        rated = network.rate(placed, ideal[None], hyper.kind)
        return loss_of(rated[0] - rated[1], hyper.kind)

    def evaluate() -> float:
        states = (mixture(network, scale, one.context, hyper) for one in data.held_out)
        pairs = (one.target for one in data.held_out)
        return mean_accuracy(
            _compare(network, scale, w, target, hyper.kind) for w, target in zip(states, pairs, strict=True)
        )

    network_parameters = [*network.skip.parameters(), *network.residual.parameters()]
    groups = [
        Group(network_parameters, hyper.lr, hyper.weight_decay),
        Group([network.prototypes, network.mixtures], hyper.user_lr),
        Group([network.log_scale], hyper.scale_lr),
    ]
    card = card_of("pal_a", hyper, seed, data)
    plan = Plan(hyper.steps, seed, "adamw", evaluate_every=hyper.evaluate_every)
    course = train(network, loss, groups, plan, run, card, evaluate if data.held_out else None)
    tensors = {name: value for name, value in weights_of(network).items() if not name.endswith("mixtures")}
    found = Fitted({**tensors, **scale.tensors}, {**card, "curve": course.curve, "best_step": course.best})
    return stacked(found, PAL_A, data, seed, run) if hyper.stack and data.held_out else found


def mixture(network: Network, scale: Scale, context: Pairs, hyper: PALAHyper) -> Array:
    """The weights of a new user before the softmax, (K,): AdamW on them alone, from equal ones."""
    device = network.prototypes.device
    w = torch.zeros(1, len(network.prototypes), device=device, requires_grad=True)
    if len(context) and len(network.prototypes) > 1:
        seen = one_user(canonical(context), scale, device)
        with torch.no_grad():
            placed = network.place(torch.stack([seen.chosen[0], seen.rejected[0]]))
        optimiser = torch.optim.AdamW([w], lr=hyper.user_lr, weight_decay=0.0)
        for _ in range(hyper.adapt_steps):
            rated = network.rate(placed, network.ideal(w), hyper.kind)
            (w.grad,) = torch.autograd.grad(loss_of(rated[0] - rated[1], hyper.kind), [w])
            optimiser.step()
    found: Array = w.detach()[0].cpu().numpy()
    return found


@lru_cache(maxsize=8)
def _network(fitted: Fitted) -> Network:
    hyper = fitted.card["hyper"]
    network = Network(0, fitted.card["dim"], hyper["k"], hyper["width"])
    # Train users' weights are not kept: nobody is judged with them.
    kept = {"network.mixtures": np.zeros((0, hyper["k"]), np.float32)}
    return with_weights(network, Fitted({**fitted.tensors, **kept}))


def _rate(network: Network, scale: Scale, state: Array, answers: Array, kind: PALKind) -> Wide:
    device = network.prototypes.device
    with torch.inference_mode():
        placed = network.place(torch.from_numpy(scale.answers(answers)).to(device))
        rated = network.rate(placed, network.ideal(torch.from_numpy(state)[None].to(device)), kind)
    found: Wide = rated.double().cpu().numpy()
    return found


def _compare(network: Network, scale: Scale, state: Array, pairs: Pairs, kind: PALKind) -> Wide:
    chosen, rejected = (_rate(network, scale, state, side, kind) for side in (pairs.chosen, pairs.rejected))
    return chosen - rejected


def adapt(fitted: Fitted, context: Pairs) -> Array:
    """The user's weights before the softmax, (K,); 0 without context."""
    return mixture(_network(fitted), Scale.in_weights(fitted), context, PALAHyper(**fitted.card["hyper"]))


def log_odds(fitted: Fitted, state: Array, pairs: Pairs) -> Wide:
    """Difference of scores, chosen minus rejected, (pairs,)."""
    scale, kind = Scale.in_weights(fitted), fitted.card["hyper"]["kind"]
    return with_control(fitted, _compare(_network(fitted), scale, state, pairs, kind), scale.differences(pairs))


def rewards(fitted: Fitted, state: Array, answers: Array) -> Wide:
    """Scores of answers, (answers,)."""
    scale, kind = Scale.in_weights(fitted), fitted.card["hyper"]["kind"]
    return with_control(fitted, _rate(_network(fitted), scale, state, answers, kind), scale.answers(answers))


PAL_A = RewardMethod("pal_a", "PAL-A: mixture of prototypes", PALAHyper, fit, adapt, log_odds, rewards)
