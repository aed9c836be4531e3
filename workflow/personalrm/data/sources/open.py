"""The votes of a data set, whatever its source: the place where a further source is added."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import Any

from personalrm.core.errors import DataError
from personalrm.data.hub import check_files
from personalrm.data.settings import Dataset, LocalDataset
from personalrm.data.sources.battles import read_arena, read_mtbench
from personalrm.data.sources.fields import FieldError, Row, fields_named
from personalrm.data.sources.forms import WINNERS, plain_value, vote_of
from personalrm.data.sources.prism import read_prism
from personalrm.data.sources.processed import read_processed
from personalrm.data.sources.reading import OnBad, ReadReport, read_file
from personalrm.data.sources.rows import read_rows
from personalrm.data.sources.times import FileTimes
from personalrm.data.sources.votes import KNOWN_FIELDS, Vote, user_of

_READERS: Mapping[str, Callable[[Any, ReadReport], Iterator[Vote]]] = {
    "arena": read_arena,
    "mtbench": read_mtbench,
    "personalrewardbench": read_processed,
    "prism": read_prism,
}


def read_source(settings: Dataset, report: ReadReport) -> Iterator[Vote]:
    """Yield all votes of a data set; `report` is filled on the way. Raises DataError for bad data."""
    if isinstance(settings, LocalDataset):
        return read_votes(settings.path, on_bad=settings.on_bad, report=report, columns=settings.columns)
    if settings.hub is not None:
        check_files(settings.name, settings.hub)
    return _READERS[settings.source](settings, report)


def read_votes(
    path: Path,
    *,
    on_bad: OnBad = "error",
    report: ReadReport | None = None,
    columns: Mapping[str, str] | None = None,
    user_id: str | None = None,
) -> Iterator[Vote]:
    """Yield the votes of a file of people's own, in its order, ties included; see `read_file` for bad lines.

    `raw_rows` says which kinds of files are read. A row is one vote: `user_id`, `context` and either `chosen` and
    `rejected` or `response_a`, `response_b` and `winner` (a, b, tie), in any of the forms of `vote_of`; optional
    `timestamp`, `conversation_id`, `turn`, `pair_id`, `survey`, `flip`, `tie`. `columns` names the file's columns where
    they have other names; a column that no row has is a DataError. Other fields are ignored, and counted. With
    `user_id` all votes are of this user, whatever rows say.
    """
    report = ReadReport() if report is None else report
    columns = columns or {}
    words: Counter[str] = Counter()
    named = {} if user_id is None else {"user_id": user_id}
    unseen = dict(columns)
    times = FileTimes(
        lambda: (plain_value(renamed(row, columns).get("timestamp")) for row in read_rows(path, skip_bad=True))
    )

    def parse(row: Row, line: int) -> tuple[Vote]:
        fields = {**renamed(row, columns), **named}
        for field in [field for field, column in unseen.items() if column in row]:
            del unseen[field]
        with fields_named(columns) if columns else nullcontext():
            vote = vote_of(fields, line)
            times.check(plain_value(fields.get("timestamp")))
        if (winner := plain_value(fields.get("winner"))) not in (None, "a", "b", "tie"):
            words[str(winner).strip()] += 1
        return (vote,)

    def user(row: Row) -> str:
        return user_id or user_of(renamed(row, columns))

    yield from read_file(path, parse, report, known=KNOWN_FIELDS | set(columns.values()), user=user, on_bad=on_bad)
    if unseen and report.votes:
        field, column = min(unseen.items())
        raise DataError(f"{path}: no row has the column {column!r}, which `columns` names for {field}; correct it")
    report.notes += [*times.notes(), *_winners_note(words)]


def users_of(settings: LocalDataset) -> set[str]:
    """Users that rows name, those of bad rows included."""
    users = set()
    for row in read_rows(settings.path, skip_bad=True):
        with suppress(FieldError):
            users.add(user_of(renamed(row, settings.columns)))
    return users


def renamed(row: Row, columns: Mapping[str, str]) -> Row:
    """The row with the fields of the local format under their own names, as `columns` maps them to the file's."""
    return {**row, **{field: row[column] for field, column in columns.items() if column in row}} if columns else row


def _winners_note(words: Mapping[str, int]) -> list[str]:
    """What the file's words for the better answer were taken to mean."""
    if not words:
        return []
    meant = {"a": "`response_a`", "b": "`response_b`", "tie": "neither answer"}
    told = ", ".join(f"{word} means {meant[WINNERS[word.lower()]]}" for word in sorted(words))
    return [f"The words for the preferred answer in `winner`: {told}."]
