"""Rows of a file as they are in it: JSON lines (plain or gzipped) and Parquet, in constant memory."""

from __future__ import annotations

import gzip
import json
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import NoReturn

from personalrm.core.errors import DataError
from personalrm.core.extras import require_extra
from personalrm.data.sources.fields import FieldError, Row

MAX_LINE_BYTES = 64 * 2**20
"""A longer line is refused: lines are read whole, and such a file probably has no line ends."""
_BATCH = 256


RawRow = tuple[int, Callable[[], Row]]
"""A row: its number in the file (from 1), and how to read it, which raises FieldError where it is broken."""


def raw_rows(path: Path) -> Iterator[RawRow]:
    """Rows of a file, by its suffix. Raises DataError where the file cannot be read to its end."""
    return _parquet(path) if path.suffix == ".parquet" else _lines(path)


def read_rows(path: Path, *, skip_bad: bool = False) -> Iterator[Row]:
    """Yield the JSON objects of a file, unchecked: for scans and for converters of other formats.

    A line that is not a JSON object is a DataError, or is skipped with `skip_bad`.
    """
    for number, read in raw_rows(path):
        try:
            yield read()
        except FieldError as error:
            if not skip_bad:
                raise DataError(f"{path}, line {number}: {error}; {error.advice}") from error


def _parquet(path: Path) -> Iterator[RawRow]:
    require_extra("data", f"{path}", "pyarrow")
    import pyarrow as pa
    import pyarrow.parquet as pq

    number = 0
    try:
        with pq.ParquetFile(path, page_checksum_verification=True) as file:
            batches = file.iter_batches(batch_size=_BATCH)
            for number, row in enumerate((row for batch in batches for row in batch.to_pylist()), start=1):
                yield number, partial(dict, row)
    except (pa.ArrowException, UnicodeDecodeError) as error:
        raise DataError(f"{path}, after row {number}: is not a sound Parquet file ({error}); fetch it again") from error
    except OSError as error:
        reason = error.strerror or str(error)
        raise DataError(f"{path}, after row {number}: cannot be read ({reason}); fetch it again") from error


def _lines(path: Path) -> Iterator[RawRow]:
    """Lines of a plain or gzipped file (recognised by the first bytes), without blank ones."""
    number = offset = 0
    try:
        with path.open("rb") as stream:
            zipped = stream.read(2) == b"\x1f\x8b"
        if path.suffix == ".gz" and not zipped:
            raise DataError(f"{path}: is named .gz but is not gzip; fetch it again, or rename it")
        with gzip.open(path, "rb") if zipped else path.open("rb") as stream:
            while raw := stream.readline(MAX_LINE_BYTES + 1):
                number += 1
                if number == 1 and raw[:2] in (b"\xff\xfe", b"\xfe\xff"):
                    raise DataError(f"{path}, line 1: the file is UTF-16; save it as UTF-8")
                if len(raw) > MAX_LINE_BYTES:
                    size = f"longer than {MAX_LINE_BYTES // 2**20} MiB"
                    raise DataError(f"{path}, line {number}: {size}; write one vote a line (JSON lines)")
                # A byte-order mark is no part of the first line's JSON.
                text = raw.removeprefix(b"\xef\xbb\xbf") if number == 1 else raw
                if text.strip():
                    yield number, partial(_parse, text, offset + len(raw) - len(text))
                offset += len(raw)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        cut = "; the file is truncated" if isinstance(error, EOFError) else ""
        raise DataError(
            f"{path}, after line {number}: broken gzip data ({error}){cut}; fetch or write the file again"
        ) from error
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}); correct the path or its rights") from error


def _parse(line: bytes, offset: int) -> Row:
    """Decode the line at byte `offset` of the file. Raises FieldError (with no field) if it is not UTF-8, JSON, or an
    object."""
    try:
        value = _DECODER.decode(line.decode("utf-8"))
    except FieldError:
        raise
    except UnicodeDecodeError as error:
        where = f"byte {error.start} of the line, {offset + error.start} of the file, is 0x{line[error.start]:02x}"
        raise FieldError("", f"is not UTF-8 ({where})", "save the file as UTF-8") from error
    except json.JSONDecodeError as error:
        cut = "" if line.endswith(b"\n") else ", and has no line end: the file may be truncated"
        raise FieldError("", f"is not JSON ({error.msg}, column {error.colno}){cut}", "write the line again") from error
    except ValueError as error:
        # Python refuses whole numbers of more than 4,300 digits.
        raise FieldError("", "is not JSON (a number is too long)", "write the line again") from error
    except RecursionError as error:
        raise FieldError("", "is nested too deeply", "write the line as the format asks") from error
    if not isinstance(value, dict):
        raise FieldError("", "is not a JSON object", "write one object with user_id, context, … a line")
    return value


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    """An object. Raises FieldError if it holds a name twice: JSON parsers would keep either."""
    found = dict(pairs)
    if len(found) != len(pairs):
        twice, _ = Counter(name for name, _ in pairs).most_common(1)[0]
        raise FieldError(twice[:60], "stands twice in one object", "keep one of them")
    return found


def _no_constant(name: str) -> NoReturn:
    raise FieldError("", f"holds {name}, which is not JSON", "write null, or leave the field out")


_DECODER = json.JSONDecoder(object_pairs_hook=_unique, parse_constant=_no_constant)
