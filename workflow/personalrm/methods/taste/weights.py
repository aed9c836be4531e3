"""A user's own weights, whether the votes are evidence of them, and whether they depend on the kind of question.

There are two hypotheses: the user's weights are those of nobody in particular, or the user's own, drawn from the prior.
The former are the mean of other users where these taught a prior, else what the judge without a user prefers. The
weights are averaged over both by their probability given the votes (Bayesian model averaging, Hoeting et al. 1999). The
evidence gate says whether the user has a taste of their own, of which a persona may be made.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from personalrm.core.lazy import Array, np, special
from personalrm.core.records import TastePrior
from personalrm.core.tastes import Taste, TasteWeights
from personalrm.judge.attribute_bank import DEFAULT
from personalrm.methods.logistic import DIGITS, Posterior, log_loss, posterior, predictive, rounded
from personalrm.methods.taste.features import Votes
from personalrm.methods.taste.prior import Batch, batches

if TYPE_CHECKING:
    from numpy.typing import NDArray


AVERAGED = ("mean of other users", "log-odds of the judge without a user")
"""What own weights are averaged with, the first that is known: another list makes rows of earlier versions again."""
MARGIN = 0.18
"""Of the evidence gate. A user has a taste of their own if the log-loss of the votes, each predicted from other
conversations, is lower than without one by MARGIN s / (1 + s) nats per vote, where s is the prior variance of the
log-odds of these votes; beyond `ENOUGH` independent votes by as much in all as with `ENOUGH`. What chance gains grows
with s in this way, and less than the number of votes. The log-loss must not be above that of a coin either: random
votes are not those of others, but no taste."""
ENOUGH = 20
LEAST_VOTES = 5
"""Fewer are no evidence: two to four random votes about pairs that are much alike often agree."""
LEVELS = (0.025, 0.975)
"""Of the ends of a 95 % interval."""
MOST_KINDS = 4
LEAST_OF_KIND = 3
"""Votes of a kind, for weights of its own."""
KIND_SHARE = 0.8
"""Prior variance of what a kind adds to the shared weights, as a share of theirs."""
KIND_MARGIN = 0.5
"""Nats by which weights by kind have to lower the log-loss of all left-out votes together."""


class _Fit(NamedTuple):
    """Weights of users with equally many votes and kinds: shared ones and those of each kind, (U, 1 + K, d) each.

    `taught` is (U, 1 + K, r, d).
    """

    mean: Array
    sd: Array
    taught: Array
    effect: Array
    effect_sd: Array
    found: Posterior


class _Says(NamedTuple):
    """What the votes of users say of weights of their own, (U,) each.

    `share` is the probability of own weights, and what they count for: 1 where there are no others. `margin` is that of
    the evidence gate; the others are as in `Taste`.
    """

    log_loss: Array
    null_log_loss: Array
    n_right: NDArray[np.int64]
    margin: Array
    own: NDArray[np.bool_]
    share: Array


def tastes(prior: TastePrior, users: Sequence[Votes]) -> list[Taste]:
    """The taste of each user, in their order. Users do not affect each other.

    Raises ValueError for a user with more than `MOST_KINDS` kinds.
    """
    by_kinds: dict[int, list[int]] = defaultdict(list)
    for place, votes in enumerate(users):
        by_kinds[len(_kinds(votes))].append(place)
    found: dict[int, Taste] = {}
    for n_kinds, places in by_kinds.items():
        for batch in batches([users[place] for place in places]):
            mine = [places[place] for place in batch.places]
            made = _tastes(prior, [users[place] for place in mine], batch, n_kinds)
            found.update(zip(mine, made, strict=True))
    return [found[place] for place in range(len(users))]


def prior_taste(prior: TastePrior, reason: str | None = None) -> Taste:
    """The taste of a user of whom nothing is known: the mean of the prior where other users have taught one, else
    `default_taste`."""
    taste = default_taste(prior, reason)
    if not prior.learned:
        return taste
    weights = TasteWeights(mean=prior.mean, sd=tuple(_sd(prior.variance).tolist()))
    return taste.model_copy(update={"weights": weights})


def default_taste(like: Taste | TastePrior, reason: str | None = None) -> Taste:
    """The taste of nobody: each pair's log-odds are those of the judge without a user. Features are those of `like`;
    where the judge's log-odds are not among them, each pair is a tie."""
    mean = tuple(scale if name == DEFAULT else 0.0 for name, scale in zip(like.names, like.scale, strict=True))
    weights = TasteWeights(mean=mean, sd=(0.0,) * len(mean))
    return Taste(
        names=like.names, bias=like.bias, scale=like.scale, weights=weights, own=False, reason=reason, n_votes=0
    )


