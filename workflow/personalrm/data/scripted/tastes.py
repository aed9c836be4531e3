"""Planted tastes: what each invented user prefers, by seed and number of the user alone.

A taste is a set of signed grades on a few *directions*. By default each axis is a direction; with a rank, the axes are
dealt into that many bundles, and a taste on a bundle is one on all its axes. A user's utility of an answer is the sum
of weight times value over the axes. All of this is our choice.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from itertools import combinations
from random import Random
from typing import Literal, NamedTuple, get_args

from personalrm.core.errors import ConfigError
from personalrm.core.records import UserPart
from personalrm.data.scripted.settings import ScriptedSettings
from personalrm.data.scripted.texts import LENGTH, Axis, Draw, axes, pick, some
from personalrm.data.settings import UserSplitSettings
from personalrm.data.splits import user_split

GRADES = (1.0, 2.0, 3.0)
"""Strengths of a taste; an axis' value lies between -1 and 1."""
DEGREES: Mapping[float, str] = {1.0: "somewhat", 2.0: "clearly", 3.0: "strongly"}
POPULATION_AXES = 4
"""Axes on which all users together have a taste, of grade 1. The length is never one of them: otherwise the longer
answer would win, or lose, over all users."""
RESERVED = 0.1
"""Share of the combinations of two tastes that no train or validation user has."""
MOST_TRIES = 2_000
"""Attempts at a taste with, or without, a reserved combination."""

Kind = Literal["own", "unseen", "null", "contrarian"]
"""`own`: a taste of the user's own on top of that of all users. `unseen`: the same, with a combination of tastes that
no train or validation user has. `null`: the taste of all users alone. `contrarian`: its opposite."""
Taste = tuple[tuple[int, float], ...]
"""(direction, signed grade), by direction."""


class ScriptedUser(NamedTuple):
    """One user. Weights are by place of the axis: `own` and those of the votes (`weights`, with the population's)."""

    number: int
    user_id: str
    part: UserPart
    kind: Kind
    type: int | None
    own: tuple[float, ...]
    weights: tuple[float, ...]


