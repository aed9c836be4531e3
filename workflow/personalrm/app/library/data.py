"""Preferences as users of the published package hold them: dicts with `context`, `chosen` and `rejected`.

Contexts and answers may be dicts or strings; what says the same becomes the same pair, and so the same prompt. The
rules for a row are those of a vote file (`benchmark/votes.py`, config/README.md).
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any, NamedTuple

from personalrm.core.errors import DataError
from personalrm.core.files import stable_hash
from personalrm.core.records import PreferencePair, Split, Turn
from personalrm.data.history import pair_of
from personalrm.data.sources.fields import FieldError
from personalrm.data.sources.votes import ROLES, Vote, decided, parse_vote, stored_truth, tie_of

Item = Mapping[str, Any]
"""One preference: `context`, `chosen`, `rejected`; optional `user_id`, `conversation_id`, `turn`, `timestamp`,
`pair_id`, `tie` (true where both answers were liked alike), `flip` (a stored coin, as in the published sets: true where
the chosen answer is to stand first in learning; else a hash decides). Other keys are passed over."""
Context = str | Sequence[Mapping[str, Any]]
"""A conversation up to the judged answers: turns {role, content}; or a string, which is one turn of the user, or a
transcript in blocks "[role]: text"."""
Answer = str | Mapping[str, Any]
"""An answer: {role, content}, or its text."""

_BLOCK = re.compile(rf"^\[({'|'.join(ROLES)})\]:[ \t]?", re.IGNORECASE | re.MULTILINE)
_KEPT = ("user_id", "conversation_id", "turn", "timestamp", "pair_id")
NOBODY = "user"
"""User id of rows that name none."""


class Usable(NamedTuple):
    """Pairs in the order of the data, and what a reader should know about rows that were left out."""

    pairs: tuple[PreferencePair, ...]
    events: tuple[str, ...]


def parse_context(value: object) -> object:
    r"""Turns of a context, whatever its form; what is no context is returned as it is, for `parse_vote` to name.

    >>> parse_context("Hello")
    [{'role': 'user', 'content': 'Hello'}]
    >>> [turn["role"] for turn in parse_context("[user]: a\n\n[model]: b\n\n[user]: c")]
    ['user', 'model', 'user']
    """
    if isinstance(value, str):
        return _transcript(value) or [{"role": "user", "content": value}]
    if isinstance(value, Mapping) or not isinstance(value, Iterable):
        return value
    return [dict(turn) if isinstance(turn, Mapping) else turn for turn in value]


def _transcript(text: str) -> list[dict[str, str]]:
    """Turns of a text in blocks "[role]: …"; none where it does not begin with one."""
    starts = list(_BLOCK.finditer(text))
    if not starts or starts[0].start() != 0:
        return []
    ends = [start.start() for start in starts[1:]] + [len(text)]
    return [
        {"role": start[1].lower(), "content": text[start.end() : end].strip("\r\n")}
        for start, end in zip(starts, ends, strict=True)
    ]


def _answer(value: object) -> object:
    """An answer as a row of a vote file has it: "[assistant]: text" is its text."""
    if isinstance(value, str):
        turns = _transcript(value)
        return turns[0]["content"] if len(turns) == 1 and ROLES[turns[0]["role"]] == "assistant" else value
    return dict(value) if isinstance(value, Mapping) else value


def _is_absent(value: object) -> bool:
    """None, and the NaN that a data frame puts in its place."""
    return value is None or (isinstance(value, float) and math.isnan(value))


def _vote(item: object, place: str, user_id: str | None) -> Vote:
    """One row as a vote. Raises DataError that names the place, the field and what to do."""
    if not isinstance(item, Mapping):
        raise DataError(f"{place}: is no dict; give a list of dicts with context, chosen and rejected")
    row = {key: value for key in _KEPT if not _is_absent(value := item.get(key))}
    row |= {"user_id": user_id or row.get("user_id", NOBODY), "flip": stored_truth(item.get("flip"))}
    row |= {name: parse(item[name]) for name, parse in _PARTS.items() if name in item}
    try:
        return replace(parse_vote(row), tie=tie_of(item))
    except FieldError as error:
        raise DataError(f"{place}, field {error.field}: {error}; {error.advice}") from error


_PARTS = {"context": parse_context, "chosen": _answer, "rejected": _answer}


def user_of(data: Sequence[Item]) -> str:
    """The user whose votes `data` are: the one that its rows name, else a name made of their content.

    A made-up name is no random one, as in the published package: the same data must give the same prompts. Raises
    DataError where rows name several users.
    """
    names = {str(name) for item in data if isinstance(item, Mapping) and not _is_absent(name := item.get("user_id"))}
    if len(names) > 1:
        raise DataError(
            f"data: holds votes of {len(names)} users ({', '.join(sorted(names)[:3])}, …); fit one object a user, or "
            "give user_id if they are one person"
        )
    if names:
        return names.pop()
    hashes = [_vote(item, f"data[{place}]", None).content_hash for place, item in enumerate(data)]
    return f"user-{stable_hash(*hashes)[:10]}"


def usable_pairs(data: Sequence[Item], name: str, user_id: str | None = None, *, ties: bool = False) -> Usable:
    """Pairs of `data` in its order, which is taken as oldest first. `name` is what errors call it.

    `user_id` stands over what rows say. As in the benchmark, rows whose answers are equal, repeated rows and (unless
    `ties`: they are to be judged, not learned from) ties are left out, and counted. Raises DataError for a row that is
    wrong, and for two votes with one pair id.
    """
    votes = [_vote(item, f"{name}[{place}]", user_id) for place, item in enumerate(_sequence(data, name))]
    wanted = votes if ties else decided(votes)
    differ = [vote for vote in wanted if vote.chosen != vote.rejected]
    kept: dict[tuple[str, str], Vote] = {}
    for vote in differ:
        kept.setdefault((vote.user_id, vote.content_hash), vote)
    owners: dict[str, Vote] = {}
    for vote in kept.values():
        if owners.setdefault(vote.own_id, vote) is not vote:
            raise DataError(f"{name}: two different votes have pair_id {vote.own_id!r}; make the ids unique")
    counts = (len(votes), len(wanted), len(differ), len(kept))
    dropped = dict(zip(("ties", "equal answers", "repeats"), (a - b for a, b in pairwise(counts)), strict=True))
    events = tuple(f"{name}: {count} rows left out ({why})" for why, count in dropped.items() if count)
    return Usable(tuple(pair_of(vote, order) for order, vote in enumerate(kept.values())), events)


def _sequence(data: object, name: str) -> Sequence[Item]:
    if isinstance(data, str | bytes | Mapping) or not isinstance(data, Iterable):
        raise DataError(f"{name}: is no list; give a list of dicts with context, chosen and rejected")
    return list(data)


def one_pair(context: Context, option1: Answer, option2: Answer, user_id: str | None) -> PreferencePair:
    """A pair to be judged, `option1` in the place of the chosen answer. Raises DataError as `usable_pairs` does."""
    item = {"context": context, "chosen": option1, "rejected": option2}
    try:
        return pair_of(_vote(item, "predict_pairwise", user_id))
    except DataError as error:
        named = str(error).replace("field chosen", "option1").replace("field rejected", "option2")
        raise DataError(named) from error


def split_by_ratio(pairs: Sequence[PreferencePair], ratio: float) -> tuple[PreferencePair, ...]:
    """The first `ratio` of the pairs as context, the others as validation (published: a prefix, unshuffled)."""
    cut = max(1, int(len(pairs) * ratio))
    return tuple(with_split(pairs[:cut], "context") + with_split(pairs[cut:], "validation"))


def with_split(pairs: Iterable[PreferencePair], split: Split) -> list[PreferencePair]:
    """Pairs as parts of one split."""
    return [pair.model_copy(update={"split": split}) for pair in pairs]


def to_item(pair: PreferencePair) -> dict[str, Any]:
    """A pair as a dict in the published form; `usable_pairs` makes the same pair of it."""
    item = {
        "user_id": pair.user_id,
        "pair_id": pair.pair_id,
        "conversation_id": pair.conversation_id,
        "context": [turn.model_dump() for turn in pair.context],
        "chosen": {"role": "assistant", "content": pair.chosen},
        "rejected": {"role": "assistant", "content": pair.rejected},
        "turn": pair.turn,
        "timestamp": pair.timestamp,
        "type": pair.conversation_type,
        "tie": pair.tie or None,
        "flip": pair.flip,
    }
    return {key: value for key, value in item.items() if value is not None}


def transcript(turns: Iterable[Turn]) -> str:
    """A conversation as text in blocks "[role]: text"; `parse_context` reads it back."""
    return "\n\n".join(f"[{turn.role}]: {turn.content}" for turn in turns)
