"""From the rows of files to votes: bad rows are reported or counted, never dropped in silence."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Collection, Container, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from personalrm.core.errors import DataError
from personalrm.data.settings import ArenaDataset, MtBenchDataset, ProcessedDataset
from personalrm.data.sources.fields import FieldError, Row
from personalrm.data.sources.rows import RawRow, raw_rows
from personalrm.data.sources.votes import Vote, user_of

MAX_PROBLEMS = 20

_NAMED_AT_MOST = 50
_ADVICE = "the release has changed, or this is another data set: pin the revision that has it"

OnBad = Literal["error", "drop"]
ParseRow = Callable[[Row, int], Iterable[Vote]]
"""Votes of a row, given its number; raises FieldError for the first thing that is wrong."""


@dataclass
class ReadReport:
    """Counts of a reader. `users` are all ids, those with bad lines only included.

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

    def leave_out(self, user: str, reason: str) -> None:
        """Count a sound row that makes no vote; its user still is a user of the data."""
        self.users.add(user)
        self.dropped[reason] += 1


def read_file(
    path: Path,
    parse: ParseRow,
    *,
    known: Container[str],
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


def _count_ignored(report: ReadReport, row: Row, known: Container[str]) -> None:
    for name in (name for name in row if name not in known):
        shown = name[:60]
        if shown in report.ignored or len(report.ignored) < _NAMED_AT_MOST:
            report.ignored[shown] += 1


def _summary(path: Path, report: ReadReport) -> str:
    if report.bad == 1:
        return f"{path}, {report.problems[0]}"
    count = f"the first {report.bad}" if report.bad == MAX_PROBLEMS else str(report.bad)
    return "\n".join([f"{path}: bad lines ({count} shown), nothing was written:", *report.problems])


def release_files(settings: ArenaDataset | MtBenchDataset | ProcessedDataset) -> list[Path]:
    """Files of the release, sorted by name. Raises DataError if there are none, or if a numbered file is missing."""
    files = settings.source_files()
    if not files:
        raise DataError(
            f"{settings.folder}: no file of the release in the folder; correct datasets.{settings.name}.path"
        )
    for path in files:
        numbered = re.fullmatch(r"(.*-)(\d{5})(-of-)(\d{5})((?:\.\w+)+)", path.name)
        for number in range(int(numbered[4]) if numbered else 0):
            sibling = path.with_name(re.sub(r"\d{5}(?=-of-)", f"{number:05d}", path.name))
            if sibling not in files:
                raise DataError(f"{sibling}: is missing next to {path.name}; fetch the release again, whole")
    return files


def require_columns(row: Row, columns: Collection[str], path: Path) -> None:
    """Raise where the row lacks a column: DataError for Parquet, whose rows all lack it, else FieldError."""
    missing = sorted(set(columns) - row.keys())
    if missing and path.suffix == ".parquet":
        raise DataError(f"{path}: no column {', '.join(missing)}; {_ADVICE}")
    if missing:
        raise FieldError(missing[0], "is missing", f"add it; where all lines lack it, {_ADVICE}")


@contextmanager
def fields_named(names: Mapping[str, str]) -> Iterator[None]:
    """Name the release's field in a FieldError about a row that was put into the local format first."""
    try:
        yield
    except FieldError as error:
        head = re.match(r"\w*", error.field)
        name = head[0] if head else ""
        raise FieldError(names.get(name, name) + error.field[len(name) :], str(error), error.advice) from error
