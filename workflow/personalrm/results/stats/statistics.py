"""Uncertainty of an accuracy, with users as the unit that varies.

Judgments of one user share a taste, a profile and often a conversation, so they are not independent. Tables show
`share_interval` (of a share) and `paired_cluster_difference` (of two methods): whole users are resampled, and no
interval is narrower than what so few judgments leave open (`plus_four`). `cluster_bootstrap` is the resampling alone;
the paper's interval is `exact_statistics.independent_interval`. Intervals are of 95 %. All values are fractions (0 to
1), not percent. Arrays of counts are (users,) or (users, draws); users without judgments are left out. Shapes that
differ, and negative or non-finite counts, raise ValueError. Every function is pure: a seed, never a clock or global
state, decides the resamples.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from personalrm.core.lazy import special

Floats = NDArray[np.float64]

CONFIDENCE = 0.95
CELLS_PER_BLOCK = 2_000_000
"""Resampled user-cells held in memory at a time (about 16 MB an array)."""
MANY_USERS = 500
"""Of more users a resample costs as much as there are distinct counts among them, and not as there are users."""
FEW_USERS = 20
"""With fewer users the judgments of one pair (two orders, several draws) count as one judgment (our choice): so few
users cannot show that the two orders vary independently of each other."""


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


class Spread(NamedTuple):
    """A mean with its standard error and the degrees of freedom of that error (infinite where none is estimated).

    `shrunk` is what a true value is multiplied by in `mean`: 1 without added units.
    """

    mean: float
    error: float
    freedom: float
    shrunk: float

    @property
    def bounds(self) -> tuple[float, float]:
        """Ends of the interval by Student's t."""
        level = (1 + CONFIDENCE) / 2
        half = (
            float(special.ndtri(level) if np.isinf(self.freedom) else special.stdtrit(self.freedom, level)) * self.error
        )
        return self.mean - half, self.mean + half

    @property
    def p_value(self) -> float:
        """Two-sided p-value of a mean of 0."""
        if self.error == 0:
            return 1.0 if self.mean == 0 else 0.0
        score = -abs(self.mean) / self.error
        return float(2 * (special.ndtr(score) if np.isinf(self.freedom) else special.stdtr(self.freedom, score)))


def expanded_level(level: float, n_users: int) -> float:
    """The tail of the resamples outside a percentile interval that is to have the tail `level`.

    Plain percentiles of G resampled users are too narrow, by sqrt((G - 1) / G) and by the normal's ratio to Student's t
    (Hesterberg 2015, "What Teachers Should Know About the Bootstrap", sec. 3.4: the expanded percentile interval): 30
    users were covered in 92.8 % of 2,000 simulated runs of a nominal 95 %, with this level in 94.3 %.
    """
    return float(special.ndtr(-np.sqrt(n_users / (n_users - 1)) * special.stdtrit(n_users - 1, 1 - level)))


def unexpanded_p(p_value: float, n_users: int) -> float:
    """The two-sided p-value that belongs to a share of resamples: below 0.05 as the expanded 95 % interval leaves 0."""
    return float(2 * special.stdtr(n_users - 1, special.ndtri(p_value / 2) / np.sqrt(n_users / (n_users - 1))))


def sign_floor(n_users: int) -> float:
    """The smallest two-sided p-value that the signs of so many users' differences can give: 2 / 2^users.

    The exact sign-flip test cannot go below it. It is at least 0.05 for five users or fewer.
    """
    return min(1.0, 2.0 ** (1 - n_users))


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


def _judged_draws(numerators: ArrayLike, denominators: ArrayLike) -> tuple[Floats, Floats, Floats]:
    """Both as (users, draws) arrays without empty draws, and the draws' judgments."""
    top, bottom = _user_by_draw(numerators, denominators)
    totals = bottom.sum(axis=0)
    return top[:, totals > 0], bottom[:, totals > 0], totals[totals > 0]


def _estimate(top: Floats, bottom: Floats) -> float:
    return float(mean_ratio(top.sum(axis=0), bottom.sum(axis=0)))


