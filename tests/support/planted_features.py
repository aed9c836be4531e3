"""Features of pairs whose labels follow planted tastes: a direction that all users share, and one of their type."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from personalrm.methods.reward.base import HeldOut, TrainingData
from personalrm.train.features import Pairs

SHARPNESS = 3.6
"""Of labels: how far log-odds are from 0."""


class World(NamedTuple):
    """Train, validation and test users (the latter with context and targets), and the types of the test users."""

    data: TrainingData
    test: list[HeldOut]
    types: list[int]
    oracle: float


def planted(
    *,
    train: int = 600,
    validation: int = 60,
    test: int = 200,
    context: int = 10,
    target: int = 6,
    types: int = 4,
    dim: int = 576,
    rank: int | None = None,
    shared: float = 0.5,
    personal: float = 1.0,
    seed: int = 0,
) -> World:
    """Users of all types in equal numbers; types come in opposite pairs, so that what they share is the shared
    direction alone. Features vary much in `rank` directions, by default in all `dim`. `oracle` is the accuracy of the
    true log-odds on the test users' targets.
    """
    rng = np.random.default_rng(seed)
    inner = rank or dim
    axes = np.linalg.qr(rng.standard_normal((dim, inner)))[0].T * (dim / inner) ** 0.5 if rank else None
    directions = rng.standard_normal((1 + types, inner))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    directions[2::2] = -directions[1:-1:2]
    right: list[float] = []

    def pairs(owner: str, taste: int, count: int, *, counted: bool = False) -> Pairs:
        answers = rng.standard_normal((2, count, inner))
        wanted = SHARPNESS * (shared * directions[0] + personal * directions[1 + taste])
        odds = (answers[0] - answers[1]) @ wanted
        first = rng.random(count) < 1 / (1 + np.exp(-odds))
        if counted:
            right.extend((odds > 0) == first)
        if axes is not None:
            answers = answers @ axes + 0.1 * rng.standard_normal((2, count, dim))
        answers = answers.astype(np.float32)
        chosen, rejected = (np.where(side[:, None], answers[0], answers[1]) for side in (first, ~first))
        return Pairs(tuple(f"{owner} {n}" for n in range(count)), chosen, rejected)

    users = [pairs(f"train {n}", n % types, context + target) for n in range(train)]
    held_out = [
        HeldOut(pairs(f"validation {n} c", n % types, context), pairs(f"validation {n} t", n % types, target))
        for n in range(validation)
    ]
    tested = [
        HeldOut(pairs(f"test {n} c", n % types, context), pairs(f"test {n} t", n % types, target, counted=True))
        for n in range(test)
    ]
    kinds = [n % types for n in range(test)]
    return World(TrainingData.of(users, held_out), tested, kinds, float(np.mean(right)) if right else 0.0)
