"""Uncertainty that needs no random numbers: Wilson's interval of a share, exact tests over users and judgments."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from personalrm.results.stats.statistics import Interval


def wilson_interval(count: int, n: int, confidence: float = 0.95) -> Interval:
    """Wilson's score interval (Wilson 1927) of a share of independent things, such as users; nan for none.

    Raises ValueError if `count` is not in 0..n or `confidence` not in (0, 1).
    """
    from scipy.stats import binomtest

    if n == 0 == count:
        return Interval(math.nan, math.nan, math.nan)
    found = binomtest(count, n).proportion_ci(confidence, method="wilson")
    return Interval(count / n, float(found.low), float(found.high))


def sign_flip_p(differences: Sequence[int]) -> float:
    """Exact two-sided p-value of the sign-flip (permutation) test, users as units; nan without a user.

    `differences` has a whole number for each user: verdicts for the user's own thing less verdicts for the other.
    Null: each user's number is symmetric about 0 and users are independent, as when, within each user, a fair coin had
    decided which of the two is called own. p = P(|sum of randomly signed numbers| >= |sum|) over all 2^users ways to
    sign them, found by convolution, so no way is left out and none is sampled.
    """
    if not differences:
        return math.nan
    sizes = [abs(int(number)) for number in differences]
    total, observed = sum(sizes), abs(sum(map(int, differences)))
    chances = np.zeros(2 * total + 1)
    chances[total] = 1.0
    for size in sizes:
        # No sum so far is further out than what is left of the ends: nothing wraps around.
        chances = (np.roll(chances, size) + np.roll(chances, -size)) / 2
    sums = np.abs(np.arange(-total, total + 1))
    return min(1.0, float(chances[sums >= observed].sum()))