def mean_ratio(top: Floats, bottom: Floats) -> Floats:
    """Accuracy: mean over draws (last axis) of top / bottom; draws without judgments are left out, nan if all are."""
    present = bottom > 0
    ratios = np.divide(top, bottom, out=np.zeros_like(top), where=present)
    n_draws = present.sum(axis=-1)
    total: Floats = ratios.sum(axis=-1)
    means: Floats = np.divide(total, n_draws, out=np.full_like(total, np.nan), where=n_draws > 0)
    return means


def _times_drawn(n_users: int, groups: NDArray[np.int64] | None, n_resamples: int, seed: int) -> Iterator[Floats]:
    """How often each user, or each group of so many users, is in a resample; blocks of (resamples, users)."""
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
    numerators: ArrayLike, denominators: ArrayLike, *, seed: int, n_resamples: int = 9999
) -> Interval:
    """Interval of a ratio of sums (micro accuracy) from a bootstrap that resamples users.

    The statistic is mean over draws d of sum_u numerators[u, d] / sum_u denominators[u, d]. A resample
    draws as many users as there are, with replacement, each with all judgments of all draws; users of
    unequal size keep their weight. The bounds are quantiles of the resampled statistic, at levels that are wider for
    few users (`expanded_level`). Our choice; the paper treats judgments as independent.

    With one user the variation between users is unknown: the bounds are nan. Where all users agree exactly,
    the bounds equal the estimate: tables show `share_interval`, which has a width there.
    """
    return _bootstrapped(numerators, denominators, seed, n_resamples)[0]


def _bootstrapped(
    numerators: ArrayLike, denominators: ArrayLike, seed: int, n_resamples: int
) -> tuple[Interval, Floats]:
    """The interval of `cluster_bootstrap`, and the resampled statistics that it rests on (none below two users)."""
    if n_resamples < 1:
        raise ValueError(f"n_resamples {n_resamples} must be positive")
    top, bottom = _user_by_draw(numerators, denominators)
    estimate = _estimate(top, bottom)
    if len(top) < 2:
        return Interval(estimate, np.nan, np.nan), np.array([])
    resampled = _bootstrap_ratios(top, bottom, n_resamples, seed)
    tail = expanded_level((1 - CONFIDENCE) / 2, len(top))
    low, high = np.quantile(resampled, (tail, 1 - tail))
    return Interval(estimate, float(low), float(high)), resampled


def cluster_standard_error(numerators: ArrayLike, denominators: ArrayLike) -> float:
    """Standard error of `cluster_bootstrap`'s statistic with users as clusters, by linearisation (no resampling).

    With r_u = mean over draws of (numerators[u] - ratio * denominators[u]) / sum of denominators, it is
    sqrt(G / (G - 1) * sum_u r_u^2) for G users: the ratio estimator's cluster-robust error (Cochran 1977, sec. 6.4).
    nan below two users.
    """
    top, bottom, totals = _judged_draws(numerators, denominators)
    n_users = len(top)
    if n_users < 2:
        return float("nan")
    residuals = ((top - top.sum(axis=0) / totals * bottom) / totals).mean(axis=1)
    return float(np.sqrt(n_users / (n_users - 1) * (residuals**2).sum()))


