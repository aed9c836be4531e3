"""Typed records of the analyses of personas, one JSON object a line."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field

from personalrm.core.conditions import K, RecordedK
from personalrm.core.records import CallRef, Record, UserData, Verdict

StatementKind = Literal["survey", "planted"]
Missing = Literal["no statement", "no persona", "no other persona"]
Tag = Literal["low", "high", "absent"]
Kind = Literal["values", "topic", "format", "other"]
TAGS: tuple[Tag, ...] = ("low", "high", "absent")
KINDS: tuple[Kind, ...] = ("values", "topic", "format", "other")


class PersonaReading(Record):
    """Whose persona was read, by whom it was written and read, and what the answers rest on."""

    dataset: str
    user_id: str
    variant: str
    profile_model: str
    judge_model: str
    k: RecordedK
    calls: tuple[CallRef, ...] = ()
    prompts: dict[str, str] = Field(default_factory=dict)

    @classmethod
    def of(cls, user: UserData, *, variant: str, model: str, judge: str, k: K) -> Self:
        """A reading of one user's persona that is still to be made."""
        return cls(
            dataset=user.dataset, user_id=user.user_id, variant=variant, profile_model=model, judge_model=judge, k=k
        )


class UserFidelity(PersonaReading):
    """How one user's persona fared against other users', judged against what the user stated.

    In `verdicts` `pair_id` is the other user, `swapped` says that the other's persona stood first, and `correct` that
    the user's own was named. In `matches` `pair_id` is the user whose persona was shown alone, and `correct` says that
    it was judged to fit. `missing` says why there are none.
    """

    statement: StatementKind | None = None
    missing: Missing | None = None
    verdicts: tuple[Verdict, ...] = ()
    matches: tuple[Verdict, ...] = ()


class UserRecovery(PersonaReading):
    """Which facts of one user's rubric personas were said to state.

    `stated` holds, by the user whose persona was read (the user's own first, then others'), an answer for each of
    `facts`; None where it could not be read, or the call failed. `failed` of `asked` calls failed at the provider.
    """

    facts: tuple[str, ...] = ()
    missing: Literal["no facts", "no persona"] | None = None
    stated: dict[str, tuple[bool | None, ...]] = Field(default_factory=dict)
    asked: int = 0
    failed: int = 0


class Axis(Record):
    """A scale on which people differ, and what stands at its two ends."""

    name: str
    low: str
    high: str


class AxisSet(Record):
    """Axes of one data set, as `model` named them from `shown` personas; `events` lists what a reader should know."""

    dataset: str
    variant: str
    model: str
    axes: tuple[Axis, ...] = ()
    shown: int = 0
    events: tuple[str, ...] = ()
    calls: tuple[CallRef, ...] = ()
    prompts: dict[str, str] = Field(default_factory=dict)


class TaggedPersona(Record):
    """One persona on each axis (`tags`, in the order of the axis set) and the kind of each of its sentences (`kinds`).

    None stands where the model's answer could not be read, or a call failed; `failed` of `asked` calls failed at the
    provider. `status` is `empty` where there is no persona.
    """

    dataset: str
    user_id: str
    variant: str
    profile_model: str
    model: str
    k: RecordedK
    draw: int
    status: Literal["ok", "empty"]
    tags: tuple[Tag | None, ...] = ()
    kinds: tuple[Kind | None, ...] = ()
    asked: int = 0
    failed: int = 0
    calls: tuple[CallRef, ...] = ()
    prompts: dict[str, str] = Field(default_factory=dict)