def _has_others(prior: TastePrior) -> bool:
    """Whether there are other weights than the user's own: a tie is never right, so that a coin is no such weights."""
    return prior.learned or DEFAULT in prior.names


def _sd(variance: Sequence[float] | Array) -> Array:
    """Standard deviations, rounded."""
    return rounded(np.sqrt(np.maximum(np.asarray(variance), 0)))


def _kinds(votes: Votes) -> list[str]:
    """Kinds that may have weights of their own, sorted; none where fewer than two have votes enough."""
    counts = Counter(kind for kind in votes.kinds if kind is not None)
    if len(counts) > MOST_KINDS:
        raise ValueError(f"kinds of question: {len(counts)} of one user ({', '.join(sorted(counts))}); at most 4")
    found = sorted(kind for kind, count in counts.items() if count >= LEAST_OF_KIND)
    return found if len(found) > 1 else []


def _tastes(prior: TastePrior, users: Sequence[Votes], batch: Batch, n_kinds: int) -> list[Taste]:
    """Tastes of users with equally many votes and kinds."""
    rows, counts = batch.rows, batch.counts
    shared = _fit(prior, batch, np.zeros((*rows.shape[:2], 0)))
    by_kind, use_kinds = shared, np.zeros(len(users), dtype=bool)
    if n_kinds:
        members = np.array([[[one == kind for kind in _kinds(user)] for one in user.kinds] for user in users])
        by_kind = _fit(prior, batch, members.astype(float))
        lowered = (counts * (shared.found.left_out - by_kind.found.left_out)).sum(axis=1)
        use_kinds = lowered >= KIND_MARGIN
    left_out = np.where(use_kinds[:, None], by_kind.found.left_out, shared.found.left_out)
    evidence = np.where(use_kinds, by_kind.found.evidence, shared.found.evidence)
    said = _says(prior, rows, counts, left_out, evidence)
    return [
        _taste(prior, user, by_kind if use_kinds[place] else shared, place, said) for place, user in enumerate(users)
    ]


def _says(prior: TastePrior, rows: Array, counts: Array, left_out: Array, evidence: Array) -> _Says:
    """What the votes say of the user's own weights, from the log-loss of each left-out vote, (U, n), and the log
    marginal likelihood of all, (U,)."""
    weight = np.maximum(counts.sum(axis=1), 1e-12)
    loss = rounded((counts * left_out).sum(axis=1) / weight)
    without = (counts * log_loss(rows @ np.array(prior_taste(prior).weights.mean))).sum(axis=1)
    # Without other users it is a coin, or the judge without a user where that is better.
    null = rounded(without / weight if prior.learned else np.minimum(without / weight, np.log(2)))
    latent = (counts * (rows**2 @ np.array(prior.variance))).sum(axis=1) / weight
    margin = rounded(MARGIN * latent / (1 + latent) * np.minimum(1, ENOUGH / weight))
    return _Says(
        log_loss=loss,
        null_log_loss=null,
        n_right=(left_out < np.log(2) - 1e-9).sum(axis=1),
        margin=margin,
        own=(null - loss >= margin) & (loss <= np.log(2)) & ((counts > 0).sum(axis=1) >= LEAST_VOTES),
        share=rounded(special.expit(evidence + without)) if _has_others(prior) else np.ones(len(rows)),
    )


