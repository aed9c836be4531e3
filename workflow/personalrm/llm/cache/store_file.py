"""The response store's SQLite file: its tables and rows; opened, checked, and shared between processes.

SQLite's own locks and journal keep the file whole, also when a process is killed. A file that is damaged all the same
(a failing disk, another program) is never written to again: each use of it is one error that says how to rescue it.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shlex
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Literal
from urllib.parse import quote

from personalrm.core.errors import StoreError
from personalrm.core.files import SLOW_S, canonical_json, file_lock, warn_of_lock
from personalrm.llm.backends.openai_format import valid_text
from personalrm.llm.types import Response, TokenLogprobs, Usage

SCHEMA_VERSION = 2
SCHEMA_NEEDS = "0.2.0"
"""The first version of the package that reads `SCHEMA_VERSION`; kept in the file for older packages to name."""

APPLICATION_ID = 0x50524D31
PAGE_SIZE = 4096

_TABLES = (
    "CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL)",
    "CREATE TABLE responses (id INTEGER PRIMARY KEY, key TEXT NOT NULL UNIQUE, identity TEXT NOT NULL,"
    " payload TEXT NOT NULL, sha256 TEXT NOT NULL, created REAL NOT NULL)",
    "CREATE TABLE quarantine (id INTEGER PRIMARY KEY, key, identity, payload, sha256, created, found REAL)",
    "CREATE TABLE paid (run TEXT NOT NULL, identity TEXT NOT NULL, calls INTEGER NOT NULL,"
    " tokens_in INTEGER NOT NULL, tokens_out INTEGER NOT NULL, tokens_cached INTEGER NOT NULL,"
    " cost_usd REAL NOT NULL, PRIMARY KEY (run, identity))",
    # What the processes on one store share: schedules of limits a minute, reservations of budgets, open batches.
    "CREATE TABLE shared (kind TEXT NOT NULL, name TEXT NOT NULL, value TEXT NOT NULL, PRIMARY KEY (kind, name))",
)

JournalMode = Literal["wal", "delete", "truncate", "persist"]
JOURNAL_MODES: tuple[JournalMode, ...] = ("wal", "delete", "truncate", "persist")

LEAST_FREE = 1 << 20
"""Bytes that must be free on the store's disk before a call is made (our choice)."""
PER_CALL, MOST_FREE = 64 << 10, 64 << 20
"""Bytes needed in addition for each call in flight (answer and journal), and the most that is asked for in all."""
LEAST_FILES = 16
"""Inodes that must be free: a rollback journal is a new file for every answer (our choice)."""
BUSY_TIMEOUT_S = 60.0
_DAMAGE_CODES = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_FORMAT})
_DAMAGE_WORDS = ("malformed", "unsupported file format", "no such table", "no such column", "no column", "corrupt")
_ADVICE = {
    sqlite3.SQLITE_FULL: "the disk is full. Free some space",
    sqlite3.SQLITE_READONLY: "it cannot be written. Make the file and its folder writable",
    sqlite3.SQLITE_PERM: "it cannot be written. Make the file and its folder writable",
    sqlite3.SQLITE_CANTOPEN: "it cannot be opened. Check that its folder exists, is writable and has room for files",
    sqlite3.SQLITE_IOERR: "reading or writing failed. Check the disk, its free space and its quota",
    # SQLite has the same error for file systems without locks.
    **dict.fromkeys(
        (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED),
        f"another process locked it for {BUSY_TIMEOUT_S:.0f} s. End that process. If there is none, the disk cannot "
        "lock files: name a path for the store on another one",
    ),
}


@contextmanager
def explained(path: Path) -> Iterator[None]:
    """Failures of SQLite and of the system as StoreError that names the file and what to do."""
    try:
        yield
    except (sqlite3.Error, UnicodeDecodeError) as error:
        # sqlite3 cannot decode a message that quotes damaged text.
        raise StoreError(_advice(path, error)) from error
    except OSError as error:
        raise StoreError(
            f"store {path}: {error.strerror or error}. Name a path for the store on a disk with free space "
            f"that this user can write."
        ) from error


