"""Hub files of JSON lines as Parquet, which is what everything downstream reads. No value is lost on the way.

A row's fields become columns, nested ones too; the type of a field is that of its first value that is not null. What
such a column cannot hold as it is (a number among texts, half of a surrogate pair, a line that is no JSON) keeps its
line, byte by byte, in the column `_line`. So a reader (`rows.py`) finds the same rows, good and bad, under the same
numbers. One difference is left: a field that some rows lack is null in them.

A Parquet file lies beside the file that it was made of, and holds its SHA-256: it is made again when that differs.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from personalrm.core.errors import DataError
from personalrm.core.files import atomic_open, file_lock, sha256_file
from personalrm.data.settings import HubSource, parquet_of
from personalrm.data.sources.rows import LINE, LINE_COLUMNS, NUMBER, OFFSET, RawRow, raw_rows
from personalrm.data.sources.votes import FieldError

if TYPE_CHECKING:
    import pyarrow as pa

_SOURCE = b"personalrm.source_sha256"
_ROWS = 256
"""Rows that are held at a time."""
_INT64 = range(-(2**63), 2**63)
_SURROGATE = re.compile("[\ud800-\udfff]")
_DEEPEST = 20
"""A row with deeper nesting keeps its line."""

Kind = str | dict[str, "Kind"] | list["Kind"]
"""Type of a value: `null`, `bool`, `int`, `float`, `str`; an object by its fields; a list by its one kind."""


def convert_files(dataset: str, source: HubSource, note: Callable[[str], None]) -> None:
    """Make the Parquet files of a fetched source, as far as they are not there. `note` gets a line for each.

    Raises DataError where the folder cannot be written or a file not be read to its end.
    """
    folder = source.folder
    lock = folder.with_name(f".{folder.name}.lock")
    try:
        with file_lock(lock, lambda: note(f"{folder}: another process is at work, waiting for it")):
            for path in map(folder.joinpath, source.files):
                if parquet_of(path) != path:
                    _convert(path, note)
    except OSError as error:
        raise DataError(f"datasets.{dataset}.hub: {folder}: {error.strerror or error}; it must be writable") from None


def check_parquet(dataset: str, source: HubSource, sums: Mapping[str, str]) -> None:
    """Raise DataError for the first Parquet file that is missing or was made of another file.

    `sums` are the SHA-256 of the fetched files by name.
    """
    for name in source.files:
        path = source.folder / name
        made = parquet_of(path)
        if made != path and _source_of(made) != sums[name]:
            raise DataError(
                f"datasets.{dataset}.hub: {made} is not there, or not made of {path.name} as it is; run the workflow "
                "again, which makes it"
            )


def _convert(path: Path, note: Callable[[str], None]) -> None:
    found, made = sha256_file(path), parquet_of(path)
    if _source_of(made) == found:
        # For Snakemake, which compares times.
        made.touch()
        return
    note(f"{path}: making {made.name}")
    write_parquet(path, made, found)


def _source_of(path: Path) -> str:
    """SHA-256 of the file that a Parquet file was made of; empty where it is not there or not sound."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        metadata: dict[bytes, bytes] = pq.read_schema(path).metadata or {}
        return metadata.get(_SOURCE, b"").decode()
    except (pa.ArrowException, OSError, UnicodeDecodeError):
        return ""


def write_parquet(path: Path, made: Path, source_sha256: str = "") -> None:
    """Write a file of JSON lines as Parquet, in two passes and constant memory: one for types, one for rows.

    Raises DataError where the file cannot be read to its end.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    kinds: dict[str, Kind] = {}
    for raw in raw_rows(path):
        row = _parsed(raw)
        if row is not None:
            _learn(kinds, row)
    kinds = {name: kind for name, kind in kinds.items() if name not in LINE_COLUMNS}
    own = zip(LINE_COLUMNS, (pa.int64(), pa.int64(), pa.binary()), strict=True)
    schema = pa.schema(
        [*own, *((name, _arrow(kind)) for name, kind in kinds.items())],
        metadata={_SOURCE: source_sha256},
    )
    rows = (_columns(raw, kinds) for raw in raw_rows(path))
    with (
        atomic_open(made) as stream,
        pq.ParquetWriter(stream, schema, compression="zstd", write_page_checksum=True) as writer,
    ):
        while group := list(islice(rows, _ROWS)):
            writer.write_table(pa.Table.from_pylist(group, schema=schema))


def _parsed(raw: RawRow) -> dict[str, object] | None:
    try:
        return dict(raw.parse())
    except FieldError:
        return None


def _columns(raw: RawRow, kinds: dict[str, Kind]) -> dict[str, object]:
    row = _parsed(raw)
    if row is not None and _fits(row, kinds):
        return {NUMBER: raw.number, **row}
    return {NUMBER: raw.number, OFFSET: raw.offset, LINE: raw.line}


def _learn(kinds: dict[str, Kind], row: Mapping[str, object], depth: int = 0) -> None:
    """Add what a row tells of the kinds of its fields."""
    for name, value in row.items():
        kinds[name] = _merged(kinds.get(name, "null"), value, depth + 1)


def _merged(kind: Kind, value: object, depth: int) -> Kind:
    """A kind that fits all that `kind` fits, and `value`, if there is one."""
    if value is None or depth > _DEEPEST:
        return kind
    if isinstance(value, dict) and (kind == "null" or isinstance(kind, dict)):
        fields = {} if isinstance(kind, str) else kind
        _learn(fields, value, depth)
        return fields
    if isinstance(value, list) and (kind == "null" or isinstance(kind, list)):
        inner: Kind = "null" if isinstance(kind, str) else kind[0]
        for each in value:
            inner = _merged(inner, each, depth + 1)
        return [inner]
    return type(value).__name__ if kind == "null" else kind


def _fits(value: object, kind: Kind, depth: int = 0) -> bool:
    """Whether a column of this kind gives the value back as it is."""
    if value is None:
        return True
    if depth > _DEEPEST:
        return False
    if isinstance(value, dict):
        # An object without fields cannot be told from one whose fields are all null.
        known = isinstance(kind, dict) and bool(value) and value.keys() <= kind.keys()
        return known and all(_fits(inner, kind[name], depth + 1) for name, inner in value.items())
    if isinstance(value, list):
        return isinstance(kind, list) and all(_fits(inner, kind[0], depth + 1) for inner in value)
    if type(value).__name__ != kind:
        return False
    if isinstance(value, str):
        return value.isascii() or not _SURROGATE.search(value)
    return not isinstance(value, int) or value in _INT64


def _arrow(kind: Kind) -> pa.DataType:
    import pyarrow as pa

    if isinstance(kind, dict):
        # Parquet has no object without fields.
        return pa.struct([(name, _arrow(inner)) for name, inner in kind.items()]) if kind else pa.null()
    if isinstance(kind, list):
        return pa.list_(_arrow(kind[0]))
    return {"bool": pa.bool_(), "int": pa.int64(), "float": pa.float64(), "str": pa.string()}.get(kind, pa.null())
