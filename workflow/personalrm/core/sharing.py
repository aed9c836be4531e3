"""Things that share something, directly or through others."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence


def first_sharing(traits: Sequence[Iterable[Hashable]]) -> list[int]:
    """For each thing, given by its traits, the place of the first thing of its group.

    Two things are of one group if they share a trait, or each shares one with a third, and so on.

    >>> first_sharing(["ab", "cd", "be", "f"])
    [0, 1, 0, 3]
    >>> first_sharing(["ab", "cd", "bc"])
    [0, 0, 0]
    """
    found, seen = list(range(len(traits))), dict[Hashable, int]()
    for place, mine in enumerate(traits):
        for trait in mine:
            one, other = sorted((found[seen.setdefault(trait, place)], found[place]))
            if one != other:
                found = [one if group == other else group for group in found]
    return found
