"""One raw vote, whatever its source, and how a row of the local format becomes one."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Annotated, Literal, TypeVar

from pydantic import AfterValidator, BeforeValidator, Discriminator, Field, Tag

from personalrm.core.files import canonical_json, stable_hash
from personalrm.core.records import PreferencePair, Split, UserPart
from personalrm.data.sources.fields import (
    BRANCHES,
    Advice,
    FieldError,
    Id,
    Number,
    Row,
    SoundRow,
    Spoken,
    Text,
    checked,
    shown,
)
from personalrm.data.sources.times import time_of

ROLES: Mapping[str, str] = {
    "system": "system",
    "user": "user",
    "human": "user",
    "prompter": "user",
    "assistant": "assistant",
    "model": "assistant",
    "bot": "assistant",
    "gpt": "assistant",
    "ai": "assistant",
    "developer": "system",
}
"""Roles of a vote file (any case) and the role of chat models that each means."""


@dataclass(frozen=True)
class Vote:
    """One user's preference between two answers. Text is as in the source, roles are those of chat models.

    For a tie (`tie`), `chosen` and `rejected` are the first and the second answer in the source's order.
    `timestamp` is in Unix seconds. `pair_id` is None where the source names none. `line` is the line or row
    of the source (from 1), for messages only. `conversation_type` is the source's own word. `user_split` and
    `pair_split` are the parts of users and of pairs that a release comes with, `judgments` its filters' columns, as
    they are there.
    `flip` is a stored coin of presentation, true where the chosen answer stands first.
    """

    user_id: str
    context: tuple[tuple[str, str], ...]
    chosen: str
    rejected: str
    tie: bool = False
    pair_id: str | None = None
    conversation_id: str | None = None
    turn: int | None = None
    timestamp: float | None = None
    survey: Mapping[str, str] = field(default_factory=dict)
    line: int = 0
    conversation_type: str | None = None
    user_split: UserPart | None = None
    pair_split: Split | None = None
    judgments: Mapping[str, object] = field(default_factory=dict)
    flip: bool | None = None

    @cached_property
    def content_hash(self) -> str:
        """Stable hash of context and answers, of neither the user nor the data set. A tie has no order of answers."""
        if self.tie:
            return stable_hash("tie", canonical_json(self.context), *sorted((self.chosen, self.rejected)))
        return stable_hash("pair", canonical_json(self.context), self.chosen, self.rejected)

    @property
    def own_id(self) -> str:
        """The source's pair id, else a hash (16 hex) of user, context and answers, equal in any data set."""
        return self.pair_id or stable_hash("pair_id", self.user_id, self.content_hash)[:16]


V = TypeVar("V", Vote, PreferencePair)


def decided(votes: Iterable[V]) -> list[V]:
    """The votes (or pairs) that are not ties."""
    return [vote for vote in votes if not vote.tie]


class _User(SoundRow):
    user_id: Id


def user_of(row: Row) -> str:
    """User id of a row: a string that is not blank, or a whole number (which becomes its decimal form)."""
    return checked(_User, row, _ADVICE).user_id


class _Tie(SoundRow):
    tie: bool | None = None


def tie_of(row: Row) -> bool:
    """Whether a row in the form of chosen and rejected is a tie: its field `tie`, true, false, null or absent."""
    return bool(checked(_Tie, row, _ADVICE).tie)


def is_missing(value: object) -> bool:
    """Whether a value is None, or the NaN that a data frame puts in its place."""
    return value is None or (isinstance(value, float) and math.isnan(value))


def stored_truth(value: object) -> object:
    """A truth value as it may come out of a data frame: NaN is None, 0.0 and 1.0 and NumPy's are Python's; any other
    value as it is."""
    of_numpy = type(value).__module__ == "numpy" and type(value).__name__ in ("bool", "bool_")
    if of_numpy or (isinstance(value, float) and value in (0.0, 1.0)):
        return bool(value)
    return None if is_missing(value) else value


def _role(value: str) -> str:
    role = ROLES.get(value.lower())
    if role is None:
        raise FieldError("", f"is {shown(value)}, a role unknown to chat models", f"use one of {', '.join(ROLES)}")
    return role


def _assistant(role: str) -> str:
    if role != "assistant":
        raise FieldError("", f"is {role!r}, but an answer is the assistant's", "use role assistant")
    return role


Role = Annotated[str, AfterValidator(_role)]


class _Turn(SoundRow):
    role: Role
    content: Text


class _Said(SoundRow):
    """An answer as a turn."""

    role: Annotated[Role, AfterValidator(_assistant)]
    content: Spoken


