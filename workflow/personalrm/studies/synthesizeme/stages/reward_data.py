"""Whose pairs train a reward model, whose choose its hyper-parameters, and who is judged with it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from personalrm.core.records import NoResult, PreferencePair, Split, UserData
from personalrm.studies.reward_config import Regime

NOT_JUDGED: dict[str | None, str] = {
    "train": "the reward model was trained on this user",
    "validation": "this user chose the reward model's hyper-parameters",
    None: "the user has no part of the user split",
}
"""By part of the user split, why a user is not judged in the regime `unseen`."""

Pairs = tuple[PreferencePair, ...]


class TrainingPairs(NamedTuple):
    """Pairs that training may see, none of them a tie.

    Attributes:
        users: of each train user.
        held_out: of each validation user: context, and targets on which hyper-parameters are chosen.
    """

    users: list[Pairs]
    held_out: list[tuple[Pairs, Pairs]]


def training_pairs(users: Iterable[UserData], regime: Regime) -> TrainingPairs:
    """The pairs of a regime.

    `unseen`: train users of the user split with all their pairs; validation users, adapted on their context and
    measured on their other pairs; nothing of other users. `all-but-test`: context and validation pairs of all users,
    and nobody is held out. A test pair of a user who is judged (`why_not_judged`) is never among them.
    """
    if regime == "all-but-test":
        return TrainingPairs([_of(user, ("context", "validation")) for user in users], [])
    people = list(users)
    return TrainingPairs(
        [_of(user, ("context", "validation", "test")) for user in people if user.user_split == "train"],
        [
            (_of(user, ("context",)), _of(user, ("validation", "test")))
            for user in people
            if user.user_split == "validation"
        ],
    )


def _of(user: UserData, parts: Sequence[Split]) -> Pairs:
    return tuple(pair for pair in user.pairs if pair.split in parts and not pair.tie)


def why_not_judged(user: UserData, regime: Regime) -> NoResult | None:
    """Why a user is not judged in a regime; None where the user is."""
    if regime == "all-but-test" or user.user_split == "test":
        return None
    return NoResult("empty", NOT_JUDGED[user.user_split])
