"""GPO: a transformer neural process that reads a user's votes as points (https://arxiv.org/abs/2310.11523).

Points have no positions. Each token attends to the context's tokens alone, so that a target's prediction depends on no
other target. Adaptation is keeping the context; prediction is one pass. Two kinds of points:

- `items`, as published: a point is an answer, y = 1 where it was chosen and 0 where not. The means of a question's
  answers go through a softmax, and the loss is the negative log-likelihood of y under a Gaussian.
- `pairs`, ours: a point is the difference of a pair's answers with a random sign, y is that sign, the output is made
  antisymmetric, and the loss is cross-entropy. It keeps which two answers belong together.

Differs from the authors' code: padding is known by a mask and not by features that sum to 0, and has no part in the
loss; the Gaussian's deviation is bounded; a learned token stands for an empty context; weights are chosen on validation
users, not on those of the evaluation.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import torch
from torch import nn

from personalrm.core.errors import ConfigError
from personalrm.methods.reward.base import RewardMethod, Scale, TrainingData, canonical, card_of, mean_accuracy
from personalrm.methods.reward.hyper import GPOHyper, GPOPairsHyper, GPOPoints
from personalrm.methods.reward.networks import Episodes, Sides, mean_of_real, one_user, weights_of, with_weights
from personalrm.train.checkpoint import Fitted
from personalrm.train.features import Array, Pairs, Wide
from personalrm.train.trainer import Group, Plan, Run, seeded, train


class Points(NamedTuple):
    """Context points: features (users, points, dim), y (users, points), and which are no padding (users, points)."""

    x: torch.Tensor
    y: torch.Tensor
    real: torch.Tensor


class Block(nn.Module):
    """A post-norm layer whose keys are the context's tokens."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(width, heads, batch_first=True)
        self.norms = nn.ModuleList([nn.LayerNorm(width), nn.LayerNorm(width)])
        self.forward_layers = nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, width))

    def forward(self, context: torch.Tensor, tokens: torch.Tensor, padding: torch.Tensor) -> torch.Tensor:
        """`tokens` (users, tokens, width) after attention to `context` (users, points, width)."""
        attended, _ = self.attention(tokens, context, context, key_padding_mask=padding, need_weights=False)
        tokens = self.norms[0](tokens + attended)
        found: torch.Tensor = self.norms[1](tokens + self.forward_layers(tokens))
        return found


class Network(nn.Module):
    """The neural process."""

    def __init__(self, dim: int, hyper: GPOHyper) -> None:
        super().__init__()
        sizes = [dim + 1, *[hyper.width] * hyper.depth]
        layers = [nn.Linear(sizes[n], sizes[n + 1]) for n in range(hyper.depth)]
        self.embedding = nn.Sequential(*[part for layer in layers for part in (layer, nn.ReLU())][:-1])
        self.null = nn.Parameter(torch.randn(hyper.width))
        self.blocks = nn.ModuleList([Block(hyper.width, hyper.heads) for _ in range(hyper.layers)])
        self.head = nn.Sequential(nn.Linear(hyper.width, hyper.width), nn.ReLU(), nn.Linear(hyper.width, 2))

    def forward(self, context: Points, targets: torch.Tensor) -> torch.Tensor:
        """Mean and unbounded deviation for targets (users, targets, dim): (users, targets, 2)."""
        users = len(targets)
        read = self.embedding(torch.cat([context.x, context.y[..., None]], dim=2))
        # The null token is always there, so that a token always has a key.
        read = torch.cat([self.null.expand(users, 1, -1), read], dim=1)
        padding = torch.cat([context.real.new_zeros(users, 1), ~context.real], dim=1)
        asked = self.embedding(torch.cat([targets, targets.new_zeros(users, targets.shape[1], 1)], dim=2))
        for block in self.blocks:
            read, asked = block(read, read, padding), block(read, asked, padding)
        found: torch.Tensor = self.head(asked)
        return found


def points_of(pairs: Sides, kind: GPOPoints, signs: torch.Tensor) -> Points:
    """Context points of pairs; `signs` (users, pairs), 1 or -1, are those of differences."""
    if kind == "pairs":
        return Points((pairs.chosen - pairs.rejected) * signs[..., None], signs * pairs.real, pairs.real)
    ones = torch.ones_like(pairs.real, dtype=torch.float32)
    y = torch.cat([ones, 0 * ones], dim=1)
    return Points(torch.cat([pairs.chosen, pairs.rejected], dim=1), y, torch.cat([pairs.real, pairs.real], dim=1))


