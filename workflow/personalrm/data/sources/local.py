"""Reader of local vote files: JSON lines, plain or gzipped, one vote per line, in constant memory.

Format (config/README.md has examples): `user_id`, `context` (list of {role, content}) and either `chosen`
and `rejected` or `response_a`, `response_b` and `winner` (a, b, tie); optional `timestamp`,
`conversation_id`, `turn`, `pair_id`, `survey`. Other fields are ignored, and counted.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from personalrm.core.errors import DataError
from personalrm.data.sources.fields import FieldError, Row
from personalrm.data.sources.reading import OnBad, ReadReport, read_file
from personalrm.data.sources.rows import raw_rows
from personalrm.data.sources.votes import KNOWN_FIELDS, Vote, parse_vote


def read_votes(path: Path, *, on_bad: OnBad = "error", report: ReadReport | None = None) -> Iterator[Vote]:
    """Yield the votes of a file in its order, ties included; see `read_file` for bad lines."""
    return read_file(path, _parse, known=KNOWN_FIELDS, on_bad=on_bad, report=report)


def _parse(row: Row, line: int) -> tuple[Vote, ...]:
    return (parse_vote(row, line),)


def read_rows(path: Path, *, skip_bad: bool = False) -> Iterator[Row]:
    """Yield the JSON objects of a file, unchecked: for scans and for converters of other formats.

    A line that is not a JSON object is a DataError, or is skipped with `skip_bad`.
    """
    for line in raw_rows(path):
        try:
            yield line.parse()
        except FieldError as error:
            if not skip_bad:
                raise DataError(f"{path}, line {line.number}: {error}; {error.advice}") from error
