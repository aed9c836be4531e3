"""The two levels of split: users apart (level A), and 50/20/30 inside a user (level B).

Level B keeps time: the oldest pairs are the context, the newest the test, as an application would meet them.
What belongs together never straddles two parts.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from itertools import accumulate
from typing import Literal, NamedTuple

from personalrm.benchmark.settings import Fold, KeepTogether
from personalrm.benchmark.votes import decided
from personalrm.files import stable_fraction
from personalrm.records import LevelA, PreferencePair, Split

PARTS: tuple[Split, Split, Split] = ("context", "validation", "test")
LEVEL_A: tuple[LevelA, LevelA, LevelA] = ("train", "validation", "test")

Fractions = tuple[float, float, float]
Grain = Literal["conversation", "turn", "pair", "release"]

_GRAINS: dict[KeepTogether, tuple[Grain, ...]] = {
    "conversation": ("conversation", "turn", "pair"),
    "turn": ("turn", "pair"),
    "none": ("pair",),
}


class UserSplit(NamedTuple):
    """Pairs, oldest first, each with its part, and the grain at which they were kept together."""

    pairs: tuple[PreferencePair, ...]
    grain: Grain


def level_a(user_id: str, fractions: Fractions, seed: int) -> LevelA:
    """Level-A part of a user, from a stable hash: it does not depend on who else is in the data."""
    point = stable_fraction("level_a", str(seed), user_id)
    if point < fractions[0]:
        return LEVEL_A[0]
    return LEVEL_A[1] if point < fractions[0] + fractions[1] else LEVEL_A[2]


def split_user(
    pairs: Sequence[PreferencePair],
    fractions: Fractions = (0.5, 0.2, 0.3),
    keep_together: KeepTogether = "conversation",
    fold: Fold | None = None,
) -> UserSplit:
    """Split one user's pairs (at least 3 of them no ties) into context, validation and test, by `order`.

    Groups that must stay together are ranked by their oldest pair and cut twice, where the number of
    pairs comes nearest to the fractions (on a draw the later part gets more); every part gets a group.
    With fewer than 3 groups the next finer grain is used, turn and then pair, and `grain` says so: a user
    with a single conversation would else have no test pair (our choice; the paper's rule is not
    published). The input's sequence does not matter. With a `fold` there are at least as many groups as
    folds, and 4, and the test is one of the stretches instead of the newest pairs.

    Only decided pairs are counted, so that every part has one of them. A tie goes with its group; a group of nothing
    but ties with the last decided group before it, or where there is none with the first.
    """
    least = max(len(PARTS) + 1, fold[1]) if fold else len(PARTS)
    if len(decided(pairs)) < least:
        raise ValueError(f"{len(decided(pairs))} pairs cannot be split in {least} parts")
    ordered = sorted(pairs, key=lambda pair: (pair.order, pair.pair_id))
    for grain in _GRAINS[keep_together]:
        groups = _groups(ordered, grain)
        sizes = [len(decided(ordered[index] for index in group)) for group in groups]
        if sum(size > 0 for size in sizes) >= least:
            break
    parts = _parts([size for size in sizes if size], fractions, fold)
    part_of: dict[int, Split] = {}
    rank = -1
    for group, size in zip(groups, sizes, strict=True):
        rank += size > 0
        part_of |= dict.fromkeys(group, parts[max(rank, 0)])
    return UserSplit(
        tuple(pair.model_copy(update={"split": part_of[index]}) for index, pair in enumerate(ordered)), grain
    )


def normal_prompt(pair: PreferencePair) -> str:
    """The last user turn without regard to case and blanks; equal ones are near-duplicates (our choice)."""
    return " ".join(pair.context[-1].content.casefold().split()) if pair.context else ""


def _links(pair: PreferencePair, grain: Grain) -> list[Hashable]:
    """What ties a pair to others: pairs that share any of these stay together."""
    if grain == "pair":
        return [("pair", pair.pair_id)]
    # Pairs of one context have one prompt too, so this also keeps together what has no conversation id.
    links: list[Hashable] = [("prompt", normal_prompt(pair))]
    if pair.conversation_id is not None and grain == "conversation":
        links.append(("conversation", pair.conversation_id))
    if pair.conversation_id is not None and pair.turn is not None:
        links.append(("turn", pair.conversation_id, pair.turn))
    return links


def _groups(pairs: Sequence[PreferencePair], grain: Grain) -> list[list[int]]:
    """Indices of pairs that are linked, directly or through others; groups and members oldest first."""
    parent = list(range(len(pairs)))

    def root(index: int) -> int:
        while parent[index] != index:
            parent[index] = parent[parent[index]]
            index = parent[index]
        return index

    seen: dict[Hashable, int] = {}
    for index, pair in enumerate(pairs):
        for link in _links(pair, grain):
            parent[root(index)] = root(seen.setdefault(link, index))
    groups: dict[int, list[int]] = {}
    for index in range(len(pairs)):
        groups.setdefault(root(index), []).append(index)
    return list(groups.values())


def _parts(sizes: Sequence[int], fractions: Fractions, fold: Fold | None) -> list[Split]:
    """The part of each group of decided pairs."""
    if fold is None:
        first, second = _cuts(sizes, fractions)
        return [PARTS[(rank >= first) + (rank >= second)] for rank in range(len(sizes))]
    number, folds = fold
    begin, end = len(sizes) * (number - 1) // folds, len(sizes) * number // folds
    rest = [*sizes[:begin], *sizes[end:]]
    known = fractions[0] / (fractions[0] + fractions[1])
    first = _nearest(rest, known, 1, len(rest) - 1)
    learned = [PARTS[rank >= first] for rank in range(len(rest))]
    return [*learned[:begin], *([PARTS[2]] * (end - begin)), *learned[begin:]]


def _cuts(sizes: Sequence[int], fractions: Fractions) -> tuple[int, int]:
    """First group of validation and first group of test, at least one group in each of the three parts."""
    first = _nearest(sizes, fractions[0], 1, len(sizes) - 2)
    return first, _nearest(sizes, fractions[0] + fractions[1], first + 1, len(sizes) - 1)


def _nearest(sizes: Sequence[int], share: float, low: int, high: int) -> int:
    """The cut from `low` to `high` before which the share of pairs is nearest to `share`; the earlier on a draw."""
    before = [0, *accumulate(sizes)]
    # Rounded, so that 0.5 + 0.2 does not decide a draw by its last bit.
    return min(range(low, high + 1), key=lambda cut: (round(abs(before[cut] - share * before[-1]), 9), cut))
