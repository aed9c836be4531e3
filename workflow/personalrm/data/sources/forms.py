r"""Votes in the forms in which people have them, brought to the one form that `parse_vote` reads.

`vote_of` is the way from a row to a vote for files and for the library alike. It understands

- rows of TRL and UltraFeedback: `prompt` in place of `context`, answers as lists of turns that may begin with the
  conversation (TRL's "implicit prompt"): what both answers begin with is the context;
- dialogues as one text, in blocks "[role]: text" or as in hh-rlhf ("\n\nHuman: … \n\nAssistant: …"); any other text
  in place of a context is one turn of the user;
- a context and answers that are turns as text, as pandas reads them from a table;
- turns as {from, value} (ShareGPT), and `content` as a list of parts of type text;
- values of data frames: NumPy's and pandas' scalars and arrays, NaN, times; whole numbers that became floats;
- `winner` as A or B, model_a or model_b, answer 1 or answer 2, first or second, left or right, 1 or 2, true or false
  (the first answer is meant by A, left, 1 and true).
"""

from __future__ import annotations

import ast
import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import date
from decimal import Decimal
from typing import Any
from uuid import UUID

from personalrm.data.sources.fields import FieldError, Row, fields_named, shown
from personalrm.data.sources.votes import FORMS, ROLES, Vote, parse_vote, tie_of

WINNERS: Mapping[str, str] = {
    **dict.fromkeys(("a", "first", "1st", "left", "1", "1.0", "true"), "a"),
    **dict.fromkeys(("b", "second", "2nd", "right", "2", "2.0", "false"), "b"),
    **dict.fromkeys(("tie", "draw", "equal", "tie (bothbad)"), "tie"),
    **{
        f"{noun}{between}{end}": letter
        for noun in ("model", "response", "answer", "completion", "output", "option", "reply", "assistant")
        for between in ("_", " ", "")
        for letter, ends in (("a", "a1"), ("b", "b2"))
        for end in ends
    },
}
"""Words for the better answer, in small letters, and ours for them."""

_TURNS = re.compile(r"\s*\[\s*\{\s*['\"](role|content|from|value|type|text)['\"]")
_BLOCK = re.compile(rf"^\[({'|'.join(ROLES)})\]:[ \t]?", re.IGNORECASE | re.MULTILINE)
_DIALOGUE = re.compile(r"(?:^|\n\n)(Human|Assistant):[ \t]?")
_TRUTH = {"true": True, "false": False}
_NOT_TEXT = "give the text alone, or remove the vote: judges read text only"

Turns = list[Any]
"""Turns as they stand in a row: dicts, where the row is sound."""


def vote_of(row: Row, line: int = 0) -> Vote:
    """Turn a row in any of the forms into a vote. Raises FieldError for the first thing that is wrong."""
    plain = {name: plain_value(value) for name, value in row.items()}
    if plain.get("context") is None and plain.get("prompt") is not None:
        with fields_named({"context": "prompt"}):
            return _vote(plain, line)
    return _vote(plain, line)


def _vote(plain: dict[str, object], line: int) -> Vote:
    local = _local(plain)
    vote = parse_vote(local, line)
    return replace(vote, tie=True) if "tie" in local and tie_of(local) else vote


def plain_value(value: object) -> object:
    """A value as JSON has it: NaN and NaT are None, arrays are lists, times are text in ISO 8601."""
    kind = type(value)
    if kind is str or kind is int or value is None or kind is bool:
        return value
    if kind is dict or kind is list:
        return _plain(value)
    if isinstance(value, str):
        return str(value)
    if isinstance(value, float):
        return None if math.isnan(value) else float(value)
    if isinstance(value, Mapping | tuple):
        return _plain(value)
    if type(value).__name__ in ("NAType", "NaTType"):
        return None
    if isinstance(value, UUID):
        return str(value)
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, Decimal):
        return plain_value(float(value))
    if type(value).__name__ == "datetime64":
        return None if str(value) == "NaT" else str(value)
    # NumPy's scalars and arrays, and pandas' arrays.
    return plain_value(value.tolist()) if hasattr(value, "tolist") else value


def _plain(value: Any) -> object:  # noqa: ANN401
    if isinstance(value, Mapping):
        return {name: plain_value(inner) for name, inner in value.items()}
    return [plain_value(inner) for inner in value]


