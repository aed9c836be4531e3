"""Uncertainty of an accuracy, with users as the unit that varies.

Judgments of one user share a taste, a profile and often a conversation, so they are not independent. Tables show
`share_interval` (of a share) and `paired_cluster_difference` (of two methods): whole users are resampled, and no
interval is narrower than what so few judgments leave open (`few_users.plus_four`). `cluster_bootstrap` is the
resampling alone; `independent_interval` is the paper's. All values are fractions (0 to 1), not percent. Every
function is pure: a seed, never a clock or global state, decides the resamples.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import stdtrit

from personalrm.results.stats.few_users import Spread, expanded_level, plus_four, sign_floor, unexpanded_p

Floats = NDArray[np.float64]

CELLS_PER_BLOCK = 2_000_000
"""Resampled user-cells held in memory at a time (about 16 MB an array)."""
MANY_USERS = 500
"""Of more users a resample costs as much as there are distinct counts among them, and not as there are users."""


class Interval(NamedTuple):
    """An estimate with its bounds, all fractions. Bounds are nan where no interval is defined."""

    estimate: float
    low: float
    high: float


class Difference(NamedTuple):
    """A paired difference (first minus second) with bounds and a two-sided p-value; nan where undefined."""

    estimate: float
    low: float
    high: float
    p_value: float


def _user_by_draw(numerators: ArrayLike, denominators: ArrayLike) -> tuple[Floats, Floats]:
    """Both inputs as (users, draws) arrays, without users who have no judgment at all."""
    top = np.asarray(numerators, dtype=np.float64)
    bottom = np.asarray(denominators, dtype=np.float64)
    if top.shape != bottom.shape or top.ndim not in (1, 2):
        raise ValueError(
            f"numerators {top.shape} and denominators {bottom.shape} must both be (users,) or (users, draws)"
        )
    if not (np.isfinite(top).all() and np.isfinite(bottom).all() and (bottom >= 0).all()):
        raise ValueError("numerators and denominators must be finite, denominators not negative")
    if top.ndim == 1:
        top, bottom = top[:, None], bottom[:, None]
    kept = bottom.sum(axis=1) > 0
    return top[kept], bottom[kept]


def mean_ratio(top: Floats, bottom: Floats) -> Floats:
    """Accuracy: mean over draws (last axis) of top / bottom; draws without judgments are left out, nan if all are."""
    present = bottom > 0
    ratios = np.divide(top, bottom, out=np.zeros_like(top), where=present)
    n_draws = present.sum(axis=-1)
    total: Floats = ratios.sum(axis=-1)
    means: Floats = np.divide(total, n_draws, out=np.full_like(total, np.nan), where=n_draws > 0)
    return means


def _times_drawn(n_users: int, groups: NDArray[np.int64] | None, n_resamples: int, seed: int) -> Iterator[Floats]:
    """How often each user, or each group of so many users, stands in a resample; blocks of (resamples, users)."""
    generator = np.random.default_rng(seed)
    width = n_users if groups is None else len(groups)
    rows = max(1, CELLS_PER_BLOCK // width)
    for start in range(0, n_resamples, rows):
        size = min(rows, n_resamples - start)
        if groups is not None:
            yield generator.multinomial(n_users, groups / n_users, size=size).astype(np.float64)
            continue
        cells = generator.integers(0, n_users, size=(size, n_users)) + n_users * np.arange(size)[:, None]
        yield np.bincount(cells.ravel(), minlength=size * n_users).reshape(size, n_users).astype(np.float64)


def _bootstrap_ratios(top: Floats, bottom: Floats, n_resamples: int, seed: int) -> Floats:
    """Statistic of every resample of users (each user with all draws); shape (n_resamples,).

    How often a resample holds each user, times the users' counts: exact for whole numbers, and three times as fast
    as adding the users up. Above `MANY_USERS` those with equal counts are drawn together, which is the same in law.
    """
    (n_users, n_draws), held, groups = top.shape, np.concatenate([top, bottom], axis=1), None
    if n_users > MANY_USERS:
        held, groups = np.unique(held, axis=0, return_counts=True)
    sums = np.concatenate([times @ held for times in _times_drawn(n_users, groups, n_resamples, seed)])
    return mean_ratio(sums[:, :n_draws], sums[:, n_draws:])


def cluster_bootstrap(
    numerators: ArrayLike,
    denominators: ArrayLike,
    *,
    seed: int,
    n_resamples: int = 9999,
    confidence: float = 0.95,
) -> Interval:
    """Interval of a ratio of sums (micro accuracy) from a bootstrap that resamples users.

    The statistic is mean over draws d of sum_u numerators[u, d] / sum_u denominators[u, d]. A resample
    draws as many users as there are, with replacement, each with all judgments of all draws; users of
    unequal size keep their weight. The bounds are quantiles of the resampled statistic, at levels that are wider for
    few users (`expanded_level`).
    Our choice; the paper treats judgments as independent.

    With one user the variation between users is unknown: the bounds are nan. Where all users agree exactly,
    the bounds equal the estimate: tables show `share_interval`, which has a width there.

    Args:
        numerators: correct judgments of each user, (users,) or (users, draws).
        denominators: judgments of each user, same shape; users without any are left out.
        seed: seed of the resamples; equal seeds give equal bounds.
        n_resamples: number of resamples.
        confidence: nominal coverage.

    Raises:
        ValueError: for shapes that differ, negative or non-finite numbers, or settings out of range.
    """
    return _bootstrapped(numerators, denominators, seed, n_resamples, confidence)[0]


def _bootstrapped(
    numerators: ArrayLike,
    denominators: ArrayLike,
    seed: int,
    n_resamples: int,
    confidence: float,
) -> tuple[Interval, Floats]:
    """The interval of `cluster_bootstrap`, and the resampled statistics that it rests on (none below two users)."""
    if not 0 < confidence < 1 or n_resamples < 1:
        raise ValueError(f"confidence {confidence} must be in (0, 1) and n_resamples {n_resamples} positive")
    top, bottom = _user_by_draw(numerators, denominators)
    if len(top) == 0:
        return Interval(np.nan, np.nan, np.nan), np.array([])
    estimate = float(mean_ratio(top.sum(axis=0), bottom.sum(axis=0)))
    if len(top) == 1:
        return Interval(estimate, np.nan, np.nan), np.array([])
    resampled = _bootstrap_ratios(top, bottom, n_resamples, seed)
    tail = expanded_level((1 - confidence) / 2, len(top))
    low, high = np.quantile(resampled, (tail, 1 - tail))
    return Interval(estimate, float(low), float(high)), resampled


def cluster_standard_error(numerators: ArrayLike, denominators: ArrayLike) -> float:
    """Standard error of `cluster_bootstrap`'s statistic with users as clusters, by linearisation (no resampling).

    With r_u = mean over draws of (numerators[u] - ratio * denominators[u]) / sum of denominators, it is
    sqrt(G / (G - 1) * sum_u r_u^2) for G users: the ratio estimator's cluster-robust error (Cochran 1977, sec. 6.4).
    nan below two users, of whom nothing can be told.

    Raises:
        ValueError: as in `cluster_bootstrap`.
    """
    top, bottom = _user_by_draw(numerators, denominators)
    totals = bottom.sum(axis=0)
    top, bottom, totals = top[:, totals > 0], bottom[:, totals > 0], totals[totals > 0]
    n_users = len(top)
    if n_users < 2:
        return float("nan")
    residuals = ((top - top.sum(axis=0) / totals * bottom) / totals).mean(axis=1)
    return float(np.sqrt(n_users / (n_users - 1) * (residuals**2).sum()))


def share_interval(
    numerators: ArrayLike,
    denominators: ArrayLike,
    *,
    seed: int | None = None,
    n_resamples: int = 9999,
    confidence: float = 0.95,
    units: float | None = None,
    ends: tuple[float, float] = (0.0, 1.0),
) -> Interval:
    """Interval of a ratio of sums with users as clusters, never narrower than what so few judgments leave open.

    The hull of three intervals: of the bootstrap over users (`cluster_bootstrap`), and of the users' judgments with z^2
    units added, with users as clusters and with judgments as independent (`few_users.plus_four`). So judgments that are
    all right, and users who are all equal, have an interval with a width. In `benchmarks/coverage.py` a nominal 95 %
    covers 93 % or more for 4 to 131 users at 50 to 97 % accuracy. Our choice; the paper takes judgments as independent.

    It holds the estimate and stays within `ends`. Bounds are nan for one user: the variation between users is unknown.

    Args:
        numerators: sum of the judgments of each user, (users,) or (users, draws).
        denominators: judgments of each user, same shape; users without any are left out.
        seed: seed of the resamples; None: Student's t with users - 1 degrees of freedom in place of the bootstrap, for
            tables of very many rows.
        n_resamples: number of resamples.
        confidence: nominal coverage.
        units: number of independent things that are judged: the distinct pairs (two orders of a pair are one). Default:
            as many as judgments of a draw.
        ends: smallest and largest value of a judgment; (-1, 1) for a difference of shares.

    Raises:
        ValueError: as in `cluster_bootstrap`.
    """
    if seed is None:
        interval = _linearised(numerators, denominators, confidence)
    else:
        interval = cluster_bootstrap(
            numerators, denominators, seed=seed, n_resamples=n_resamples, confidence=confidence
        )
    if np.isnan(interval.low):
        return interval
    spreads = _plus_four(numerators, denominators, units, ends, confidence)
    return _hull(interval, spreads, ends, confidence)


def _linearised(numerators: ArrayLike, denominators: ArrayLike, confidence: float) -> Interval:
    """Interval from `cluster_standard_error` and Student's t with users - 1 degrees of freedom; nan for one user."""
    top, bottom = _user_by_draw(numerators, denominators)
    estimate = float(mean_ratio(top.sum(axis=0), bottom.sum(axis=0)))
    if len(top) < 2:
        return Interval(estimate, np.nan, np.nan)
    half = float(stdtrit(len(top) - 1, (1 + confidence) / 2)) * cluster_standard_error(top, bottom)
    return Interval(estimate, estimate - half, estimate + half)


