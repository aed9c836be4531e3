"""What other users say of a user's weights before the user votes: a Gaussian prior, by empirical Bayes.

With `LEAST_USERS` users or more, the mean of the prior is that of highest posterior density, by penalised
quasi-likelihood (Breslow and Clayton 1993), and the variance that under which each vote is best predicted from the
votes of the user's other conversations: Laplace's marginal likelihood and quasi-likelihood underestimate it where users
have some ten votes. The variance of each feature is drawn to the common one. With fewer users the mean is 0, and the
one variance that of highest marginal likelihood.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

from personalrm.core.lazy import Array, np
from personalrm.core.records import PreferencePair, TastePrior
from personalrm.methods.base import Training
from personalrm.methods.logistic import DIGITS, Posterior, posterior, rounded
from personalrm.methods.taste.features import (
    Scores,
    Votes,
    conversations_of,
    differences,
    entries_of,
    is_scored,
    names_of,
    position_bias,
    sample,
    scales,
)

if TYPE_CHECKING:
    from personalrm.methods.logistic import Places

LEAST_USERS = 20
"""With scored votes, for a mean and variances of their own."""
MOST_USERS = 2000
"""Of whom the prior is learned. More change a variance by less than its error, some 3 %."""
LATENT = (0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0)
"""Variances of the log-odds of a typical pair among which the marginal likelihood chooses."""
TRUST = 3.0
"""The variance of a feature is drawn to the common one as if by so many more observed weights."""
TOGETHER = "conversation"
"""Votes of one are left out together, and count less: another word makes rows of earlier versions again."""
_STEPS = 8
"""Newton steps to the mean that goes with a variance."""
_MOST_CELLS = 2_000_000
"""Numbers in the largest array of a batch of users."""


class Batch(NamedTuple):
    """Users with equally many votes.

    Attributes:
        places: of the users in the list.
        rows: features without nan, (U, n, d).
        counts: how much each vote counts, (U, n).
        conversations: as in `Votes`, (U, n); None where each vote of all users has one of its own.
    """

    places: list[int]
    rows: Array
    counts: Array
    conversations: Places | None

    def posterior(self, mean: Array, variance: Array) -> Posterior:
        """That of each user."""
        return posterior(self.rows, mean, variance, self.counts, self.conversations)


def batches(users: Sequence[Votes]) -> Iterator[Batch]:
    """Users of equally many votes together, as many as memory allows."""
    by_size: dict[int, list[int]] = defaultdict(list)
    for place, one in enumerate(users):
        by_size[len(one.ids)].append(place)
    for size in sorted(by_size):
        largest = max(1, _MOST_CELLS // (max(size, 1) * (size + max(one.rows.shape[1] for one in users[:1]))))
        places = by_size[size]
        for start in range(0, len(places), largest):
            yield _batch(places[start : start + largest], users)


def _batch(places: list[int], users: Sequence[Votes]) -> Batch:
    part = [users[place] for place in places]
    rows = np.nan_to_num(np.stack([one.rows for one in part]))
    counts = np.array([one.counts or (1.0,) * len(one.ids) for one in part]).reshape(rows.shape[:2])
    if not any(one.conversations for one in part):
        return Batch(places, rows, counts, None)
    labels = np.array([one.conversations or range(len(one.ids)) for one in part])
    return Batch(places, rows, counts / design_effect(rows, counts, labels)[:, None], labels)


def design_effect(rows: Array, counts: Array, conversations: Places) -> Array:
    """How many votes of each user say as much as one independent vote, (U,), at least 1.

    Votes of one conversation share answers, or what was said before. The likelihood takes them as independent, so that
    each counts less: by the variance of the score (the gradient of the log-likelihood) of votes of coins, as the sum
    over conversations, divided by that of independent votes (the magnitude adjustment of a composite likelihood,
    Ribatet, Cooley and Davison 2012).
    """
    weighed = rows * counts[..., None]
    together = np.zeros_like(weighed)
    np.add.at(together, (np.arange(len(rows))[:, None], conversations), weighed)
    alone, shared = ((each**2).sum(axis=(1, 2)) for each in (weighed, together))
    found: Array = 1 + np.maximum(0, shared - alone) / np.where(alone > 0, alone, 1)
    return found


def best_variance(users: Sequence[Votes]) -> float:
    """The one variance of all weights, with mean 0, that gives the votes the highest marginal likelihood.

    Of equally good variances it is the smallest, so that votes that say nothing give certain weights of 0.
    """
    zero, tried = np.zeros(users[0].rows.shape[1]), _variances(users)
    scores = [_sum(users, zero, variance, lambda found: found.evidence) for variance in tried]
    return tried[scores.index(max(scores))]


def _variances(users: Sequence[Votes]) -> list[float]:
    """Variances of a weight, in rising order, that give a typical pair log-odds of the variances `LATENT`."""
    size = float(np.mean([(np.nan_to_num(one.rows) ** 2).sum() / len(one.rows) for one in users]))
    return [latent / size for latent in LATENT] if size else [1.0]


def _sum(users: Sequence[Votes], mean: Array, variance: float, part: Callable[[Posterior], Array]) -> float:
    """The sum of a part of the users' posteriors, rounded."""
    wide = np.full(len(mean), variance)
    return round(sum(float(part(batch.posterior(mean, wide)).sum()) for batch in batches(users)), DIGITS)


