"""What the readers of released data sets share: their files, their columns, and the names of their fields."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from personalrm.core.errors import DataError
from personalrm.data.settings import ArenaDataset, MtBenchDataset, ProcessedDataset
from personalrm.data.sources.fields import FieldError, Row

_ADVICE = "the release has changed, or this is another data set: pin the revision that has it"


def release_files(settings: ArenaDataset | MtBenchDataset | ProcessedDataset) -> list[Path]:
    """Files of the release, sorted by name. Raises DataError where there are none, or one of several shards is gone."""
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
                raise DataError(f"{sibling}: is missing beside {path.name}; fetch the release again, whole")
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
    """Let a FieldError speak of the release's fields, where a row was put into the local format first."""
    try:
        yield
    except FieldError as error:
        head = re.match(r"\w*", error.field)
        name = head[0] if head else ""
        raise FieldError(names.get(name, name) + error.field[len(name) :], str(error), error.advice) from error