def _plus_four(
    numerators: ArrayLike, denominators: ArrayLike, units: float | None, ends: tuple[float, float], confidence: float
) -> tuple[Spread, Spread]:
    """`few_users.plus_four` of checked arrays."""
    top, bottom = _user_by_draw(numerators, denominators)
    judged = bottom.sum(axis=0)
    things = float(judged[judged > 0].mean()) if units is None else float(units)
    if things <= 0:
        raise ValueError(f"units {units} must be positive")
    return plus_four(top, bottom, units=things, ends=ends, confidence=confidence)


def _hull(interval: Interval, spreads: Sequence[Spread], ends: tuple[float, float], confidence: float) -> Interval:
    """The widest of the bounds, within the ends of the scale and around the estimate."""
    lows, highs = zip(interval[1:], *(spread.bounds(confidence) for spread in spreads), strict=True)
    low = max(ends[0], min(interval.estimate, *lows))
    high = min(ends[1], max(interval.estimate, *highs))
    return Interval(interval.estimate, low, high)


def independent_interval(correct: int, n: int, confidence: float = 0.95) -> Interval:
    """The paper's interval: a basic bootstrap over pooled 0/1 judgments, taken as independent.

    The authors call `scipy.stats.bootstrap(method="basic")` with 9,999 resamples, unseeded. The resampled
    count of right judgments is Binomial(n, p) with p = correct / n, so that with ever more resamples the
    bounds are 2p - q(0.975) / n and 2p - q(0.025) / n with q its quantiles: no random numbers are needed. As
    in any basic bootstrap, bounds may leave [0, 1] for few judgments; they are not clipped.

    Published half-widths are single unseeded runs, so they differ from this limit by up to one step of 1 / (2n)
    where a quantile lies between two counts: 322 and 327 right of 568 give the printed 4.05, 352 gives 4.05 here
    while their procedure prints 3.96 (as published) or 4.05 about equally often.

    Raises:
        ValueError: if `correct` is not in 0..n or `confidence` not in (0, 1).
    """
    # Takes a third of a second to import, and the main table alone needs it.
    from scipy.stats import binom

    if not 0 <= correct <= n or not 0 < confidence < 1:
        raise ValueError(f"correct {correct} must be in 0..{n} and confidence {confidence} in (0, 1)")
    if n == 0:
        return Interval(np.nan, np.nan, np.nan)
    share = correct / n
    low_count, high_count = binom.ppf([(1 - confidence) / 2, (1 + confidence) / 2], n, share)
    return Interval(share, 2 * share - float(high_count) / n, 2 * share - float(low_count) / n)


