"""Votes on two whole conversations side by side, as Chatbot Arena and MT-bench have them: context and answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from personalrm.data.sources.fields import Advice, FieldError, Id, Row, SoundRow, checked, shown

Message = tuple[str, str]
"""Role and text."""


def conversation(row: Row, name: str) -> list[Message]:
    """Roles and texts of a field: turns of the user and answers in alternation, at least one of each, or FieldError."""
    value = row[name]
    if not isinstance(value, list) or not value:
        raise FieldError(name, "is not a list of messages, or an empty one", "restore the conversation")
    messages = []
    for number, message in enumerate(value):
        where = f"{name}[{number}]"
        role, text = (message.get("role"), message.get("content")) if isinstance(message, dict) else (None, None)
        due = ("user", "assistant")[number % 2]
        if role != due:
            raise FieldError(f"{where}.role", f"is {shown(role)} where {due!r} is due", "restore the conversation")
        if not isinstance(text, str):
            raise FieldError(f"{where}.content", "is not a string", "restore the text")
        messages.append((due, text))
    if len(messages) % 2:
        raise FieldError(name, "ends without an answer", "restore the conversation")
    return messages


class _Battle(SoundRow):
    question_id: Id


def local_row(row: Row, winners: Mapping[str, str], a: Sequence[Message], b: Sequence[Message]) -> LocalRow:
    """A vote on the conversations `a` and `b` in the local format (config/README.md), without its user.

    `winners` maps the release's words for `winner` to ours. Raises FieldError for a question id or a winner that is
    wrong.
    """
    winner, shared = row["winner"], shared_beginning(a, b)
    question = checked(_Battle, row, Advice("restore it, or remove the row")).question_id
    if not isinstance(winner, str) or winner not in winners:
        raise FieldError("winner", f"is {shown(winner)}", f"write one of {', '.join(winners)}")
    local = {
        "conversation_id": question,
        "turn": row["turn"],
        "winner": winners[winner],
        "context": [{"role": role, "content": text} for role, text in a[:shared]],
        "response_a": transcript(a[shared:]),
        "response_b": transcript(b[shared:]),
    }
    return LocalRow(local, why_unusable(a, b, shared))


class LocalRow(NamedTuple):
    """A row in the local format, and the reason to leave a sound row out (None: it is a vote)."""

    fields: dict[str, object]
    unusable: str | None


def shared_beginning(a: Sequence[Message], b: Sequence[Message]) -> int:
    """Number of messages that both begin with, up to and with a turn of the user, if the user's turns are the same."""
    shared = 1
    while shared + 1 < min(len(a), len(b)) and a[shared] == b[shared]:
        shared += 2
    return shared


def transcript(rest: Sequence[Message]) -> str:
    """A single answer as it is; an answer, a question and an answer as blocks."""
    if len(rest) == 1:
        return rest[0][1]
    return "\n\n".join(f"[{role}]: {text}" for role, text in rest)


def why_unusable(a: Sequence[Message], b: Sequence[Message], shared: int) -> str | None:
    """Reason to leave a sound row out, or None. `shared` is that of `shared_beginning`."""
    if a[::2] != b[::2]:
        return "different_questions"
    if not a[shared - 1][1].strip():
        return "empty_question"
    return None if a[-1][1].strip() and b[-1][1].strip() else "empty_answer"
