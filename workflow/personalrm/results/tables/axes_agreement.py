"""How far two descriptions of one person agree on axes, beyond what descriptions of two people agree by chance."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from personalrm.results.stats.statistics import Interval, share_interval
from personalrm.results.verdict_arrays import Floats

Codes = NDArray[np.int64]
UNREAD = -1
"""Code of a tag that could not be read; such axes are left out of a comparison."""


class Agreement(NamedTuple):
    """Shares of axes tagged equal: in two descriptions of one user, in those of two users, and the difference.

    `n_users` have both descriptions; `n_tags` is the number of tags of theirs that were compared.
    """

    n_users: int
    n_tags: int
    own: float
    others: float
    difference: Interval


def equal_shares(first: Codes, second: Codes) -> Floats:
    """(users, users): share of the axes that both can be read on, on which user i's first and user j's second
    description are tagged equal; nan where there is no such axis. Inputs are (users, axes)."""
    read = ((first != UNREAD).astype(np.int64) @ (second != UNREAD).astype(np.int64).T).astype(np.float64)
    equal = np.zeros_like(read)
    # One code after another: memory stays (users, users) whatever the number of axes.
    for code in np.unique(np.concatenate([first.ravel(), second.ravel()])):
        if code != UNREAD:
            equal += (first == code).astype(np.int64) @ (second == code).astype(np.int64).T
    shares: Floats = np.divide(equal, read, out=np.full_like(read, np.nan), where=read > 0)
    return shares


def agreement(pairs: Sequence[tuple[Codes, Codes]], *, seed: int, n_resamples: int) -> Agreement:
    """Agreement of first and second descriptions, each (users, axes), over one or several pairs of descriptions.

    A user without a description has `UNREAD` on all axes. For each user: share of axes tagged equal in both of the
    user's descriptions, less the mean share of the user's descriptions with the other kind of all other users (our
    choice: users weigh alike). Bounds resample users; the other users that each is compared with are not resampled.
    """
    sides = [_own_and_others(first, second) for first, second in pairs]
    own, others = (np.stack(side, axis=1) for side in zip(*sides, strict=True))
    there = ~np.isnan(own)
    if not there.any():
        return Agreement(0, 0, np.nan, np.nan, Interval(np.nan, np.nan, np.nan))
    gain = np.where(there, own - others, 0.0)
    n_tags = sum(
        int(((first != UNREAD) & (second != UNREAD))[kept].sum())
        for (first, second), kept in zip(pairs, there.T, strict=True)
    )
    users = there.astype(np.float64)
    found = share_interval(gain, users, seed=seed, n_resamples=n_resamples, units=n_tags, ends=(-1.0, 1.0))
    used = there.any(axis=0)
    means = [float(np.nanmean(side[:, used], axis=0).mean()) for side in (own, others)]
    return Agreement(int(there.any(axis=1).sum()), n_tags, means[0], means[1], found)


def _own_and_others(first: Codes, second: Codes) -> tuple[Floats, Floats]:
    """For each user: agreement of the user's two descriptions, and its mean with other users'; nan where one lacks."""
    shares = equal_shares(first, second)
    own = np.diag(shares).copy()
    np.fill_diagonal(shares, np.nan)
    both = np.concatenate([shares, shares.T], axis=1)
    there = ~np.isnan(both)
    counts = there.sum(axis=1)
    others = np.divide(np.where(there, both, 0).sum(axis=1), counts, out=np.full_like(own, np.nan), where=counts > 0)
    lacking = np.isnan(own) | np.isnan(others)
    return np.where(lacking, np.nan, own), np.where(lacking, np.nan, others)