def _fit(prior: TastePrior, batch: Batch, members: Array) -> _Fit:
    """The posterior with weights for each kind, of which `members` says the votes, (U, n, K).

    A vote's features stand once for the shared weights, and again for what its kind adds to them.
    """
    rows, n_kinds, d = batch.rows, members.shape[2], batch.rows.shape[2]
    wide = np.concatenate([rows, *(rows * members[:, :, [kind]] for kind in range(n_kinds))], axis=2)
    variance = np.array(prior.variance)
    found = posterior(
        wide,
        np.concatenate([np.array(prior.mean), np.zeros(n_kinds * d)]),
        np.concatenate([variance, np.tile(KIND_SHARE * variance, n_kinds)]),
        batch.counts,
        batch.conversations,
    )
    mean = found.mean.reshape(len(rows), 1 + n_kinds, d)
    taught = found.taught.reshape(len(rows), -1, 1 + n_kinds, d)
    total = np.concatenate([mean[:, :1], mean[:, :1] + mean[:, 1:]], axis=1)
    known = np.concatenate([taught[:, :, :1], taught[:, :, :1] + taught[:, :, 1:]], axis=2).swapaxes(1, 2)
    before = variance * np.array([1.0, *[1 + KIND_SHARE] * n_kinds])[:, None]
    counted = rows * np.sqrt(batch.counts)[..., None]
    each = np.stack([counted, *(counted * members[:, :, [kind]] for kind in range(n_kinds))], axis=1)
    effect, spread = _effects(each, total, before, known)
    sd = _sd(before - (known**2).sum(axis=2))
    return _Fit(rounded(total), sd, rounded(known), rounded(effect), _sd(spread), found)


def _effects(rows: Array, mean: Array, variance: Array, taught: Array) -> tuple[Array, Array]:
    """Slope of the votes' log-odds on each feature alone, and its posterior variance, (U, 1 + K, d) each.

    Args:
        rows: features of the votes that the weights are of, (U, 1 + K, n, d).
        mean: of the weights, (U, 1 + K, d).
        variance: of the weights before the votes, (1 + K, d).
        taught: rows whose outer products the votes take from it, (U, 1 + K, r, d).
    """
    across = rows.swapaxes(2, 3)
    through = rows @ taught.swapaxes(2, 3)
    covariance = (rows * variance[:, None]) @ across - through @ through.swapaxes(2, 3)
    squares = (rows**2).sum(axis=2)
    size = np.where(squares > 0, squares, 1)
    slope = (across @ (rows @ mean[..., None]))[..., 0] / size
    spread = (rows * (covariance @ rows)).sum(axis=2) / size**2
    return slope, spread


def _taste(prior: TastePrior, votes: Votes, fit: _Fit, place: int, said: _Says) -> Taste:
    missing = np.isnan(votes.rows).sum(axis=0).tolist()
    own, share, count = bool(said.own[place]), float(said.share[place]), len(votes.ids)
    loss, null, margin = (float(part[place]) for part in (said.log_loss, said.null_log_loss, said.margin))
    why = f"log-loss of left-out votes {loss:.3f}, without it {null:.3f}, margin {margin:.3f}"
    why += f"; own weights count for {share:.0%}" if _has_others(prior) else ""
    if count < LEAST_VOTES:
        why = f"{count} votes, fewer than {LEAST_VOTES}"
    taste = prior_taste(prior, None if own else f"no taste of the user's own: {why}").model_copy(
        update={
            "own": own,
            "own_probability": share if _has_others(prior) else None,
            "n_votes": count,
            "n_unscored": votes.n_unscored,
            "missing": {name: gaps for name, gaps in zip(prior.names, missing, strict=True) if gaps},
            "log_loss": loss,
            "null_log_loss": null,
            "n_right": int(said.n_right[place]),
        }
    )
    parts = (
        rounded(share * fit.mean[place] + (1 - share) * np.array(taste.weights.mean)),
        rounded(np.sqrt(share) * fit.sd[place]),
        rounded(np.sqrt(share) * fit.taught[place]),
        rounded(fit.mean[place] - np.array(taste.weights.mean)),
        fit.effect[place],
        fit.effect_sd[place],
    )
    weights = [
        TasteWeights(
            mean=tuple(mean),
            sd=tuple(sd),
            taught=tuple(map(tuple, taught)),
            apart=tuple(apart) if _has_others(prior) else (),
            effect=tuple(effect),
            effect_sd=tuple(spread),
        )
        for mean, sd, taught, apart, effect, spread in zip(*(part.tolist() for part in parts), strict=True)
    ]
    kinds = zip(_kinds(votes), weights[1:], strict=True) if len(weights) > 1 else ()
    return taste.model_copy(update={"weights": weights[0], "kinds": dict(kinds)})


