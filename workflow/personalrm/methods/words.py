"""The words of the answers and no model: the same regression as `attributes` on a bag of words.

The control of every method that learns a taste from votes. What it reaches needs no model that reads, and no attribute
that somebody named.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

from personalrm.core.lazy import Array, np
from personalrm.core.records import PreferencePair, TastePrior, Verdict
from personalrm.core.tastes import Taste
from personalrm.judge.judge import sign_outcome
from personalrm.methods import logistic
from personalrm.methods.base import Known, Mark, Method, NoPairs
from personalrm.methods.taste import prior, weights
from personalrm.methods.taste.features import Votes, conversations_of

WORD = r"[a-z']+|\d+"
"""A word or number, in lower case."""
PREFIX = "word:"
"""Of the names of features, so that no word is taken for another feature."""
_WORD = re.compile(WORD)


def counts(text: str) -> Counter[str]:
    """How often each word and number stands in a text."""
    return Counter(_WORD.findall(text.lower()))


def differences(pairs: Sequence[PreferencePair], names: Sequence[str]) -> Array:
    """Counts in the chosen answers minus those in the rejected ones, (n, d). Words without a feature are left out."""
    places = {name.removeprefix(PREFIX): place for place, name in enumerate(names)}
    found = np.zeros((len(pairs), len(names)))
    for row, pair in enumerate(pairs):
        for sign, text in ((1, pair.chosen), (-1, pair.rejected)):
            for word, count in counts(text).items():
                if word in places:
                    found[row, places[word]] += sign * count
    return found


def own(known: Known) -> Taste | NoPairs:
    """Weights of the words in the context pairs that k allows and in all validation pairs.

    Their prior has the mean 0 and one variance, of highest marginal likelihood.
    """
    pairs = sorted([*known.pairs, *known.user.part("validation")], key=lambda pair: pair.pair_id)
    if not pairs:
        return NoPairs()
    found = {word for pair in pairs for text in (pair.chosen, pair.rejected) for word in counts(text)}
    names = [PREFIX + word for word in sorted(found)]
    rows, d = differences(pairs, names), len(names)
    if not d:
        return NoPairs("the answers have no words")
    votes = Votes(tuple(pair.pair_id for pair in pairs), rows, conversations=conversations_of(pairs))
    variance = max(round(prior.best_variance([votes]), 9), 1e-9)
    learned = TastePrior(
        names=tuple(names),
        bias=(0.0,) * d,
        scale=(1.0,) * d,
        mean=(0.0,) * d,
        variance=(variance,) * d,
        n_users=1,
        n_pairs=len(pairs),
        learned=False,
    )
    return weights.tastes(learned, [votes])[0]


def weigh(taste: Taste, pairs: Sequence[PreferencePair]) -> tuple[Verdict, ...]:
    """One verdict per pair, for both orders at once: the log-odds of the weighted words."""
    odds = weights.log_odds(taste, differences(pairs, taste.names)).tolist()
    return tuple(
        Verdict(pair_id=pair.pair_id, swapped=None, outcome=sign_outcome(value), log_odds=value)
        for pair, value in zip(pairs, odds, strict=True)
    )


WORDS = Method(
    "words",
    "nothing",
    own,
    judge=weigh,
    learns=True,
    by_k=True,
    validation=True,
    settings={"word": WORD, "digits": logistic.DIGITS, "latent": prior.LATENT, "together": prior.TOGETHER},
    label="Words: own weights",
    mark=Mark("#8c5a2b", "h"),
)
