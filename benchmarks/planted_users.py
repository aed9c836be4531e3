"""Planted users, a scripted scorer of attributes, and what methods make of their held-out votes.

Users and votes are those of `personalrm synthesise --scripted`. The scorer stands in the place of a model of stated
quality; no model is run. `controls.py` and `tests/methods/test_controls.py` use it.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from personalrm.core.files import stable_hash
from personalrm.core.records import Artefact, PairScores, PreferencePair, TastePrior, Turn, UserData, UserPart
from personalrm.core.tastes import Taste, TasteStatement
from personalrm.data.scripted.settings import ScriptedSettings
from personalrm.data.scripted.synthesise import ScriptedVote, user_votes
from personalrm.data.scripted.tastes import Planted, ScriptedUser
from personalrm.data.scripted.texts import axes
from personalrm.judge.attribute_bank import DEFAULT
from personalrm.methods.attributes import TasteState, rows_of
from personalrm.methods.base import Known, Training
from personalrm.methods.registry import METHODS
from personalrm.methods.taste.features import Votes
from personalrm.methods.taste.statements import statements

Floats = NDArray[np.float64]
Scores = Mapping[str, Mapping[str, Sequence[PairScores]]]
"""By user and pair."""
Artefacts = Mapping[str, Artefact | None]
"""What methods learned from train users, by the name of the method."""

OWN, POPULATION, WORDS, SURFACE_USER = "attributes", "attributes_population", "words", "surface_user"
ALONE = "attributes_alone"
"""`attributes` with the same prior, where own weights are not averaged with those of others; no method of a run."""
K = 10
"""Votes to learn from, where nothing else is said."""
MOST_VOTES, HELD_OUT = 16, 16
"""Votes of a test user that may be learned from, and further ones to judge. Train users have `K` votes."""
UNRELATED, SPREAD = 12, 0.7
"""Attributes that no axis moves, and the standard deviation of their differences (those of the axes have the same)."""
TURNS, RANKED = (4, 4, 2, 2), 14
"""Answers in each turn of users who rank them, and votes to learn from: all pairs of each turn."""
AXES = tuple(axis.name for axis in axes())
UNNAMED = tuple(axis.name for axis in axes() if not axis.named)
"""Axes that a general list of attributes would not name."""


class Scorer(NamedTuple):
    """A model that scores attributes in one order: true difference + N(0, noise²) + `bias` for what is shown first.

    Differences of the axes' values lie between -2 and 2. `without` are axes that no attribute names;
    `unrelated` attributes name no axis. With `default` the model says which answer it prefers itself, too: its log-odds
    are so many times what the taste that all users share makes of the pair, + N(0, 1).
    """

    noise: float = 0.5
    bias: float = 0.3
    without: tuple[str, ...] = ()
    unrelated: int = UNRELATED
    default: float | None = None


class Person(NamedTuple):
    """A planted user: votes to learn from are context pairs, held-out ones test pairs."""

    planted: ScriptedUser
    user: UserData
    votes: tuple[ScriptedVote, ...]

    @property
    def held_out(self) -> tuple[ScriptedVote, ...]:
        """The votes of the test pairs."""
        return self.votes[-len(self.user.part("test")) :]


class Judged(NamedTuple):
    """One method on all users: whether held-out votes were predicted (one half for log-odds of 0), and the log-odds of
    the chosen answers, (users, votes) each; with attributes each user's taste and the statements of the persona."""

    right: Floats
    odds: Floats
    tastes: list[Taste]
    said: list[tuple[TasteStatement, ...]]


class Pole(NamedTuple):
    """An attribute whose words say nothing."""

    id: str
    more: str = "more"
    less: str = "less"


def people(part: UserPart, count: int, votes: int, held_out: int = 0, **options: Any) -> list[Person]:  # noqa: ANN401
    """The first users of a part. Equal users of other `options` (`ScriptedSettings`) vote on the same pairs."""
    planted = Planted(ScriptedSettings(pairs=votes + held_out, user_split=(0.48, 0.04, 0.48), **options))
    numbered = (planted.user(number) for number in itertools.count())
    chosen = itertools.islice((user for user in numbered if user.part == part), count)
    return [_person(user, tuple(user_votes(planted, user)), votes) for user in chosen]


