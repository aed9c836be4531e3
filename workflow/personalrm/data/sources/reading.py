"""From the rows of files to votes: bad rows are reported or counted, never dropped silently."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Collection, Container, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from personalrm.core.errors import DataError
from personalrm.data.settings import ArenaDataset, MtBenchDataset, ProcessedDataset
from personalrm.data.sources.fields import FieldError, Row
from personalrm.data.sources.rows import raw_rows
from personalrm.data.sources.votes import Vote, user_of

MAX_PROBLEMS = 20

_NAMED_AT_MOST = 50
_CHANGED = "the release has changed, or this is another data set: pin the revision that has it"

OnBad = Literal["error", "drop"]
ParseRow = Callable[[Row, int], Iterable[Vote] | str]
"""Votes of a row, given its number, or the reason why a sound row makes none; raises FieldError for the first thing
that is wrong."""


@dataclass
class ReadReport:
    """Counts of a reader. `users` are all ids, including those that have only bad or dropped lines.

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

    def note_bad(self, number: int, user: str, error: FieldError) -> None:
        """Count a bad line, and describe it if it is one of the first. `user` is "" where it is not known."""
        self.bad += 1
        self.users.update([user] if user else [])
        if len(self.problems) < MAX_PROBLEMS:
            shown = repr(user if len(user) <= 60 else f"{user[:57]}...") if user else "unknown"
            where = f", field {error.field}" if error.field else ""
            self.problems.append(f"line {number}{where}, user {shown}: {error}; {error.advice}")

    def note_sound(self, row: Row, votes: Collection[Vote], known: Container[str]) -> None:
        """Count the votes of a row and their users, and fields that are not `known`."""
        self.votes += len(votes)
        self.users.update(vote.user_id for vote in votes)
        for name in (name[:60] for name in row if name not in known):
            if name in self.ignored or len(self.ignored) < _NAMED_AT_MOST:
                self.ignored[name] += 1


class MissingColumns(FieldError):
    """A row lacks columns of the release."""

    def __init__(self, columns: Collection[str]) -> None:
        super().__init__(min(columns), "is missing", f"add it; where all lines lack it, {_CHANGED}")
        self.columns = sorted(columns)


def require_columns(row: Row, columns: Collection[str]) -> None:
    """Raise MissingColumns where the row lacks a column."""
    if not row.keys() >= set(columns):
        raise MissingColumns(set(columns) - row.keys())


def read_file(
    path: Path,
    parse: ParseRow,
    report: ReadReport,
    *,
    known: Container[str],
    user: Callable[[Row], str] = user_of,
    on_bad: OnBad = "error",
) -> Iterator[Vote]:
    """Yield the votes of a file in its order, ties included, with texts exactly as in the file.

    `known` are the fields of the format (others are counted), `user` finds the user of a row that makes no vote.
    With `on_bad="error"` no vote is yielded after the first bad row; reading goes on to list up to 20
    bad rows, and one DataError names them all. With `"drop"` bad rows are counted in `report`. A file
    that cannot be read to its end (truncated, not gzip, not UTF-8 at all) is a DataError either way, as the number of
    lost votes is unknown; so is a Parquet file without a column, which all its rows lack.
    """
    for number, read in raw_rows(path):
        report.lines += 1
        row: Row = {}
        try:
            row = read()
            made = parse(row, number)
            votes = [] if isinstance(made, str) else list(made)
        except FieldError as error:
            if isinstance(error, MissingColumns) and path.suffix == ".parquet":
                raise DataError(f"{path}: no column {', '.join(error.columns)}; {_CHANGED}") from None
            owner = ""
            with suppress(FieldError):
                owner = user(row)
            report.note_bad(number, owner, error)
            if on_bad == "error" and report.bad == MAX_PROBLEMS:
                break
            continue
        if isinstance(made, str):
            report.users.add(user(row))
            report.dropped[made] += 1
        report.note_sound(row, votes, known)
        if on_bad == "drop" or not report.bad:
            yield from votes
    if on_bad == "error" and report.bad:
        raise DataError(_refusal(path, report))


def _refusal(path: Path, report: ReadReport) -> str:
    """Message about bad lines: each on a line of its own, but one where all lines have the same fault."""
    if report.bad == 1:
        return f"{path}, {report.problems[0]}"
    faults = {problem.partition(": ")[2] for problem in report.problems}
    count = f"the first {report.bad}" if report.bad == MAX_PROBLEMS else str(report.bad)
    if report.bad == report.lines and len(faults) == 1:
        return f"{path}: no line is a vote ({count} have the same fault); {report.problems[0]}"
    return "\n".join([f"{path}: bad lines ({count} shown), nothing was written:", *report.problems])


def release_files(settings: ArenaDataset | MtBenchDataset | ProcessedDataset) -> list[Path]:
    """Files of the release, sorted by name. Raises DataError if there are none, or if a numbered file is missing."""
    files = settings.source_files()
    if not files:
        raise DataError(
            f"{settings.folder}: no file of the release in the folder; correct datasets.{settings.name}.path"
        )
    for path in files:
        numbered = re.fullmatch(r".*-\d{5}-of-(\d{5})(\.\w+)+", path.name)
        for number in range(int(numbered[1]) if numbered else 0):
            sibling = path.with_name(re.sub(r"\d{5}(?=-of-)", f"{number:05d}", path.name))
            if sibling not in files:
                raise DataError(f"{sibling}: is missing next to {path.name}; fetch the release again, whole")
    return files


def read_release(
    settings: ArenaDataset | MtBenchDataset,
    parse: ParseRow,
    report: ReadReport,
    *,
    known: Container[str],
    user: Callable[[Row], str],
) -> Iterator[Vote]:
    """Yield the votes of all files of a release, as `read_file` does. Raises what `release_files` raises, too."""
    for path in release_files(settings):
        yield from read_file(path, parse, report, known=known, user=user, on_bad=settings.on_bad)