def log_odds(taste: Taste, rows: Array, kinds: Sequence[str | None] = ()) -> Array:
    """Log-odds that the user chose the chosen answer of each pair, (n,), from scaled features, (n, d).

    They are those of the posterior predictive. The variance between own weights and those of others, with which these
    are averaged, is not in it: on simulated users it changes their log-loss by less than 0.0004 nats. A missing feature
    adds 0, its expectation where nothing is known of it (both signs of a difference are equally likely), and the
    variance that its weight has on a typical difference.
    """
    found = np.zeros(len(rows))
    named = kinds or (None,) * len(rows)
    for kind in dict.fromkeys(named):
        at = [place for place, one in enumerate(named) if one == kind]
        weights = taste.kinds.get(kind, taste.weights) if kind is not None else taste.weights
        mean, variance, mine = np.array(weights.mean), np.array(weights.sd) ** 2, rows[at]
        absent = np.isnan(mine)
        there = np.where(absent, 0, mine)
        taught = np.array(weights.taught).reshape(-1, len(mean))
        known = there**2 @ (variance + (taught**2).sum(axis=0)) - ((there @ taught.T) ** 2).sum(axis=1)
        spread = np.maximum(known, 0) + absent @ (mean**2 + variance)
        found[at] = predictive(there @ mean, spread)
    return rounded(found)


class Spread(NamedTuple):
    """Posterior standard deviation of each weight, and the ends of its 95 % interval, (d,) each."""

    sd: Array
    low: Array
    high: Array


def spread(weights: TasteWeights, own_probability: float | None) -> Spread:
    """How sure the weights are of a taste with this probability of own weights.

    Own weights are Gaussian, and those of others a point, which the interval holds where own weights are not probable:
    the ends are quantiles of the average of both distributions. Without others (None) they are those of a Gaussian.
    """
    share, within = own_probability or 0.0, np.array(weights.sd)
    if not share or not weights.apart:
        return Spread(within, *(rounded(np.array(weights.mean) + special.ndtri(level) * within) for level in LEVELS))
    apart = np.array(weights.apart)
    others = np.array(weights.mean) - share * apart
    own, deviation = others + apart, np.maximum(within / np.sqrt(share), 10.0**-DIGITS)

    def quantile(level: float) -> Array:
        """Where own weights below it have this mass or, above the weights of others, this mass without theirs."""
        masses = np.clip([level / share, (level - 1 + share) / share], 0, 1)
        below, above = (own + deviation * number for number in special.ndtri(masses))
        return rounded(np.where(below < others, below, np.maximum(above, others)))

    return Spread(rounded(np.sqrt(within**2 + share * (1 - share) * apart**2)), *map(quantile, LEVELS))


def explain(taste: Taste, features: Sequence[float], kind: str | None = None) -> dict[str, float]:
    """What each feature adds to the log-odds of one pair (before their spread is allowed for), the strongest first.

    `features` are scaled, (d,); those that are missing (nan) are left out.
    """
    weights = taste.kinds.get(kind, taste.weights) if kind is not None else taste.weights
    parts = rounded(np.array(weights.mean) * np.array(features))
    known = {name: float(part) for name, part in zip(taste.names, parts, strict=True) if not np.isnan(part)}
    return dict(sorted(known.items(), key=lambda item: (-abs(item[1]), item[0])))