def plus_four(
    numerators: ArrayLike, denominators: ArrayLike, units: float | None, ends: tuple[float, float]
) -> tuple[Spread, Spread]:
    """The mean of the users' judgments after z^2 units are added, half of them at each end of what a judgment can be.

    z is the normal quantile of 95 % (z^2 = 3.84, hence "plus four": Agresti and Coull 1998 for a
    share, Agresti and Min 2005 for a paired difference). Judgments that all agree have no variance; with these
    units the interval is about as wide as the exact one of so many units. Two spreads of the same data:

    1. users as clusters: the ratio estimator's error (`cluster_standard_error`) with the added units as
       clusters of their own. Only the users' part is estimated, with users - 1 degrees of freedom: Satterthwaite's rule
       gives those of the sum.
    2. judgments as independent (pairs, for fewer than `FEW_USERS` users): of a share it is Agresti and Coull's
       interval, which holds Wilson's. Of a difference it takes no more discordant judgments than the users' sums show.

    At least two users. `units` (default: as many as judgments of a draw) are independent things that are judged, as
    pairs are; `ends` the smallest and largest value of a judgment: (0, 1) for a share, (-1, 1) for a difference.
    """
    top, bottom, totals = _judged_draws(numerators, denominators)
    ratios, judged, n_users = top.sum(axis=0) / totals, float(totals.mean()), len(top)
    things = judged if units is None else float(units)
    if things <= 0:
        raise ValueError(f"units {units} must be positive")
    added = float(special.ndtri((1 + CONFIDENCE) / 2)) ** 2 / 2
    low, high = ends

    def moved(unit: float) -> tuple[float, float]:
        n = judged + 2 * added * unit
        return float((ratios.mean() * judged + added * unit * (low + high)) / n), n

    unit = judged / things
    mean, n = moved(unit)
    at = ratios + mean - ratios.mean()
    apart = ((top - at * bottom) / totals).mean(axis=1) * judged
    users = n_users / (n_users - 1) * float((apart**2).sum())
    extra = added * unit**2 * ((high - mean) ** 2 + (low - mean) ** 2)
    freedom = (users + extra) ** 2 / (users**2 / (n_users - 1)) if users > 0 else np.inf
    clustered = Spread(mean, float(np.sqrt(users + extra)) / n, freedom, judged / n)
    unit = unit if n_users < FEW_USERS else min(1.0, unit)
    mean, n = moved(unit)
    size = (float((np.abs(top).sum(axis=0) / totals).mean()) * judged + added * unit * (abs(low) + abs(high))) / n
    return clustered, Spread(mean, float(np.sqrt(max(0.0, size - mean**2) * unit / n)), np.inf, judged / n)


def share_interval(
    numerators: ArrayLike,
    denominators: ArrayLike,
    *,
    seed: int | None = None,
    n_resamples: int = 9999,
    units: float | None = None,
    ends: tuple[float, float] = (0.0, 1.0),
) -> Interval:
    """Interval of a ratio of sums with users as clusters, never narrower than what so few judgments leave open.

    The hull of three intervals: of the bootstrap over users (`cluster_bootstrap`), and of the users' judgments with z^2
    units added, with users as clusters and with judgments as independent (`plus_four`). So judgments that are
    all right, and users who are all equal, have an interval with a width. In `benchmarks/coverage.py` a nominal 95 %
    covers 93 % or more for 4 to 131 users at 50 to 97 % accuracy. Our choice; the paper takes judgments as independent.

    It holds the estimate and stays within `ends`. Bounds are nan for one user: the variation between users is unknown.

    Args:
        numerators: sum of the judgments of each user.
        denominators: judgments of each user.
        seed: seed of the resamples; None: Student's t with users - 1 degrees of freedom in place of the bootstrap, for
            tables of very many rows.
        n_resamples: number of resamples.
        units: number of independent things that are judged: the distinct pairs (two orders of a pair are one). Default:
            as many as judgments of a draw.
        ends: smallest and largest value of a judgment; (-1, 1) for a difference of shares.
    """
    if seed is None:
        top, bottom = _user_by_draw(numerators, denominators)
        half = float(special.stdtrit(len(top) - 1, (1 + CONFIDENCE) / 2)) * cluster_standard_error(top, bottom)
        estimate = _estimate(top, bottom)
        interval = Interval(estimate, estimate - half, estimate + half)
    else:
        interval = cluster_bootstrap(numerators, denominators, seed=seed, n_resamples=n_resamples)
    if np.isnan(interval.low):
        return interval
    return _hull(interval, plus_four(numerators, denominators, units, ends), ends)