def empirical_bayes(users: Sequence[Votes]) -> tuple[Array, Array]:
    """Mean and variance of the users' weights, (d,) each.

    For each variance that is tried, the mean is found that goes with it. The mean has a Gaussian prior around 0 with
    the same variance: tastes that users share are as strong, before any vote, as those that tell users apart, and
    features of which the votes say little have a mean near 0.
    """
    found: list[tuple[float, Array, Array]] = []
    for variance in _variances(users):
        mean = np.zeros(users[0].rows.shape[1])
        for _ in range(_STEPS):
            mean, share = _improved(users, mean, variance)
        loss = _sum(users, mean, variance, lambda one: one.left_out)
        found.append((loss, mean, variance * share))
    _, mean, wide = min(found, key=lambda one: one[0])
    return mean, wide


def _improved(users: Sequence[Votes], mean: Array, variance: float) -> tuple[Array, Array]:
    """A better mean, by a Newton step, and the variance of each feature as a share of `variance`.

    The shares are MacKay's: squares of deviations over how many of them the votes determine.
    """
    d = len(mean)
    moved, squares, learned = np.zeros(d), np.zeros(d), np.zeros((d, d))
    for batch in batches(users):
        found = batch.posterior(mean, np.full(d, variance))
        deviation = found.mean - mean
        taught = found.taught.reshape(-1, d) / variance
        moved += deviation.sum(axis=0) / variance
        squares += (deviation**2).sum(axis=0)
        learned += taught.T @ taught
    known = np.diag(learned) * variance
    shared = max(squares.sum(), 1e-9) / max(known.sum(), 1e-9)
    step = np.linalg.solve(learned + np.eye(d) / variance, moved - mean / variance)
    return mean + step, (squares / shared + TRUST) / (known + TRUST)


def prior_of(people: Sequence[tuple[Sequence[PreferencePair], Scores]]) -> TastePrior | None:
    """The prior that the votes of some users give, each with the scores of the pairs; None without any score."""
    votes = [
        (sorted((p for p in pairs if is_scored(entries_of(scores, p))), key=lambda p: p.pair_id), scores)
        for pairs, scores in people
    ]
    votes = [(pairs, scores) for pairs, scores in votes if pairs]
    if not votes:
        return None
    seen: list[Scores] = [{pair.pair_id: scores[pair.pair_id] for pair in pairs} for pairs, scores in votes]
    names = names_of(seen)
    bias = position_bias(seen, names)
    raw = [differences(pairs, scores, names, bias.tolist()) for pairs, scores in votes]
    scale = scales(np.concatenate(raw), names)
    users = [
        Votes(tuple(pair.pair_id for pair in pairs), one / scale, conversations=conversations_of(pairs))
        for (pairs, _), one in zip(votes, raw, strict=True)
    ]
    learned = len(users) >= LEAST_USERS
    if learned:
        mean, variance = empirical_bayes(users)
    else:
        mean, variance = np.zeros(len(names)), np.full(len(names), best_variance(users))
    return TastePrior(
        names=names,
        bias=tuple(bias.tolist()),
        scale=tuple(scale.tolist()),
        mean=tuple(rounded(mean).tolist()),
        variance=tuple(rounded(np.maximum(variance, 10.0**-DIGITS)).tolist()),
        n_users=len(users),
        n_pairs=sum(len(one.ids) for one in users),
        learned=learned,
    )


def fit_prior(training: Training) -> TastePrior | None:
    """The prior that other users give; of more than `MOST_USERS` a part that depends on their ids alone."""
    people = {user.user_id: user for user in training.users if user.pairs}
    chosen = sample(list(people), MOST_USERS)
    return prior_of([(people[name].pairs, training.scores.get(name, {})) for name in chosen])
