"""Whose pairs train a reward model, whose choose its hyper-parameters, and who is judged with it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import NamedTuple

from personalrm.core.errors import DataError
from personalrm.core.files import stable_hash
from personalrm.core.records import NoResult, PreferencePair, Split, UserData
from personalrm.data.history import pair_of
from personalrm.data.near_duplicates import folded, near_any
from personalrm.data.settings import SIMILARITY
from personalrm.data.sources.open import read_votes
from personalrm.data.splits import prompts_alike
from personalrm.methods.reward.shots import content
from personalrm.studies.reward_config import Regime

logger = logging.getLogger(__name__)
NOT_JUDGED: dict[str | None, str] = {
    "train": "the reward model was trained on this user",
    "validation": "this user chose the reward model's hyper-parameters",
    None: "the user has no part of the user split",
}
"""By part of the user split, why a user is not judged in the regime `unseen`."""

NOBODY = "nobody"
"""Whose pairs those of files without users are called."""
Pairs = tuple[PreferencePair, ...]


class TrainingPairs(NamedTuple):
    """Pairs that training may see, none of them a tie.

    Attributes:
        users: of each train user.
        held_out: of each validation user: context, and targets on which hyper-parameters are chosen.
    """

    users: list[Pairs]
    held_out: list[tuple[Pairs, Pairs]]


def some_train_users(users: Iterable[UserData], count: int | None, seed: int) -> Iterable[UserData]:
    """All users but those train users who are not drawn: `count` of them are (None: all), by a seed and their texts.

    The train users of a smaller count are among those of a larger one, and names of users change nothing. Raises
    DataError if there are fewer train users than `count`.
    """
    if count is None:
        return users
    found = list(users)
    train = [user for user in found if user.user_split == "train"]
    if len(train) < count:
        told = f"has {len(train)} train users, and train_users asks for {count}; give fewer, or leave it out for all"
        raise DataError(f"data set {found[0].dataset if found else ''}: {told}")
    train.sort(key=lambda user: stable_hash("train users", str(seed), *sorted(map(content, user.pairs))))
    kept = {user.user_id for user in train[:count]}
    return [user for user in found if user.user_split != "train" or user.user_id in kept]


def training_pairs(users: Iterable[UserData], regime: Regime) -> TrainingPairs:
    """The pairs of a regime.

    `unseen`: train users of the user split with all their pairs; validation users, adapted on their context and
    measured on their other pairs; nothing of other users. `all-but-test`: context and validation pairs of all users,
    and nobody is held out. A test pair of a user who is judged (`why_not_judged`) is never among them.
    """
    people = list(users)
    secret = test_texts(people, regime)

    def learned(user: UserData, *parts: Split) -> Pairs:
        return tuple(pair for pair in _of(user, parts) if text_of(pair) not in secret)

    if regime == "all-but-test":
        return TrainingPairs([learned(user, "context", "validation") for user in people], [])
    return TrainingPairs(
        [learned(user, "context", "validation", "test") for user in people if user.user_split == "train"],
        [
            (_of(user, ("context",)), _of(user, ("validation", "test")))
            for user in people
            if user.user_split == "validation"
        ],
    )


def test_texts(users: Iterable[UserData], regime: Regime) -> set[tuple[str, ...]]:
    """Texts of the test pairs of all users who are judged: nobody's vote on them may be learned."""
    judged = (user for user in users if why_not_judged(user, regime) is None)
    return {text_of(pair) for user in judged for pair in user.part("test")}


def text_of(pair: PreferencePair) -> tuple[str, ...]:
    """Conversation and answers, whichever was chosen."""
    return (*(folded(turn.content) for turn in pair.context), *sorted(map(folded, (pair.chosen, pair.rejected))))


def _of(user: UserData, parts: Sequence[Split]) -> Pairs:
    return tuple(pair for pair in user.pairs if pair.split in parts and not pair.tie)


def why_not_judged(user: UserData, regime: Regime) -> NoResult | None:
    """Why a user is not judged in a regime; None where the user is."""
    if regime == "all-but-test" or user.user_split == "test":
        return None
    return NoResult("empty", NOT_JUDGED[user.user_split])


class Lesson(NamedTuple):
    """A user, as the benchmark has the user, and pairs of the user that a fine-tuned model learns."""

    user: UserData
    pairs: Pairs