def in_order_of_values(numerators: Iterable[float], denominators: Iterable[float]) -> tuple[list[float], list[float]]:
    """Sums and counts of users, in the order of these numbers. A bootstrap draws users by their place: in this order,
    other names of users give the same interval.

    >>> in_order_of_values([2, 1, 2], [3, 4, 2])
    ([1, 2, 2], [4, 2, 3])
    """
    users = sorted(zip(numerators, denominators, strict=True))
    return [top for top, _ in users], [bottom for _, bottom in users]


def _hull(interval: Interval, spreads: Sequence[Spread], ends: tuple[float, float]) -> Interval:
    """The widest of the bounds, within the ends of the scale and around the estimate."""
    lows, highs = zip(interval[1:], *(spread.bounds for spread in spreads), strict=True)
    low = max(ends[0], min(interval.estimate, *lows))
    high = min(ends[1], max(interval.estimate, *highs))
    return Interval(interval.estimate, low, high)


def paired_cluster_difference(
    first: ArrayLike,
    second: ArrayLike,
    denominators: ArrayLike,
    *,
    seed: int,
    n_resamples: int = 9999,
    units: float | None = None,
) -> Difference:
    """Difference of two methods' accuracies on the same pairs, first minus second, resampling users.

    Estimate: mean over draws of sum_u (first - second) / sum_u denominators. Both methods share each resample, so what
    makes a user easy or hard for both cancels. The bounds are the hull of percentiles of the resampled difference D*
    and of the differences with z^2 units added (`plus_four`), so that users whose differences are all equal
    have an interval with a width.

    The p-value is the largest of those of the hull's parts, and never below `sign_floor`; p < 0.05 and a 95 %
    interval without 0 are one thing. Of the resamples it is
    min(1, 2 (1 + min(#{D* <= 0}, #{D* >= 0})) / (n_resamples + 1)), with the allowance for few users (`unexpanded_p`).
    Five users who all gain are one chance in 16: with five or fewer every 95 % interval holds 0.

    `first` and `second` are right judgments of the two methods on the same pairs (where they give different numbers of
    verdicts for a pair, mean correctness by pair, and `denominators` counts pairs). `units` as in `share_interval`.
    """
    gain = np.asarray(first, dtype=np.float64) - np.asarray(second, dtype=np.float64)
    interval, resampled = _bootstrapped(gain, denominators, seed, n_resamples)
    if np.isnan(interval.low):
        return Difference(*interval, np.nan)
    extreme = min(int((resampled <= 0).sum()), int((resampled >= 0).sum()))
    share = min(1.0, 2 * (1 + extreme) / (n_resamples + 1))
    n_users = len(_user_by_draw(gain, denominators)[0])
    spreads = plus_four(gain, denominators, units, (-1.0, 1.0))
    hull = _hull(interval, spreads, (-1.0, 1.0))
    p_value = max(unexpanded_p(share, n_users), sign_floor(n_users), *(spread.p_value for spread in spreads))
    # Bounds and p-value say the same, also where a quantile lies between two resamples.
    level = round(1 - CONFIDENCE, 12)
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
    weights = bottom.sum(axis=1) ** 2
    freedom = max(1.0, float(weights.sum() ** 2 / (weights**2).sum()) - 1)
    plain = Spread(_estimate(top, bottom), cluster_standard_error(top, bottom), freedom, 1.0)
    return [plain, *plus_four(gain, denominators, units, (-1.0, 1.0))]


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down adjustment (Holm 1979): comparisons below 0.05 after it hold together at 5 %.

    The i-th smallest of m becomes max over j <= i of min(1, (m - j + 1) p_j). A nan (a comparison that could
    not be made) stays nan and does not count. Order of the input is kept.

    Raises:
        ValueError: for a value outside [0, 1].
    """
    values = np.array(p_values, dtype=np.float64)
    (made,) = np.nonzero(~np.isnan(values))
    if ((values[made] < 0) | (values[made] > 1)).any():
        raise ValueError("p-values must lie in [0, 1]")
    ascending = made[np.argsort(values[made], kind="stable")]
    steps = np.arange(len(made), 0, -1)
    values[ascending] = np.minimum(1.0, np.maximum.accumulate(steps * values[ascending]))
    return [float(value) for value in values]
