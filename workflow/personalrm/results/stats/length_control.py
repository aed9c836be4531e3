"""The win rate of a system whose answers would be as long as those that they are compared with."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from personalrm.core.lazy import special
from personalrm.methods.logistic import posterior
from personalrm.results.stats.statistics import CONFIDENCE, Interval

PRIOR_SD = (4.0, 2.0)
"""Standard deviations of the priors of intercept and slope. They hardly matter but where a few pairs all agree, or
length tells all wins from all losses, and there is no finite estimate without them."""


def length_controlled(wins: ArrayLike, longer_by: ArrayLike) -> Interval:
    """Win rate at equal length: sigmoid(a) of the logistic regression P(win) = sigmoid(a + b d / s).

    d is the length of the answer minus that of its rival, and s the root of the mean of d^2 over the pairs; s = 1 where
    all lengths are equal. a and b have Gaussian priors around 0 (`PRIOR_SD`); the bounds are those of a by Laplace's
    approximation, pairs as independent. The idea is that of length-controlled AlpacaEval (Dubois et al. 2024), without
    its terms of models and of instructions. nan without pairs.

    Args:
        wins: (n,), 1 for a win and 0 for a loss, without ties.
        longer_by: (n,), d in any unit.
    """
    won, distance = np.asarray(wins, dtype=np.float64), np.asarray(longer_by, dtype=np.float64)
    if won.size == 0:
        return Interval(float("nan"), float("nan"), float("nan"))
    scale = float(np.sqrt(np.mean(distance**2))) or 1.0
    features = np.stack([np.ones_like(distance), distance / scale], axis=1)
    variance = np.square(PRIOR_SD)
    # The regression takes all labels as positive: a loss is a win of the rival.
    found = posterior(((2 * won - 1)[:, None] * features)[None], np.zeros(2), variance)
    mean = float(found.mean[0, 0])
    deviation = float(np.sqrt(max(0.0, variance[0] - float((found.taught[0, :, 0] ** 2).sum()))))
    half = float(special.ndtri((1 + CONFIDENCE) / 2)) * deviation
    return Interval(float(special.expit(mean)), float(special.expit(mean - half)), float(special.expit(mean + half)))
