"""The prior that other users teach, on scripted vectors."""

from __future__ import annotations

import numpy as np
import pytest
from support.scripted_tastes import prior, vectors, voted, votes

from personalrm.core.records import TastePrior
from personalrm.methods.logistic import posterior
from personalrm.methods.taste.prior import LATENT, empirical_bayes
from personalrm.methods.taste.weights import log_odds, prior_taste, tastes

D = 30


def test_the_prior_of_many_users_is_learned_and_own_weights_gain_on_it() -> None:
    rng = np.random.default_rng(8)
    rows = vectors(rng, 160, 30, D)
    mean = np.where(np.arange(D) < 4, 0.6, 0)
    rows = voted(rng, rows, (rows * (mean + 0.4 * rng.normal(size=(160, 1, D)))).sum(axis=2))
    learned, variance = empirical_bayes([votes(user[:10]) for user in rows[:80]])
    assert np.corrcoef(learned, mean)[0, 1] > 0.5
    assert learned[:4].mean() > 2 * np.abs(learned[4:]).mean()
    assert 0.15 < np.sqrt(variance.mean()) < 0.6
    known = prior(learned, variance, learned=True)
    found = tastes(known, [votes(user[:20]) for user in rows[80:]])
    own = np.mean([(log_odds(taste, user[20:]) > 0).mean() for taste, user in zip(found, rows[80:], strict=True)])
    population = np.mean([(log_odds(prior_taste(known), user[20:]) > 0).mean() for user in rows[80:]])
    assert own >= population


@pytest.mark.parametrize("seed", range(3))
def test_what_twenty_users_share_is_found_though_they_differ_more(seed: int) -> None:
    rng = np.random.default_rng(seed)
    rows = vectors(rng, 20, 12, D)
    mean = np.where(np.arange(D) < 4, 0.8, 0)
    rows = voted(rng, rows, (rows * (mean + 0.8 * rng.normal(size=(20, 1, D)))).sum(axis=2))
    learned, variance = empirical_bayes(list(map(votes, rows)))
    # As strong as its direction allows: no mean of 0 with all variance.
    assert 0.3 < np.linalg.norm(learned) / np.linalg.norm(mean) < 1.5
    assert np.corrcoef(learned, mean)[0, 1] > 0.3
    assert 0.2 < np.sqrt(variance.mean()) < 1.2


def test_the_mean_is_drawn_to_0_as_strongly_as_users_are_to_the_mean() -> None:
    rng = np.random.default_rng(3)
    rows = voted(rng, vectors(rng, 25, 8, D), rng.normal(size=(25, 8)) + 0.5)
    mean, _ = empirical_bayes(list(map(votes, rows)))
    size = (rows**2).sum(axis=2).mean()
    # Where its density is highest: the deviations of all users from it add up to its own from 0.
    left = [
        np.abs((posterior(rows, mean, np.full(D, latent / size)).mean - mean).sum(axis=0) - mean).max()
        for latent in LATENT
    ]
    assert min(left) < 1e-3 < np.abs(mean).max()


def test_a_prior_is_a_record_that_is_told_from_other_artefacts() -> None:
    made = prior(np.arange(3.0), 0.5, learned=True)
    assert TastePrior.model_validate_json(made.model_dump_json()) == made
