"""Settings of invented users."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

from personalrm.core.errors import ConfigError
from personalrm.data.scripted.texts import axes, short_axes
from personalrm.data.settings import UserSplitSettings


@dataclass(frozen=True)
class ScriptedSettings:
    """What users are made of. Shares are from 0 to 1. Raises ConfigError for values that make no sense.

    A user's conversations, answers and taste do not depend on the number of users or pairs, and the texts depend on
    `seed` and `pool` alone (short ones on `axes`, too): settings that differ in other fields give other votes on the
    same texts.
    """

    users: int = 100
    """Number of users."""
    pairs: int = 15
    """Pairs of each user."""
    seed: int = 0
    """Seed of all random choices."""
    axes: tuple[str, ...] = ()
    """Axes, or groups of axes, of users' own tastes; empty: all. Answers differ on all axes anyway."""
    tastes: int = 3
    """Directions on which each user has a taste."""
    rank: int | None = None
    """Deal the axes into this many bundles, so that all own tastes lie in a space of this rank."""
    types: int | None = None
    """So many different tastes, each shared by many users; the second is the opposite of the first, and so on."""
    temperature: float = 0.5
    """Of the logistic noise: the first answer is chosen with probability 1 / (1 + exp(-difference / temperature))."""
    label_noise: float = 0.0
    """Share of votes that are turned round."""
    population: float = 1.0
    """Weight of the taste that all users share."""
    null: float = 0.0
    """Share of users without a taste of their own."""
    contrarian: float = 0.0
    """Share of users who want the opposite of what all users want, and have no further taste."""
    unseen_combination: float = 0.0
    """Share of the test users with a taste of their own whose combination of tastes no train user has."""
    kinds: tuple[str, ...] = ()
    """Kinds of users (`tastes.Kind`) that are written; empty: all. A user's kind does not depend on it."""
    pool: int | None = None
    """Draw the pairs of all users from so many shared ones; otherwise no two users see the same pair."""
    short: bool = False
    """Answers of one sentence: the two of a pair are wordings of the two poles of one axis of users' own tastes. Axes
    that are parts of longer texts (lists, length) are none of them."""
    user_split: tuple[float, float, float] = UserSplitSettings().fractions
    """Shares of train, validation and test users. The config that reads the votes needs the same ones."""

    def __post_init__(self) -> None:
        _check_ranges(self)
        known = list(dict.fromkeys([axis.name for axis in axes()] + [axis.group for axis in axes()]))
        if unknown := [name for name in self.axes if name not in known]:
            raise ConfigError(f"axes: {unknown[0]!r} is no axis and no group; use some of {', '.join(known)}")
        chosen = len(self.own_axes)
        if self.rank is not None and not 1 <= self.rank <= chosen:
            raise ConfigError(f"rank: is {self.rank}; give a number from 1 to {chosen}, the number of axes")
        if self.tastes > (most := self.rank or chosen):
            raise ConfigError(f"tastes: is {self.tastes}, more than the {most} directions; lower it, or name more axes")
        if self.null + self.contrarian > 1:
            raise ConfigError("null, contrarian: add up to more than 1; lower one of them")
        if self.contrarian and not self.population:
            raise ConfigError("contrarian: without population there is no taste to oppose; raise population")
        if self.unseen_combination and self.tastes < 2:
            raise ConfigError("unseen_combination: a single taste is no combination; set tastes to 2 or more")
        if self.short and (unfit := [name for name in self.own_axes if name not in short_axes()]):
            raise ConfigError(f"short: {unfit[0]!r} needs longer answers; name axes among {', '.join(short_axes())}")
        if self.types is not None and self.types % 2:
            raise ConfigError(f"types: is {self.types}; types come in opposite pairs, so give an even number")
        if self.pool is not None and self.pool < self.pairs:
            raise ConfigError(f"pool: has {self.pool} pairs, fewer than the {self.pairs} of a user; raise it")

    @property
    def own_axes(self) -> tuple[str, ...]:
        """Names of the axes on which users have tastes of their own, in the order of `axes()`."""
        return tuple(axis.name for axis in axes() if not self.axes or {axis.name, axis.group} & set(self.axes))

    def as_options(self) -> dict[str, object]:
        """All settings as plain values, with the axes by name."""
        found = {each.name: getattr(self, each.name) for each in fields(self)}
        if not self.kinds:
            # Cards of earlier versions stay as they are.
            del found["kinds"]
        return {name: list(value) if isinstance(value, tuple) else value for name, value in found.items()} | {
            "axes": list(self.own_axes)
        }


def _check_ranges(settings: ScriptedSettings) -> None:
    """Raise ConfigError for a number outside its range, and for NaN."""
    for name, least in (("users", 1), ("pairs", 3), ("tastes", 1), ("types", 2), ("pool", 1)):
        count = getattr(settings, name)
        if count is not None and count < least:
            raise ConfigError(f"{name}: is {count}; give a whole number from {least}")
    for name in ("null", "contrarian", "unseen_combination"):
        if not 0 <= (share := getattr(settings, name)) <= 1:
            raise ConfigError(f"{name}: is {share}; give a share from 0 to 1")
    if not 0 <= settings.label_noise < 0.5:
        raise ConfigError(f"label_noise: is {settings.label_noise}; give a share from 0 to below 0.5")
    if not 0 < settings.temperature < math.inf:
        raise ConfigError(f"temperature: is {settings.temperature}; give a number above 0")
    if not 0 <= settings.population < math.inf:
        raise ConfigError(f"population: is {settings.population}; give a number from 0")
    split = settings.user_split
    if not all(math.isfinite(share) and share > 0 for share in split) or abs(sum(split) - 1) > 1e-9:
        raise ConfigError(f"user_split: is {list(split)}; give three shares above 0 that add up to 1")
