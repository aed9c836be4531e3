"""How accuracy grows with the number of context pairs, with users as the unit that varies."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from personalrm.results.comparison_sheets import Cell, Floats, Sheet
from personalrm.results.comparisons import seed_of

SLOPE_DIGITS = 4
ROWS_PER_BLOCK = 512
"""Resamples held in memory at a time."""


class Slope(NamedTuple):
    """Slope in points per context pair with bounds; users that are judged at every k, and those that are not."""

    estimate: float
    low: float
    high: float
    n_users: int
    left_out: int


def slope_of(sheet: Sheet, cells: Sequence[Cell], at: Sequence[float], *, seed: int, n_resamples: int) -> Slope:
    """Slope of accuracy over the number of context pairs, with a bootstrap that resamples users.

    Weighted least squares of the accuracies at each k (all draws of a k together) on `at`, weights the judgments of a
    draw: the slope of a linear probability model of single judgments, in which the draws of a pair share its weight.
    Only judgments that every k has enter, so that no k has other users or pairs; the users this leaves out are counted.
    A resample takes whole users with all their k. Percentile interval. Our choice beside a mixed model: it assumes no
    distribution of users, and nothing can fail to converge.

    Args:
        sheet: the cells' sheet.
        cells: one a k. A k that the provider did not answer at all, or has no place in `at`, is left out.
        at: number of context pairs of each cell.
        seed: seed of the bootstrap.
        n_resamples: its resamples.
    """
    kept = [(cell, x) for cell, x in zip(cells, at, strict=True) if cell.answered and not np.isnan(x)]
    x = np.array([x for _, x in kept], dtype=np.float64)
    if np.unique(x).size < 2:
        return Slope(np.nan, np.nan, np.nan, 0, 0)
    present = np.stack([(cell.right >= 0).any(axis=0) for cell, _ in kept])
    everywhere = np.asarray(present.all(axis=0))
    sums = [cell.by_user(sheet.user_of, everywhere) for cell, _ in kept]
    top, bottom = (np.stack([pair[side].sum(axis=1) / pair[side].shape[1] for pair in sums], axis=1) for side in (0, 1))
    used = bottom.sum(axis=1) > 0
    n_users = int(used.sum())
    left_out = np.unique(sheet.user_of[present.any(axis=0)]).size - n_users
    if not n_users:
        return Slope(np.nan, np.nan, np.nan, 0, left_out)
    top, bottom = top[used], bottom[used]
    estimate = float(_slopes(top.sum(axis=0), bottom.sum(axis=0), x))
    low = high = np.nan
    if n_users > 1:
        own_seed = seed_of(seed, "slope", *(part for cell, _ in kept for part in cell.key))
        resampled = _resampled_slopes(top, bottom, x, own_seed, n_resamples)
        low, high = (float(bound) for bound in np.quantile(resampled, (0.025, 0.975)))
    estimate, low, high = (round(100 * value, SLOPE_DIGITS) for value in (estimate, low, high))
    return Slope(estimate, low, high, n_users, left_out)


def _slopes(top: Floats, bottom: Floats, x: Floats) -> Floats:
    """Weighted least squares slope of top / bottom over x, weights `bottom`, along the last axis."""
    weighted_mean = (bottom * x).sum(axis=-1, keepdims=True) / bottom.sum(axis=-1, keepdims=True)
    deviation = x - weighted_mean
    slopes: Floats = (deviation * top).sum(axis=-1) / (bottom * deviation**2).sum(axis=-1)
    return slopes


def _resampled_slopes(top: Floats, bottom: Floats, x: Floats, seed: int, n_resamples: int) -> Floats:
    """Slope of every resample of users; how often each user is drawn times what the user has, block by block."""
    generator = np.random.default_rng(seed)
    n_users, n_ks = top.shape
    both = np.concatenate([top, bottom], axis=1)
    slopes: list[Floats] = []
    for start in range(0, n_resamples, ROWS_PER_BLOCK):
        rows = min(ROWS_PER_BLOCK, n_resamples - start)
        drawn: NDArray[np.int64] = generator.integers(0, n_users, size=(rows, n_users))
        cells = drawn + n_users * np.arange(rows)[:, None]
        times = np.bincount(cells.ravel(), minlength=rows * n_users).reshape(rows, n_users)
        sums = times.astype(np.float64) @ both
        slopes.append(_slopes(sums[:, :n_ks], sums[:, n_ks:], x))
    return np.concatenate(slopes)
