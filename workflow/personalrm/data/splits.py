"""The two splits: of users (train/validation/test), and of one user's pairs (50/20/30).

The pair split keeps the order of time: the oldest pairs are the context, the newest the test, as in an application.
Pairs that belong together are in one part.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from itertools import accumulate, chain
from typing import Literal, NamedTuple

from personalrm.core.files import stable_fraction
from personalrm.core.records import PreferencePair, Split, UserPart
from personalrm.data.near_duplicates import near_any, near_duplicates
from personalrm.data.settings import SIMILARITY, Fold, KeepTogether
from personalrm.data.sources.votes import decided

PARTS: tuple[Split, Split, Split] = ("context", "validation", "test")
USER_PARTS: tuple[UserPart, UserPart, UserPart] = ("train", "validation", "test")

Fractions = tuple[float, float, float]
Grain = Literal["conversation", "turn", "pair", "release"]

_GRAINS: dict[KeepTogether, tuple[Grain, ...]] = {
    "conversation": ("conversation", "turn", "pair"),
    "turn": ("turn", "pair"),
    "none": ("pair",),
}


class UserSplit(NamedTuple):
    """Pairs, oldest first, each with its part, and the grain at which they were kept together.

    `joined` pairs are in a group that near-duplicate prompts alone made of smaller ones. `too_alike` says that such
    groups were too few, so that near-duplicates were not kept together.
    """

    pairs: tuple[PreferencePair, ...]
    grain: Grain
    joined: int = 0
    too_alike: bool = False

    def alike(self, similarity: float | None) -> dict[str, int]:
        """What near-duplicate prompts did to this user, in the counts of `Funnel.near_duplicates`.

        Where they were not to be kept together (`similarity` None), test pairs are counted by the default threshold.
        """
        return {
            "pairs_joined": self.joined,
            "users_too_alike": int(self.too_alike),
            "test_pairs_leaked": leaked(self.pairs, similarity or SIMILARITY),
        }


def user_split(user_id: str, fractions: Fractions, seed: int) -> UserPart:
    """Part of a user in the user split, from a stable hash: it does not depend on the other users."""
    point = stable_fraction("level_a", str(seed), user_id)
    return USER_PARTS[sum(point >= cut for cut in accumulate(fractions[:2]))]


def split_user(
    pairs: Sequence[PreferencePair],
    fractions: Fractions = (0.5, 0.2, 0.3),
    keep_together: KeepTogether = "conversation",
    fold: Fold | None = None,
    similarity: float | None = SIMILARITY,
) -> UserSplit:
    """Split one user's pairs (at least 3 of them no ties) into context, validation and test, by `order`.

    Groups that must stay together are ranked by their oldest pair and cut twice, where the number of
    pairs comes nearest to the fractions (on a draw the later part gets more); every part gets a group.
    With fewer than 3 groups the next finer grain is used, turn and then pair, and `grain` says so: otherwise
    a user with a single conversation would have no test pair (our choice; the paper's rule is not
    published). The input's sequence does not matter. With a `fold` there are at least as many groups as
    folds, and 4, and the test is one of the stretches instead of the newest pairs.

    Pairs with the same prompt stay together, and with `similarity` those with near-duplicate prompts, directly or
    through others. Where this leaves too few groups at every grain, the user is split as without `similarity`.

    Only decided pairs are counted, so that every part has one of them. A tie goes with its group; a group of
    ties only goes with the last decided group before it, or with the first if there is none before it.
    """
    least = max(len(PARTS) + 1, fold[1]) if fold else len(PARTS)
    if len(decided(pairs)) < least:
        raise ValueError(f"{len(decided(pairs))} pairs cannot be split in {least} parts")
    ordered = sorted(pairs, key=lambda pair: (pair.order, pair.pair_id))
    grains = _GRAINS[keep_together]
    tries: list[tuple[Grain, float | None]] = [(grain, None) for grain in grains]
    if similarity is not None:
        tries = [*((grain, similarity) for grain in grains if grain != "pair"), *tries]
    for grain, alike in tries:
        groups = _groups(ordered, grain, alike)
        sizes = [len(decided(ordered[index] for index in group)) for group in groups]
        if sum(size > 0 for size in sizes) >= least:
            break
    apart = set(map(tuple, groups if alike is None else _groups(ordered, grain, None)))
    joined = sum(len(group) for group in groups if tuple(group) not in apart)
    parts = _parts([size for size in sizes if size], fractions, fold)
    part_of: dict[int, Split] = {}
    rank = -1
    for group, size in zip(groups, sizes, strict=True):
        rank += size > 0
        part_of |= dict.fromkeys(group, parts[max(rank, 0)])
    parted = (pair.model_copy(update={"split": part_of[index]}) for index, pair in enumerate(ordered))
    return UserSplit(tuple(parted), grain, joined, too_alike=alike is None and len(tries) > len(grains))


def leaked(pairs: Sequence[PreferencePair], similarity: float = SIMILARITY) -> int:
    """Number of test pairs whose prompt is a near-duplicate of the prompt of a pair that methods learn from."""
    known = [pair for pair in pairs if pair.split != "test" and not pair.tie]
    alike = prompts_alike(pairs, known, similarity)
    return sum(pair.split == "test" and found for pair, found in zip(pairs, alike, strict=True))


def prompts_alike(
    pairs: Sequence[PreferencePair], others: Sequence[PreferencePair], similarity: float = SIMILARITY
) -> list[bool]:
    """Whether the prompt of each pair is a near-duplicate of the prompt of one of the others."""
    return near_any([_prompt(pair) for pair in pairs], map(_prompt, others), similarity)


def _prompt(pair: PreferencePair) -> str:
    """The last user turn."""
    return pair.context[-1].content if pair.context else ""


def _links(pair: PreferencePair, grain: Grain) -> list[Hashable]:
    """Keys of a pair: pairs that share any of these stay together."""
    if grain == "pair":
        return [("pair", pair.pair_id)]
    # Without regard to case and blanks (our choice). Pairs of one context have one prompt too, so this also keeps
    # together what has no conversation id.
    links: list[Hashable] = [("prompt", " ".join(_prompt(pair).casefold().split()))]
    if pair.conversation_id is not None and grain == "conversation":
        links.append(("conversation", pair.conversation_id))
    if pair.conversation_id is not None and pair.turn is not None:
        links.append(("turn", pair.conversation_id, pair.turn))
    return links


def _groups(pairs: Sequence[PreferencePair], grain: Grain, similarity: float | None) -> list[list[int]]:
    """Indices of pairs that are linked, directly or through others; groups and members oldest first.

    With `similarity` the last user turns are compared; between conversations also all user turns as one text, so that a
    conversation that begins as another does is found where only later turns were judged. Turns of one conversation are
    alike in that way.
    """
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
    texts = [] if similarity is None else [[_prompt(pair) for pair in pairs]]
    if texts and grain == "conversation" and any(len(pair.context) > 1 for pair in pairs):
        texts.append(["\n".join(turn.content for turn in pair.context if turn.role == "user") for pair in pairs])
    for one, other in chain.from_iterable(near_duplicates(each, similarity or 1) for each in texts):
        parent[root(other)] = root(one)
    groups: dict[int, list[int]] = {}
    for index in range(len(pairs)):
        groups.setdefault(root(index), []).append(index)
    return list(groups.values())


def _parts(sizes: Sequence[int], fractions: Fractions, fold: Fold | None) -> list[Split]:
    """The part of each group of decided pairs; at least one group in each part."""
    if fold is None:
        first = _nearest(sizes, fractions[0], 1, len(sizes) - 2)
        second = _nearest(sizes, fractions[0] + fractions[1], first + 1, len(sizes) - 1)
        return [PARTS[(rank >= first) + (rank >= second)] for rank in range(len(sizes))]
    number, folds = fold
    begin, end = len(sizes) * (number - 1) // folds, len(sizes) * number // folds
    rest = [*sizes[:begin], *sizes[end:]]
    first = _nearest(rest, fractions[0] / (fractions[0] + fractions[1]), 1, len(rest) - 1)
    learned = [PARTS[rank >= first] for rank in range(len(rest))]
    return [*learned[:begin], *([PARTS[2]] * (end - begin)), *learned[begin:]]


def _nearest(sizes: Sequence[int], share: float, low: int, high: int) -> int:
    """The cut from `low` to `high` before which the share of pairs is nearest to `share`; the earlier on a draw."""
    before = [0, *accumulate(sizes)]
    # Rounded, so that 0.5 + 0.2 does not decide a draw by its last bit.
    return min(range(low, high + 1), key=lambda cut: (round(abs(before[cut] - share * before[-1]), 9), cut))
