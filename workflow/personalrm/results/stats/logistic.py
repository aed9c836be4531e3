"""A second opinion on a difference: a logistic model with cluster-robust errors (ours, as the bootstrap is)."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from personalrm.core.lazy import special


class LogOdds(NamedTuple):
    """Log-odds ratio of being right, first method over second, its standard error, and the two-sided p-value."""

    estimate: float
    standard_error: float
    p_value: float


NOTHING = LogOdds(float("nan"), float("nan"), float("nan"))


def cluster_logistic(first: ArrayLike, second: ArrayLike, judged: ArrayLike) -> LogOdds:
    """Logistic model of being right on which method judged, users as clusters.

    With one indicator the maximum-likelihood estimate is the difference of the log-odds, and its sandwich variance (the
    independence working model of Liang and Zeger 1986, with the factor G / (G - 1) for G users) has a closed form:
    the sum of squares of each user's part in it. Draws are pooled. nan for fewer than two users, and where a method is
    always or never right, for then there is no finite estimate.

    Args:
        first: (users,) or (users, draws), judgments that the first method has right.
        second: the same of the second method.
        judged: judgments that both have.
    """
    right, other, total = (_by_user(values) for values in (first, second, judged))
    users = int((total > 0).sum())
    if users < 2:
        return NOTHING
    n = total.sum()
    shares = right.sum() / n, other.sum() / n
    if any(share in (0.0, 1.0) for share in shares):
        return NOTHING
    parts = [
        (hits - share * total) / (n * share * (1 - share)) for hits, share in zip((right, other), shares, strict=True)
    ]
    estimate = float(np.log(shares[0] / (1 - shares[0])) - np.log(shares[1] / (1 - shares[1])))
    error = float(np.sqrt(users / (users - 1) * ((parts[0] - parts[1]) ** 2).sum()))
    if error == 0:
        return LogOdds(estimate, 0.0, float("nan"))
    return LogOdds(estimate, error, float(2 * special.ndtr(-abs(estimate) / error)))


def _by_user(values: ArrayLike) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    array = np.asarray(values, dtype=np.float64)
    return array if array.ndim == 1 else array.sum(axis=1)
