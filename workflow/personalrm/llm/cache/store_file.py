"""The response store's SQLite file: opened, checked, shared between processes, and rebuilt when damaged.

Every access holds a shared lock on `<store>.lock`; opening and rebuilding hold it exclusively. So nobody
writes into a file that is being set aside, and whoever still has the old file open notices and reopens.
"""

from __future__ import annotations

import fcntl
import logging
import os
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal, TypeVar

from personalrm.core.errors import StoreError
from personalrm.llm.cache.store_rows import (
    APPLICATION_ID,
    PAGE_SIZE,
    SCHEMA_NEEDS,
    SCHEMA_VERSION,
    create_tables,
)
from personalrm.llm.cache.store_salvage import READ_ERRORS, Salvage, connect, finish_interrupted, salvage

JournalMode = Literal["wal", "delete", "truncate", "persist"]
JOURNAL_MODES: tuple[JournalMode, ...] = ("wal", "delete", "truncate", "persist")

BUSY_TIMEOUT_S = 60.0
_ATTEMPTS = 3
_DAMAGE_CODES = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_FORMAT})
_DAMAGE_WORDS = (
    "malformed",
    "unsupported file format",
    "no such table",
    "no such column",
    "no column named",
    "corrupt",
)
_ADVICE = {
    sqlite3.SQLITE_FULL: "the disk is full. Free some space",
    sqlite3.SQLITE_READONLY: "it cannot be written. Make the file and its folder writable",
    sqlite3.SQLITE_PERM: "it cannot be written. Make the file and its folder writable",
    sqlite3.SQLITE_CANTOPEN: "it cannot be opened. Check that its folder exists and is writable",
    sqlite3.SQLITE_IOERR: "reading or writing failed. Check the disk, its free space and its quota",
    sqlite3.SQLITE_BUSY: f"another process held it for {BUSY_TIMEOUT_S:.0f} s. End that process",
    sqlite3.SQLITE_LOCKED: f"another process held it for {BUSY_TIMEOUT_S:.0f} s. End that process",
}

T = TypeVar("T")
ReadError = sqlite3.Error | UnicodeDecodeError
log = logging.getLogger("personalrm.llm")


class DamageError(sqlite3.DatabaseError):
    """The file's header contradicts itself, though SQLite would open it."""


