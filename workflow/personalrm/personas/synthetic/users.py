"""The users of a domain, from its traits alone: no model is asked."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from fractions import Fraction
from operator import attrgetter

from personalrm.core.errors import ConfigError
from personalrm.core.files import stable_hash
from personalrm.core.synthetic import SeedUser, SyntheticPart
from personalrm.personas.synthetic.settings import Domain

Traits = Mapping[str, str]


def seed_users(domain: Domain, seed: int) -> list[SeedUser]:
    """All users of a domain, by their keys, which the texts of the traits decide and no name does.

    Parts are of users who are not interpolated: shares of their number, rounded, in the order of a seeded hash of keys.
    Interpolated users combine traits that users to learn from have. Raises ConfigError where two users would have one
    name or the same traits, or where nobody is left to learn from or to interpolate between.
    """
    plain = _users(domain, _plain(domain), domain.people.personas, "train", seed)
    ranked = sorted(plain, key=lambda user: stable_hash("part", str(seed), user.key))
    wanted = [_count(len(ranked), share) for share in (domain.people.validation, domain.people.held_out)]
    parts: dict[str, SyntheticPart] = {}
    for place, user in enumerate(ranked[: sum(wanted)]):
        parts[user.key] = "validation" if place < wanted[0] else "held_out"
    found = [user.model_copy(update={"part": parts.get(user.key, "train")}) for user in plain]
    if sum(wanted) >= len(plain):
        raise ConfigError(
            f"datasets.{domain.name}.people: of {len(plain)} users nobody is left to learn from; lower validation and "
            "held_out, or add users"
        )
    if domain.people.interpolated:
        learned = {trait for user in found if user.part == "train" for trait in user.traits.items()}
        found += _users(domain, _interpolated(domain, learned), 1, "interpolated", seed)
    _refuse_doubles(domain, found)
    return sorted(found, key=lambda user: user.key)


def _refuse_doubles(domain: Domain, users: Sequence[SeedUser]) -> None:
    """Raise ConfigError where two users would have one name, or one key: equal texts of traits."""
    names, keys = (Counter(map(attrgetter(name), users)) for name in ("user_id", "key"))
    for user in sorted(users, key=lambda user: user.user_id):
        if names[user.user_id] > 1:
            raise ConfigError(
                f"datasets.{domain.name}.traits: two users would be named {user.user_id!r}; rename a value"
            )
        if keys[user.key] > 1:
            raise ConfigError(
                f"datasets.{domain.name}.traits: {user.user_id!r} and another user would have the same traits "
                f"({user.seed}); change a text"
            )


def _count(number: int, share: float) -> int:
    """A share of a number, rounded; 0.15 of 10 is 2, though a float says 1.5 or less."""
    return int(number * Fraction(str(share)) + Fraction(1, 2))


def _plain(domain: Domain) -> Iterator[Traits]:
    dimensions = sorted(domain.traits)
    if domain.people.each == "value":
        yield from ({name: value} for name in dimensions for value in sorted(domain.traits[name]))
        return
    for values in itertools.product(*(sorted(domain.traits[name]) for name in dimensions)):
        yield dict(zip(dimensions, values, strict=True))


def _interpolated(domain: Domain, learned: Collection[tuple[str, str]]) -> Iterator[Traits]:
    """Every two of the `learned` traits (dimension and value) of different dimensions. Raises ConfigError for none."""
    pairs = [(one, other) for one, other in itertools.combinations(sorted(learned), 2) if one[0] != other[0]]
    if not pairs:
        said = (
            "there is one dimension; add another to traits"
            if len(domain.traits) < 2
            else "users to learn from have traits of one dimension; lower validation and held_out"
        )
        raise ConfigError(f"datasets.{domain.name}.people.interpolated: {said}")
    yield from map(dict, pairs)


def _users(domain: Domain, every: Iterator[Traits], personas: int, part: SyntheticPart, seed: int) -> list[SeedUser]:
    found = []
    for traits, number in itertools.product(list(every), range(personas)):
        texts = [domain.traits[name][value] for name, value in traits.items()]
        ending = [f"{number + 1:0{len(str(personas))}d}"] if personas > 1 else []
        found.append(
            SeedUser(
                dataset=domain.name,
                user_id="-".join([*traits.values(), *ending]),
                key=stable_hash("user", str(seed), *sorted(texts), str(number))[:16],
                part=part,
                traits=dict(traits),
                seed=" ".join(texts),
            )
        )
    return found