def paired_cluster_difference(
    first: ArrayLike,
    second: ArrayLike,
    denominators: ArrayLike,
    *,
    seed: int,
    n_resamples: int = 9999,
    confidence: float = 0.95,
    units: float | None = None,
) -> Difference:
    """Difference of two methods' accuracies on the same pairs, first minus second, resampling users.

    Estimate: mean over draws of sum_u (first - second) / sum_u denominators. Both methods share each resample, so what
    makes a user easy or hard for both cancels. The bounds are the hull of percentiles of the resampled difference D*
    and of the differences with z^2 units added (`few_users.plus_four`), so that users whose differences are all equal
    have an interval with a width.

    The p-value is the largest of those of the hull's parts, and never below `few_users.sign_floor`; p < 0.05 and a 95 %
    interval without 0 are one thing. Of the resamples it is
    min(1, 2 (1 + min(#{D* <= 0}, #{D* >= 0})) / (n_resamples + 1)), with the allowance for few users (`unexpanded_p`).
    Five users who all gain are one chance in 16: with five or fewer every 95 % interval holds 0.

    Args:
        first: right judgments of the first method by user, (users,) or (users, draws). Where the two methods
            give different numbers of verdicts for a pair, pass mean correctness by pair and count pairs.
        second: the same for the second method, on the same pairs.
        denominators: judgments (or pairs) of each user.
        seed: seed of the resamples.
        n_resamples: number of resamples.
        confidence: nominal coverage.
        units: distinct pairs that are judged, as in `share_interval`.

    Raises:
        ValueError: as in `cluster_bootstrap`.
    """
    gain = np.asarray(first, dtype=np.float64) - np.asarray(second, dtype=np.float64)
    interval, resampled = _bootstrapped(gain, denominators, seed, n_resamples, confidence)
    if np.isnan(interval.low):
        return Difference(*interval, np.nan)
    extreme = min(int((resampled <= 0).sum()), int((resampled >= 0).sum()))
    share = min(1.0, 2 * (1 + extreme) / (n_resamples + 1))
    n_users = len(_user_by_draw(gain, denominators)[0])
    spreads = _plus_four(gain, denominators, units, (-1.0, 1.0), confidence)
    hull = _hull(interval, spreads, (-1.0, 1.0), confidence)
    p_value = max(unexpanded_p(share, n_users), sign_floor(n_users), *(spread.p_value for spread in spreads))
    # Bounds and p-value say the same, also where a quantile lies between two resamples.
    level = round(1 - confidence, 12)
    if p_value >= level:
        hull = Interval(hull.estimate, min(hull.low, 0.0), max(hull.high, 0.0))
    elif hull.low <= 0 <= hull.high:
        p_value = level
    return Difference(*hull, p_value)