class Lessons(NamedTuple):
    """Whom a fine-tuned model learns from, and validation users, on whom the curve is measured."""

    train: list[Lesson]
    held_out: list[Lesson]


def lessons(
    users: Iterable[UserData],
    regime: Regime,
    *,
    unfiltered: Mapping[str, UserData] | None = None,
    rests_on: Callable[[UserData], Collection[str]] | None = None,
    similarity: float | None = SIMILARITY,
) -> Lessons:
    """The pairs of a regime for models that are fine-tuned, none of them a tie.

    Args:
        users: as they are judged.
        regime: as in `training_pairs`.
        unfiltered: the same users, by id, before filters that ask models; those of their pairs that the filters took
            away are learned, too. None to learn pairs of the benchmark alone.
        rests_on: ids of the pairs that the text about a user was learned from: a model that learned them with this
            text would learn to copy. None for models that read no such text.
        similarity: from which prompts are near-duplicates; None for equal ones alone.
    """
    found, people = Lessons([], []), list(users)
    texts = test_texts(people, regime)
    for user in people:
        if regime == "unseen" and user.user_split not in ("train", "validation"):
            continue
        known = set(rests_on(user)) if rests_on else set()
        secret = [
            pair for pair in user.pairs if pair.pair_id in known or (regime == "all-but-test" and pair.split == "test")
        ]
        if regime == "unseen" and user.user_split == "validation":
            found.held_out.append(Lesson(user, _free(user, None, secret, similarity)))
        else:
            whole = unfiltered[user.user_id] if unfiltered is not None else None
            free = _free(user, whole, secret, similarity)
            found.train.append(Lesson(user, tuple(pair for pair in free if text_of(pair) not in texts)))
    return found


def nameless_pairs(files: Iterable[Path], judged: Iterable[UserData], similarity: float | None = SIMILARITY) -> Pairs:
    """The pairs of files that name no users, of each content once, without ties, and without those that may show a
    choice of a test pair of the users who are judged.

    Left out is a pair whose answers are those of a test pair, or whose first or last turn of the user is (up to
    near-duplicates) such a turn of a test pair: a later turn of a conversation shows what was chosen before. Raises
    DataError for a row that is no pair.
    """
    votes = chain.from_iterable(read_votes(path, user_id=NOBODY) for path in files)
    known = {vote.content_hash: vote for vote in votes if not vote.tie and vote.chosen != vote.rejected}
    pairs = [pair_of(vote, order) for order, vote in enumerate(known.values())]
    secret = [pair for user in judged for pair in user.pairs if pair.split == "test"]
    turns = [turn for pair in secret for turn in _ends(pair)]
    alike = near_any([turn for pair in pairs for turn in _ends(pair)], turns, similarity or 1)
    answers = {_answers(pair) for pair in secret}
    free = tuple(
        pair
        for pair, first, last in zip(pairs, alike[::2], alike[1::2], strict=True)
        if not (first or last or _answers(pair) in answers)
    )
    logger.info("%d pairs without users, of which %d may show a test pair", len(pairs), len(pairs) - len(free))
    return free


def _ends(pair: PreferencePair) -> tuple[str, str]:
    """The first and the last turn of the user."""
    said = [turn.content for turn in pair.context if turn.role == "user"] or [""]
    return said[0], said[-1]


def _answers(pair: PreferencePair) -> frozenset[str]:
    return frozenset(map(folded, (pair.chosen, pair.rejected)))


def _free(user: UserData, whole: UserData | None, secret: Sequence[PreferencePair], similarity: float | None) -> Pairs:
    """Pairs of a user that may be learned where `secret` ones may not.

    Parts of the benchmark were made apart from each other. Other pairs (of the same part, or of none) are left out
    where they share a conversation with a secret pair, whose choice their conversation may show, or have its prompt.
    """
    part = {pair.pair_id: pair.split for pair in user.pairs}
    ids, hidden = {pair.pair_id for pair in secret}, {pair.split for pair in secret}
    conversations = {pair.conversation_id for pair in secret if pair.conversation_id is not None}
    pairs = [pair for pair in (whole.pairs if whole else user.pairs) if not pair.tie and pair.pair_id not in ids]
    alike = prompts_alike(pairs, secret, similarity or 1)
    return tuple(
        pair
        for pair, same in zip(pairs, alike, strict=True)
        if (part.get(pair.pair_id) or whole)
        and (part.get(pair.pair_id) not in {None, *hidden} or not (same or pair.conversation_id in conversations))
    )
