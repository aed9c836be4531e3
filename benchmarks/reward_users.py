"""Planted users for reward models: features of their answers, and what the methods make of their held-out votes.

Users, texts and votes are those of `personalrm synthesise --scripted`; features are those of a small encoder. Users of
other tastes (`World.of`) vote on the same texts, so that texts are encoded once. `rewards.py` uses it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray
from planted_users import UNNAMED, Person, people

from personalrm.core.files import stable_hash
from personalrm.core.records import PreferencePair, Turn, UserPart
from personalrm.data.scripted.synthesise import ScriptedVote
from personalrm.methods.reward.base import HeldOut, TrainingData
from personalrm.methods.reward.load import reward_method
from personalrm.methods.reward.stack import stacked
from personalrm.train.checkpoint import Fitted
from personalrm.train.encoders import EncoderSettings, open_encoder
from personalrm.train.features import Pairs, encode_pairs, load_pairs, save_pairs
from personalrm.train.trainer import Run

Floats = NDArray[np.float64]

CONTEXT, HELD_OUT = 10, 6
"""Votes of each validation and test user to adapt with, and to predict. No two of these users see the same texts."""
TRAIN_VOTES, POOL = 32, 1500
"""Votes of each train user, on pairs of a pool that train users share, as in a survey: no validation or test user sees
any of them. Fewer texts have to be encoded."""
TASTES: dict[str, Any] = {"types": 4, "tastes": 2, "axes": UNNAMED, "population": 0.5, "temperature": 0.15}
"""Four tastes in two opposite pairs, each on two axes that a general list of attributes would not name, and a weaker
taste of all users on four other axes."""


class Sizes(NamedTuple):
    """Users of each part."""

    train: int = 300
    validation: int = 60
    test: int = 120


class World(NamedTuple):
    """Users of one kind with the features of their pairs; `test` users in the order of their ids, `odds` are the true
    log-odds of their held-out votes, (users, held-out)."""

    data: TrainingData
    test: list[HeldOut]
    types: list[int | None]
    odds: Floats

    @classmethod
    def of(cls, features: Pairs, sizes: Sizes, seed: int, **options: Any) -> Self:  # noqa: ANN401
        """The users of some tastes (`ScriptedSettings`), who vote on the texts of `features`."""
        train, validation, test = _people(sizes, seed, {**TASTES, **options})
        places = {one: place for place, one in enumerate(features.ids)}

        def pairs(votes: Sequence[ScriptedVote]) -> Pairs:
            ids = tuple(vote.pair_id for vote in votes)
            rows = [places[one] for one in ids]
            first = np.array([vote.chosen is vote.offer.first for vote in votes])[:, None]
            both = features.chosen[rows], features.rejected[rows]
            return Pairs(ids, np.where(first, *both), np.where(first, *both[::-1]))

        def divided(person: Person) -> HeldOut:
            return HeldOut(pairs(person.votes[:CONTEXT]), pairs(person.votes[CONTEXT:]))

        data = TrainingData.of((pairs(one.votes) for one in train), map(divided, validation))
        odds = np.array([[vote.log_odds for vote in one.votes[CONTEXT:]] for one in test])
        return cls(data, [divided(one) for one in test], [one.planted.type for one in test], odds)

    @property
    def ceiling(self) -> float:
        """Share of the held-out votes that the true weights predict in expectation."""
        return float((1 / (1 + np.exp(-np.abs(self.odds)))).mean())


def _people(sizes: Sizes, seed: int, options: Mapping[str, Any]) -> Iterator[list[Person]]:
    yield people("train", sizes.train, TRAIN_VOTES, seed=seed, pool=POOL, **options)
    parts: tuple[UserPart, ...] = ("validation", "test")
    for part, count in zip(parts, sizes[1:], strict=True):
        yield people(part, count, CONTEXT, HELD_OUT, seed=seed, **options)


def features_of(sizes: Sizes, seed: int, settings: EncoderSettings, folder: Path, threads: int) -> Pairs:
    """Features of all texts, kept in `folder`: of each pair the first answer as `chosen`, whatever a user chose."""
    key = stable_hash(repr((sizes, TRAIN_VOTES, POOL)), str(seed), repr(settings))[:12]
    path = folder / f"features-{key}.safetensors"
    if not path.exists():
        offers = [
            PreferencePair(
                user_id=person.user.user_id,
                pair_id=vote.pair_id,
                context=tuple(Turn(role=role, content=content) for role, content in vote.offer.context),  # type: ignore[arg-type]
                chosen=vote.offer.first.text,
                rejected=vote.offer.second.text,
            )
            for part in _people(sizes, seed, TASTES)
            for person in part
            for vote in person.votes
        ]
        with open_encoder(settings, threads=threads) as encoder:
            made, counts = encode_pairs(encoder, offers)
            save_pairs(path, made, encoder.card | counts)
    return load_pairs(path)[0]


class Model(NamedTuple):
    """A trained model on test users."""

    name: str
    fitted: Fitted

    @classmethod
    def trained(cls, name: str, data: TrainingData, hyper: Mapping[str, Any], seed: int, threads: int) -> Self:
        """Train the method with these hyper-parameters."""
        method = reward_method(name)
        return cls(name, method.fit(data, method.hyper(**hyper), seed, Run(threads=threads)))

    def stacked(self, data: TrainingData, threads: int) -> Self:
        """The same weights, stacked with frozen Bradley-Terry."""
        return self._replace(fitted=stacked(self.fitted, reward_method(self.name), data, 0, Run(threads=threads)))

    def odds(self, world: World, k: int = CONTEXT, teachers: Sequence[HeldOut] | None = None) -> Floats:
        """Log-odds of the held-out votes, (users, held-out), by the first k context pairs of the teacher at the same
        place; each user is their own by default."""
        method = reward_method(self.name)
        pupils = zip(world.test, teachers or world.test, strict=True)
        return np.array(
            [method.predict(self.fitted, of.context.select(of.context.ids[:k]), one.target) for one, of in pupils]
        )


def right(odds: Floats) -> Floats:
    """1 for a vote that is predicted, one half for log-odds of 0."""
    found: Floats = (np.sign(odds) + 1) / 2
    return found