class Planted:
    """The users of some settings, each made from the seed and its number alone. Raises ConfigError for settings that no
    user can meet."""

    def __init__(self, settings: ScriptedSettings) -> None:
        self.settings = settings
        # So that what cannot be drawn is known before any file is written.
        for unseen in {False, bool(settings.unseen_combination)}:
            self._drawn(self._stream("attempt"), unseen=unseen)
            if settings.types is not None:
                self._types(unseen=unseen)
        if settings.kinds and next(self.users(), None) is None:
            known = ", ".join(get_args(Kind))
            raise ConfigError(f"kinds: no user is {' or '.join(settings.kinds)}; raise users, or name some of {known}")

    def users(self) -> Iterator[ScriptedUser]:
        """The users of the wanted kinds."""
        everybody = map(self.user, range(self.settings.users))
        return (user for user in everybody if not self.settings.kinds or user.kind in self.settings.kinds)

    def user(self, number: int) -> ScriptedUser:
        """The user of that number, from 0.

        The random numbers of kind and taste have fixed places in the user's stream: with other shares of kinds, users
        who remain of one kind keep their tastes.
        """
        settings = self.settings
        user_id = f"user-{number:06d}"
        part = user_split(user_id, settings.user_split, UserSplitSettings().seed)
        draw = self._stream("user", number)
        whose, chance, which = draw(), draw(), draw()
        kind: Kind = "own"
        if whose < settings.null + settings.contrarian:
            kind = "null" if whose < settings.null else "contrarian"
        elif part == "test" and chance < settings.unseen_combination:
            kind = "unseen"
        if kind in ("null", "contrarian"):
            own = (0.0,) * len(axes())
            shared = tuple(-weight if kind == "contrarian" else weight for weight in self.population)
            return ScriptedUser(number, user_id, part, kind, None, own, shared)
        place = None if settings.types is None else int(which * settings.types)
        unseen = kind == "unseen"
        taste = self._drawn(draw, unseen=unseen) if place is None else self._types(unseen=unseen)[place]
        own = self._own(taste)
        weights = tuple(mine + shared for mine, shared in zip(own, self.population, strict=True))
        return ScriptedUser(number, user_id, part, kind, place, own, weights)

    @cached_property
    def population(self) -> tuple[float, ...]:
        """Weights of the taste that all users share, by place of the axis."""
        draw = self._stream("population")
        shared = some([axis.name for axis in axes() if axis.name != LENGTH], POPULATION_AXES, draw)
        signs = {name: pick((-1.0, 1.0), draw) for name in shared}
        return tuple(self.settings.population * signs.get(axis.name, 0.0) for axis in axes())

    @cached_property
    def directions(self) -> tuple[tuple[float, ...], ...]:
        """Each direction's loadings by place of the axis, of length 1."""
        settings = self.settings
        chosen = [place for place, axis in enumerate(axes()) if axis.name in settings.own_axes]
        if settings.rank is None:
            return tuple(tuple(float(place == one) for place in range(len(axes()))) for one in chosen)
        draw = self._stream("bundles")
        dealt = some(chosen, len(chosen), draw)
        found = []
        for bundle in range(settings.rank):
            mine = dealt[bundle :: settings.rank]
            signs = {place: pick((-1.0, 1.0), draw) / math.sqrt(len(mine)) for place in mine}
            found.append(tuple(signs.get(place, 0.0) for place in range(len(axes()))))
        return tuple(found)

    @cached_property
    def reserved(self) -> frozenset[tuple[int, int, bool]]:
        """Combinations of two tastes that train and validation users do not have: two directions, and whether the signs
        are equal, so that a taste is reserved if its opposite is. Empty where no user is to be unseen."""
        settings = self.settings
        if not settings.unseen_combination:
            return frozenset()
        pairs = [(*pair, same) for pair in combinations(range(len(self.directions)), 2) for same in (False, True)]
        return frozenset(some(pairs, max(1, round(RESERVED * len(pairs))), self._stream("reserved")))

    def _is_reserved(self, taste: Taste) -> bool:
        """Whether two of the tastes are a reserved combination."""
        return any(
            (one, other, (grade > 0) == (second > 0)) in self.reserved
            for (one, grade), (other, second) in combinations(taste, 2)
        )

    def _types(self, *, unseen: bool) -> tuple[Taste, ...]:
        return self._unseen_types if unseen else self._seen_types

    @cached_property
    def _seen_types(self) -> tuple[Taste, ...]:
        return self._drawn_types("types", unseen=False)

    @cached_property
    def _unseen_types(self) -> tuple[Taste, ...]:
        return self._drawn_types("unseen types", unseen=True)

    def _drawn_types(self, stream: str, *, unseen: bool) -> tuple[Taste, ...]:
        draw = self._stream(stream)
        found: list[Taste] = []
        for _ in range(MOST_TRIES):
            if len(found) >= (self.settings.types or 0):
                return tuple(found)
            taste = self._drawn(draw, unseen=unseen)
            if taste not in found:
                found += [taste, tuple((place, -grade) for place, grade in taste)]
        raise ConfigError(f"types: there are fewer than {self.settings.types} different tastes; lower it")

    def _drawn(self, draw: Draw, *, unseen: bool) -> Taste:
        for _ in range(MOST_TRIES):
            places = sorted(some(range(len(self.directions)), self.settings.tastes, draw))
            taste = tuple((place, pick((-1.0, 1.0), draw) * pick(GRADES, draw)) for place in places)
            if self._is_reserved(taste) == unseen:
                return taste
        what = "with" if unseen else "without"
        raise ConfigError(f"tastes: none {what} a combination reserved for unseen users was found; change their number")

    def _own(self, taste: Taste) -> tuple[float, ...]:
        rows = [[grade * loading for loading in self.directions[place]] for place, grade in taste]
        return tuple(sum(column) for column in zip(*rows, strict=True))

    def _stream(self, *name: object) -> Draw:
        return stream(self.settings.seed, *name)


def stream(seed: int, *name: object) -> Draw:
    """Random numbers of that name, independent of those of any other name and of PYTHONHASHSEED."""
    return Random(f"personalrm scripted users {seed} {' '.join(map(str, name))}").random


def sentence(weights: Sequence[float]) -> str:
    """What a user of these weights prefers, strongest first: the sentence for an oracle."""
    said = [
        f"{_degree(weight)} prefers {axis.pole(weight).likes} to {axis.pole(-weight).likes}"
        for axis, weight in _by_strength(weights)
    ]
    return f"This user {'; '.join(said) or 'has no preference between ways of answering'}."


def facts(user: ScriptedUser) -> list[str]:
    """Single statements about the user's own taste."""
    found = []
    for axis, weight in _by_strength(user.own):
        found += [f"likes {axis.pole(weight).likes}", f"dislikes {axis.pole(-weight).likes}"]
    return found


def axis_text(user: ScriptedUser) -> str:
    """The axes of the user's own taste, and the poles of each."""
    parts = [f"{axis.name}: {axis.plus.likes} or {axis.minus.likes}" for axis, _ in _by_strength(user.own)]
    return "; ".join(parts) or "none"


def _degree(weight: float) -> str:
    return next((word for grade, word in DEGREES.items() if abs(weight) <= grade), DEGREES[GRADES[-1]])


def _by_strength(weights: Sequence[float]) -> list[tuple[Axis, float]]:
    pairs = [(axis, weight) for axis, weight in zip(axes(), weights, strict=True) if weight]
    return sorted(pairs, key=lambda pair: -abs(pair[1]))