class StoreFile:
    """A connection to the store's file that survives damage to it. Usable from any thread."""

    def __init__(self, path: Path, journal_mode: JournalMode) -> None:
        if journal_mode not in JOURNAL_MODES:
            raise StoreError(f"store {path}: journal_mode {journal_mode!r} is none of {', '.join(JOURNAL_MODES)}")
        self.path = path
        self.salvages: list[Salvage] = []
        self._journal_mode = journal_mode
        self._guard = threading.RLock()
        self._connection: sqlite3.Connection | None = None
        self._inode: tuple[int, int] | None = None
        self._lock_handle = self._open_lock()
        try:
            self.run(lambda _: None)
        except BaseException:
            self.close()
            raise

    def run(self, action: Callable[[sqlite3.Connection], T]) -> T:
        """Do `action` in the store. Damage found on the way is repaired, and `action` done again.

        Raises StoreError, naming the file and what to do, when the file cannot be used.
        """
        with self._guard:
            problem: ReadError | None = None
            for _ in range(_ATTEMPTS):
                try:
                    return self._attempt(action)
                except READ_ERRORS as error:
                    if not _is_damage(error):
                        raise self._store_error(error) from error
                    problem = error
                self._repair(problem)
            raise StoreError(f"store {self.path}: still unreadable after repair ({problem})") from problem

    def close(self) -> None:
        """Close the connection and give the lock back. Safe to call twice."""
        with self._guard:
            self._disconnect()
            if self._lock_handle >= 0:
                os.close(self._lock_handle)
                self._lock_handle = -1

    def _attempt(self, action: Callable[[sqlite3.Connection], T]) -> T:
        for _ in range(_ATTEMPTS):
            with self._locked(fcntl.LOCK_SH):
                connection = self._connection
                if connection is not None and self._is_current():
                    return action(connection)
            # First use, or another process has put a new file in our file's place.
            with self._locked(fcntl.LOCK_EX):
                self._open()
        raise StoreError(f"store {self.path}: the file keeps being replaced. Is another program writing it?")

    def _is_current(self) -> bool:
        try:
            found = os.stat(self.path)
        except FileNotFoundError:
            return False
        return (found.st_dev, found.st_ino) == self._inode

    def _open(self) -> None:
        self._disconnect()
        try:
            finish_interrupted(self.path)
            _check_header(self.path)
            connection = connect(self.path, BUSY_TIMEOUT_S)
        except OSError as error:
            raise self._os_error(error) from error
        try:
            self._prepare(connection)
            found = os.stat(self.path)
        except BaseException:
            connection.close()
            raise
        self._connection, self._inode = connection, (found.st_dev, found.st_ino)

    def _prepare(self, connection: sqlite3.Connection) -> None:
        """Refuse what is not ours or too new; set the journal; make the tables of a new file."""
        version = connection.execute("PRAGMA user_version").fetchone()[0]
        tables = [row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        if version != SCHEMA_VERSION and (version or tables):
            self._refuse(connection, version, tables)
        connection.execute(f"PRAGMA page_size = {PAGE_SIZE}")
        connection.execute(f"PRAGMA journal_mode = {self._journal_mode}")
        # With a write-ahead log, NORMAL survives any crash of a process; rollback journals need FULL.
        connection.execute(f"PRAGMA synchronous = {'NORMAL' if self._journal_mode == 'wal' else 'FULL'}")
        if not tables:
            create_tables(connection)

    def _refuse(self, connection: sqlite3.Connection, version: int, tables: list[str]) -> None:
        marked = connection.execute("PRAGMA application_id").fetchone()[0] == APPLICATION_ID
        if not marked and not {"meta", "responses"} <= set(tables):
            raise StoreError(
                f"store {self.path}: this SQLite file is not a response store of personalrm. Name another path."
            )
        meta = dict(connection.execute("SELECT name, value FROM meta").fetchall())
        if meta.get("schema") == str(SCHEMA_VERSION):
            raise DamageError(f"the header says schema {version}, the tables say {SCHEMA_VERSION}")
        needs = meta.get("needs", f"newer than {SCHEMA_NEEDS}")
        raise StoreError(
            f"store {self.path}: it has schema version {version}, and this personalrm knows {SCHEMA_VERSION}. "
            f"Install personalrm {needs} or later, or name another path for the store."
        )

    def _repair(self, problem: ReadError) -> None:
        """Rebuild the file, unless another process has just done it."""
        with self._locked(fcntl.LOCK_EX):
            if self._mended(problem):
                return
            self._disconnect()
            try:
                result = salvage(self.path)
            except OSError as error:
                raise self._os_error(error) from error
            except sqlite3.Error as error:
                raise self._store_error(error) from error
            self.salvages.append(result)
            log.warning(
                "store %s was damaged (%s): %d answers saved, %d failed their checksum, %d unreadable; "
                "the old file is kept as %s",
                *(self.path, problem, result.saved, result.bad, result.unreadable, result.aside),
            )

    def _mended(self, problem: ReadError) -> bool:
        """Whether another process has replaced or mended the file since `problem` was seen."""
        if self._inode is not None:
            return not self._is_current()
        try:
            self._open()
        except READ_ERRORS as error:
            if not _is_damage(error):
                raise self._store_error(error) from problem
            return False
        return True

    def _disconnect(self) -> None:
        connection, self._connection, self._inode = self._connection, None, None
        if connection is not None:
            connection.close()

    def _open_lock(self) -> int:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            return os.open(self.path.with_name(self.path.name + ".lock"), os.O_RDWR | os.O_CREAT, 0o666)
        except OSError as error:
            raise self._os_error(error) from error

    @contextmanager
    def _locked(self, kind: int) -> Iterator[None]:
        if self._lock_handle < 0:
            raise StoreError(f"store {self.path}: it was closed")
        try:
            fcntl.flock(self._lock_handle, kind)
        except OSError as error:
            raise self._os_error(error) from error
        try:
            yield
        finally:
            fcntl.flock(self._lock_handle, fcntl.LOCK_UN)

    def _store_error(self, error: ReadError) -> StoreError:
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        advice = _ADVICE.get(code, f"SQLite says: {error}. Look at the file, or name another path")
        return StoreError(
            f"store {self.path}: {advice}, and run the same command again; what was stored before is kept ({error})."
        )

    def _os_error(self, error: OSError) -> StoreError:
        return StoreError(
            f"store {self.path}: {error.strerror or error}. Name a path for the store on a disk with free space "
            f"that this user can write."
        )


def _is_damage(error: ReadError) -> bool:
    """Whether the file itself is broken, rather than the disk, its rights or its size."""
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if isinstance(error, DamageError | UnicodeDecodeError) or code in _DAMAGE_CODES:
        return True
    return code in (0, sqlite3.SQLITE_ERROR) and any(word in str(error) for word in _DAMAGE_WORDS)


def _check_header(path: Path) -> None:
    """Find damage in a file's header that SQLite would take for a read-only or foreign file."""
    if not path.exists() or path.stat().st_size == 0:
        return
    with path.open("rb") as stream:
        header = stream.read(20)
    if header[:16] != b"SQLite format 3\0" or not set(header[18:20]) <= {1, 2}:
        raise DamageError("the file's header is not SQLite's")
