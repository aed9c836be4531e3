"""Taste weights over named attributes: what a user's votes say of the answers that the user prefers.

A model has said of each pair, without knowing the user, which answer has more of each attribute. `attributes` is a
Bayesian logistic regression of the user's votes on these scores and on surface features (`methods.surface`), with a
prior from other users (`taste.prior`), averaged with the weights of others by how probable the votes make own ones, and
a gate for users whose votes are no evidence of a taste of their own (`taste.weights`). Ours; linear weights per user on
shared features are what RFM (2503.17338), PReF (2503.06358) and P-Check (2601.02986) find to matter.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from personalrm.core.lazy import Array, np
from personalrm.core.records import PreferencePair, TastePrior, Verdict
from personalrm.core.tastes import Taste
from personalrm.judge.attribute_bank import DEFAULT
from personalrm.judge.judge import sign_outcome
from personalrm.methods import logistic, surface
from personalrm.methods.base import Known, Mark, Method, NoPairs, NotApplicable
from personalrm.methods.taste import features, prior, weights
from personalrm.methods.taste.features import Scores, Votes


class TasteState(NamedTuple):
    """A taste, and what verdicts on pairs are made from: scores and kinds of question by pair id."""

    taste: Taste
    scores: Scores
    kinds: Mapping[str, str]


def rows_of(taste: Taste | TastePrior, pairs: Sequence[PreferencePair], scores: Scores) -> Array:
    """Scaled features of pairs, (n, d); nan where there is no score. Raises ValueError for a pair without an entry."""
    found: Array = features.differences(pairs, scores, taste.names, taste.bias) / np.array(taste.scale)
    return found


def votes_of(
    like: Taste | TastePrior, pairs: Sequence[PreferencePair], scores: Scores, kinds: Mapping[str, str] = {}
) -> Votes:
    """The votes as features, scaled as those of a taste or a prior, in the order of pair ids.

    Those of which nothing could be scored are counted and left out.
    """
    learned = [pair for pair in pairs if features.is_scored(features.entries_of(scores, pair))]
    ordered = sorted(learned, key=lambda pair: pair.pair_id)
    named = tuple(kinds.get(pair.pair_id) for pair in ordered)
    return Votes(
        ids=tuple(pair.pair_id for pair in ordered),
        rows=rows_of(like, ordered, scores),
        kinds=named if any(named) else (),
        conversations=features.conversations_of(ordered),
        n_unscored=len(pairs) - len(learned),
    )


def prior_for(known: Known, pairs: Sequence[PreferencePair]) -> TastePrior | None:
    """The prior from other users; without them one from the pairs that are learned from, with the mean 0.

    Raises TypeError for an artefact of another method.
    """
    if known.artefact is None:
        return prior.prior_of([(pairs, known.scores)])
    if not isinstance(known.artefact, TastePrior):
        raise TypeError(f"user {known.user.user_id}: the artefact is no prior of taste weights")
    return known.artefact


def learned_taste(known: Known, pairs: Sequence[PreferencePair]) -> TasteState | NoPairs:
    """The user's taste from these votes."""
    if not pairs:
        return NoPairs()
    found = prior_for(known, pairs)
    if found is None:
        return NoPairs("no pair to learn from has scores")
    (taste,) = weights.tastes(found, [votes_of(found, pairs, known.scores, known.kinds)])
    return TasteState(taste, known.scores, known.kinds)


def learned_pairs(known: Known) -> list[PreferencePair]:
    """What own weights are learned from: the context pairs that k allows and all validation pairs, as SynthesizeMe uses
    them, too."""
    return [*known.pairs, *known.user.part("validation")]


def own(known: Known) -> TasteState | NoPairs:
    """The taste from `learned_pairs`."""
    return learned_taste(known, learned_pairs(known))


def own_context(known: Known) -> TasteState | NoPairs:
    """The taste from the context pairs that k allows alone."""
    return learned_taste(known, known.pairs)


def of_population(known: Known) -> TasteState | NotApplicable:
    """The mean of the prior, where other users taught one."""
    found = known.artefact
    if not isinstance(found, TastePrior) or not found.learned:
        return NotApplicable(f"fewer than {prior.LEAST_USERS} other users with scores to learn weights from")
    return TasteState(weights.prior_taste(found), known.scores, known.kinds)


def weigh(state: TasteState, pairs: Sequence[PreferencePair]) -> tuple[Verdict, ...]:
    """One verdict per pair, from the scores of all its orders; why it was not scored where it was not."""
    kinds = [state.kinds.get(pair.pair_id) for pair in pairs]
    odds = weights.log_odds(state.taste, rows_of(state.taste, pairs, state.scores), kinds).tolist()
    found = []
    for pair, value in zip(pairs, odds, strict=True):
        entries = state.scores[pair.pair_id]
        calls = tuple(sorted({call for entry in entries for call in entry.calls}))
        verdict = Verdict(pair_id=pair.pair_id, swapped=None, outcome=features.why_unscored(entries), calls=calls)
        if features.is_scored(entries):
            verdict = verdict.model_copy(update={"outcome": sign_outcome(value), "log_odds": value})
        found.append(verdict)
    return tuple(found)


def weigh_by_default(state: object, pairs: Sequence[PreferencePair]) -> tuple[Verdict, ...]:
    """Verdicts on pairs as those of the model that scored them, without a user; none where no taste was made, or where
    its log-odds are not known."""
    if not isinstance(state, TasteState) or DEFAULT not in state.taste.names:
        return ()
    return weigh(state._replace(taste=weights.default_taste(state.taste), kinds={}), pairs)


SETTINGS: dict[str, object] = {
    "surface": [surface.COUNTED, surface.NAMES],
    "digits": logistic.DIGITS,
    "floor": features.FLOOR,
    "prior": [prior.LEAST_USERS, prior.MOST_USERS, prior.LATENT, prior.TRUST],
    "average": weights.AVERAGED,
    "together": prior.TOGETHER,
    "gate": [weights.MARGIN, weights.ENOUGH, weights.LEAST_VOTES],
    "kinds": [weights.MOST_KINDS, weights.LEAST_OF_KIND, weights.KIND_SHARE, weights.KIND_MARGIN],
}
ATTRIBUTES = Method(
    "attributes",
    "scores",
    own,
    judge=weigh,
    fit=prior.fit_prior,
    reads="attributes",
    references=("attributes_population", "words"),
    learns=True,
    by_k=True,
    validation=True,
    settings=SETTINGS,
    label="Attributes: own weights",
    mark=Mark("#de8f05", "p"),
)
ATTRIBUTES_CONTEXT = Method(
    "attributes_context",
    "scores",
    own_context,
    judge=weigh,
    reads="attributes",
    learns=True,
    by_k=True,
    settings=SETTINGS,
    label="Attributes: own weights, context only",
    mark=Mark("#56b4e9", "2"),
)
ATTRIBUTES_POPULATION = Method(
    "attributes_population",
    "scores",
    of_population,
    judge=weigh,
    reads="attributes",
    settings=SETTINGS,
    label="Attributes: other users",
    mark=Mark("#00788a", "3"),
)