def _person(user: ScriptedUser, votes: tuple[ScriptedVote, ...], learned: int) -> Person:
    pairs = tuple(
        PreferencePair(
            user_id=user.user_id,
            pair_id=vote.pair_id,
            context=tuple(Turn(role=role, content=content) for role, content in vote.offer.context),  # type: ignore[arg-type]
            chosen=vote.chosen.text,
            rejected=vote.rejected.text,
            order=vote.number,
            split="context" if vote.number < learned else "test",
        )
        for vote in votes
    )
    return Person(user, UserData(dataset="scripted", user_id=user.user_id, pairs=pairs, user_split=user.part), votes)


def scored(persons: Sequence[Person], scorer: Scorer) -> Scores:
    """The scores of all pairs. What the scorer says depends on the pair alone; a record also says which answer, in the
    order shown, the user chose."""
    return {
        one.user.user_id: {vote.pair_id: [_scores(vote, scorer, one.planted)] for vote in one.votes} for one in persons
    }


def _scores(vote: ScriptedVote, scorer: Scorer, user: ScriptedUser) -> PairScores:
    """The first answer that the generator drew is shown first, which says nothing of which one is chosen."""
    rng = np.random.default_rng(int(stable_hash("scores", vote.pair_id), 16))
    true = np.subtract(vote.offer.first.values, vote.offer.second.values)
    true = np.concatenate([true, SPREAD * rng.standard_normal(scorer.unrelated)])
    found = true + scorer.bias + scorer.noise * rng.standard_normal(len(true))
    names = (*AXES, *(f"unrelated-{number:02}" for number in range(scorer.unrelated)))
    named = dict(zip(names, np.round(found, 4).tolist(), strict=True))
    kept = {name: score for name, score in named.items() if name not in scorer.without}
    if scorer.default is not None:
        shared = true[: len(AXES)] @ np.subtract(user.weights, user.own)
        kept[DEFAULT] = round(float(scorer.default * shared + rng.standard_normal()), 4)
    return PairScores(pair_id=vote.pair_id, swapped=vote.chosen is not vote.offer.first, scores=kept)


def in_turns(persons: Sequence[Person], scorer: Scorer) -> tuple[list[Person], Scores]:
    """The same persons and held-out votes, but the votes to learn from are rankings (`TURNS`), and all their scores.

    Answers of the first offers share a turn. Its votes share them, too: an attribute that no axis moves has one value
    for each answer.
    """
    made, scores = [], dict(scored(persons, scorer))
    for one in persons:
        ranked = list(_ranked(one, scorer))
        pairs = (*(pair for pair, _ in ranked), *one.user.part("test"))
        made.append(one._replace(user=one.user.model_copy(update={"pairs": pairs})))
        scores[one.user.user_id] = {**scores[one.user.user_id], **{entry.pair_id: [entry] for _, entry in ranked}}
    return made, scores


