"""Uncertainty that needs no random numbers: intervals of a share of independent things, an exact test over users."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from personalrm.core.lazy import special
from personalrm.results.stats.statistics import CONFIDENCE, Interval


def wilson_interval(count: int, n: int) -> Interval:
    """Wilson's score interval (Wilson 1927) of a share of independent things, such as users; nan for none.

    Raises ValueError if `count` is not in 0..n.
    """
    from scipy.stats import binomtest

    if n == 0 == count:
        return Interval(math.nan, math.nan, math.nan)
    found = binomtest(count, n).proportion_ci(CONFIDENCE, method="wilson")
    return Interval(count / n, float(found.low), float(found.high))


def independent_interval(correct: int, n: int) -> Interval:
    """The paper's interval: a basic bootstrap over pooled 0/1 judgments, taken as independent.

    The authors call `scipy.stats.bootstrap(method="basic")` with 9,999 resamples, unseeded. The resampled
    count of right judgments is Binomial(n, p) with p = correct / n, so that with ever more resamples the
    bounds are 2p - q(0.975) / n and 2p - q(0.025) / n with q its quantiles: no random numbers are needed. As
    in any basic bootstrap, bounds may leave [0, 1] for few judgments; they are not clipped.

    Published half-widths are single unseeded runs, so they differ from this limit by up to one step of 1 / (2n)
    where a quantile lies between two counts: 322 and 327 right of 568 give the printed 4.05, 352 gives 4.05 here
    while their procedure prints 3.96 (as published) or 4.05 about equally often.

    Raises ValueError if `correct` is not in 0..n.
    """
    if not 0 <= correct <= n:
        raise ValueError(f"correct {correct} must be in 0..{n}")
    if n == 0:
        return Interval(np.nan, np.nan, np.nan)
    share = correct / n
    # The quantiles of `scipy.stats.binom`, which takes half a second to import.
    up_to = special.bdtr(np.arange(n + 1), n, share)
    low_count, high_count = np.searchsorted(up_to, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return Interval(share, 2 * share - float(high_count) / n, 2 * share - float(low_count) / n)


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
