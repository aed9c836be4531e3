"""Bayesian logistic regression: the same numbers as other libraries, in either space, for each user alone."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import minimize
from sklearn.linear_model import LogisticRegression
from support.scripted_tastes import Array, vectors, voted

from personalrm.methods.logistic import log_loss, posterior, predictive

RNG = np.random.default_rng


def sample(users: int = 4, n: int = 10, d: int = 15, seed: int = 0) -> Array:
    rng = RNG(seed)
    rows = vectors(rng, users, n, d)
    return voted(rng, rows, rows @ rng.normal(size=d))


@pytest.mark.parametrize(("n", "d"), [(6, 15), (60, 8)])
def test_the_mode_is_that_of_other_libraries(n: int, d: int) -> None:
    rows, mean, variance = sample(1, n, d)[0], np.linspace(-0.4, 0.4, d), np.linspace(0.2, 2, d)

    def loss(weights: Array) -> float:
        return float(log_loss(rows @ weights).sum() + ((weights - mean) ** 2 / variance).sum() / 2)

    found = posterior(rows[None], mean, variance)
    assert np.allclose(found.mean[0], minimize(loss, mean, tol=1e-12).x, atol=1e-4)
    # scikit-learn has a mean of 0 and one variance; each row and its opposite are a label of each.
    both, labels = np.concatenate([rows, -rows]), np.repeat([1, 0], n)
    theirs = LogisticRegression(C=1.4 / 2, fit_intercept=False, tol=1e-10).fit(both, labels)
    assert np.allclose(posterior(rows[None], np.zeros(d), np.full(d, 1.4)).mean[0], theirs.coef_[0], atol=1e-4)


def covariance(found: Array, variance: Array) -> Array:
    return np.diag(variance) - found.T @ found


@pytest.mark.parametrize(("n", "d"), [(6, 15), (60, 8)])
def test_the_covariance_is_the_inverse_of_the_curvature_at_the_mode(n: int, d: int) -> None:
    rows, variance = sample(1, n, d)[0], np.linspace(0.2, 2, d)
    found = posterior(rows[None], np.full(d, 0.1), variance)
    sure = 1 / (1 + np.exp(-rows @ found.mean[0]))
    expected = np.linalg.inv((rows.T * (sure * (1 - sure))) @ rows + np.diag(1 / variance))
    assert np.allclose(covariance(found.taught[0], variance), expected, atol=1e-8)
    assert np.allclose(found.spread[0], np.einsum("nd,de,ne->n", rows, expected, rows), atol=1e-8)
    assert np.allclose(found.latent[0], rows @ found.mean[0])
    fit = -log_loss(found.latent[0]).sum() - ((found.mean[0] - 0.1) ** 2 / variance).sum() / 2
    volume = (np.linalg.slogdet(expected)[1] - np.log(variance).sum()) / 2
    assert found.evidence[0] == pytest.approx(fit + volume, abs=1e-8)


def test_both_spaces_give_the_same_and_votes_that_count_nothing_change_nothing() -> None:
    rows = sample()
    few = posterior(rows, np.full(15, 0.1), np.full(15, 0.3))
    padded = np.concatenate([rows, sample(seed=1), sample(seed=2)], axis=1)
    many = posterior(padded, np.full(15, 0.1), np.full(15, 0.3), np.repeat([[1.0, 0, 0]], 10, axis=1).repeat(4, axis=0))
    assert few.taught.shape[1] < many.taught.shape[1]
    assert np.allclose(few.mean, many.mean, atol=1e-9)
    assert np.allclose(few.evidence, many.evidence, atol=1e-9)
    assert np.allclose(few.left_out, many.left_out[:, :10], atol=1e-9)


def test_a_vote_that_counts_twice_is_two_votes() -> None:
    rows = sample()
    twice = posterior(rows, np.zeros(15), np.full(15, 0.3), np.array([[2.0, *[1.0] * 9]] * 4))
    two = posterior(np.concatenate([rows[:, :1], rows], axis=1), np.zeros(15), np.full(15, 0.3))
    assert np.allclose(twice.mean, two.mean, atol=1e-9)


def test_users_do_not_affect_each_other() -> None:
    rows = sample(50)
    rows[3] *= 30
    together = posterior(rows, np.zeros(15), np.ones(15))
    for place in (0, 3, 49):
        alone = posterior(rows[[place]], np.zeros(15), np.ones(15))
        for one, other in zip(together, alone, strict=True):
            assert np.allclose(one[place], other[0], atol=1e-9)


@pytest.mark.parametrize("size", [1.0, 1000.0])
def test_votes_that_separate_have_finite_weights(size: float) -> None:
    rows = np.zeros((1, 5, 8))
    rows[:, :, 0] = size
    found = posterior(rows, np.full(8, -3.0), np.full(8, 4.0))
    assert all(np.isfinite(part).all() for part in found)
    assert found.latent.min() > 0
    assert found.mean[0, 1:] == pytest.approx([-3.0] * 7)


def test_votes_without_any_difference_leave_the_prior() -> None:
    for n in (0, 3, 30):
        found = posterior(np.zeros((2, n, 8)), np.arange(8.0), np.full(8, 2.0))
        assert np.array_equal(found.mean, [np.arange(8.0)] * 2)
        assert not found.taught.any()
        assert found.left_out == pytest.approx(np.full((2, n), np.log(2)))


@pytest.mark.parametrize("latent", [0.5, 4.0, 16.0])
def test_a_left_out_vote_is_predicted_as_without_it(latent: float) -> None:
    rows = sample(6)
    variance = np.full(15, latent / 15)
    found = posterior(rows, np.full(15, 0.05), variance).left_out
    exact = np.empty_like(found)
    for place in range(10):
        others = posterior(np.delete(rows, place, axis=1), np.full(15, 0.05), variance)
        spread = (rows[:, place] ** 2 @ variance) - ((others.taught @ rows[:, place, :, None]) ** 2).sum(axis=(1, 2))
        exact[:, place] = log_loss(predictive((rows[:, place] * others.mean).sum(axis=1), spread))
    assert np.abs(found - exact).max() < 0.03
    assert np.abs(found.mean(axis=1) - exact.mean(axis=1)).max() < 0.01