def _local(row: dict[str, object]) -> dict[str, object]:
    """A row of plain values in the local format; what is not understood is left to `parse_vote`."""
    row = _one_form(row)
    if row.get("context") is None and row.get("prompt") is not None:
        row["context"] = row["prompt"]
    first, second = FORMS[1] if "winner" in row else FORMS[0]
    context = _context(row.get("context"))
    a, b = (_answer(row.get(name), f"{name}", alone=context is None) for name in (first, second))
    if isinstance(a, list) or isinstance(b, list):
        context, a, b = _split(context, _as_turns(a), _as_turns(b), (first, second))
    given = {"context": context, first: a, second: b}
    row |= {name: value for name, value in given.items() if value is not None or name in row}
    if isinstance(row.get("winner"), str | int | float):
        row["winner"] = WINNERS.get(str(row["winner"]).strip().lower(), row["winner"])
    for name in ("flip", "tie"):
        row |= {name: _truth(row[name])} if name in row else {}
    turn = row.get("turn")
    if isinstance(turn, str) and re.fullmatch(r"\s*[0-9]{1,10}(\.0+)?\s*", turn):
        row["turn"] = int(float(turn))
    return row


def _one_form(row: dict[str, object]) -> dict[str, object]:
    """The row without null columns of the form that it does not use."""
    decided, judged = FORMS
    if any(row.get(name) is not None for name in (*judged, "winner")):
        unused: Sequence[str] = decided
    elif any(row.get(name) is not None for name in decided):
        unused = (*judged, "winner")
    else:
        return dict(row)
    return {name: value for name, value in row.items() if value is not None or name not in unused}


def _truth(value: object) -> object:
    """0.0 and 1.0, which a data frame makes of truth values, and their words."""
    if isinstance(value, float) and value in (0.0, 1.0):
        return bool(value)
    return _TRUTH.get(value.strip().lower(), value) if isinstance(value, str) else value


def _context(value: object) -> object:
    """Turns of a context in any form; another value as it is."""
    if isinstance(value, str) and begins_like_turns(value):
        # As a data frame holds it that was read from a table.
        value = written_value(value)
    if isinstance(value, str):
        turns = dialogue(value) or [{"role": "user", "content": value}]
        # A prompt may end where the answer begins.
        return turns[:-1] if len(turns) > 1 and turns[-1] == {"role": "assistant", "content": ""} else turns
    if not isinstance(value, list):
        return value
    return [_turn(turn, f"context[{number}]") for number, turn in enumerate(value)]


def begins_like_turns(text: str) -> bool:
    """Whether a text begins as a written list of turns."""
    return _TURNS.match(text) is not None


def written_value(text: str) -> object:
    """The value that a text holds as JSON, or as Python prints it; the text itself where it holds none."""
    for read in (json.loads, ast.literal_eval):
        try:
            return read(text)
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            continue
    return text


def _answer(value: object, name: str, *, alone: bool) -> object:
    """An answer: a text, a turn, or the turns of a conversation that ends with it (of a text only if it stands
    `alone`, without a context)."""
    if isinstance(value, str):
        value = _written_answer(value, name)
    if isinstance(value, list):
        return [_turn(turn, f"{name}[{number}]") for number, turn in enumerate(value)]
    if not isinstance(value, str):
        return _turn(value, name)
    turns = dialogue(value)
    if len(turns) == 1 and ROLES[turns[0]["role"]] == "assistant":
        return turns[0]["content"]
    return turns if alone and turns else value


def _written_answer(text: str, name: str) -> object:
    """The turn or turns that a text holds as a data frame from a table has them, where the assistant has the last one;
    else the text."""
    if not begins_like_turns(text) and not begins_like_turns(f"[{text}"):
        return text
    value = written_value(text)
    last = _turn(value[-1] if isinstance(value, list) and value else value, name)
    return value if _role_of(last) == "assistant" and isinstance(last, Mapping) and "content" in last else text


def _as_turns(answer: object) -> Turns:
    if isinstance(answer, list):
        return answer
    return [{"role": "assistant", "content": answer} if isinstance(answer, str) else answer]


