"""The filters that use models, as pure functions of the models' answers (paper, construction of PersonalRewardBench).

The paper's order is kept: users, personalizable, disagreement; then users again. A missing answer removes nothing:
a pair with a missing rating, or with too few votes, stays and is counted. Ties are rated, as ratings do not depend on
the choice; the panel does not vote on them, as there is no choice to agree with.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import NamedTuple

from personalrm.core.files import stable_hash
from personalrm.core.records import PreferencePair, Record, UserData
from personalrm.data.filters.filter_settings import DisagreementSettings, FilterSettings, PersonalizableSettings
from personalrm.data.filters.ratings import PairRating, PanelVote
from personalrm.data.sources.votes import decided

RATING_STEPS = (1, 2, 3, 4, 5)

Pairs = Mapping[str, Sequence[PreferencePair]]
Keep = Callable[[PreferencePair], bool]
Stays = Callable[[float, float], bool]
"""Whether a pair stays, given its value and a threshold."""


class Said(NamedTuple):
    """All answers of models about the pairs of a data set, by pair id."""

    ratings: Mapping[str, PairRating]
    votes: Mapping[str, Sequence[PanelVote]]


class Agreement(NamedTuple):
    """Votes on one pair: how many there are, and the share for the answer that most of them favour."""

    votes: int
    share: float


class Sensitivity(Record):
    """How many users and pairs one filter alone leaves at one threshold, the user filter applied again.

    `undecided` counts pairs that stay for want of an answer. `base_users` and `base_pairs` are counts before the
    filter.
    """

    dataset: str
    filter: str
    threshold: float
    is_default: bool
    users: int
    pairs: int
    undecided: int
    base_users: int
    base_pairs: int


SENSITIVITY_COUNTS = ("users", "pairs", "undecided", "base_users", "base_pairs")


def sample_of(user: UserData, sample: int | None) -> tuple[PreferencePair, ...]:
    """Pairs that are rated: all, or `sample` of them by a stable hash; in the user's order."""
    if sample is None:
        return user.pairs
    ranked = sorted(user.pairs, key=lambda pair: stable_hash("filter_sample", pair.user_id, pair.pair_id))
    picked = {pair.pair_id for pair in ranked[:sample]}
    return tuple(pair for pair in user.pairs if pair.pair_id in picked)


def personalizable(rating: PairRating | None, settings: PersonalizableSettings) -> bool:
    """Whether a pair passes the ratings; a missing number never removes it."""
    if rating is None:
        return True
    query_ok = rating.query is None or rating.query >= settings.min_query
    return query_ok and (rating.responses is None or rating.responses >= settings.min_responses)


def agreement(votes: Iterable[PanelVote]) -> Agreement | None:
    """Agreement of the panel, both orders of each member counted; None without any vote.

    A member that follows the position votes for both answers, one in each order, and so lowers agreement: its
    votes say nothing about the pair, and must not remove it (our choice).
    """
    said = [vote.favours for vote in votes if vote.favours is not None]
    if not said:
        return None
    chosen = said.count("chosen")
    return Agreement(len(said), max(chosen, len(said) - chosen) / len(said))


def enough_votes(found: Agreement | None, settings: DisagreementSettings) -> bool:
    """Whether enough of the panel's votes (two a member) are there to decide."""
    return found is not None and found.votes >= settings.min_votes_share * 2 * len(settings.models)


def disagreed(votes: Iterable[PanelVote], settings: DisagreementSettings) -> bool:
    """Whether a pair passes the panel: too few votes, or agreement below the threshold."""
    found = agreement(votes)
    # A hair of tolerance, so that 9 of 10 votes are 0.9.
    return found is None or not enough_votes(found, settings) or found.share < settings.remove_from - 1e-9


def survivors(pairs: Pairs, said: Said, settings: FilterSettings) -> list[tuple[str, Pairs]]:
    """Pairs of each user after each filter that is on, in the paper's order, each with the filter's name."""
    steps: list[tuple[str, Pairs]] = []
    if settings.personalizable is not None:
        rated = settings.personalizable
        pairs = _kept(pairs, lambda pair: personalizable(said.ratings.get(pair.pair_id), rated))
        steps.append((f"query rated {rated.min_query:g} and responses {rated.min_responses:g} or more", pairs))
    if settings.disagreement is not None:
        panel = settings.disagreement
        pairs = _kept(pairs, lambda pair: disagreed(said.votes.get(pair.pair_id, ()), panel))
        steps.append((f"panel agrees on less than {panel.remove_from:g}", pairs))
    return steps


def sensitivity(dataset: str, pairs: Pairs, said: Said, settings: FilterSettings, min_pairs: int) -> list[Sensitivity]:
    """What each filter alone would leave at every threshold; the panel's on the pairs that the ratings leave.

    It makes no call: it reads the raw ratings and votes.
    """
    rows: list[Sensitivity] = []

    def try_all(name: str, steps: Iterable[float], default: float, known: Mapping[str, float], stays: Stays) -> None:
        for threshold in sorted({*steps, default}):
            left = _kept(pairs, partial(_stays, known=known, stays=stays, threshold=threshold))
            left = {user: mine for user, mine in left.items() if len(decided(mine)) >= min_pairs}
            rows.append(
                Sensitivity(
                    dataset=dataset,
                    filter=name,
                    threshold=threshold,
                    is_default=threshold == default,
                    users=len(left),
                    pairs=sum(map(len, left.values())),
                    undecided=sum(pair.pair_id not in known for mine in left.values() for pair in mine),
                    base_users=sum(1 for mine in pairs.values() if mine),
                    base_pairs=sum(map(len, pairs.values())),
                )
            )

    rated, panel = settings.personalizable, settings.disagreement
    if rated is not None:
        for name, default in (("query", rated.min_query), ("responses", rated.min_responses)):
            given = {key: getattr(rating, name) for key, rating in said.ratings.items()}
            numbers = {key: value for key, value in given.items() if value is not None}
            try_all(name, map(float, RATING_STEPS), default, numbers, operator.ge)
        pairs = _kept(pairs, lambda pair: personalizable(said.ratings.get(pair.pair_id), rated))
    if panel is not None:
        agreed = {key: agreement(votes) for key, votes in said.votes.items()}
        shares = {key: found.share for key, found in agreed.items() if found and enough_votes(found, panel)}
        total = 2 * len(panel.models)
        steps = [round(votes / total, 6) for votes in range(total // 2 + 1, total + 1)]
        try_all("panel", steps, panel.remove_from, shares, lambda share, most: share < most - 1e-6)
    return rows


def _stays(pair: PreferencePair, known: Mapping[str, float], stays: Stays, threshold: float) -> bool:
    """Whether a pair passes a threshold; a pair without a value does."""
    value = known.get(pair.pair_id)
    return value is None or stays(value, threshold)


def _kept(pairs: Pairs, keep: Keep) -> Pairs:
    return {user: [pair for pair in mine if keep(pair)] for user, mine in pairs.items()}
