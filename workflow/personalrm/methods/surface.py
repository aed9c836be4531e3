"""Surface features of the answers and no model: how far does taste go that a reader sees without reading?

A logistic regression without intercept on the features of the chosen answer minus those of the rejected one. `surface`
has one vector of weights for all, fitted on other users. `surface_user` takes these weights as the mean of a Gaussian
prior, and finds the user's own by maximum a posteriori on the context pairs that k allows. Our choice, as controls of
every method that learns: what they reach is no evidence that content was understood.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from personalrm.core.lazy import Array, np
from personalrm.core.records import PreferencePair, Verdict, Weights
from personalrm.judge.judge import sign_outcome
from personalrm.methods.base import Known, Mark, Method, NoPairs, NotApplicable, Training
from personalrm.methods.logistic import DIGITS, posterior, rounded

COUNTED: dict[str, str] = {
    "paragraphs": r"\n[ \t\r]*\n",
    "list items": r"(?m)^[ \t]*(?:[-*•]|\d{1,3}[.)])[ \t]+\S",
    "headings": r"(?m)^[ \t]*(?:#{1,6}[ \t]+\S|\*\*[^*\n]+\*\*:?[ \t\r]*$)",
    "code": r"```|`[^`\n]+`",
    "links": r"https?://",
    "digits": r"\d",
    "questions": r"\?",
    "exclamation marks": r"!",
    "hedges": r"(?i)\b(?:may|might|could|perhaps|possibly|probably|maybe|likely|seems?|usually|often|depends)\b",
    "first person": r"\b(?:I|[Mm]e|[Mm]y|[Ww]e|[Uu]s|[Oo]ur)\b",
    "second person": r"(?i)\byour?\b",
}
"""Feature to the pattern whose matches in an answer are counted."""
NAMES = ("characters", *COUNTED)
"""All features, in order. The value of each is log(1 + count): each doubling counts alike, so that no length is too
large."""
VARIANCE = 1.0
"""Of the prior of each weight, where a feature's typical difference is 1. It keeps weights finite on votes that a
feature separates."""
_PATTERNS = [re.compile(pattern) for pattern in COUNTED.values()]


def differences(pairs: Iterable[PreferencePair]) -> Array:
    """Features of the chosen answers minus those of the rejected ones, (pairs, features)."""
    counts = [[_counts(pair.chosen), _counts(pair.rejected)] for pair in pairs]
    logs = np.log1p(np.array(counts, dtype=np.float64).reshape(-1, 2, len(NAMES)))
    found: Array = logs[:, 0] - logs[:, 1]
    return found


def _counts(text: str) -> list[int]:
    return [len(text), *(sum(1 for _ in pattern.finditer(text)) for pattern in _PATTERNS)]


def map_weights(rows: Array, mean: Array) -> Array:
    """Weights of highest posterior density: logistic likelihood of positive labels, prior N(mean, VARIANCE).

    Args:
        rows: scaled differences, (pairs, features).
        mean: of the prior, (features,).

    Returns:
        (features,), rounded. They are unique and finite, whatever the votes.
    """
    return rounded(posterior(rows[None], mean, np.full(len(mean), VARIANCE)).mean[0])


def fit_weights(training: Training) -> Weights | None:
    """Weights of all other users together, and the scale of each feature; None without any pair.

    The scale is the root mean square of a feature's differences; 1 where it never differs.
    """
    rows = differences(pair for user in training.users for pair in user.pairs)
    if not len(rows):
        return None
    spread = np.round(np.sqrt((rows**2).mean(axis=0)), DIGITS)
    scale = np.where(spread > 0, spread, 1.0)
    weights = map_weights(rows / scale, np.zeros(len(scale)))
    return Weights(names=NAMES, mean=tuple(weights.tolist()), scale=tuple(scale.tolist()))


def of_all(known: Known) -> Weights | NotApplicable:
    """The weights of other users."""
    return _others(known) or NotApplicable("no pairs of other users to learn from")


def _others(known: Known) -> Weights | None:
    """The artefact. Raises TypeError for that of another method."""
    if known.artefact is None or isinstance(known.artefact, Weights):
        return known.artefact
    raise TypeError(f"user {known.user.user_id}: the artefact has no weights of surface features")


def of_user(known: Known) -> Weights | NoPairs:
    """The user's own weights. Without other users the mean of the prior is 0, and the scale that of the own pairs."""
    if not known.pairs:
        return NoPairs()
    prior = _others(known)
    if prior is None:
        own = fit_weights(Training((known.user.model_copy(update={"pairs": known.pairs}),), known.seed))
        return own or NoPairs()
    scale = np.array(prior.scale)
    weights = map_weights(differences(known.pairs) / scale, np.array(prior.mean))
    return prior.model_copy(update={"mean": tuple(weights.tolist())})


def weigh(weights: Weights, pairs: Sequence[PreferencePair]) -> tuple[Verdict, ...]:
    """One verdict per pair, for both orders at once: the sign of the weighted differences, which are the log-odds."""
    per_difference = np.array(weights.mean) / np.array(weights.scale)
    odds = rounded(differences(pairs) @ per_difference)
    return tuple(
        Verdict(pair_id=pair.pair_id, swapped=None, outcome=sign_outcome(value), log_odds=value)
        for pair, value in zip(pairs, odds.tolist(), strict=True)
    )


# Settings are compared as JSON with sorted keys, and weights have an order.
_SETTINGS: dict[str, object] = {"features": COUNTED, "order": NAMES, "variance": VARIANCE, "digits": DIGITS}
SURFACE = Method(
    "surface",
    "nothing",
    of_all,
    judge=weigh,
    fit=fit_weights,
    reads="surface",
    settings=_SETTINGS,
    label="Surface: other users",
    mark=Mark("#8c1d40", "1"),
)
SURFACE_USER = Method(
    "surface_user",
    "nothing",
    of_user,
    judge=weigh,
    reads="surface",
    references=("surface",),
    learns=True,
    by_k=True,
    settings=_SETTINGS,
    label="Surface: own weights",
    mark=Mark("#626200", "4"),
)
