"""Rows of a file as they are in it, in constant memory: JSON lines, JSON lists, CSV and TSV, Parquet."""

from __future__ import annotations

import csv
import io
import json
import re
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import NoReturn

from personalrm.core.errors import DataError
from personalrm.core.extras import require_extra
from personalrm.data.sources.containers import Kind, Opened, opened, readable
from personalrm.data.sources.fields import FieldError, Row
from personalrm.data.sources.forms import begins_like_turns, written_value

MAX_LINE_BYTES = 64 * 2**20
"""A longer line is refused: lines are read whole, and such a file probably has no line ends."""
_BATCH = 256
_LIST_BYTES = 2**30
"""A larger list is refused: it is read whole."""
_BLANKS, _SEPARATOR = re.compile(r"\s*"), re.compile(r"\s*([,\]])")


RawRow = tuple[int, Callable[[], Row]]
"""A row: its number in the file (from 1), and how to read it, which raises FieldError where it is broken."""


def raw_rows(path: Path) -> Iterator[RawRow]:
    """Rows of a file of any kind that `opened` recognises. Raises DataError where it cannot be read to its end."""
    with opened(path) as file:
        if file.kind is Kind.LINES:
            yield from _lines(path, file)
        elif file.kind is Kind.LIST:
            yield from _list(path, file)
        elif file.kind is Kind.TABLE:
            yield from _table(path, file)
        else:
            yield from _parquet(path, file)


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


def _parquet(path: Path, file: Opened) -> Iterator[RawRow]:
    require_extra("data", f"{path}", "pyarrow")
    import pyarrow as pa
    import pyarrow.parquet as pq

    number, source = 0, path if file.plain else io.BytesIO(file.stream.read())
    try:
        with pq.ParquetFile(source, page_checksum_verification=True) as table:
            batches = table.iter_batches(batch_size=_BATCH)
            for number, row in enumerate((row for batch in batches for row in batch.to_pylist()), start=1):
                yield number, partial(dict, row)
    except (pa.ArrowException, UnicodeDecodeError) as error:
        raise DataError(f"{path}, after row {number}: is not a sound Parquet file ({error}); fetch it again") from error
    except OSError as error:
        reason = error.strerror or str(error)
        raise DataError(f"{path}, after row {number}: cannot be read ({reason}); fetch it again") from error


def _lines(path: Path, file: Opened) -> Iterator[RawRow]:
    """Lines that hold JSON, without blank ones."""
    number = offset = 0
    while raw := _next_line(path, file, number):
        number += 1
        # A byte-order mark is no part of the first line's JSON.
        text = raw.removeprefix(b"\xef\xbb\xbf") if number == 1 else raw
        if text.strip():
            yield number, partial(_parse, text, offset + len(raw) - len(text))
        offset += len(raw)


def _next_line(path: Path, file: Opened, number: int) -> bytes:
    """The line after line `number`."""
    try:
        with readable(path):
            raw = file.stream.readline(MAX_LINE_BYTES + 1)
    except DataError as error:
        raise DataError(str(error).replace(f"{path}:", f"{path}, after line {number}:", 1)) from error
    if len(raw) > MAX_LINE_BYTES:
        size = f"longer than {MAX_LINE_BYTES // 2**20} MiB"
        raise DataError(f"{path}, line {number + 1}: {size}; write one vote per line (JSON lines)")
    return raw


def _list(path: Path, file: Opened) -> Iterator[RawRow]:
    """Elements of a JSON list; the number of one is its place, from 1."""
    raw = file.stream.read(_LIST_BYTES + 1)
    if len(raw) > _LIST_BYTES:
        raise DataError(f"{path}: a JSON list of more than {_LIST_BYTES // 2**20} MiB; write one vote per line")
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise _not_utf8(path, error) from error
    place, number = text.index("[") + 1, 0
    ended = re.match(r"\s*\]", text[place : place + 1000])
    if ended:
        place += ended.end()
    while not ended:
        number += 1
        try:
            value, place = _DECODER.raw_decode(text, _BLANKS.match(text, place).end())  # type: ignore[union-attr]
        except FieldError as error:
            raise DataError(f"{path}, vote {number}: {error}; {error.advice}") from error
        except (ValueError, RecursionError) as error:
            where = f" ({error.msg}, line {error.lineno})" if isinstance(error, json.JSONDecodeError) else ""
            raise DataError(
                f"{path}, vote {number}: the list is not JSON from here on{where}; write it again"
            ) from error
        yield number, partial(_object, value)
        after = _SEPARATOR.match(text, place)
        if after is None:
            how = "has no comma" if text[place:].strip() else "is cut off"
            raise DataError(f"{path}: the JSON list {how} after vote {number}; write the file again")
        place, ended = after.end(), after if after[1] == "]" else None
    if text[place:].strip():
        raise DataError(f"{path}: more text stands after the JSON list; write one list, or one vote per line")


def _table(path: Path, file: Opened) -> Iterator[RawRow]:
    """Rows of a table whose first line has the names of columns; the number of one is its first line."""
    csv.field_size_limit(MAX_LINE_BYTES)
    text = io.TextIOWrapper(file.stream, encoding="utf-8-sig", newline="")
    # Not strict, a quote that is not closed would swallow the next rows, or hide that the file was cut.
    rows = csv.reader(text, delimiter=file.separator, strict=True)
    before = 0
    try:
        names = [name.strip() for name in next(rows)]
        if twice := [name for name, count in Counter(filter(None, names)).items() if count > 1]:
            raise DataError(f"{path}: two columns are named {twice[0]!r}; rename one")
        before = rows.line_num
        for cells in rows:
            if cells:
                yield before + 1, partial(_table_row, names, cells)
            before = rows.line_num
    except UnicodeDecodeError as error:
        raise _not_utf8(path, error) from error
    except csv.Error as error:
        todo = "double each quote inside a cell in quotes, or write the table again"
        raise DataError(f"{path}, line {before + 1}: the row is broken ({error}); {todo}") from error


def _table_row(names: list[str], cells: list[str]) -> Row:
    if len(cells) != len(names):
        problem = f"has {len(cells)} cells, but the table has {len(names)} columns"
        raise FieldError("", problem, "put texts with separators or line ends in quotes")
    return {name: _cell(name, cell) for name, cell in zip(names, cells, strict=True) if name}


def _cell(name: str, cell: str) -> object:
    """A cell: nothing is None; turns, a turn and a survey are read as JSON, or as Python prints them; else text."""
    holds_turns = begins_like_turns(cell)
    if not holds_turns and not (name == "survey" and cell.strip()) and not begins_like_turns(f"[{cell}"):
        return cell or None
    value = written_value(cell)
    if isinstance(value, str) and (holds_turns or name == "survey"):
        raise FieldError(name, "begins like a list of turns, but is not JSON", "write the list as JSON in the cell")
    return value if isinstance(value, list | dict) else cell


def _not_utf8(path: Path, error: UnicodeDecodeError) -> DataError:
    where = f"byte {error.start} of a part that was read is 0x{error.object[error.start]:02x}"
    return DataError(f"{path}: is not UTF-8 ({where}); save the file as UTF-8")


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
    return _object(value)


def _object(value: object) -> Row:
    if not isinstance(value, dict):
        raise FieldError("", "is not a JSON object", "write one JSON object per line")
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
