"""Bytes of a file, decompressed, and the kind of file that they are: both recognised by content, not by name."""

from __future__ import annotations

import bz2
import csv
import gzip
import io
import json
import lzma
import re
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from enum import StrEnum
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, cast

from personalrm.core.errors import DataError
from personalrm.core.extras import require_extra

HEAD_BYTES = 2**16
"""By so many bytes the kind of a file is recognised."""
_NESTED_AT_MOST = 3
_WRAPPERS = ("data", "rows", "votes", "items", "records", "examples", "instances", "pairs", "preferences")
"""Names under which a file of one object has its rows."""
_READ_AS = "JSON lines, a JSON list, CSV, TSV or Parquet, also compressed (gz, zst, bz2, xz, or a zip of one file)"

Kind = StrEnum("Kind", ["LINES", "LIST", "TABLE", "PARQUET"])
"""Kinds of files that hold rows."""

_REFUSED = {
    b"\xff\xfe": "is UTF-16; save it as UTF-8",
    b"\xfe\xff": "is UTF-16; save it as UTF-8",
    # Nothing in them is checked: a damaged one ends the process.
    b"ARROW1": "is an Arrow file; write Parquet",
    b"\xff\xff\xff\xff": "is an Arrow stream, as datasets.save_to_disk writes; write Parquet (to_parquet)",
    b"SQLite format 3": "is an SQLite database; export the table as CSV",
    b"\xd0\xcf\x11\xe0": "is an Excel workbook; save the sheet as CSV UTF-8",
    b"%PDF": "is a PDF document",
    b"\x89HDF": "is an HDF5 file; write Parquet",
    b"\x93NUMPY": "is a NumPy array; write Parquet or JSON lines",
    **dict.fromkeys(
        (b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05"),
        "is a pickle, which may run code when it is read; write Parquet or JSON lines",
    ),
    b"Obj\x01": "is an Avro file; write Parquet or JSON lines",
    b"7z\xbc\xaf": "is a 7z archive; unpack it",
    b"Rar!": "is a RAR archive; unpack it",
    b"version https://git-lfs": "is a Git LFS pointer, not the file itself; run git lfs pull",
    b"<": "is HTML or XML, perhaps the web page of the file; download the file itself",
}


Layer = Callable[[Path, BinaryIO, ExitStack], BinaryIO]
"""Opens what is in a compressed stream; what it opens is held by the stack."""


class Opened(NamedTuple):
    """A file's decompressed bytes as a stream, their kind, whether they are as they lie on the disk, and the separator
    of a table's cells."""

    stream: BinaryIO
    kind: Kind
    plain: bool
    separator: str


@contextmanager
def opened(path: Path) -> Iterator[Opened]:
    """Open a file of rows. Raises DataError, one line, for a file that is of no known kind, or cannot be read."""
    layers: list[Layer] = []
    with readable(path):
        while True:
            with ExitStack() as held:
                head = _stream(path, layers, held).read(HEAD_BYTES)
            layer = next((found for magic, found in _LAYERS.items() if head.startswith(magic)), None)
            if layer is None or len(layers) == _NESTED_AT_MOST:
                break
            layers.append(layer)
        if path.suffix == ".gz" and not layers:
            raise DataError(f"{path}: is named .gz but is not gzip; fetch it again, or rename it")
        kind, separator = _recognised(path, head)
        with ExitStack() as held:
            yield Opened(_stream(path, layers, held), kind, not layers, separator)


def _stream(path: Path, layers: list[Layer], held: ExitStack) -> BinaryIO:
    stream: BinaryIO = held.enter_context(path.open("rb"))
    for layer in layers:
        stream = layer(path, stream, held)
    return stream


@contextmanager
def readable(path: Path) -> Iterator[None]:
    """Bring errors of reading and of decompression to one DataError."""
    try:
        yield
    except (EOFError, gzip.BadGzipFile, zlib.error, lzma.LZMAError, zipfile.BadZipFile, NotImplementedError) as error:
        kind = "gzip" if isinstance(error, gzip.BadGzipFile | zlib.error) else "compressed"
        cut = "; the file is truncated" if isinstance(error, EOFError) else ""
        raise DataError(f"{path}: broken {kind} data ({error}){cut}; fetch or write the file again") from error
    except OSError as error:
        todo = "correct the path or its rights" if error.strerror else "fetch or write the file again"
        raise DataError(f"{path}: cannot be read ({error.strerror or error}); {todo}") from error


def _by(open_stream: Callable[[BinaryIO], Any]) -> Layer:
    return lambda _path, stream, held: cast(BinaryIO, held.enter_context(open_stream(stream)))


def _zstd(stream: BinaryIO) -> BinaryIO:
    require_extra("data", "a file compressed with zstd", "pyarrow")
    import pyarrow as pa

    return io.BufferedReader(pa.CompressedInputStream(stream, "zstd"))


def _only_member(path: Path, stream: BinaryIO, held: ExitStack) -> BinaryIO:
    """The one file in a zip."""
    archive = held.enter_context(zipfile.ZipFile(stream))
    listed = (name for name in archive.namelist() if not name.endswith("/") and not name.startswith("__MACOSX/"))
    names = [name for name in listed if not name.rpartition("/")[2].startswith(".")]
    if "xl/workbook.xml" in names:
        raise DataError(f"{path}: is an Excel workbook; save the sheet as CSV UTF-8")
    if len(names) != 1:
        shown = f" ({', '.join(names[:3])}{', …' if len(names) > 3 else ''})" if names else ""
        raise DataError(f"{path}: is a zip of {len(names)} files{shown}, not of one; unpack it and name the file")
    if archive.getinfo(names[0]).flag_bits & 1:
        raise DataError(f"{path}: is a zip with a password; unpack it")
    return cast(BinaryIO, held.enter_context(archive.open(names[0])))


_LAYERS: dict[bytes, Layer] = {
    b"\x1f\x8b": _by(gzip.open),
    b"BZh": _by(bz2.open),
    b"\xfd7zXZ": _by(lzma.open),
    b"\x28\xb5\x2f\xfd": _by(_zstd),
    b"PK\x03\x04": _only_member,
}


def _recognised(path: Path, head: bytes) -> tuple[Kind, str]:
    """Kind of a file by its first bytes, and the separator of a table. Raises DataError for a kind that is not read."""
    if head.startswith(b"PAR1") or (path.suffix == ".parquet" and not _is_text(head)):
        return Kind.PARQUET, ""
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    for magic, what in _REFUSED.items():
        if head.startswith(magic) or text.startswith(magic):
            raise DataError(f"{path}: {what}")
    if head[257:262] == b"ustar":
        raise DataError(f"{path}: is a tar archive; unpack it and name the file")
    if re.match(rb"(?:[\t-~]\0){4}|(?:\0[\t-~]){4}", head):
        raise DataError(f"{path}: is UTF-16 without a byte-order mark; save it as UTF-8")
    if text.startswith(b"["):
        return Kind.LIST, ""
    if not text or text.startswith(b"{"):
        _refuse_other_objects(path, text)
        return Kind.LINES, ""
    separator = _separator(head) if _is_text(head.partition(b"\n")[0]) else None
    if separator is None:
        what = "is text, but no table and not JSON" if _is_text(head) else "is binary, of a kind that is not known"
        raise DataError(f"{path}: {what}; give {_READ_AS}")
    return Kind.TABLE, separator


def _is_text(head: bytes) -> bool:
    """Whether the beginning of a file has no control characters of binary files and is UTF-8, but for its last bytes
    or letters of an older encoding."""
    return not re.search(rb"[\0-\x06\x0e-\x1a]", head)


def _refuse_other_objects(path: Path, text: bytes) -> None:
    """Raise DataError for objects that are not JSON lines: one message names their kind, instead of one per line."""
    first, end, rest = text.partition(b"\n")
    found: object = None
    what = ""
    try:
        found = json.loads(first)
    except json.JSONDecodeError as error:
        line = first.decode("utf-8", "replace").rstrip()
        after = line[error.pos :].strip()
        if end and not after and not rest.lstrip().startswith(b"{"):
            what = "is a JSON object over several lines; write one vote per line, or a list of votes"
        elif end and after == ",":
            what = "has commas between its objects; remove them, or put brackets around all ([…])"
        elif line.startswith("{'"):
            what = "holds Python's dicts, not JSON; write each with json.dumps"
    except (ValueError, RecursionError):
        return
    if not what and isinstance(found, dict) and not rest.strip():
        what = _of_one_object(found)
    if what:
        raise DataError(f"{path}: {what}")


def _of_one_object(found: dict[str, object]) -> str:
    """What is wrong with the one object of a file, if it is not a vote; empty if it may be one."""
    for name in _WRAPPERS if not {"user_id", "context", "prompt", "chosen"} & found.keys() else ():
        rows = found.get(name)
        if isinstance(rows, list) and rows and isinstance(rows[0], dict):
            return f"is one object, whose rows stand under {name!r}; write that list alone"
    if len(found) > 1 and (
        all(isinstance(value, dict) and "0" in value for value in found.values())
        or (all(isinstance(value, list) for value in found.values()) and isinstance(found.get("user_id"), list))
    ):
        return "is a table by columns; write one vote per line (pandas: to_json(orient='records', lines=True))"
    return ""


def _separator(head: bytes) -> str | None:
    """Separator of a table with a line of names, None for other text."""
    lines = head.removeprefix(b"\xef\xbb\xbf").decode("utf-8", "replace").splitlines()
    if not lines or "\0" in lines[0]:
        return None

    def names(separator: str) -> list[str]:
        return next(csv.reader([lines[0]], delimiter=separator))

    best = max(("\t", ",", ";"), key=lambda separator: len(names(separator)))
    # A column without a name is the index that pandas writes.
    found = [name for each in names(best) if (name := each.strip())]
    return best if len(found) > 1 and max(map(len, found)) <= 100 else None
