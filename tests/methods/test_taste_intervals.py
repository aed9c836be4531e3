"""Intervals of weights: how often they hold what users of the model want."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import norm
from support.scripted_tastes import prior, voted, votes

from personalrm.core.tastes import Taste, TasteWeights
from personalrm.methods.taste.weights import prior_taste, spread, tastes

D = 12


@pytest.mark.parametrize("n", [10, 30])
def test_intervals_hold_95_percent_of_the_weights_of_users_with_and_without_their_own(n: int) -> None:
    rng = np.random.default_rng(n)
    mean, variance, users = np.linspace(-1, 1, D), 0.3, 600
    own = rng.random(users) < 0.5
    true = np.where(own[:, None], mean + np.sqrt(variance) * rng.normal(size=(users, D)), mean)
    rows = rng.normal(size=(users, n, D))
    rows = voted(rng, rows, (rows * true[:, None]).sum(axis=2))
    found = tastes(prior(mean, variance, learned=True), [votes(user) for user in rows])
    share = np.array([taste.own_probability for taste in found])
    sd, low, high = np.array([spread(taste.weights, taste.own_probability) for taste in found]).swapaxes(0, 1)
    held = (low - 1e-5 <= true) & (true <= high + 1e-5)  # the weights of others are an end of many intervals
    for least, most in ((0, 1.01), (0.2, 0.5), (0.5, 0.8)):
        here = (share >= least) & (share < most)
        assert here.sum() > 40
        assert held[here].mean() > 0.92, least
    error = true - np.array([taste.weights.mean for taste in found])
    assert np.sqrt((error**2).mean()) == pytest.approx(np.sqrt((sd**2).mean()), rel=0.1)


def weights(**numbers: tuple[float, ...]) -> TasteWeights:
    return TasteWeights(**numbers)  # type: ignore[arg-type]


@pytest.mark.parametrize("share", [0.01, 0.04, 0.3, 0.97, 0.999])
def test_ends_are_quantiles_of_both_hypotheses_together(share: float) -> None:
    others, own, deviation = np.array([0.5, -3.0, 4.0, 0.4]), np.array([0.2, 0.5, 0.5, 0.5]), 0.7
    mean, within = share * own + (1 - share) * others, [np.sqrt(share) * deviation] * 4
    found = weights(mean=tuple(mean), sd=tuple(within), apart=tuple(own - others))
    sd, *ends = spread(found, share)

    def mass(at: np.ndarray) -> np.ndarray:
        below: np.ndarray = share * norm.cdf((at - own) / deviation) + (1 - share) * (at >= others)
        return below

    for level, end in zip((0.025, 0.975), ends, strict=True):
        assert (mass(end + 2e-6) >= level - 1e-6).all()
        assert (mass(end - 2e-6) <= level + 1e-6).all()
    second = share * (own**2 + deviation**2) + (1 - share) * others**2
    assert sd == pytest.approx(np.sqrt(second - mean**2), abs=1e-5)


def test_weights_without_others_and_without_votes_have_the_interval_of_a_gaussian() -> None:
    gaussian = weights(mean=(1.0, 0.0), sd=(0.5, 0.0))
    for share in (None, 0.0):
        sd, low, high = spread(gaussian, share)
        assert (sd.tolist(), low.tolist(), high.tolist()) == ([0.5, 0], [0.020018, 0], [1.979982, 0])
    alone = tastes(prior(np.zeros(D), 0.1, learned=False), [votes(np.ones((3, D)))])[0]
    nobody: Taste = prior_taste(prior(np.zeros(D), 0.1, learned=True))
    assert (alone.weights.apart, nobody.weights.apart) == ((), ())
    assert "apart" not in alone.weights.model_dump()
    # Nothing is known of a feature that never differs: own weights are as the prior has them.
    sure = weights(mean=(1.0,), sd=(0.0,), apart=(0.0,))
    assert np.concatenate(spread(sure, 0.5)) == pytest.approx([0, 1, 1], abs=1e-5)
