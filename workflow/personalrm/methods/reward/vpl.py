"""VPL: a latent vector per user, encoded from the context pairs (https://arxiv.org/abs/2408.10075).

An encoder turns each context pair into a vector, self-attention without positions mixes them, and their mean gives a
Gaussian over z. The decoder rates an answer from its features and z. Loss: Bradley-Terry on other pairs of the user
plus beta times the divergence of the Gaussian from N(0, 1). Adaptation is one pass of the encoder.

Differs from the authors' code: z has norm sqrt(latent) in training, and in use is the mean of such z (`mean_on_sphere`;
theirs is the mean of the Gaussian, of another length); contexts and targets are of one user; all features are frozen
(theirs of targets come from a base that is tuned along).
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import nn

from personalrm.methods.reward.base import RewardMethod, Scale, TrainingData, canonical, card_of, mean_accuracy
from personalrm.methods.reward.hyper import VPLHyper
from personalrm.methods.reward.networks import (
    Episodes,
    Sides,
    decoder,
    mean_of_real,
    one_user,
    weights_of,
    with_weights,
)
from personalrm.methods.reward.stack import stacked, with_control
from personalrm.train.checkpoint import Fitted
from personalrm.train.features import Array, Pairs, Wide
from personalrm.train.trainer import Group, Plan, Run, seeded, train

ACTIVE = 0.005
"""A latent unit is active where its mean varies more than this over users (variance)."""


class Network(nn.Module):
    """Encoder and decoder; see the module's docstring."""

    def __init__(self, dim: int, latent: int, hidden: int) -> None:
        super().__init__()
        first = (nn.Linear(2 * dim, hidden), nn.LeakyReLU(0.2), nn.Linear(hidden, hidden), nn.LeakyReLU(0.2))
        self.encoder = nn.Sequential(*first, nn.Linear(hidden, latent))
        self.attention = nn.MultiheadAttention(latent, 1, batch_first=True)
        self.mean = nn.Linear(latent, latent)
        self.log_variance = nn.Linear(latent, latent)
        self.decoder = decoder(dim + latent, hidden)

    def posterior(self, context: Sides) -> tuple[torch.Tensor, torch.Tensor]:
        """Mean and log-variance of z per user, (users, latent) each, from (users, pairs, dim); without pairs those of
        the prior, 0."""
        some = context.real.any(dim=1, keepdim=True)
        if not context.real.shape[1]:
            zeros = torch.zeros(len(some), self.mean.out_features, device=some.device)
            return zeros, zeros
        encoded = self.encoder(torch.cat([context.chosen, context.rejected], dim=2))
        # A user without pairs attends to padding, which is then dropped: a row without keys gives no number.
        hidden = ~context.real & some
        mixed, _ = self.attention(encoded, encoded, encoded, key_padding_mask=hidden, need_weights=False)
        counts = context.real.sum(dim=1, keepdim=True).clamp(min=1)
        pooled = (mixed * context.real[..., None]).sum(dim=1) / counts
        mean, log_variance = (layer(pooled).clamp(-1, 1) * some for layer in (self.mean, self.log_variance))
        return mean, log_variance

    def rate(self, answers: torch.Tensor, z: torch.Tensor) -> torch.Tensor:
        """Rewards of scaled answers (users, answers, dim) for users with z (users, latent): (users, answers)."""
        own = z[:, None].expand(-1, answers.shape[1], -1)
        rated: torch.Tensor = self.decoder(torch.cat([answers, own], dim=2))[..., 0]
        return rated


def on_sphere(z: torch.Tensor) -> torch.Tensor:
    """z with norm sqrt(latent); 0 stays 0."""
    return z * (math.sqrt(z.shape[-1]) / z.norm(dim=-1, keepdim=True).clamp(min=1e-12))


def mean_on_sphere(mean: torch.Tensor, log_variance: torch.Tensor) -> torch.Tensor:
    """z in use, (users, latent): the mean of `on_sphere(x)` over x ~ N(m, diag(s²)), nearly.

    With L = latent, z = sqrt(L) x / |x|. |x|² is |m|² + sum(s²) on average, and the larger L is, the less it varies in
    proportion. With this mean in the place of |x|², E z = sqrt(L) m / sqrt(|m|² + sum(s²)). Where all s are equal and
    m goes to 0, the exact E z is this one times 1 - 1 / (4 L), nearly.

    So z has norm sqrt(L) only where the Gaussian has no spread. Where the posterior collapses to N(0, 1), z is near 0
    for all users, as on average in training. The bare mean with norm sqrt(L) would be a random direction per user.
    """
    square = (mean**2 + log_variance.exp()).sum(dim=-1, keepdim=True)
    return mean * (mean.shape[-1] / square).sqrt()


