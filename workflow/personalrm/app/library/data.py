"""Preferences as users of the published package hold them: dicts with `context`, `chosen` and `rejected`.

Contexts and answers may be dicts or strings; equal contents become the same pair, and so the same prompt. The rules for
a row are those of a vote file (`data/sources/votes.py`, config/README.md).
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any, NamedTuple

from personalrm.app.library.models import DATASET
from personalrm.core.errors import DataError
from personalrm.core.files import stable_hash
from personalrm.core.records import PreferencePair, Split, Turn, UserData
from personalrm.data.history import pair_of
from personalrm.data.sources.fields import FieldError
from personalrm.data.sources.votes import ROLES, Vote, decided, parse_vote, stored_truth, tie_of

Item = Mapping[str, Any]
"""One preference: `context`, `chosen`, `rejected`; optional `user_id`, `conversation_id`, `turn`, `timestamp`,
`pair_id`, `tie` (true where both answers were liked alike), `flip` (a stored coin, as in the published sets: true where
the chosen answer is to stand first in learning; else a hash decides). Other keys are ignored."""
Context = str | Sequence[Mapping[str, Any]]
"""A conversation up to the judged answers: turns {role, content}; or a string, which is one turn of the user, or a
transcript in blocks "[role]: text"."""
Answer = str | Mapping[str, Any]
"""An answer: {role, content}, or its text."""

_BLOCK = re.compile(rf"^\[({'|'.join(ROLES)})\]:[ \t]?", re.IGNORECASE | re.MULTILINE)
_KEPT = ("user_id", "conversation_id", "turn", "timestamp", "pair_id")
_NOBODY = "user"
"""User id of rows without one."""


class Usable(NamedTuple):
    """Pairs in the order of the data, and what a reader should know about rows that were left out."""

    pairs: tuple[PreferencePair, ...]
    events: tuple[str, ...]


class Prepared(NamedTuple):
    """A user whose pairs have their split, and what a reader should know about rows that were left out."""

    user: UserData
    events: tuple[str, ...]


def _turns(text: str) -> list[dict[str, str]]:
    """Turns of a text in blocks "[role]: …"; none where the text does not begin with a block."""
    _, *parts = _BLOCK.split(text) if _BLOCK.match(text) else [""]
    return [
        {"role": role.lower(), "content": said.strip("\r\n")}
        for role, said in zip(parts[::2], parts[1::2], strict=True)
    ]


def _context(value: object) -> object:
    """Turns of a context, whatever its form; other values unchanged, for `parse_vote` to name."""
    if isinstance(value, str):
        return _turns(value) or [{"role": "user", "content": value}]
    if isinstance(value, Mapping) or not isinstance(value, Iterable):
        return value
    return [dict(turn) if isinstance(turn, Mapping) else turn for turn in value]


def _answer(value: object) -> object:
    """An answer as a row of a vote file has it: "[assistant]: text" is its text."""
    if isinstance(value, str):
        turns = _turns(value)
        return turns[0]["content"] if len(turns) == 1 and ROLES[turns[0]["role"]] == "assistant" else value
    return dict(value) if isinstance(value, Mapping) else value


_PARTS = {"context": _context, "chosen": _answer, "rejected": _answer, "flip": stored_truth}


def _is_absent(value: object) -> bool:
    """None, and the NaN that a data frame puts in its place."""
    return value is None or (isinstance(value, float) and math.isnan(value))


def _vote(item: object, place: str, user_id: str | None) -> Vote:
    """One row as a vote. Raises DataError that names the place, the field and what to do."""
    if not isinstance(item, Mapping):
        raise DataError(f"{place}: is no dict; give a list of dicts with context, chosen and rejected")
    row = {"user_id": _NOBODY} | {key: item[key] for key in _KEPT if not _is_absent(item.get(key))}
    row |= {name: parse(item[name]) for name, parse in _PARTS.items() if name in item}
    row |= {} if user_id is None else {"user_id": user_id}
    try:
        return replace(parse_vote(row), tie=tie_of(item))
    except FieldError as error:
        raise DataError(f"{place}, field {error.field}: {error}; {error.advice}") from error


def _votes(data: Sequence[Item], name: str, user_id: str | None) -> list[Vote]:
    if isinstance(data, str | bytes | Mapping) or not isinstance(data, Iterable):
        raise DataError(f"{name}: is no list; give a list of dicts with context, chosen and rejected")
    return [_vote(item, f"{name}[{place}]", user_id) for place, item in enumerate(data)]


def user_of(data: Sequence[Item]) -> str:
    """The user whose votes `data` are: the one that its rows name, else a name made of their content.

    The made-up name is not random, as it is in the published package: equal data must give equal prompts. Raises
    DataError for wrong rows, and where rows name several users.
    """
    named = _named(data, "data")
    if len(named) > 1:
        raise DataError(
            f"data: holds votes of {len(named)} users ({', '.join(sorted(named)[:3])}, …); fit one object per user, or "
            "give user_id if they are one person"
        )
    votes = _votes(data, "data", None)
    return named.pop() if named else f"user-{stable_hash(*(vote.content_hash for vote in votes))[:10]}"


def refuse_other_users(data: Sequence[Item], name: str, user_id: str) -> None:
    """Raise DataError where rows name another user, and for wrong rows."""
    for other in sorted(_named(data, name) - {user_id}):
        raise DataError(
            f"{name}: are of user {other!r}, not of {user_id!r}; fit one object per user, or make the object with "
            "user_id if they are one person"
        )


def _named(data: Sequence[Item], name: str) -> set[str]:
    """The users that rows name."""
    votes = zip(_votes(data, name, None), data, strict=True)
    return {vote.user_id for vote, item in votes if not _is_absent(item.get("user_id"))}


def usable_pairs(data: Sequence[Item], name: str, user_id: str | None = None, *, ties: bool = False) -> Usable:
    """Pairs of `data` in its order, which is taken as oldest first. `name` is what errors call it.

    `user_id` replaces the ids of the rows. As in the benchmark, rows with equal answers, repeated rows and (without
    `ties`, which can be judged but not learned from) ties are left out and counted. Raises DataError for a wrong row,
    and for two votes with one pair id.
    """
    votes = _votes(data, name, user_id)
    wanted = votes if ties else decided(votes)
    differ = [vote for vote in wanted if vote.chosen != vote.rejected]
    kept: dict[tuple[str, str], Vote] = {}
    for vote in differ:
        kept.setdefault((vote.user_id, vote.content_hash), vote)
    own_ids = Counter(vote.own_id for vote in kept.values())
    if twice := [own_id for own_id, count in own_ids.items() if count > 1]:
        raise DataError(f"{name}: two different votes have pair_id {twice[0]!r}; make the ids unique")
    counts = pairwise(map(len, (votes, wanted, differ, kept)))
    dropped = zip(("ties", "equal answers", "repeats"), (before - after for before, after in counts), strict=True)
    events = tuple(f"{name}: {count} rows left out ({why})" for why, count in dropped if count)
    return Usable(tuple(pair_of(vote, order) for order, vote in enumerate(kept.values())), events)


def one_pair(context: Context, option1: Answer, option2: Answer, user_id: str | None) -> PreferencePair:
    """A pair to be judged, `option1` in the place of the chosen answer. Raises DataError as `usable_pairs` does."""
    item = {"context": context, "chosen": option1, "rejected": option2}
    try:
        return pair_of(_vote(item, "predict_pairwise", user_id))
    except DataError as error:
        named = str(error).replace("field chosen", "option1").replace("field rejected", "option2")
        raise DataError(named) from error


def one_answer(context: Context, answer: Answer, where: str) -> tuple[tuple[Turn, ...], str]:
    """A conversation and one answer to it, as turns and text. Raises DataError that begins with `where`."""
    try:
        pair = pair_of(_vote({"context": context, "chosen": answer, "rejected": answer}, where, None))
    except DataError as error:
        raise DataError(str(error).replace("field chosen", "answer")) from error
    return pair.context, pair.chosen


def user_data(
    data: Sequence[Item], val_data: Sequence[Item] | None, user_id: str | None, train_val_ratio: float
) -> Prepared:
    """The user of `fit`'s data; `user_id` replaces the ids of the rows.

    Raises DataError for wrong or no data, and without `user_id` for votes of several users.
    """
    # An iterator can be read only once.
    data = list(data) if isinstance(data, Iterator) else data
    val_data = list(val_data) if isinstance(val_data, Iterator) else val_data
    if user_id is None and val_data is not None and _named(data, "data"):
        refuse_other_users(val_data, "val_data", user_of(data))
    user_id = user_id or user_of(data)
    pairs, events = usable_pairs(data, "data", user_id)
    if not pairs:
        why = f" ({'; '.join(events)})" if events else ""
        raise DataError(f"data: holds no pair with two different answers{why}; give at least one preference")
    if val_data is None:
        return Prepared(
            UserData(dataset=DATASET, user_id=user_id, pairs=split_by_ratio(pairs, train_val_ratio)), events
        )
    validation, more = usable_pairs(val_data, "val_data", user_id)
    # A pair that is learned from tells nothing about other pairs.
    learned = {pair.pair_id for pair in pairs}
    fresh = [pair for pair in validation if pair.pair_id not in learned]
    if len(fresh) < len(validation):
        more = (*more, f"val_data: {len(validation) - len(fresh)} rows left out (they are in data, too)")
    split = (*_with_split(pairs, "context"), *_with_split(fresh, "validation"))
    return Prepared(UserData(dataset=DATASET, user_id=user_id, pairs=split), (*events, *more))


def split_by_ratio(pairs: Sequence[PreferencePair], ratio: float) -> tuple[PreferencePair, ...]:
    """The first `ratio` of the pairs as context, the others as validation (published: a prefix, unshuffled)."""
    cut = max(1, int(len(pairs) * ratio))
    return (*_with_split(pairs[:cut], "context"), *_with_split(pairs[cut:], "validation"))


def _with_split(pairs: Iterable[PreferencePair], split: Split) -> list[PreferencePair]:
    return [pair.model_copy(update={"split": split}) for pair in pairs]


def to_item(pair: PreferencePair) -> dict[str, Any]:
    """A pair as a dict in the published form; `usable_pairs` makes the same pair of it."""
    kept = pair.model_dump(mode="json", exclude_none=True, include={*_KEPT, "context", "flip"})
    answers = {name: {"role": "assistant", "content": getattr(pair, name)} for name in ("chosen", "rejected")}
    more = {"type": pair.conversation_type, "tie": pair.tie or None}
    return kept | answers | {key: value for key, value in more.items() if value is not None}


def transcript(turns: Iterable[Turn]) -> str:
    """A conversation as text in blocks "[role]: text", which is a `Context`."""
    return "\n\n".join(f"[{turn.role}]: {turn.content}" for turn in turns)