def _ends_with_user(turns: list[_Turn]) -> list[_Turn]:
    last, where = turns[-1], f"context[{len(turns) - 1}]"
    if last.role != "user":
        problem = f"is {last.role!r}: the context does not end with a turn of the user"
        raise FieldError(f"{where}.role", problem, "move the answers out of the context")
    if not last.content.strip():
        raise FieldError(f"{where}.content", "is empty or blank", _ADVICE.by_field["content"])
    return turns


def _seconds(value: object) -> object:
    """Unix seconds, or a count."""
    return None if value is None else time_of(value).value


def _survey_answer(value: object) -> object:
    """An answer as a string: numbers and truth values in JSON's spelling."""
    if isinstance(value, (list, dict)) or (isinstance(value, float) and not math.isfinite(value)):
        raise FieldError("", f"is {shown(value)}, which no string stands for", "write answers as strings")
    return value if value is None or isinstance(value, str) else json.dumps(value)


class _Vote(_User):
    """What both forms of a row have."""

    context: Annotated[list[_Turn], Field(min_length=1), AfterValidator(_ends_with_user)]
    pair_id: Id | None = None
    conversation_id: Id | None = None
    turn: Number | None = None
    timestamp: Annotated[float | None, BeforeValidator(_seconds)] = None
    survey: dict[Text, Annotated[Text | None, BeforeValidator(_survey_answer)]] | None = None
    flip: bool | None = None
    user_split: UserPart | None = None


Answer = Annotated[
    Annotated[Spoken, Tag(BRANCHES[0])] | Annotated[_Said, Tag(BRANCHES[1])],
    Discriminator(lambda value: BRANCHES[isinstance(value, dict)]),
]
"""A text, or {role, content}."""


class _Decided(_Vote):
    chosen: Answer
    rejected: Answer


class _Judged(_Vote):
    response_a: Answer
    response_b: Answer
    winner: Literal["a", "b", "tie"]


KNOWN_FIELDS = frozenset({*_Decided.model_fields, *_Judged.model_fields, *_Tie.model_fields, "prompt"})
"""Fields of a vote file."""
FORMS = (("chosen", "rejected"), ("response_a", "response_b"))
"""Names of the two answers: the preferred one first, or in the order of presentation, with `winner`."""

_ADVICE = Advice(
    otherwise="write the text as a JSON string",
    by_field={
        "user_id": "give an id",
        "pair_id": "give an id, or leave it out",
        "conversation_id": "give an id, or leave it out",
        "context": "write it as a list of {role, content} with at least one turn",
        **dict.fromkeys(
            ("chosen", "rejected", "response_a", "response_b", "content"), "restore the text, or remove the vote"
        ),
        "winner": "write a, b or tie",
        "turn": "write a whole number from 0, or leave it out",
        "timestamp": "write Unix seconds or ISO 8601 (2025-01-31T12:00:00Z), or leave it out",
        "survey": "write {question: answer}",
        "flip": "write true or false, or leave it out",
        "tie": "write true or false, or leave it out",
        "user_split": "write train, validation or test, or leave it out",
    },
    expected={"user_split": "train, validation or test", "turn": "a whole number from 0", "winner": "a, b or tie"},
)


def parse_vote(row: Row, line: int = 0) -> Vote:
    """Turn one row of the local format into a vote. Raises FieldError for the first thing that is wrong."""
    judged = any(name in row for name in ("response_a", "response_b", "winner"))
    if judged and any(name in row for name in ("chosen", "rejected")):
        raise FieldError("chosen", "stands next to response_a, response_b or winner", "keep one of the two forms")
    read = checked(_Judged, row, _ADVICE) if judged else checked(_Decided, row, _ADVICE)
    winner = read.winner if isinstance(read, _Judged) else "a"
    said = (read.response_a, read.response_b) if isinstance(read, _Judged) else (read.chosen, read.rejected)
    answers = [answer if isinstance(answer, str) else answer.content for answer in said]
    chosen, rejected = reversed(answers) if winner == "b" else answers
    return Vote(
        user_id=read.user_id,
        context=tuple((turn.role, turn.content) for turn in read.context),
        chosen=chosen,
        rejected=rejected,
        tie=winner == "tie",
        pair_id=read.pair_id,
        conversation_id=read.conversation_id,
        turn=read.turn,
        timestamp=read.timestamp,
        survey={question: answer for question, answer in (read.survey or {}).items() if answer is not None},
        line=line,
        flip=read.flip,
        user_split=read.user_split,
    )
