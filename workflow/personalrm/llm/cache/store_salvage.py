"""Rebuild a damaged response store from every row that can still be read and still passes its checksum.

Callers hold the store's exclusive file lock. At every moment, a crash leaves either the old file or the
finished new one: the new file is built beside the old, which is then renamed, never changed.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from personalrm.llm.cache.store_rows import PAGE_SIZE, create_tables, is_sound

SIDE_FILES = ("-wal", "-shm", "-journal")
READ_ERRORS = (sqlite3.Error, UnicodeDecodeError)
"""What reading a damaged file may raise: sqlite3 cannot decode a message that quotes damaged text."""

_CHUNK = 256
_MIN_ROW = 200
"""Bytes that any row takes at least (two digests of 64 characters and a payload): bounds the ids to try."""

_INSERT = "INSERT OR IGNORE INTO responses (key, identity, payload, sha256, created) VALUES (?, ?, ?, ?, ?)"
_SELECT = "SELECT key, identity, payload, sha256, created FROM responses NOT INDEXED WHERE id "


@dataclass(frozen=True, slots=True)
class Salvage:
    """What came out: rows saved, rows whose checksum failed, ids that gave a read error, and the old file."""

    saved: int
    bad: int
    unreadable: int
    aside: Path


def connect(path: Path, timeout_s: float = 60.0) -> sqlite3.Connection:
    """A connection in autocommit mode that never fails on undecodable text (the checksum will tell)."""
    connection = sqlite3.connect(path, timeout=timeout_s, isolation_level=None, check_same_thread=False)
    connection.text_factory = lambda raw: raw.decode("utf-8", "replace")
    return connection


def finish_interrupted(path: Path) -> None:
    """Complete what a salvage that was killed left: called before every opening, under the lock."""
    for leftover in (_beside(path, ".salvage-copy"), _beside(path, ".salvage-new")):
        _unlink_with_sides(leftover)
    salvaged = _beside(path, ".salvaged")
    if path.exists():
        _unlink_with_sides(salvaged)
        return
    # The database was renamed but perhaps not its journals: those must not be replayed on another file.
    _set_sides_aside(path, _last_aside(path))
    if salvaged.exists():
        os.replace(salvaged, path)


def salvage(path: Path) -> Salvage:
    """Set `path` aside as `.damaged-N` and put a rebuilt store in its place.

    Raises sqlite3.Error or OSError if the new file cannot be written; the old one is then still in place.
    """
    copy, new, done = (_beside(path, s) for s in (".salvage-copy", ".salvage-new", ".salvaged"))
    for leftover in (copy, new, done):
        _unlink_with_sides(leftover)
    shutil.copyfile(path, copy)
    for side in ("-wal", "-journal"):
        if _beside(path, side).exists():
            shutil.copyfile(_beside(path, side), _beside(copy, side))
    target = _new_store(new)
    try:
        saved, bad, unreadable = _move_rows(copy, target)
    finally:
        target.close()
    _unlink_with_sides(copy)
    os.replace(new, done)
    aside = _next_aside(path)
    # The database goes first: finish_interrupted can tell by its absence what is left to do.
    os.rename(path, aside)
    _set_sides_aside(path, aside)
    os.replace(done, path)
    return Salvage(saved, bad, unreadable, aside)


def _move_rows(copy: Path, target: sqlite3.Connection) -> tuple[int, int, int]:
    """Copy sound rows into `target`; returns counts of saved, bad and unreadable rows."""
    source = _readable(copy)
    saved = bad = unreadable = 0
    target.execute("BEGIN")
    for row in _rows(source, copy.stat().st_size // _MIN_ROW + 1):
        if row is None:
            unreadable += 1
        elif is_sound(*row[:4]):
            created = row[4] if isinstance(row[4], float) else 0.0
            saved += max(0, target.execute(_INSERT, (*row[:4], created)).rowcount)
        else:
            bad += 1
    for paid in _paid(source):
        target.execute("INSERT OR IGNORE INTO paid VALUES (?, ?, ?, ?, ?, ?, ?)", paid)
    target.execute("COMMIT")
    source.close()
    return saved, bad, unreadable


def _readable(copy: Path) -> sqlite3.Connection:
    """A connection that can see the table in `copy`; a broken first page is replaced by a fresh store's."""
    connection = connect(copy)
    try:
        # Lets SQLite read a file that is shorter than its header says.
        connection.execute("PRAGMA writable_schema = ON")
        connection.execute(_SELECT + "= 1")
    except READ_ERRORS:
        connection.close()
        _transplant_first_page(copy)
        connection = connect(copy)
        connection.execute("PRAGMA writable_schema = ON")
    return connection


