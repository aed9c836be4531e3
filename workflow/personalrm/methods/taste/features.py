"""Features of a pair for taste weights: a model's scores by attribute, and surface features of the answers.

Each feature is that of the chosen answer over the rejected one. What could not be scored is nan, which is not 0: a 0
says that both answers have as much.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from personalrm.core.files import stable_hash
from personalrm.core.lazy import Array, np
from personalrm.core.records import Outcome, PairScores, PreferencePair
from personalrm.core.sharing import first_sharing
from personalrm.methods import surface
from personalrm.methods.logistic import rounded

SURFACE = tuple(f"surface:{name}" for name in surface.NAMES)
"""Names of the surface features (`surface.NAMES`), which no attribute can have."""
FLOOR = 0.5
"""Least scale of a feature, as a share of the median of its group. A feature that hardly ever differs is mostly noise,
and with a scale of its own it would weigh as much as any other."""
Scores = Mapping[str, Sequence[PairScores]]
"""Scores by pair id, one entry for each order that was asked."""


class Votes(NamedTuple):
    """The votes of one user as features.

    Attributes:
        ids: of the pairs, n.
        rows: scaled features, (n, d); nan where there is no score.
        kinds: kind of question of each vote; empty where no kinds are known.
        counts: how much each vote counts; empty for 1 each.
        conversations: of each vote the place of the first vote of its conversation (`conversations_of`); empty where
            each vote has a conversation of its own. Votes of one conversation are not independent.
        n_unscored: further votes, of which nothing could be scored.
    """

    ids: tuple[str, ...]
    rows: Array
    kinds: tuple[str | None, ...] = ()
    counts: tuple[float, ...] = ()
    conversations: tuple[int, ...] = ()
    n_unscored: int = 0


def conversations_of(pairs: Sequence[PreferencePair]) -> tuple[int, ...]:
    """The place of the first pair of each pair's conversation; empty where no two pairs are of one conversation.

    Pairs that share an answer to one context are of one conversation, whether it is named or not.
    """
    traits = [{(pair.conversation_id,), (pair.context, pair.chosen), (pair.context, pair.rejected)} for pair in pairs]
    found = tuple(first_sharing([one - {(None,)} for one in traits]))
    return found if len(set(found)) < len(found) else ()


def names_of(scores: Iterable[Scores]) -> tuple[str, ...]:
    """All attributes that were scored anywhere, sorted, and the surface features."""
    scored = {name for user in scores for entries in user.values() for entry in entries for name in entry.scores}
    return (*sorted(scored), *SURFACE)


def is_scored(entries: Sequence[PairScores]) -> bool:
    """Whether anything of a pair could be scored."""
    return any(entry.scores for entry in entries)


def why_unscored(entries: Sequence[PairScores]) -> Outcome:
    """The outcome of a pair of which nothing could be scored: why its first order was not."""
    reasons = [entry.reason for entry in sorted(entries, key=lambda entry: entry.swapped) if entry.reason]
    return reasons[0] if reasons else "unparsed"


def entries_of(scores: Scores, pair: PreferencePair) -> Sequence[PairScores]:
    """The scores of a pair. Raises ValueError where it was never asked about."""
    if pair.pair_id not in scores:
        raise ValueError(f"user {pair.user_id}: no scores of pair {pair.pair_id}; score all pairs by attributes first")
    return scores[pair.pair_id]


def position_bias(scores: Iterable[Scores], names: Sequence[str]) -> Array:
    """By how much each feature is more where an answer is shown first, (d,); 0 for surface features.

    It is the mean over all entries, whichever answer was chosen: a coin decides which answer is shown first, so that
    true differences cancel. The mean is shrunk by the share of its square that is its own error (positive-part James
    and Stein), so that a few entries subtract no taste.
    """
    shown: dict[str, list[float]] = {name: [] for name in names}
    for entry in (entry for user in scores for entries in user.values() for entry in entries):
        for name in entry.scores.keys() & shown.keys():
            shown[name].append(entry.scores[name])
    found = np.zeros(len(names))
    for place, values in enumerate(map(sorted, shown.values())):
        mean = float(np.mean(values)) if len(values) > 1 else 0.0
        if mean:
            found[place] = mean * max(0.0, 1 - float(np.var(values, ddof=1)) / len(values) / mean**2)
    return rounded(found)


def differences(pairs: Sequence[PreferencePair], scores: Scores, names: Sequence[str], bias: Sequence[float]) -> Array:
    """Features of pairs without the bias of positions, not scaled, (n, d); nan where there is no score.

    Where both orders were scored, their mean has no bias left, whatever `bias` is.
    """
    places = {name: place for place, name in enumerate(names)}
    found = np.full((len(pairs), len(names)), np.nan)
    for row, pair in enumerate(pairs):
        values: dict[str, list[float]] = {}
        for entry in entries_of(scores, pair):
            for name, score in entry.of_chosen.items():
                if name in places:
                    values.setdefault(name, []).append(score + (1 if entry.swapped else -1) * bias[places[name]])
        for name, each in values.items():
            found[row, places[name]] = sum(each) / len(each)
    seen = [name for name in SURFACE if name in places]
    shallow = surface.differences(pairs)
    found[:, [places[name] for name in seen]] = shallow[:, [SURFACE.index(name) for name in seen]]
    return found


def scales(rows: Array, names: Sequence[str]) -> Array:
    """The scale of each feature, (d,): the root mean square of the values that there are, zeros included.

    It is at least `FLOOR` times the median of its group, attributes or surface features, whose units are the same; 1
    where a whole group never differs.
    """
    there = ~np.isnan(rows)
    squares = np.where(there, np.nan_to_num(rows) ** 2, 0).sum(axis=0)
    found = np.sqrt(squares / np.maximum(there.sum(axis=0), 1))
    for group in groups_of(names):
        spread = found[group][found[group] > 0]
        found[group] = np.maximum(found[group], FLOOR * np.median(spread) if len(spread) else 1)
    return rounded(found)


def groups_of(names: Sequence[str]) -> list[list[int]]:
    """Places of the attributes and of the surface features, without a group that is empty."""
    shallow = [place for place, name in enumerate(names) if name in SURFACE]
    others = [place for place, name in enumerate(names) if name not in SURFACE]
    return [group for group in (others, shallow) if group]


def sample(users: Sequence[str], size: int) -> list[str]:
    """At most `size` of the users, in an order and by a choice that depend on the ids alone."""
    return sorted(sorted(users, key=lambda user: stable_hash("taste", user))[:size])