def _ranked(person: Person, scorer: Scorer) -> Iterator[tuple[PreferencePair, PairScores]]:
    """All pairs of each turn, ranked by the planted weights and Gumbel noise, which makes each pair logistic."""
    user, offers = person.planted, (vote.offer for vote in person.votes)
    rng = np.random.default_rng(int(stable_hash("turns", user.user_id), 16))
    names = (*AXES, *(f"unrelated-{number:02}" for number in range(scorer.unrelated)))
    for turn, size in enumerate(TURNS):
        seen = list(itertools.islice(offers, size // 2))
        answers = [answer for offer in seen for answer in (offer.first, offer.second)]
        unrelated = SPREAD / np.sqrt(2) * rng.standard_normal((size, scorer.unrelated))
        values = np.concatenate([[answer.values for answer in answers], unrelated], axis=1)
        gain = values[:, : len(AXES)] @ user.weights / ScriptedSettings().temperature + rng.gumbel(size=size)
        for better, worse in itertools.combinations(np.argsort(-gain).tolist(), 2):
            swapped = bool(rng.integers(2))
            true = (values[better] - values[worse]) * (-1 if swapped else 1)
            found = np.round(true + scorer.bias + scorer.noise * rng.standard_normal(len(true)), 4).tolist()
            named = {name: score for name, score in zip(names, found, strict=True) if name not in scorer.without}
            pair = PreferencePair(
                user_id=user.user_id,
                pair_id=f"{user.user_id}-turn-{turn}-{better}-{worse}",
                conversation_id=f"{user.user_id}-turn-{turn}",
                context=tuple(Turn(role=role, content=content) for role, content in seen[0].context),  # type: ignore[arg-type]
                chosen=answers[better].text,
                rejected=answers[worse].text,
                order=turn,
                split="context",
            )
            yield pair, PairScores(pair_id=pair.pair_id, swapped=swapped, scores=named)


def fitted(train: Sequence[Person], scorer: Scorer, scores: Scores | None = None) -> Artefacts:
    """What the methods learn from train users, by method. `scores` are those of the scorer by default."""
    training = Training([one.user for one in train], 0, scored(train, scorer) if scores is None else scores)
    fits = {name: METHODS[name].fit for name in (OWN, "surface")}
    return {name: fit(training) for name, fit in fits.items() if fit is not None}


def judged(
    name: str,
    persons: Sequence[Person],
    artefacts: Artefacts,
    scores: Scores = MappingProxyType({}),
    *,
    k: int = K,
    teachers: Sequence[Person] | None = None,
) -> Judged:
    """A method on the held-out votes of each person, learned from the first k votes of the teacher at the same place.

    Each person is their own teacher by default. `scores` may be empty for methods that read none.
    """
    method = METHODS[OWN if name == ALONE else name]
    artefact = artefacts.get(method.reads)
    if name == ALONE and isinstance(artefact, TastePrior):
        # With a prior that is not called learned, nothing but the user's own weights can decide.
        artefact = artefact.model_copy(update={"learned": False})
    odds, tastes, said = [], [], []
    for person, teacher in zip(persons, teachers or persons, strict=True):
        learned = teacher.user.part("context")[:k] if method.learns else ()
        seen = person.user.model_copy(update={"pairs": learned})
        both = {**scores.get(teacher.user.user_id, {}), **scores.get(person.user.user_id, {})}
        state = method.adapt(Known.of(seen, pairs=learned, scores=both, artefact=artefact))
        assert callable(method.judge)
        odds.append([verdict.log_odds for verdict in method.judge(state, person.user.part("test"))])
        if isinstance(state, TasteState):
            taste = state.taste
            # All that own weights say, whatever the evidence gate says of the user.
            shown = taste.model_copy(update={"own": True}) if name == ALONE else taste
            votes = Votes(tuple(pair.pair_id for pair in learned), rows_of(taste, learned, both))
            tastes.append(taste)
            said.append(statements(shown, map(Pole, taste.names), votes))
    found = np.array(odds, dtype=np.float64)
    return Judged((np.sign(found) + 1) / 2, found, tastes, said)


def by_default(persons: Sequence[Person], scores: Scores) -> Judged:
    """What the scorer's own preference says of the held-out votes."""
    rows = [[scores[one.user.user_id][vote.pair_id][0] for vote in one.held_out] for one in persons]
    odds = np.array([[row.of_chosen[DEFAULT] for row in each] for each in rows])
    return Judged((np.sign(odds) + 1) / 2, odds, [], [])


def turned(found: Judged, persons: Sequence[Person]) -> Judged:
    """The same on the held-out votes before label noise turned some of them round: features change their sign alone."""
    sign = np.array([[-1 if vote.flipped else 1 for vote in one.held_out] for one in persons])
    odds = found.odds * sign
    return found._replace(right=(np.sign(odds) + 1) / 2, odds=odds)


def ceiling(persons: Sequence[Person], *, noise: float = 0.0) -> float:
    """Share of the held-out votes that the true weights predict in expectation, with that share turned round."""
    odds = np.array([[vote.log_odds for vote in one.held_out] for one in persons])
    sure = 1 / (1 + np.exp(-np.abs(odds)))
    return float((sure * (1 - noise) + (1 - sure) * noise).mean())


def on_axes_alone(prior: TastePrior) -> TastePrior:
    """The prior with all its variance, in equal parts, on the attributes that name axes."""
    share = sum(prior.variance) / len(AXES)
    return prior.model_copy(update={"variance": tuple(share if name in AXES else 1e-6 for name in prior.names)})


def prior_in(artefacts: Artefacts) -> TastePrior:
    """The prior of taste weights. Raises TypeError where there is none."""
    found = artefacts[OWN]
    if not isinstance(found, TastePrior):
        raise TypeError("no prior of taste weights was learned")
    return found
