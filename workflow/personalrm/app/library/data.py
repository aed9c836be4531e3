"""Preferences as users of the library hold them: dicts, data frames or data sets with `context`, `chosen`, `rejected`.

All forms of a row are those of a vote file (`data/sources/forms.py`, docs/data.md): equal contents become the same
pair, and so the same prompt.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeAlias, TypedDict

from personalrm.app.library.models import DATASET
from personalrm.core.errors import DataError
from personalrm.core.files import stable_hash
from personalrm.core.records import PreferencePair, Split, Turn, UserData
from personalrm.data.history import pair_of
from personalrm.data.sources.fields import FieldError
from personalrm.data.sources.forms import plain_value, vote_of
from personalrm.data.sources.times import FileTimes
from personalrm.data.sources.votes import KNOWN_FIELDS, Vote, decided

if TYPE_CHECKING:
    import pandas as pd


class Message(TypedDict):
    """One turn of a conversation."""

    role: str
    content: str | Sequence[Mapping[str, Any]]


class VoteDict(TypedDict, total=False):
    """One preference, for type checkers: `context` (or `prompt`), and `chosen` and `rejected`, or `response_a`,
    `response_b` and `winner`. All other keys may be left out; further keys are ignored.

    >>> vote: VoteDict = {"context": "How do I boil an egg?", "chosen": "Seven minutes.", "rejected": "It depends."}
    """

    user_id: str | int
    context: str | Sequence[Message]
    prompt: str | Sequence[Message]
    chosen: str | Message | Sequence[Message]
    rejected: str | Message | Sequence[Message]
    response_a: str | Message | Sequence[Message]
    response_b: str | Message | Sequence[Message]
    winner: Literal["a", "b", "tie"]
    tie: bool | None
    """True where both answers were liked alike."""
    conversation_id: str | int | None
    turn: int | None
    timestamp: float | str | None
    pair_id: str | int | None
    flip: bool | None
    """A stored coin, as in the published sets: true where the chosen answer is to stand first in learning; else a hash
    decides."""
    type: str | None
    """The kind of conversation in words, for `TasteModel(kinds="conversation_type")`."""


Item: TypeAlias = VoteDict | Mapping[str, Any]
"""One preference."""
Votes: TypeAlias = "Iterable[Item] | pd.DataFrame"
"""Preferences: a list, a generator, a `datasets.Dataset`, or a data frame of pandas, polars or Arrow."""
Context = str | Sequence[Mapping[str, Any]]
"""A conversation up to the judged answers: turns {role, content}; or a string, which is one turn of the user, or a
transcript in blocks "[role]: text"."""
Answer = str | Mapping[str, Any]
"""An answer: {role, content}, or its text."""

_KEPT = ("user_id", "conversation_id", "turn", "timestamp", "pair_id")
_READ = KNOWN_FIELDS - {"survey"}
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


def as_rows(data: Votes, name: str) -> list[Any]:
    """The rows of votes in any of the forms of `Votes`. Raises DataError for what is none; `name` is what it calls
    it."""
    wanted = "give a list of dicts with context, chosen and rejected, a data frame or a data set"
    if isinstance(data, Mapping):
        parts = [str(part) for part, rows in data.items() if hasattr(rows, "column_names")]
        raise DataError(f"{name}: is no list; {f'give one part, such as {name}[{parts[0]!r}]' if parts else wanted}")
    table: Any = data
    if hasattr(table, "to_dicts"):  # polars
        return list(table.to_dicts())
    if hasattr(table, "to_pylist"):  # Arrow
        return list(table.to_pylist())
    if hasattr(table, "to_dict") and hasattr(table, "columns"):  # pandas
        return list(table.to_dict(orient="records"))
    if isinstance(data, str | bytes) or not isinstance(data, Iterable):
        raise DataError(f"{name}: is no list; {wanted}")
    return list(data)


def _vote(item: object, place: str, user_id: str | None, times: FileTimes | None = None) -> Vote:
    """One row as a vote. Raises DataError that names the place, the field and what to do."""
    if not isinstance(item, Mapping):
        raise DataError(f"{place}: is no dict; give a list of dicts with context, chosen and rejected")
    row = {name: item[name] for name in _READ if name in item}
    if plain_value(row.get("user_id")) is None:
        row["user_id"] = _NOBODY
    row |= {} if user_id is None else {"user_id": user_id}
    try:
        vote = vote_of(row)
        kind = plain_value(item.get("type"))
        if isinstance(kind, str):
            vote = replace(vote, conversation_type=" ".join(kind.split()) or None)
        if times is not None:
            times.check(plain_value(row.get("timestamp")))
    except FieldError as error:
        raise DataError(f"{place}, field {error.field}: {error}; {error.advice}") from error
    return vote


def _votes(data: Votes, name: str, user_id: str | None) -> list[Vote]:
    rows = as_rows(data, name)
    times = FileTimes(lambda: (plain_value(row.get("timestamp")) for row in rows if isinstance(row, Mapping)))
    return [_vote(item, f"{name}[{place}]", user_id, times) for place, item in enumerate(rows)]


def user_of(data: Votes) -> str:
    """The user whose votes `data` are: the one that its rows name, else a name made of their content.

    The made-up name is not random, as it is in the published package: equal data must give equal prompts. Raises
    DataError for wrong rows, and where rows name several users.
    """
    data = as_rows(data, "data")
    named = _named(data, "data")
    if len(named) > 1:
        raise DataError(
            f"data: holds votes of {len(named)} users ({', '.join(sorted(named)[:3])}, …); fit one object per user, or "
            "give user_id if they are one person"
        )
    votes = _votes(data, "data", None)
    return named.pop() if named else f"user-{stable_hash(*(vote.content_hash for vote in votes))[:10]}"


def refuse_other_users(data: Votes, name: str, user_id: str) -> None:
    """Raise DataError where rows name another user, and for wrong rows."""
    for other in sorted(_named(data, name) - {user_id}):
        raise DataError(
            f"{name}: are of user {other!r}, not of {user_id!r}; fit one object per user, or make the object with "
            "user_id if they are one person"
        )


def _named(data: Votes, name: str) -> set[str]:
    """The users that rows name."""
    rows = as_rows(data, name)
    votes = zip(_votes(rows, name, None), rows, strict=True)
    return {vote.user_id for vote, item in votes if plain_value(item.get("user_id")) is not None}


def usable_pairs(data: Votes, name: str, user_id: str | None = None, *, ties: bool = False) -> Usable:
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
    """A pair to be judged, `option1` as the chosen answer. Raises DataError as `usable_pairs` does."""
    item = {"context": context, "chosen": option1, "rejected": option2}
    try:
        return pair_of(_vote(item, "predict_pairwise", user_id))
    except DataError as error:
        named = str(error).replace("field chosen", "option1").replace("field rejected", "option2")
        raise DataError(named) from error


def answers_of(answers: Iterable[Answer]) -> list[Answer]:
    """Several answers as a list. Raises DataError for one answer, and for what cannot be gone through."""
    if isinstance(answers, str | Mapping) or not isinstance(answers, Iterable):
        what = "one answer" if isinstance(answers, str | Mapping) else "no list"
        raise DataError(f"answers: is {what}; give a list of answers")
    return list(answers)


def one_answer(context: Context, answer: Answer, where: str) -> tuple[tuple[Turn, ...], str]:
    """A conversation and one answer to it, as turns and text. Raises DataError that begins with `where`."""
    try:
        pair = pair_of(_vote({"context": context, "chosen": answer, "rejected": answer}, where, None))
    except DataError as error:
        raise DataError(str(error).replace("field chosen", "answer")) from error
    return pair.context, pair.chosen


def user_data(data: Votes, val_data: Votes | None, user_id: str | None, train_val_ratio: float) -> Prepared:
    """The user of `fit`'s data; `user_id` replaces the ids of the rows.

    Raises DataError for wrong or no data, for two votes with one pair id, and without `user_id` for votes of several
    users.
    """
    # A generator can be read only once.
    data = as_rows(data, "data")
    val_data = None if val_data is None else as_rows(val_data, "val_data")
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
    learned = {(pair.context, pair.chosen, pair.rejected) for pair in pairs}
    fresh = [pair for pair in validation if (pair.context, pair.chosen, pair.rejected) not in learned]
    if twice := {pair.pair_id for pair in pairs} & {pair.pair_id for pair in fresh}:
        raise DataError(
            f"val_data: {min(twice)!r} is also the pair_id of a different vote in data; make the ids unique"
        )
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
