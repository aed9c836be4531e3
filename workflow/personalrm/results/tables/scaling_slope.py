"""How accuracy grows with the number of context pairs, with users as the unit that varies."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from personalrm.results.comparisons import seed_of
from personalrm.results.stats.statistics import share_interval
from personalrm.results.verdict_arrays import Cell, Floats, VerdictArrays

SLOPE_DIGITS = 4


class Slope(NamedTuple):
    """Slope in points per context pair with bounds; users that are judged at every k, and those that are not."""

    estimate: float
    low: float
    high: float
    n_users: int
    left_out: int


def slope_of(
    arrays: VerdictArrays, cells: Sequence[Cell], at: Sequence[Floats], *, seed: int, n_resamples: int
) -> Slope:
    """Slope of accuracy over the number of context pairs, with users as clusters.

    Weighted least squares of the accuracies at each k (all draws of a k together), weights the judgments of a draw, on
    the mean number of context pairs that these judgments rest on: users who have fewer than k pairs count with theirs.
    So users whose accuracy grows by 0.8 points a pair, up to the pairs that they have, have a slope of 0.8, whatever
    k are asked for. Only judgments that every k has enter, so that no k has other users or pairs; the users this leaves
    out are counted. Our choice in place of a mixed model: it assumes no distribution of users, and nothing can fail to
    converge.

    The interval is `statistics.share_interval` of the users' linearised contributions to the slope, given the numbers
    of context pairs: the same small-sample rule as for accuracies, and never narrower than what so few pairs leave
    open. No bounds for one user.

    Args:
        arrays: the cells' arrays.
        cells: one per k. A k that the provider did not answer at all is left out.
        at: for each cell, the number of context pairs of each user of the arrays at that k, (users,).
        seed: seed of the bootstrap.
        n_resamples: its resamples.
    """
    kept = [(cell, sizes) for cell, sizes in zip(cells, at, strict=True) if cell.answered]
    if len(kept) < 2:
        return Slope(np.nan, np.nan, np.nan, 0, 0)
    present = np.stack([(cell.right >= 0).any(axis=0) for cell, _ in kept])
    everywhere = np.asarray(present.all(axis=0))
    sums = [cell.by_user(arrays.user_of, everywhere) for cell, _ in kept]
    top, bottom = (np.stack([pair[side].sum(axis=1) / pair[side].shape[1] for pair in sums], axis=1) for side in (0, 1))
    used = bottom.sum(axis=1) > 0
    n_users = int(used.sum())
    left_out = np.unique(arrays.user_of[present.any(axis=0)]).size - n_users
    nothing = Slope(np.nan, np.nan, np.nan, 0, left_out)
    if not n_users:
        return nothing
    sizes = np.stack([column for _, column in kept], axis=1)[used]
    own_seed = seed_of(seed, "slope", *(part for cell, _ in kept for part in cell.key.names))
    n_pairs = np.unique(arrays.pair_of[everywhere]).size
    found = _slope(top[used], bottom[used], sizes, n_pairs, own_seed, n_resamples)
    if found is None:
        return nothing
    estimate, low, high = (round(100 * value, SLOPE_DIGITS) for value in found)
    return Slope(estimate, low, high, n_users, left_out)


def _slope(
    top: Floats, bottom: Floats, sizes: Floats, n_pairs: int, seed: int, n_resamples: int
) -> tuple[float, float, float] | None:
    """Slope and bounds, fractions per pair; None where all k rest on equally many pairs. Arrays: (users, k)."""
    weights = bottom.sum(axis=0)
    x, y = (bottom * sizes).sum(axis=0) / weights, top.sum(axis=0) / weights
    if np.ptp(x) < 1e-9:
        return None
    deviation = x - (weights * x).sum() / weights.sum()
    gains = deviation * weights.mean() / (weights * deviation**2).sum()
    slope = float((gains * top).sum() / weights.mean())
    line = (weights * (y - slope * x)).sum() / weights.sum() + slope * sizes
    # A user's part of the slope: what it would be if all were like this user. They add up to the slope.
    judged = bottom.mean(axis=1)
    parts = slope * judged + ((top - bottom * line) * gains).sum(axis=1)
    # The slope of pairs that are all wrong at few and right at many context pairs: the largest there can be.
    largest = float(gains[gains > 0].sum())
    found = share_interval(parts / largest, judged, seed=seed, n_resamples=n_resamples, units=n_pairs, ends=(-1.0, 1.0))
    return slope, largest * found.low, largest * found.high