def difference_spreads(
    first: ArrayLike, second: ArrayLike, denominators: ArrayLike, *, units: float | None = None
) -> list[Spread]:
    """The errors that the test of `paired_cluster_difference` rests on at 5 %: the clustered one (which the bootstrap
    finds), and those with added units. For how small a difference it can tell from 0.

    The clustered error has as many degrees of freedom as users who count, less one: (sum b^2)^2 / sum b^4 of their
    numbers of judgments b, which is all users where they have equally many (Satterthwaite's rule for sums of squares of
    size b^2). At least two users; the arguments are those of `paired_cluster_difference`.
    """
    gain = np.asarray(first, dtype=np.float64) - np.asarray(second, dtype=np.float64)
    top, bottom = _user_by_draw(gain, denominators)
    estimate = float(mean_ratio(top.sum(axis=0), bottom.sum(axis=0)))
    weights = bottom.sum(axis=1) ** 2
    freedom = max(1.0, float(weights.sum() ** 2 / (weights**2).sum()) - 1)
    plain = Spread(estimate, cluster_standard_error(top, bottom), freedom, 1.0)
    return [plain, *_plus_four(gain, denominators, units, (-1.0, 1.0), 0.95)]


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down adjustment (Holm 1979): comparisons below 0.05 after it hold together at 5 %.

    The i-th smallest of m becomes max over j <= i of min(1, (m - j + 1) p_j). A nan (a comparison that could
    not be made) stays nan and does not count. Order of the input is kept.

    Raises:
        ValueError: for a value outside [0, 1].
    """
    from statsmodels.stats.multitest import multipletests

    values = np.array(p_values, dtype=np.float64)
    made = ~np.isnan(values)
    if ((values[made] < 0) | (values[made] > 1)).any():
        raise ValueError("p-values must lie in [0, 1]")
    if made.any():
        values[made] = multipletests(values[made], method="holm")[1]
    return [float(value) for value in values]
