"""From the rows of files to votes: bad rows are named or counted, never dropped in silence."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from personalrm.core.errors import DataError
from personalrm.data.sources.fields import FieldError, Row
from personalrm.data.sources.rows import RawRow, raw_rows
from personalrm.data.sources.votes import Vote, user_of

MAX_PROBLEMS = 20

_NAMED_AT_MOST = 50

OnBad = Literal["error", "drop"]
ParseRow = Callable[[Row, int], Iterable[Vote]]
"""Votes of a row, given its number; raises FieldError for the first thing that is wrong."""


@dataclass
class ReadReport:
    """What a reader saw. `users` are all ids met, those included all of whose lines are bad.

    `problems` describes the first bad lines (without the file's path); `ignored` counts fields that are not
    part of the format, and `dropped` counts rows or pairs that a release's reader leaves out, by reason;
    `notes` are what a reader of the data card should know.
    """

    lines: int = 0
    votes: int = 0
    bad: int = 0
    problems: list[str] = field(default_factory=list)
    users: set[str] = field(default_factory=set)
    ignored: Counter[str] = field(default_factory=Counter)
    dropped: Counter[str] = field(default_factory=Counter)
    notes: list[str] = field(default_factory=list)


def read_file(
    path: Path,
    parse: ParseRow,
    *,
    known: Collection[str],
    user: Callable[[Row], str] = user_of,
    on_bad: OnBad = "error",
    report: ReadReport | None = None,
) -> Iterator[Vote]:
    """Yield the votes of a file in its order, ties included, with texts exactly as in the file.

    `known` are the fields of the format (others are counted), `user` finds the user of a row for messages.
    With `on_bad="error"` no vote is yielded after the first bad row; reading goes on to list up to 20
    bad rows, and one DataError names them all. With `"drop"` bad rows are counted in `report`. A file
    that cannot be read to its end (truncated, not gzip, not UTF-8 at all) is a DataError either way:
    nobody can say how many votes are lost.
    """
    report = ReadReport() if report is None else report
    for raw in raw_rows(path):
        report.lines += 1
        row: Row = {}
        try:
            row = raw.parse()
            votes = list(parse(row, raw.number))
        except FieldError as error:
            _note(report, raw, row, user, error)
            if on_bad == "error" and report.bad == MAX_PROBLEMS:
                break
            continue
        report.users.update(vote.user_id for vote in votes)
        _count_ignored(report, row, known)
        report.votes += len(votes)
        if on_bad == "drop" or not report.bad:
            yield from votes
    if on_bad == "error" and report.bad:
        raise DataError(_summary(path, report))


def _note(report: ReadReport, raw: RawRow, row: Row, user_in: Callable[[Row], str], error: FieldError) -> None:
    """Count a bad line, and describe it if it is one of the first."""
    report.bad += 1
    try:
        user = user_in(row)
    except FieldError:
        user = ""
    if user:
        report.users.add(user)
    if len(report.problems) < MAX_PROBLEMS:
        shown = repr(user if len(user) <= 60 else f"{user[:57]}...") if user else "unknown"
        where = f", field {error.field}" if error.field else ""
        report.problems.append(f"line {raw.number}{where}, user {shown}: {error}; {error.advice}")


def _count_ignored(report: ReadReport, row: Row, known: Collection[str]) -> None:
    for name in row.keys() - set(known):
        shown = name[:60]
        if shown in report.ignored or len(report.ignored) < _NAMED_AT_MOST:
            report.ignored[shown] += 1


def _summary(path: Path, report: ReadReport) -> str:
    if report.bad == 1:
        return f"{path}, {report.problems[0]}"
    count = f"the first {report.bad}" if report.bad == MAX_PROBLEMS else str(report.bad)
    return "\n".join([f"{path}: bad lines ({count} shown), nothing was written:", *report.problems])
