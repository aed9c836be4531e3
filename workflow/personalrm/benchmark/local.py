"""Reader of local vote files: JSON lines, plain or gzipped, one vote a line, in constant memory.

Format (config/README.md has examples): `user_id`, `context` (list of {role, content}) and either `chosen`
and `rejected` or `response_a`, `response_b` and `winner` (a, b, tie); optional `timestamp`,
`conversation_id`, `turn`, `pair_id`, `survey`. Other fields are ignored, and counted. Only the standard library is
imported here.
"""

from __future__ import annotations

import gzip
import json
import zlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Literal, NamedTuple, NoReturn, cast

from personalrm.benchmark.votes import KNOWN_FIELDS, FieldError, Row, Vote, parse_vote, user_of
from personalrm.errors import DataError

MAX_PROBLEMS = 20
MAX_LINE_BYTES = 64 * 2**20
"""A longer line is refused: it would be read whole, and is a file without line ends rather than a vote."""

_NAMED_AT_MOST = 50

OnBad = Literal["error", "drop"]


@dataclass
class ReadReport:
    """What a reader saw. `users` are all ids met, those included all of whose lines are bad.

    `problems` describes the first bad lines (without the file's path); `ignored` counts fields that are not
    part of the format.
    """

    lines: int = 0
    votes: int = 0
    bad: int = 0
    problems: list[str] = field(default_factory=list)
    users: set[str] = field(default_factory=set)
    ignored: Counter[str] = field(default_factory=Counter)


class _Line(NamedTuple):
    """One line with text in it: its number (from 1), the offset of its first byte, and its bytes."""

    number: int
    offset: int
    raw: bytes


def read_votes(path: Path, *, on_bad: OnBad = "error", report: ReadReport | None = None) -> Iterator[Vote]:
    """Yield the votes of a file in its order, ties included, with texts exactly as in the file.

    With `on_bad="error"` no vote is yielded after the first bad line; reading goes on to list up to 20
    bad lines, and one DataError names them all. With `"drop"` bad lines are counted in `report`. A file
    that cannot be read to its end (truncated gzip, not gzip, not UTF-8 at all) is a DataError either way:
    nobody can say how many votes are lost.
    """
    report = ReadReport() if report is None else report
    for line in _lines(path):
        report.lines += 1
        row: Row = {}
        try:
            row = _parse(line)
            vote = parse_vote(row, line.number)
        except FieldError as error:
            _note(report, line, row, error)
            if on_bad == "error" and report.bad == MAX_PROBLEMS:
                break
            continue
        report.users.add(vote.user_id)
        _count_ignored(report, row)
        report.votes += 1
        if on_bad == "drop" or not report.bad:
            yield vote
    if on_bad == "error" and report.bad:
        raise DataError(_summary(path, report))


def read_rows(path: Path, *, skip_bad: bool = False) -> Iterator[Row]:
    """Yield the JSON objects of a file, unchecked: for scans and for converters of other formats.

    A line that is no JSON object is a DataError, or is passed over with `skip_bad`.
    """
    for line in _lines(path):
        try:
            yield _parse(line)
        except FieldError as error:
            if not skip_bad:
                raise DataError(f"{path}, line {line.number}: {error}; {error.advice}") from error


def _note(report: ReadReport, line: _Line, row: Row, error: FieldError) -> None:
    """Count a bad line, and describe it if it is one of the first."""
    report.bad += 1
    try:
        user = user_of(row)
    except FieldError:
        user = ""
    if user:
        report.users.add(user)
    if len(report.problems) < MAX_PROBLEMS:
        shown = repr(user if len(user) <= 60 else f"{user[:57]}...") if user else "unknown"
        where = f", field {error.field}" if error.field else ""
        report.problems.append(f"line {line.number}{where}, user {shown}: {error}; {error.advice}")


def _count_ignored(report: ReadReport, row: Row) -> None:
    for name in row.keys() - KNOWN_FIELDS:
        shown = name[:60]
        if shown in report.ignored or len(report.ignored) < _NAMED_AT_MOST:
            report.ignored[shown] += 1


