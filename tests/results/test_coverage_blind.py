"""Do nominal 95 % intervals hold the truth, and does the paired test keep its level? Simulated from docstrings alone.

The author of this file knew what the two functions promise, not how they do it. Users' skills are normal on the
logit scale; each user has 2 to 5 pairs, and a pair is judged in both orders, of which the second often repeats the
first. The truth is the mean skill of the population, of which the users are a sample.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.special import expit

from personalrm.results.stats.statistics import paired_cluster_difference, share_interval

Floats = NDArray[np.float64]

USERS = (4, 8, 30, 131)
ACCURACIES = (0.5, 0.6, 0.9, 0.97)
ALIKE = 0.0  # standard deviation of the users' skills in logits
DIFFERENT = 1.0
TRIALS = 400
RESAMPLES = 299
REPEATED = 0.6  # share of pairs whose second order repeats the outcome of the first
NODES, WEIGHTS = np.polynomial.hermite_e.hermegauss(60)


class Sample(NamedTuple):
    """Right judgments and judgments by trial and user, and distinct pairs by trial."""

    right: Floats
    judged: Floats
    pairs: NDArray[np.int64]


class Kept(NamedTuple):
    """What one cell of the simulation found."""

    covered: float
    width: float
    flat: int
    outside: int


def logit_mean(accuracy: float, spread: float) -> float:
    """Mean of the logits at which users of this spread are right in `accuracy` of their judgments."""

    def excess(mean: float) -> float:
        return float(WEIGHTS @ expit(mean + spread * NODES) / WEIGHTS.sum()) - accuracy

    return float(brentq(excess, -20, 20))


def judge_both_orders(skills: Floats, sizes: NDArray[np.int64], draw: np.random.Generator) -> Floats:
    """Number of right judgments by trial and user."""
    shape = (*skills.shape, int(sizes.max()))
    chance = skills[..., None]
    straight = draw.random(shape) < chance
    swapped = np.where(draw.random(shape) < REPEATED, straight, draw.random(shape) < chance)
    asked = np.arange(shape[-1]) < sizes[..., None]
    right: Floats = ((straight.astype(float) + swapped) * asked).sum(axis=-1)
    return right


def sample_one(users: int, accuracy: float, spread: float, trials: int, seed: int) -> Sample:
    draw = np.random.default_rng(seed)
    sizes = draw.integers(2, 6, size=(trials, users))
    skills = expit(logit_mean(accuracy, spread) + spread * draw.standard_normal((trials, users)))
    return Sample(judge_both_orders(skills, sizes, draw), 2 * sizes.astype(np.float64), sizes.sum(axis=1))


def coverage(users: int, accuracy: float, spread: float, trials: int, resamples: int, seed: int) -> Kept:
    """Share of the trials whose interval holds `accuracy`."""
    sample = sample_one(users, accuracy, spread, trials, seed)
    covered, flat, outside, width = 0, 0, 0, 0.0
    for trial in range(trials):
        interval = share_interval(
            sample.right[trial],
            sample.judged[trial],
            seed=seed + trial,
            n_resamples=resamples,
            units=float(sample.pairs[trial]),
        )
        covered += interval.low <= accuracy <= interval.high
        flat += not interval.high > interval.low
        outside += not 0 <= interval.low <= interval.estimate <= interval.high <= 1
        width += interval.high - interval.low
    return Kept(covered / trials, width / trials, flat, outside)


def two_methods(
    users: int, accuracy: float, spread: float, trials: int, seed: int, gain: float = 0.0
) -> tuple[Sample, Floats]:
    """Judgments of two methods on the same pairs; users differ in skill, and in the method that suits them.

    Without a `gain` (in logits) the methods are exchangeable, so that their true difference is 0.
    """
    draw = np.random.default_rng(seed)
    sizes = draw.integers(2, 6, size=(trials, users))
    common = logit_mean(accuracy, spread) + spread * draw.standard_normal((trials, users))
    own = spread / 2 * draw.standard_normal((trials, users))
    first = judge_both_orders(expit(common + own + gain), sizes, draw)
    second = judge_both_orders(expit(common - own), sizes, draw)
    return Sample(first, 2 * sizes.astype(np.float64), sizes.sum(axis=1)), second


def rejections(
    users: int, accuracy: float, spread: float, trials: int, resamples: int, seed: int, gain: float = 0.0
) -> Kept:
    """Share of the trials in which the paired test does not reject; flat intervals; p-values that contradict them."""
    sample, second = two_methods(users, accuracy, spread, trials, seed, gain)
    rejected, flat, contradicted, width = 0, 0, 0, 0.0
    for trial in range(trials):
        difference = paired_cluster_difference(
            sample.right[trial],
            second[trial],
            sample.judged[trial],
            seed=seed + trial,
            n_resamples=resamples,
            units=float(sample.pairs[trial]),
        )
        significant = difference.p_value < 0.05
        rejected += significant
        flat += not difference.high > difference.low
        contradicted += significant == (difference.low <= 0 <= difference.high)
        width += difference.high - difference.low
    return Kept(1 - rejected / trials, width / trials, flat, contradicted)


def two_errors(share: float, trials: int) -> float:
    """Two standard errors of a share that `trials` trials estimate."""
    return 2 * math.sqrt(share * (1 - share) / trials)


@pytest.mark.parametrize("spread", [ALIKE, DIFFERENT], ids=["alike", "different"])
@pytest.mark.parametrize("accuracy", ACCURACIES)
@pytest.mark.parametrize("users", USERS)
def test_a_nominal_95_percent_interval_holds_the_truth(users: int, accuracy: float, spread: float) -> None:
    kept = coverage(users, accuracy, spread, TRIALS, RESAMPLES, seed=71_000 + users)
    assert kept.covered >= 0.92 - two_errors(0.92, TRIALS), kept
    assert kept.flat == 0, kept
    assert kept.outside == 0, kept


@pytest.mark.parametrize("accuracy", ACCURACIES)
@pytest.mark.parametrize("users", USERS)
def test_the_paired_test_keeps_its_level_with_users_who_differ(users: int, accuracy: float) -> None:
    kept = rejections(users, accuracy, DIFFERENT, TRIALS, RESAMPLES, seed=83_000 + users)
    assert 1 - kept.covered <= 0.07 + two_errors(0.07, TRIALS), kept
    assert kept.flat == 0, kept


@pytest.mark.parametrize("accuracy", ACCURACIES)
def test_intervals_of_many_users_are_not_wide_for_safety(accuracy: float) -> None:
    """An interval from 0 to 1 always holds the truth: at 131 users the width is near that of the sampling error."""
    sample = sample_one(131, accuracy, DIFFERENT, 2000, seed=97)
    error = float((sample.right.sum(axis=1) / sample.judged.sum(axis=1)).std())
    kept = coverage(131, accuracy, DIFFERENT, 50, RESAMPLES, seed=98)
    assert kept.width <= 1.5 * 2 * 1.96 * error


def test_the_paired_test_finds_a_large_gain() -> None:
    """0.6 against about 0.8 with 131 users."""
    kept = rejections(131, 0.6, DIFFERENT, 50, RESAMPLES, seed=99, gain=1.2)
    assert 1 - kept.covered >= 0.9
