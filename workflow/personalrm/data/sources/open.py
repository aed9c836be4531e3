"""The votes of a data set, whatever its source: the place where a further source is added."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from personalrm.data.hub import check_files
from personalrm.data.settings import Dataset, LocalDataset
from personalrm.data.sources.battles import read_arena, read_mtbench
from personalrm.data.sources.fields import Row
from personalrm.data.sources.prism import read_prism
from personalrm.data.sources.processed import read_processed
from personalrm.data.sources.reading import OnBad, ReadReport, read_file
from personalrm.data.sources.rows import read_rows
from personalrm.data.sources.times import FileTimes
from personalrm.data.sources.votes import KNOWN_FIELDS, Vote, parse_vote

_READERS: Mapping[str, Callable[[Any, ReadReport], Iterator[Vote]]] = {
    "arena": read_arena,
    "mtbench": read_mtbench,
    "personalrewardbench": read_processed,
    "prism": read_prism,
}


def read_source(settings: Dataset, report: ReadReport) -> Iterator[Vote]:
    """Yield all votes of a data set; `report` is filled on the way. Raises DataError for bad data."""
    if isinstance(settings, LocalDataset):
        return read_votes(settings.path, on_bad=settings.on_bad, report=report)
    if settings.hub is not None:
        check_files(settings.name, settings.hub)
    return _READERS[settings.source](settings, report)


def read_votes(path: Path, *, on_bad: OnBad = "error", report: ReadReport | None = None) -> Iterator[Vote]:
    """Yield the votes of a file in the local format, in its order, ties included; see `read_file` for bad lines.

    JSON lines, plain or gzipped, one vote per line: `user_id`, `context` (list of {role, content}) and either `chosen`
    and `rejected` or `response_a`, `response_b` and `winner` (a, b, tie); optional `timestamp`, `conversation_id`,
    `turn`, `pair_id`, `survey`, `flip`. Other fields are ignored, and counted.
    """
    report = ReadReport() if report is None else report
    times = FileTimes(lambda: (row.get("timestamp") for row in read_rows(path, skip_bad=True)))

    def parse(row: Row, line: int) -> tuple[Vote]:
        vote = parse_vote(row, line)
        times.check(row.get("timestamp"))
        return (vote,)

    yield from read_file(path, parse, report, known=KNOWN_FIELDS, on_bad=on_bad)
    report.notes += times.notes()
