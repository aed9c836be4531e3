"""Bayesian logistic regression without intercept on differences of the chosen and the rejected side of votes.

Each vote has a row x of features, those of what was chosen minus those of what was rejected, and the likelihood
sigmoid(x·w): all labels are positive. The prior of the weights w is Gaussian with a diagonal covariance. The posterior
is Laplace's: a Gaussian at the mode, which Newton's method finds (Rasmussen and Williams 2006, section 3.4, with the
prior mean as an offset). With no more votes than features the work is done in the space of the votes, else in that of
the features; both give the same numbers. A first axis is that of users, who do not affect each other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, NamedTuple

from personalrm.core.lazy import Array, np, special

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Places = NDArray[np.intp]

DIGITS = 6
"""Decimals of weights and log-odds: the last bits may differ between machines."""
_TOLERANCE = 1e-10
"""Of the last improvement of the log posterior density."""
_MOST_STEPS = 100


class Posterior(NamedTuple):
    """Laplace's approximation for each of U users with n votes and d features.

    Attributes:
        mean: of the weights, (U, d).
        taught: (U, min(n, d), d). The covariance of the weights is diag(prior variance) minus the sum of the outer
            products of these rows: what the votes have taught.
        latent: log-odds of each vote at the mode, (U, n).
        spread: posterior variance of these log-odds, (U, n).
        left_out: log-loss of each vote, predicted from the user's other conversations, (U, n).
        evidence: log marginal likelihood of the votes of each user, (U,).
    """

    mean: Array
    taught: Array
    latent: Array
    spread: Array
    left_out: Array
    evidence: Array


def rounded(values: Array) -> Array:
    """The values with `DIGITS` decimals, and no negative zero."""
    found: Array = np.round(values, DIGITS) + 0.0
    return found


def predictive(mean: Array, variance: Array) -> Array:
    """Log-odds of a vote whose log-odds have a Gaussian distribution (MacKay 1992: kappa times the mean)."""
    found: Array = mean / np.sqrt(1 + np.pi * variance / 8)
    return found


def log_loss(log_odds: Array) -> Array:
    """-log P of votes that have these log-odds."""
    found: Array = np.logaddexp(0, -log_odds)
    return found


def posterior(
    rows: Array, mean: Array, variance: Array, counts: Array | None = None, conversations: Places | None = None
) -> Posterior:
    """The posterior of the weights of each user.

    Args:
        rows: features of the votes, (U, n, d).
        mean: of the prior, (d,).
        variance: of the prior, (d,), none negative.
        counts: how much each vote counts, (U, n), none negative; by default 1. A vote that counts 0 changes nothing,
            so that users with fewer votes are padded with any rows.
        conversations: of each vote the place of the first one of its conversation, (U, n); by default each vote has a
            conversation of its own.

    The log density is strictly concave where the variance is positive, so that the mode is unique and finite, whatever
    the votes. The log-loss of a left-out vote is that of the cavity, from which all votes of its conversation are taken
    at once: one Newton step from the mode of all votes, whose error grows with the influence of the votes that are
    taken out (Vehtari et al. 2016, section 3.2).
    """
    scaled = rows * np.sqrt(variance)
    offset = rows @ mean
    weight = np.ones(offset.shape) if counts is None else counts
    dual = rows.shape[1] <= rows.shape[2]
    # The unit prior of z, where w = mean + sqrt(variance) z, and in the space of votes z = scaled.T a.
    basis = scaled @ scaled.swapaxes(1, 2) if dual else scaled
    latent, at = _mode(basis, offset, weight, dual=dual)
    sure = _sigmoid(latent)
    slope, curve = weight * (1 - sure), weight * sure * (1 - sure)
    root = np.sqrt(curve)[..., None]
    if dual:
        inner = np.eye(rows.shape[1]) + root * basis * root.swapaxes(1, 2)
        factor = np.linalg.cholesky(inner)
        unit = np.linalg.solve(factor, root * scaled)
        deviation = (scaled.swapaxes(1, 2) @ at[..., None])[..., 0]
        log_volume = 2 * np.log(np.diagonal(factor, axis1=1, axis2=2)).sum(axis=1)
    else:
        values, vectors = np.linalg.eigh((root * scaled).swapaxes(1, 2) @ (root * scaled))
        values = np.maximum(values, 0)
        unit = np.sqrt(values / (1 + values))[..., None] * vectors.swapaxes(1, 2)
        deviation = at
        log_volume = np.log1p(values).sum(axis=1)
    through = scaled @ unit.swapaxes(1, 2)
    spread = np.maximum((scaled**2).sum(axis=2) - (through**2).sum(axis=2), 0)
    cavity = spread / (1 - np.minimum(curve * spread, 1 - 1e-9))
    step = cavity * slope
    if conversations is not None:
        for users, places in _shared(conversations):
            taken = (users[:, None], places)
            cavity[taken], step[taken] = _taken_out(scaled[taken], through[taken], curve[taken], slope[taken])
    fit = -(weight * log_loss(latent)).sum(axis=1) - (deviation**2).sum(axis=1) / 2
    return Posterior(
        mean=mean + np.sqrt(variance) * deviation,
        taught=unit * np.sqrt(variance),
        latent=latent,
        spread=spread,
        left_out=log_loss(predictive(latent - step, cavity)),
        evidence=fit - log_volume / 2,
    )


def _shared(conversations: Places) -> Iterator[tuple[Places, Places]]:
    """Conversations of more than one vote, those of one size together: users, (C,), and places of the votes, (C, m)."""
    n = conversations.shape[1]
    names = (conversations + np.arange(len(conversations))[:, None] * n).ravel()
    ordered = np.argsort(names, kind="stable")
    _, starts, sizes = np.unique(names[ordered], return_index=True, return_counts=True)
    for size in np.unique(sizes[sizes > 1]):
        places = ordered[starts[sizes == size][:, None] + np.arange(size)]
        yield places[:, 0] // n, places % n


def _taken_out(scaled: Array, through: Array, curve: Array, slope: Array) -> tuple[Array, Array]:
    """Variance of the log-odds of the m votes of each conversation without all of them, and by how much their mean is
    less, (C, m) each. `scaled` and `through` give the covariance with all votes, as in `posterior`."""
    covariance = scaled @ scaled.swapaxes(1, 2) - through @ through.swapaxes(1, 2)
    right = covariance * np.sqrt(curve)[:, None, :]
    values, vectors = np.linalg.eigh(np.sqrt(curve)[..., None] * right)
    turned = right @ vectors
    grown = turned / (1 - np.minimum(values, 1 - 1e-9))[:, None, :]
    found = covariance + grown @ turned.swapaxes(1, 2)
    return np.maximum(np.diagonal(found, axis1=1, axis2=2), 0), (found @ slope[..., None])[..., 0]


def _sigmoid(values: Array) -> Array:
    found: Array = special.expit(values)
    return found


def _mode(basis: Array, offset: Array, weight: Array, *, dual: bool) -> tuple[Array, Array]:
    """Latent log-odds at the mode, (U, n), and where it is: (U, n) in the space of votes, (U, d) in that of features.

    `basis` is the kernel of the votes, (U, n, n), or their rows, (U, n, d). A step that does not improve the density is
    halved. A user whose density no longer improves stays, so that other users' steps change nothing.
    """

    def density(at: Array, rows: Array, users: Places) -> tuple[Array, Array]:
        moved = (rows @ at[..., None])[..., 0]
        latent = offset[users] + moved
        penalty = (at * (moved if dual else at)).sum(axis=1) / 2
        return latent, -(weight[users] * log_loss(latent)).sum(axis=1) - penalty

    at = np.zeros((len(basis), basis.shape[2]))
    open_users = np.arange(len(basis), dtype=np.intp)
    latent, best = density(at, basis, open_users)
    newton = _newton_dual if dual else _newton_primal
    for _ in range(_MOST_STEPS):
        if not len(open_users):
            break
        rows, here = basis[open_users], at[open_users]
        step = newton(rows, latent[open_users], offset[open_users], weight[open_users], here) - here
        found_latent, found = _shortened(density, rows, here, step, best[open_users], open_users)
        gained = found - best[open_users]
        better = gained > 0
        moved = open_users[better]
        at[moved], latent[moved], best[moved] = (here + step)[better], found_latent[better], found[better]
        open_users = open_users[gained > _TOLERANCE]
    return latent, at


def _shortened(
    density: Callable[[Array, Array, Places], tuple[Array, Array]],
    rows: Array,
    here: Array,
    step: Array,
    best: Array,
    users: Places,
) -> tuple[Array, Array]:
    """Latent log-odds and density after `step`, which is halved in place for users for whom it gains nothing."""
    latent, found = density(here + step, rows, users)
    for _ in range(30):
        short = found < best - _TOLERANCE
        if not short.any():
            break
        step[short] /= 2
        latent[short], found[short] = density((here + step)[short], rows[short], users[short])
    return latent, found


def _newton_dual(kernel: Array, latent: Array, offset: Array, weight: Array, at: Array) -> Array:
    """Where Newton's step leads (Rasmussen and Williams 2006, algorithm 3.1)."""
    del at
    sure = _sigmoid(latent)
    curve = weight * sure * (1 - sure)
    root = np.sqrt(curve)
    target = curve * (latent - offset) + weight * (1 - sure)
    inner = np.eye(kernel.shape[1]) + root[:, :, None] * kernel * root[:, None, :]
    right = root * (kernel @ target[..., None])[..., 0]
    found: Array = target - root * np.linalg.solve(inner, right[..., None])[..., 0]
    return found


def _newton_primal(rows: Array, latent: Array, offset: Array, weight: Array, at: Array) -> Array:
    """Where Newton's step leads."""
    del offset
    sure = _sigmoid(latent)
    curve = weight * sure * (1 - sure)
    across = rows.swapaxes(1, 2)
    inner = np.eye(rows.shape[2]) + across @ (curve[..., None] * rows)
    gradient = (across @ (weight * (1 - sure))[..., None])[..., 0] - at
    found: Array = at + np.linalg.solve(inner, gradient[..., None])[..., 0]
    return found