def _transplant_first_page(copy: Path) -> None:
    """Give `copy` a sound first page: the schema is fixed, so a fresh store's page fits but for its page count."""
    fresh = _beside(copy, "-fresh")
    _unlink_with_sides(fresh)
    _new_store(fresh).close()
    page = bytearray(fresh.read_bytes()[:PAGE_SIZE])
    fresh.unlink()
    mode = 2 if _beside(copy, "-wal").exists() else 1
    page[18:20] = bytes((mode, mode))
    page[28:32] = (copy.stat().st_size // PAGE_SIZE).to_bytes(4, "big")
    with copy.open("r+b") as stream:
        stream.write(page)


def _rows(source: sqlite3.Connection, most: int) -> Iterator[tuple[object, ...] | None]:
    """Every row that can be read by its id; None for each id that gives an error."""
    try:
        last = source.execute("SELECT max(id) FROM responses NOT INDEXED").fetchone()[0] or 0
    except READ_ERRORS:
        last = most
    # A damaged id may be any number; no store has more rows than its bytes allow.
    last = min(int(last), most) if isinstance(last, int) else most
    for start in range(1, last + 1, _CHUNK):
        stop = min(start + _CHUNK - 1, last)
        try:
            yield from source.execute(_SELECT + "BETWEEN ? AND ?", (start, stop)).fetchall()
        except READ_ERRORS:
            yield from _one_by_one(source, start, stop)


def _one_by_one(source: sqlite3.Connection, start: int, stop: int) -> Iterator[tuple[object, ...] | None]:
    """Rows of a range in which at least one cannot be read."""
    for number in range(start, stop + 1):
        try:
            row = source.execute(_SELECT + "= ?", (number,)).fetchone()
        except READ_ERRORS:
            yield None
        else:
            if row is not None:
                yield row


def _paid(source: sqlite3.Connection) -> list[tuple[object, ...]]:
    """The account, as far as it can be read and has the right types."""
    try:
        rows = source.execute("SELECT * FROM paid NOT INDEXED").fetchall()
    except READ_ERRORS:
        return []
    kinds = (str, str, int, int, int, int, float)
    return [row for row in rows if all(isinstance(v, k) for v, k in zip(row, kinds, strict=True))]


def _new_store(path: Path) -> sqlite3.Connection:
    """A connection to a new, empty store in rollback mode, so that one file holds all of it."""
    connection = connect(path)
    connection.execute(f"PRAGMA page_size = {PAGE_SIZE}")
    connection.execute("PRAGMA synchronous = FULL")
    create_tables(connection)
    return connection


def _beside(path: Path, suffix: str) -> Path:
    return path.with_name(path.name + suffix)


def _next_aside(path: Path) -> Path:
    """The first `.damaged-N` that is not taken."""
    number = 1
    while _beside(path, f".damaged-{number}").exists():
        number += 1
    return _beside(path, f".damaged-{number}")


def _last_aside(path: Path) -> Path:
    """The `.damaged-N` that was made last, or the first name if there is none."""
    number = 1
    while _beside(path, f".damaged-{number + 1}").exists():
        number += 1
    return _beside(path, f".damaged-{number}")


def _set_sides_aside(path: Path, aside: Path) -> None:
    for side in SIDE_FILES:
        if _beside(path, side).exists():
            os.rename(_beside(path, side), _beside(aside, side))


def _unlink_with_sides(path: Path) -> None:
    for name in (path, *(_beside(path, side) for side in SIDE_FILES)):
        name.unlink(missing_ok=True)