def compare(network: Network, context: Points, targets: Sides, kind: GPOPoints) -> tuple[torch.Tensor, torch.Tensor]:
    """Log-odds of the chosen answers, and the deviations of items: (users, pairs) and (2, users, pairs)."""
    count = targets.real.shape[1]
    if kind == "pairs":
        difference = targets.chosen - targets.rejected
        found = network(context, torch.cat([difference, -difference], dim=1))
    else:
        found = network(context, torch.cat([targets.chosen, targets.rejected], dim=1))
    mean, deviation = found.unbind(dim=2)
    odds = mean[:, :count] - mean[:, count:]
    bounded = 0.1 + 0.9 * torch.sigmoid(deviation)
    return odds, torch.stack([bounded[:, :count], bounded[:, count:]])


def loss_of(odds: torch.Tensor, deviations: torch.Tensor, real: torch.Tensor, kind: GPOPoints) -> torch.Tensor:
    """Mean loss of target pairs, ()."""
    if kind == "pairs":
        return mean_of_real(nn.functional.softplus(-odds), real)
    # A softmax of two means is a sigmoid of their difference, and both miss y by the same.
    missed = torch.sigmoid(-odds)
    return mean_of_real((0.5 * (missed / deviations) ** 2 + deviations.log()).sum(dim=0), real)


def fit(data: TrainingData, hyper: GPOHyper, seed: int, run: Run) -> Fitted:
    """The weights of the network."""
    scale = Scale.of(data.pairs)
    episodes = Episodes(data, scale, run.device)
    with seeded(seed):
        network = Network(data.dim, hyper).to(run.device)

    def loss(_step: int, generator: torch.Generator) -> torch.Tensor:
        context, target = episodes.draw(generator, hyper.users, hyper.context, hyper.targets)
        signs = (torch.randint(2, context.real.shape, generator=generator) * 2.0 - 1).to(run.device)
        odds, deviations = compare(network, points_of(context, hyper.points, signs), target, hyper.points)
        return loss_of(odds, deviations, target.real, hyper.points)

    def evaluate() -> float:
        return mean_accuracy(
            _log_odds(network, scale, canonical(one.context), one.target, hyper.points) for one in data.held_out
        )

    name = "gpo" if hyper.points == "items" else "gpo_pairs"
    card = card_of(name, hyper, seed, data)
    plan = Plan(hyper.steps, seed, "adam", "cosine", evaluate_every=hyper.evaluate_every)
    groups = [Group(list(network.parameters()), hyper.lr)]
    course = train(network, loss, groups, plan, run, card, evaluate if data.held_out else None)
    facts = {"curve": course.curve, "best_step": course.best}
    return Fitted({**weights_of(network), **scale.tensors}, {**card, **facts})


@lru_cache(maxsize=8)
def _network(fitted: Fitted) -> Network:
    hyper = (GPOHyper if fitted.card["method"] == "gpo" else GPOPairsHyper)(**fitted.card["hyper"])
    return with_weights(Network(fitted.card["dim"], hyper), fitted)


def _context(context: Pairs, scale: Scale, kind: GPOPoints, device: torch.device) -> Points:
    """The context's points. Differences have signs in turn, as near to the training's random ones as can be without a
    random number."""
    seen = one_user(context, scale, device)
    signs = 1.0 - 2.0 * (torch.arange(len(context), device=device)[None] % 2)
    return points_of(seen, kind, signs)


def _log_odds(network: Network, scale: Scale, state: Pairs, pairs: Pairs, kind: GPOPoints) -> Wide:
    device = network.null.device
    with torch.inference_mode():
        context = _context(state, scale, kind, device)
        odds, _ = compare(network, context, one_user(pairs, scale, device), kind)
    found: Wide = odds[0].double().cpu().numpy()
    return found


def adapt(_fitted: Fitted, context: Pairs) -> Pairs:
    """The context itself, sorted by content."""
    return canonical(context)


def log_odds(fitted: Fitted, state: Pairs, pairs: Pairs) -> Wide:
    """Log-odds of the chosen answers, (pairs,)."""
    return _log_odds(_network(fitted), Scale.in_weights(fitted), state, pairs, fitted.card["hyper"]["points"])


def rewards(fitted: Fitted, state: Pairs, answers: Array) -> Wide:
    """Means of answers before the softmax, (answers,). Raises ConfigError where points are pairs."""
    if fitted.card["hyper"]["points"] == "pairs":
        raise ConfigError("gpo_pairs: compares two answers and rates none; use gpo for rewards")
    network, scale = _network(fitted), Scale.in_weights(fitted)
    with torch.inference_mode():
        context = _context(state, scale, "items", network.null.device)
        mean = network(context, torch.from_numpy(scale.answers(answers))[None])[0, :, 0]
    found: Wide = mean.double().numpy()
    return found


GPO = RewardMethod("gpo", "GPO: answers as points", GPOHyper, fit, adapt, log_odds, rewards)
GPO_PAIRS = RewardMethod("gpo_pairs", "GPO: pairs as points", GPOPairsHyper, fit, adapt, log_odds, None)
