"""One raw vote, whatever its source, and how a row of the local format becomes one.

Only the standard library is imported: a Snakefile reads votes while it is parsed.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from typing import Literal, Protocol, TypeVar

from personalrm.core.files import canonical_json, stable_hash

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
}
"""Roles of a vote file (any case) and the role of chat models that each stands for."""

KNOWN_FIELDS = frozenset(
    {"user_id", "context", "chosen", "rejected", "response_a", "response_b", "winner"}
    | {"timestamp", "conversation_id", "turn", "pair_id", "survey", "flip"}
)

Row = Mapping[str, object]
UserPart = Literal["train", "validation", "test"]
Split = Literal["context", "validation", "test"]


class FieldError(ValueError):
    """A field of a row is wrong. `field` is its path in the row, `advice` what to do about it."""

    def __init__(self, field: str, problem: str, advice: str) -> None:
        super().__init__(problem)
        self.field = field
        self.advice = advice


@dataclass(frozen=True)
class Vote:
    """What one user said about two answers. Text is as in the source, roles are those of chat models.

    For a tie (`tie`), `chosen` and `rejected` are the first and the second answer in the source's order.
    `timestamp` is in Unix seconds. `pair_id` is None where the source names none. `line` is the line or row
    of the source (from 1), for messages only. `conversation_type` is the source's own word. `user_split` and
    `pair_split`
    are the parts of users and of pairs that a release comes with, `judgments` its filters' columns, as they are there.
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
    def context_hash(self) -> str:
        """Stable hash of the context's roles and texts."""
        return stable_hash("context", canonical_json(self.context))

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


class MayTie(Protocol):
    """A vote or a pair."""

    @property
    def tie(self) -> bool: ...  # noqa: D102


V = TypeVar("V", bound=MayTie)


def decided(votes: Iterable[V]) -> list[V]:
    """Those of the votes (or pairs) that are no ties."""
    return [vote for vote in votes if not vote.tie]


def user_of(row: Row) -> str:
    """User id of a row: a string that is not blank, or a whole number (which becomes its decimal form)."""
    return _identifier(row, "user_id", required=True) or ""


def tie_of(row: Row) -> bool:
    """Whether a row in the form of chosen and rejected is a tie: its field `tie`, true, false, null or not there."""
    return bool(_truth(row, "tie"))


def stored_truth(value: object) -> object:
    """A truth value as it may come out of a data frame: NaN is None, 0.0 and 1.0 and NumPy's are Python's; any other
    value as it is."""
    if isinstance(value, float) and value in (0.0, 1.0):
        return bool(value)
    if type(value).__module__ == "numpy" and type(value).__name__ in ("bool", "bool_"):
        return bool(value)
    return None if isinstance(value, float) and math.isnan(value) else value


def _truth(row: Row, name: str) -> bool | None:
    value = row.get(name)
    if value is not None and not isinstance(value, bool):
        raise FieldError(name, f"is {_kind(value)}, not a truth value", "write true or false, or leave it out")
    return value


def parse_vote(row: Row, line: int = 0) -> Vote:
    """Turn one row of the local format into a vote. Raises FieldError for the first thing that is wrong."""
    user_id = user_of(row)
    context = _context(row)
    first, second, tie = _answers(row)
    return Vote(
        user_id=user_id,
        context=context,
        chosen=first,
        rejected=second,
        tie=tie,
        pair_id=_identifier(row, "pair_id"),
        conversation_id=_identifier(row, "conversation_id"),
        turn=_turn_number(row),
        timestamp=_timestamp(row),
        survey=_survey(row),
        line=line,
        flip=_truth(row, "flip"),
    )


def _kind(value: object) -> str:
    """The JSON name of a value's type."""
    names = {bool: "a truth value", int: "a number", float: "a number", str: "a string", list: "a list"}
    return "null" if value is None else names.get(type(value), "an object")


def _text(value: object, where: str) -> str:
    if not isinstance(value, str):
        raise FieldError(where, f"is {_kind(value)}, not a string", "write the text as a JSON string")
    lone = None if value.isascii() else re.search("[\ud800-\udfff]", value)
    if lone:
        raise FieldError(
            where,
            f"holds half of a surrogate pair (\\u{ord(lone[0]):04x}, character {lone.start()}), which no UTF-8 "
            "file can hold",
            "repair the text where it was exported",
        )
    return value


def _spoken(value: object, where: str) -> str:
    """Text of an answer or a last turn: not blank."""
    text = _text(value, where)
    if not text.strip():
        raise FieldError(where, "is empty or blank", "remove the vote, or restore its text")
    return text


def _identifier(row: Row, name: str, required: bool = False) -> str | None:
    value = row.get(name)
    if value is None and not required:
        return None
    if name not in row:
        raise FieldError(name, "is missing", f"add {name} to the line")
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    text = _text(value, name)
    if not text.strip():
        raise FieldError(name, "is empty or blank", "give an id" if required else "give an id, or leave it out")
    return text