def dialogue(text: str) -> list[dict[str, str]]:
    """Turns of a text in blocks "[role]: …" or in hh-rlhf's form; none where it does not begin with one of these."""
    if text[:1] not in ("[", "\n"):
        return []
    start = len(text) - len(text.lstrip("\n"))
    blocks = _BLOCK.split(text) if _BLOCK.match(text) else []
    if not blocks and text.startswith(("Human:", "Assistant:"), start) and start:
        blocks = _DIALOGUE.split(text[start - 2 if start > 1 else start :])
    return [
        {"role": role.lower(), "content": said.strip("\r\n")}
        for role, said in zip(blocks[1::2], blocks[2::2], strict=True)
    ]


def _turn(turn: object, where: str) -> object:
    """A turn as {role, content} with its content as text; another value as it is."""
    if not isinstance(turn, Mapping) or (isinstance(turn.get("role"), str) and isinstance(turn.get("content"), str)):
        return turn
    said = dict(turn)
    for name, other in (("role", "from"), ("content", "value")):
        if said.get(name) is None and isinstance(said.get(other), str):
            said[name] = said[other]
    parts = said.get("content")
    if isinstance(parts, list) and parts and all(isinstance(part, Mapping) for part in parts):
        said["content"] = "".join(_part(part, f"{where}.content[{number}]") for number, part in enumerate(parts))
    return said


def _part(part: Mapping[str, object], where: str) -> str:
    kind, text = part.get("type", "text"), part.get("text")
    if kind not in ("text", "input_text", "output_text"):
        raise FieldError(where, f"is a part of type {shown(kind)}, not text", _NOT_TEXT)
    if not isinstance(text, str):
        raise FieldError(f"{where}.text", f"is {shown(text)}, not a string", _NOT_TEXT)
    return text


def _split(context: object, a: Turns, b: Turns, names: tuple[str, str]) -> tuple[object, object, object]:
    """Context and answers of two conversations that begin alike and end with one answer each.

    `context` is what the row has as such, None if it has none. Raises FieldError where the conversations differ in more
    than their last turn, or are not what the context says.
    """
    for turns, name in ((a, names[0]), (b, names[1])):
        if not turns:
            raise FieldError(name, "is an empty list", "restore the answer, or remove the vote")
    shared = 0
    while shared < min(len(a), len(b)) - 1 and _same(a[shared], b[shared]):
        shared += 1
    if len(a) > shared + 1 or len(b) > shared + 1:
        raise _differing(a, b, shared, names)
    if not shared:
        return context, a[-1], b[-1]
    before = a[:shared]
    if isinstance(context, list) and context:
        if _begins_or_ends(context, before):
            before = context
        elif not _begins_or_ends(before, context):
            problem = f"begins with other turns ({_told(before[0])}) than the context ({_told(context[0])})"
            raise FieldError(names[0], problem, "give the conversation once, or the same in both places")
    return before, a[-1], b[-1]


def _begins_or_ends(whole: Turns, part: Turns) -> bool:
    size = len(part)
    return any(all(map(_same, place, part)) for place in (whole[:size], whole[-size:]) if len(place) == size)


def _differing(a: Turns, b: Turns, shared: int, names: tuple[str, str]) -> FieldError:
    """What is wrong with two conversations that differ in more than their last turns."""
    one, other = names
    before = f"after {shared} turns that both share, " if shared else ""
    if _role_of(a[shared]) == "user" or _role_of(b[shared]) == "user":
        problem = f"and {other} are no answers to one question: {before}{_told(a[shared])} stands against "
        problem += _told(b[shared])
        return FieldError(one, problem, "remove the vote, or give two answers to one conversation")
    counts = f"{len(a) - shared} and {len(b) - shared}"
    problem = f"and {other} are more than one answer each: {before}{counts} turns are left"
    return FieldError(one, problem, "end both after the first answer that differs, or remove the vote")


def _told(turn: object) -> str:
    return shown(turn.get("content") if isinstance(turn, Mapping) else turn)


def _role_of(turn: object) -> object:
    role = turn.get("role") if isinstance(turn, Mapping) else None
    return ROLES.get(role.lower(), role) if isinstance(role, str) else role


def _same(one: object, other: object) -> bool:
    """Whether two turns are the same, but for blanks around their texts."""
    if not isinstance(one, Mapping) or not isinstance(other, Mapping):
        return one == other
    said, also = one.get("content"), other.get("content")
    if isinstance(said, str) and isinstance(also, str):
        said, also = said.strip(), also.strip()
    return _role_of(one) == _role_of(other) and said == also