def _summary(path: Path, report: ReadReport) -> str:
    if report.bad == 1:
        return f"{path}, {report.problems[0]}"
    count = f"the first {report.bad}" if report.bad == MAX_PROBLEMS else str(report.bad)
    return "\n".join([f"{path}: bad lines ({count} shown), nothing was written:", *report.problems])


def _lines(path: Path) -> Iterator[_Line]:
    """Lines of a plain or gzipped file (told apart by the first bytes), blank ones left out."""
    number = offset = 0
    try:
        with _open(path) as stream:
            while raw := stream.readline(MAX_LINE_BYTES + 1):
                number += 1
                _check_line(path, number, raw)
                # A byte-order mark is no part of the first line's JSON.
                text = raw.removeprefix(b"\xef\xbb\xbf") if number == 1 else raw
                if text.strip():
                    yield _Line(number, offset + len(raw) - len(text), text)
                offset += len(raw)
    except EOFError as error:
        raise DataError(
            f"{path}, after line {number}: the gzip data break off; the file is truncated: fetch or write it again"
        ) from error
    except (gzip.BadGzipFile, zlib.error) as error:
        raise DataError(
            f"{path}, after line {number}: broken gzip data ({error}); fetch or write the file again"
        ) from error
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}); correct the path or its rights") from error


def _open(path: Path) -> IO[bytes]:
    with path.open("rb") as stream:
        magic = stream.read(2)
    if path.suffix == ".gz" and magic != b"\x1f\x8b":
        raise DataError(f"{path}: is named .gz but is not gzip; fetch it again, or rename it")
    return cast(IO[bytes], gzip.open(path, "rb")) if magic == b"\x1f\x8b" else path.open("rb")


def _check_line(path: Path, number: int, raw: bytes) -> None:
    if number == 1 and raw[:2] in (b"\xff\xfe", b"\xfe\xff"):
        raise DataError(f"{path}, line 1: the file is UTF-16; save it as UTF-8")
    if len(raw) > MAX_LINE_BYTES:
        raise DataError(
            f"{path}, line {number}: longer than {MAX_LINE_BYTES // 2**20} MiB; write one vote a line (JSON lines)"
        )


def _parse(line: _Line) -> Row:
    """Decode one line. Raises FieldError (with no field) where it is not UTF-8, JSON, or an object."""
    try:
        value = _DECODER.decode(line.raw.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise FieldError(
            "",
            f"is not UTF-8 (byte {error.start} of the line, {line.offset + error.start} of the file, is "
            f"0x{line.raw[error.start]:02x})",
            "save the file as UTF-8",
        ) from error
    except json.JSONDecodeError as error:
        problem = f"is not JSON ({error.msg}, column {error.colno})"
        if not line.raw.endswith(b"\n"):
            problem += ", and has no line end: the file may be truncated"
        raise FieldError("", problem, "write the line again") from error
    except FieldError:
        raise
    except ValueError as error:
        # Python refuses whole numbers of more than 4,300 digits.
        raise FieldError("", "is not JSON (a number is too long)", "write the line again") from error
    except RecursionError as error:
        raise FieldError("", "is nested too deeply", "write the line as the format asks") from error
    if not isinstance(value, dict):
        raise FieldError("", "is not a JSON object", "write one object with user_id, context, … a line")
    return value


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    """Refuse an object in which a name stands twice: JSON parsers would keep either."""
    found = dict(pairs)
    if len(found) != len(pairs):
        twice = next(name for name, count in Counter(name for name, _ in pairs).items() if count > 1)
        raise FieldError(twice[:60], "stands twice in one object", "keep one of them")
    return found


def _no_constant(name: str) -> NoReturn:
    raise FieldError("", f"holds {name}, which is not JSON", "write null, or leave the field out")


_DECODER = json.JSONDecoder(object_pairs_hook=_unique, parse_constant=_no_constant)