def _role(value: object, where: str) -> str:
    role = ROLES.get(_text(value, where).lower())
    if role is None:
        raise FieldError(
            where, f"is {str(value)[:40]!r}, a role unknown to chat models", f"use one of {', '.join(ROLES)}"
        )
    return role


def _part(message: Mapping[str, object], name: str, where: str) -> object:
    if name not in message:
        raise FieldError(f"{where}.{name}", "is missing", f"add {name}")
    return message[name]


def _context(row: Row) -> tuple[tuple[str, str], ...]:
    """Roles and texts of the conversation up to the judged answers; it ends with a turn of the user."""
    turns = row.get("context")
    if "context" not in row:
        raise FieldError("context", "is missing", "add context, a list of {role, content}")
    if not isinstance(turns, list) or not turns:
        problem = "is an empty list" if turns == [] else f"is {_kind(turns)}, not a list"
        raise FieldError("context", problem, "write it as a list of {role, content} with at least one turn")
    context = []
    for number, turn in enumerate(turns):
        where = f"context[{number}]"
        if not isinstance(turn, dict):
            raise FieldError(where, f"is {_kind(turn)}, not an object", "write each turn as {role, content}")
        role = _role(_part(turn, "role", where), f"{where}.role")
        context.append((role, _text(_part(turn, "content", where), f"{where}.content")))
    last = f"context[{len(turns) - 1}]"
    if context[-1][0] != "user":
        raise FieldError(
            f"{last}.role",
            f"is {context[-1][0]!r}: the context does not end with a turn of the user",
            "move the answers out of the context",
        )
    _spoken(context[-1][1], f"{last}.content")
    return tuple(context)


def _answer(row: Row, name: str) -> str:
    if name not in row:
        raise FieldError(name, "is missing", f"add {name}, a string or {{role, content}}")
    value = row[name]
    if not isinstance(value, dict):
        return _spoken(value, name)
    role = _role(_part(value, "role", name), f"{name}.role")
    if role != "assistant":
        raise FieldError(f"{name}.role", f"is {role!r}, but an answer is the assistant's", "use role assistant")
    return _spoken(_part(value, "content", name), f"{name}.content")


def _answers(row: Row) -> tuple[str, str, bool]:
    """(chosen, rejected, tie) from either form of a row."""
    voted = any(name in row for name in ("response_a", "response_b", "winner"))
    decided = any(name in row for name in ("chosen", "rejected"))
    if voted and decided:
        raise FieldError("chosen", "stands beside response_a, response_b or winner", "keep one of the two forms")
    if not voted:
        return _answer(row, "chosen"), _answer(row, "rejected"), False
    a, b = _answer(row, "response_a"), _answer(row, "response_b")
    winner = row.get("winner")
    if "winner" not in row:
        raise FieldError("winner", "is missing", "add winner: a, b or tie")
    if winner not in ("a", "b", "tie"):
        raise FieldError("winner", f"is {str(winner)[:40]!r}", "write a, b or tie")
    return (b, a, False) if winner == "b" else (a, b, winner == "tie")


def _turn_number(row: Row) -> int | None:
    value = row.get("turn")
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 2**31:
        raise FieldError("turn", f"is {str(value)[:40]!r}", "write a whole number from 0, or leave it out")
    return value


def _timestamp(row: Row) -> float | None:
    """Unix seconds, from a number or from ISO 8601; a time without a zone is taken as UTC (our choice)."""
    value = row.get("timestamp")
    if value is None:
        return None
    advice = "write Unix seconds or ISO 8601 (2025-01-31T12:00:00Z), or leave it out"
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        raise FieldError("timestamp", f"is {_kind(value)}", advice)
    try:
        if isinstance(value, str):
            moment = datetime.fromisoformat(value)
            seconds = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
        else:
            seconds = float(value)
    except (ValueError, OverflowError) as error:
        raise FieldError("timestamp", f"is {str(value)[:40]!r}, not a time", advice) from error
    if not math.isfinite(seconds):
        raise FieldError("timestamp", f"is {seconds}", advice)
    return seconds


def _survey(row: Row) -> dict[str, str]:
    """Survey answers as strings: numbers and truth values in JSON's spelling, null left out."""
    value = row.get("survey")
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise FieldError("survey", f"is {_kind(value)}, not an object", "write {question: answer}")
    answers = {}
    for question, answer in value.items():
        where = f"survey.{_text(question, 'survey')[:60]}"
        if isinstance(answer, (list, dict)) or (isinstance(answer, float) and not math.isfinite(answer)):
            raise FieldError(where, f"is {_kind(answer)} that no string stands for", "write answers as strings")
        if answer is not None:
            answers[question] = _text(answer, where) if isinstance(answer, str) else json.dumps(answer)
    return answers