def divergence(mean: torch.Tensor, log_variance: torch.Tensor) -> torch.Tensor:
    """Kullback-Leibler divergence of each user's Gaussian from N(0, 1), (users,)."""
    return 0.5 * (log_variance.exp() + mean**2 - 1 - log_variance).sum(dim=1)


def fit(data: TrainingData, hyper: VPLHyper, seed: int, run: Run) -> Fitted:
    """The weights, with the number of active latent units in the card (0: z carries nothing)."""
    scale = Scale.of(data.pairs)
    episodes = Episodes(data, scale, run.device)
    with seeded(seed):
        network = Network(data.dim, hyper.latent, hyper.hidden).to(run.device)

    def loss(step: int, generator: torch.Generator) -> torch.Tensor:
        context, target = episodes.draw(generator, hyper.users, hyper.context, hyper.targets)
        mean, log_variance = network.posterior(context)
        noise = torch.randn(mean.shape, generator=generator).to(mean.device)
        z = on_sphere(mean + (0.5 * log_variance).exp() * noise)
        margins = network.rate(target.chosen, z) - network.rate(target.rejected, z)
        anneal = 0.1 + 0.45 * (1 - math.cos(math.pi * (step % hyper.cycle) / hyper.cycle))
        fitted = mean_of_real(nn.functional.softplus(-margins), target.real)
        return fitted + hyper.beta * anneal * divergence(mean, log_variance).mean()

    def evaluate() -> float:
        states = (_state(network, scale, one.context) for one in data.held_out)
        pairs = (one.target for one in data.held_out)
        return mean_accuracy(_compare(network, scale, z, target) for z, target in zip(states, pairs, strict=True))

    card = card_of("vpl", hyper, seed, data)
    groups = [Group(list(network.parameters()), hyper.lr)]
    plan = Plan(hyper.steps, seed, "adamw", evaluate_every=hyper.evaluate_every)
    course = train(network, loss, groups, plan, run, card, evaluate if data.held_out else None)
    means = np.stack([_posterior(network, scale, user)[0][0].cpu().numpy() for user in data.users])
    active = int((means.var(axis=0) > ACTIVE).sum())
    facts: dict[str, Any] = {"curve": course.curve, "best_step": course.best, "active_units": active}
    found = Fitted({**weights_of(network), **scale.tensors}, {**card, **facts})
    return stacked(found, VPL, data, seed, run) if hyper.stack and data.held_out else found


@lru_cache(maxsize=8)
def _network(fitted: Fitted) -> Network:
    hyper = fitted.card["hyper"]
    return with_weights(Network(fitted.card["dim"], hyper["latent"], hyper["hidden"]), fitted)


def _posterior(network: Network, scale: Scale, context: Pairs) -> tuple[torch.Tensor, torch.Tensor]:
    device = next(network.parameters()).device
    with torch.inference_mode():
        return network.posterior(one_user(canonical(context), scale, device))


def _state(network: Network, scale: Scale, context: Pairs) -> Array:
    found: Array = mean_on_sphere(*_posterior(network, scale, context))[0].cpu().numpy()
    return found


def _rate(network: Network, scale: Scale, state: Array, answers: Array) -> Wide:
    device = next(network.parameters()).device
    with torch.inference_mode():
        rated = network.rate(
            torch.from_numpy(scale.answers(answers))[None].to(device), torch.from_numpy(state)[None].to(device)
        )
    found: Wide = rated[0].double().cpu().numpy()
    return found


def _compare(network: Network, scale: Scale, state: Array, pairs: Pairs) -> Wide:
    return _rate(network, scale, state, pairs.chosen) - _rate(network, scale, state, pairs.rejected)


def adapt(fitted: Fitted, context: Pairs) -> Array:
    """The user's z, (latent,), as `mean_on_sphere` has it; 0 without context."""
    return _state(_network(fitted), Scale.in_weights(fitted), context)


def log_odds(fitted: Fitted, state: Array, pairs: Pairs) -> Wide:
    """r(chosen) - r(rejected), (pairs,)."""
    scale = Scale.in_weights(fitted)
    return with_control(fitted, _compare(_network(fitted), scale, state, pairs), scale.differences(pairs))


def rewards(fitted: Fitted, state: Array, answers: Array) -> Wide:
    """Rewards of answers, (answers,)."""
    scale = Scale.in_weights(fitted)
    return with_control(fitted, _rate(_network(fitted), scale, state, answers), scale.answers(answers))


VPL = RewardMethod("vpl", "VPL: latent user vector", VPLHyper, fit, adapt, log_odds, rewards)
