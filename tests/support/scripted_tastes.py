"""Scripted users for taste weights: vectors of features, or scores by attribute, and votes of planted weights."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from personalrm.core.records import PairScores, PreferencePair, TastePrior, Turn, UserData
from personalrm.methods.taste.features import Votes

Array = NDArray[np.float64]
FACTORS = 6


def vectors(rng: np.random.Generator, users: int, pairs: int, d: int, axis: int | None = None) -> Array:
    """Correlated features of unit variance, (users, pairs, d), of `FACTORS` factors and noise.

    With an axis, the answers of each pair differ most along that factor, as those of planted users do.
    """
    loading = np.random.default_rng(5).normal(size=(d, FACTORS)) * 0.6
    size = np.sqrt((loading**2).sum(axis=1) + 1)
    factors = rng.normal(size=(users, pairs, FACTORS))
    if axis is not None:
        factors *= 0.6
        factors[:, :, axis] = rng.choice([-1.8, 1.8], (users, pairs))
    return (factors @ loading.T + rng.normal(size=(users, pairs, d))) / size


def voted(rng: np.random.Generator, rows: Array, log_odds: Array) -> Array:
    """Rows with the sign of the answer that is chosen with these log-odds."""
    chosen = rng.random(log_odds.shape) < 1 / (1 + np.exp(-log_odds))
    return rows * np.where(chosen, 1, -1)[..., None]


def votes(rows: Array, kinds: tuple[str | None, ...] = ()) -> Votes:
    """The votes of one user."""
    return Votes(tuple(f"p{place:03}" for place in range(len(rows))), rows, kinds)


def prior(mean: Array, variance: Array | float, *, learned: bool) -> TastePrior:
    """A prior of features without bias, with a scale of 1."""
    d = len(mean)
    return TastePrior(
        names=tuple(f"a{place:02}" for place in range(d)),
        bias=(0.0,) * d,
        scale=(1.0,) * d,
        mean=tuple(np.asarray(mean, dtype=float).tolist()),
        variance=tuple((np.zeros(d) + variance).tolist()),
        n_users=1,
        n_pairs=1,
        learned=learned,
    )


def scored_user(
    name: str,
    weights: dict[str, float],
    rng: np.random.Generator,
    *,
    pairs: int = 16,
    bias: float = 0.0,
    orders: int = 1,
    noise: float = 0.0,
) -> tuple[UserData, dict[str, list[PairScores]]]:
    """A user who votes by weights on attributes, and the scores of the pairs by these attributes.

    All answers have the same surface. A model in whose eyes the answer that is shown first has `bias` more of each
    attribute scores a pair in one order, by a coin, or in both. Half of the pairs are context, some validation, the
    last quarter test.
    """
    made, scores = [], {}
    for number in range(pairs):
        true = {attribute: float(rng.normal()) for attribute in weights}
        pull = sum(weights[attribute] * value for attribute, value in true.items()) + noise * float(rng.normal())
        if pull < 0:
            true = {attribute: -value for attribute, value in true.items()}
        split = "context" if number < pairs / 2 else "validation" if number < 0.75 * pairs else "test"
        pair = PreferencePair(
            user_id=name,
            pair_id=f"{name}-{number:03}",
            context=(Turn(role="user", content=f"question {number}"),),
            chosen="an answer",
            rejected="an answer",
            order=number,
            split=split,  # type: ignore[arg-type]
        )
        shown = [bool(rng.integers(2))] if orders == 1 else [False, True]
        made.append(pair)
        scores[pair.pair_id] = [
            PairScores(
                pair_id=pair.pair_id,
                swapped=swapped,
                scores={one: round((-value if swapped else value) + bias, 4) for one, value in true.items()},
                calls=(f"call-{pair.pair_id}-{swapped}",),
            )
            for swapped in shown
        ]
    return UserData(dataset="d", user_id=name, pairs=tuple(made)), scores