def open_file(path: Path, journal_mode: JournalMode) -> sqlite3.Connection:
    """A connection to the store's file, which is made if absent. Where file or folder cannot be written, it can be
    read. Raises StoreError for a file that is not ours, or of another format."""
    if journal_mode not in JOURNAL_MODES:
        raise StoreError(f"store {path}: journal_mode {journal_mode!r} is none of {', '.join(JOURNAL_MODES)}")
    if path.is_file() and not is_writable(path):
        return _open_to_read(path)
    # Two processes that make the file at the same time would each find it without tables.
    with explained(path), file_lock(path.with_name(f"{path.name}.lock")), ExitStack() as stack:
        connection = stack.enter_context(closing(connect(path)))
        known = bool(tables_of(connection) or connection.execute("PRAGMA user_version").fetchone()[0])
        if known:
            check_format(connection, path)
        if os.stat(path).st_nlink > 1:
            file, own = shlex.quote(str(path)), shlex.quote(f"{path}.own")
            raise StoreError(
                f"store {path}: the file has a second name (a hard link). SQLite keeps a journal for each name, which "
                f"would lose answers. Make it a file of its own: cp {file} {own} && mv {own} {file}"
            )
        connection.execute(f"PRAGMA page_size = {PAGE_SIZE}")
        connection.execute(f"PRAGMA journal_mode = {journal_mode}")
        # With a write-ahead log, NORMAL survives any crash of a process; rollback journals need FULL.
        connection.execute(f"PRAGMA synchronous = {'NORMAL' if journal_mode == 'wal' else 'FULL'}")
        if not known:
            create_tables(connection)
        stack.pop_all()
        return connection


def is_writable(path: Path) -> bool:
    """Whether this user may write the file and its folder, where SQLite keeps its journal."""
    return os.access(path, os.W_OK) and os.access(path.parent, os.W_OK)


def _open_to_read(path: Path) -> sqlite3.Connection:
    """A connection to a store that cannot be written: on a read-only disk, or of another user.

    SQLite reads a write-ahead log only if it can share memory for it. Where it cannot, the file is read as it is.
    """
    with explained(path), ExitStack() as stack:
        for how in ("mode=ro", "immutable=1"):
            connection = stack.enter_context(closing(connect(f"file:{quote(str(path))}?{how}")))
            try:
                known = bool(tables_of(connection))
                break
            except sqlite3.OperationalError:
                if how == "immutable=1":
                    raise
        if not known:
            raise StoreError(f"store {path}: it holds nothing, and cannot be written. Name another path.")
        check_format(connection, path)
        stack.pop_all()
        return connection


def check_room(path: Path, in_flight: int = 0, *, probe: bool) -> None:
    """Raise StoreError if the store at `path` has no room for the answers of the calls in flight and one more, so that
    no answer is paid for and then lost.

    Checks free space and inodes; with `probe` it also writes LEAST_FREE bytes to a file in the same folder, to notice a
    quota.
    """
    least = min(LEAST_FREE + in_flight * PER_CALL, MOST_FREE)
    if path.exists() and not is_writable(path):
        advice = _ADVICE[sqlite3.SQLITE_READONLY]
        raise StoreError(f"store {path}: {advice}, and run the same command again; no call was made.")
    folder = next(place for place in (path.parent, *path.parents) if place.is_dir())
    with explained(path):
        stat = os.statvfs(folder)
        free = stat.f_bavail * stat.f_frsize
        try:
            if probe and free >= LEAST_FREE:
                # Not `os.posix_fallocate`, which macOS lacks.
                with tempfile.TemporaryFile(dir=folder) as scratch:
                    scratch.write(bytes(LEAST_FREE))
                    scratch.flush()
                    os.fsync(scratch.fileno())
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            free = 0
    lacks = None
    if stat.f_files and stat.f_favail < LEAST_FILES:
        lacks = f"of files ({stat.f_favail} inodes are free, {LEAST_FILES} are needed; see df -i). Remove some files"
    elif free < least:
        lacks = f"({free // 1024} KB are free, {least // 1024} KB are needed). Free some space"
    if lacks:
        raise StoreError(f"store {path}: the disk is full {lacks}, and run the same command again; no call was made.")


def connect(path: Path | str) -> sqlite3.Connection:
    """A connection in autocommit mode that never fails on undecodable text (the checksum will tell). `path` may be a
    URI, as text."""
    connection = sqlite3.connect(
        path, timeout=BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False, uri=isinstance(path, str)
    )
    connection.text_factory = lambda raw: raw.decode("utf-8", "replace")
    return connection


def tables_of(connection: sqlite3.Connection) -> set[str]:
    """Names of the tables of a file."""
    return {row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}


@contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """A write transaction. It waits as long as another process keeps the file: what is written was paid for."""
    _patiently(connection, "BEGIN IMMEDIATE")
    try:
        yield
        _patiently(connection, "COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def _patiently(connection: sqlite3.Connection, statement: str) -> None:
    """Run a statement once no other process prevents it. A warning says which does so for more than `SLOW_S`."""
    wait_s, told = SLOW_S, False
    try:
        while True:
            try:
                connection.execute(f"PRAGMA busy_timeout = {1000 * wait_s:.0f}")
                connection.execute(statement)
                return
            except sqlite3.OperationalError as error:
                if getattr(error, "sqlite_errorcode", 0) & 0xFF != sqlite3.SQLITE_BUSY:
                    raise
            if not told:
                path = Path(connection.execute("PRAGMA database_list").fetchone()[2])
                warn_of_lock(path, path.with_name(f"{path.name}-shm"))
            # Python hears Ctrl-C between two waits.
            wait_s, told = min(SLOW_S, 1.0), True
    finally:
        connection.execute(f"PRAGMA busy_timeout = {1000 * BUSY_TIMEOUT_S:.0f}")


def check_format(connection: sqlite3.Connection, path: Path) -> None:
    """Raise StoreError for a file of another program, or of another format of ours; the message says what to do."""
    marked = connection.execute("PRAGMA application_id").fetchone()[0] == APPLICATION_ID
    if not marked and not {"meta", "responses"} <= tables_of(connection):
        raise StoreError(f"store {path}: this SQLite file is not a response store of personalrm. Name another path.")
    meta = dict(connection.execute("SELECT name, value FROM meta").fetchall())
    found = str(meta.get("schema", ""))
    if found == str(SCHEMA_VERSION):
        return
    if found.isdecimal() and int(found) < SCHEMA_VERSION:
        raise StoreError(
            f"store {path}: it has the format of an earlier version ({found}; this one is {SCHEMA_VERSION}). Convert "
            f"it, which keeps every answer: python -m personalrm store migrate {path} --config CONFIG (the config "
            f"file of its run)"
        )
    raise StoreError(
        f"store {path}: it has schema version {found or 'unknown'}, and this personalrm knows {SCHEMA_VERSION}. "
        f"Install personalrm {meta.get('needs', f'newer than {SCHEMA_NEEDS}')} or later, or name another path for "
        f"the store."
    )


def _advice(path: Path, error: Exception) -> str:
    """What to do about an error: a damaged file is rescued by SQLite's own tool, and checksums decide what counts."""
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    named = code in (0, sqlite3.SQLITE_ERROR) and any(word in str(error) for word in _DAMAGE_WORDS)
    if not (named or isinstance(error, UnicodeDecodeError) or code in _DAMAGE_CODES):
        advice = _ADVICE.get(code, f"SQLite says: {error}. Look at the file, or name another path")
        return f"store {path}: {advice}, and run the same command again; what was stored before is kept ({error})."
    saved = f"{path}.recovered"
    return (
        f"store {path}: the file is damaged ({error}); it was left as it is. Rescue its answers with SQLite's "
        f"command-line tool: `sqlite3 {path} .recover | sqlite3 {saved}`, or with a tool that was built without "
        f".recover: `sqlite3 {path} .dump | sed 's/^ROLLBACK.*/COMMIT;/' | sqlite3 {saved}`. Then move {path}, "
        f"{path}-wal and {path}-shm away, rename {saved} to {path}, and run the same command again: answers that are "
        f"missing or fail their checksum are asked again. If nothing can be rescued, move the file away alone."
    )


def create_tables(connection: sqlite3.Connection) -> None:
    """Make an empty store, in one transaction."""
    with transaction(connection):
        for statement in _TABLES:
            connection.execute(statement)
        rows = [("schema", str(SCHEMA_VERSION)), ("needs", SCHEMA_NEEDS)]
        connection.executemany("INSERT INTO meta VALUES (?, ?)", rows)
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")


def checksum(key: str, identity: str, payload: str) -> str:
    """SHA-256 (hex) over a whole row, so that an answer can neither change nor move to another key."""
    text = "\n".join((key, identity, payload))
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def is_sound(key: object, identity: object, payload: object, digest: object) -> bool:
    """Whether the four columns, of whatever type a damaged file gives them, pass their checksum."""
    if not (isinstance(key, str) and isinstance(identity, str) and isinstance(payload, str)):
        return False
    return checksum(key, identity, payload) == digest


def encode(response: Response) -> str:
    """The payload column: canonical ASCII JSON of all fields but the key."""
    fields = asdict(response)
    del fields["key"]
    fields["logprobs"] = [token["top"] for token in fields["logprobs"]]
    if not response.usage.estimated:
        del fields["usage"]["estimated"]
    return canonical_json(fields)


def decode(key: str, payload: str) -> Response:
    """The response in a payload whose checksum holds. An earlier version stored texts that no file can hold, and no
    `model`."""
    fields = json.loads(payload)
    fields |= {name: valid_text(fields[name]) for name in ("text", "reasoning", "refusal")}
    fields["usage"] = Usage(**fields["usage"])
    fields["logprobs"] = tuple(TokenLogprobs(tuple((text, value) for text, value in top)) for top in fields["logprobs"])
    return Response(key=key, **fields)
