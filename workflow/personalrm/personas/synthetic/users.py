"""The users of a domain, from its traits alone: no model is asked."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from fractions import Fraction

from personalrm.core.errors import ConfigError
from personalrm.core.files import stable_hash
from personalrm.core.synthetic import SeedUser, SyntheticPart
from personalrm.personas.synthetic.settings import Domain

Traits = Mapping[str, str]


def seed_users(domain: Domain, seed: int) -> list[SeedUser]:
    """All users of a domain, by their keys, which the texts of the traits decide and no name does.

    Parts are of users who are not interpolated: shares of their number, rounded, in the order of a seeded hash of keys.
    Raises ConfigError where two users would have one name.
    """
    plain = _users(domain, _plain(domain), domain.people.personas, "train", seed)
    ranked = sorted(plain, key=lambda user: stable_hash("part", str(seed), user.key))
    wanted = [_count(len(ranked), share) for share in (domain.people.validation, domain.people.held_out)]
    parts: dict[str, SyntheticPart] = {}
    for place, user in enumerate(ranked[: sum(wanted)]):
        parts[user.key] = "validation" if place < wanted[0] else "held_out"
    found = [user.model_copy(update={"part": parts.get(user.key, "train")}) for user in plain]
    if domain.people.interpolated:
        found += _users(domain, _interpolated(domain), 1, "interpolated", seed)
    names = [user.user_id for user in found]
    if twice := sorted({name for name in names if names.count(name) > 1}) if len(set(names)) < len(names) else []:
        raise ConfigError(f"datasets.{domain.name}.traits: two users would be named {twice[0]!r}; rename a value")
    return sorted(found, key=lambda user: user.key)


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


def _interpolated(domain: Domain) -> Iterator[Traits]:
    for one, other in itertools.combinations(sorted(domain.traits), 2):
        for values in itertools.product(sorted(domain.traits[one]), sorted(domain.traits[other])):
            yield {one: values[0], other: values[1]}


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
