"""The response store's SQLite file: its tables and rows; opened, checked, and shared between processes.

SQLite's own locks and journal keep the file whole, also when a process is killed. A file that is damaged all the same
(a failing disk, another program) is never written to again: each use of it is one error that says how to rescue it.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Literal, TypeVar

from personalrm.core.errors import StoreError
from personalrm.core.files import canonical_json, file_lock
from personalrm.llm.backends.openai_format import valid_text
from personalrm.llm.cache.key import key_at
from personalrm.llm.types import Response, TokenLogprobs, Usage, split_identity

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
    # What the processes on one store tell each other: limits a minute, money in flight, who answered.
    "CREATE TABLE shared (kind TEXT NOT NULL, name TEXT NOT NULL, value TEXT NOT NULL, PRIMARY KEY (kind, name))",
)

JournalMode = Literal["wal", "delete", "truncate", "persist"]
JOURNAL_MODES: tuple[JournalMode, ...] = ("wal", "delete", "truncate", "persist")

BUSY_TIMEOUT_S = 60.0
_DAMAGE_CODES = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_FORMAT})
_DAMAGE_WORDS = ("malformed", "unsupported file format", "no such table", "no such column", "no column", "corrupt")
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
READ_ERRORS = (sqlite3.Error, UnicodeDecodeError)
"""What reading a damaged file may raise: sqlite3 cannot decode a message that quotes damaged text."""


class StoreFile:
    """A connection to the store's file. Usable from any thread."""

    def __init__(self, path: Path, journal_mode: JournalMode) -> None:
        if journal_mode not in JOURNAL_MODES:
            raise StoreError(f"store {path}: journal_mode {journal_mode!r} is none of {', '.join(JOURNAL_MODES)}")
        self.path = path
        self._journal_mode = journal_mode
        self._guard = threading.RLock()
        self._connection: sqlite3.Connection | None = None
        with self._explained():
            # Two processes that make the file at the same time would each find it without tables.
            with file_lock(path.with_name(f"{path.name}.lock")):
                connection = connect(path)
                try:
                    self._prepare(connection)
                except BaseException:
                    connection.close()
                    raise
            self._connection = connection

    def run(self, action: Callable[[sqlite3.Connection], T]) -> T:
        """Do `action` in the store. Raises StoreError, naming the file and what to do, when it cannot be used."""
        with self._guard, self._explained():
            if self._connection is None:
                raise StoreError(f"store {self.path}: it was closed")
            return action(self._connection)

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """A write transaction, taken at once, so that two writers queue instead of failing half-way; part of the one
        around it, if there is one."""
        with self._guard, self._explained():
            if self._connection is None:
                raise StoreError(f"store {self.path}: it was closed")
            with nullcontext() if self._connection.in_transaction else transaction(self._connection):
                yield self._connection

    def close(self) -> None:
        """Close the connection. Safe to call twice."""
        with self._guard:
            connection, self._connection = self._connection, None
            if connection is not None:
                connection.close()

    def _prepare(self, connection: sqlite3.Connection) -> None:
        """Refuse what is not ours, or of another format; set the journal; make the tables of a new file."""
        version = connection.execute("PRAGMA user_version").fetchone()[0]
        tables = [row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        if version or tables:
            check_format(connection, self.path, tables)
        connection.execute(f"PRAGMA page_size = {PAGE_SIZE}")
        connection.execute(f"PRAGMA journal_mode = {self._journal_mode}")
        # With a write-ahead log, NORMAL survives any crash of a process; rollback journals need FULL.
        connection.execute(f"PRAGMA synchronous = {'NORMAL' if self._journal_mode == 'wal' else 'FULL'}")
        if not tables:
            create_tables(connection)

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """Failures of SQLite and of the system as StoreError."""
        try:
            yield
        except READ_ERRORS as error:
            raise explained(self.path, error) from error
        except OSError as error:
            raise StoreError(
                f"store {self.path}: {error.strerror or error}. Name a path for the store on a disk with free space "
                f"that this user can write."
            ) from error


def connect(path: Path) -> sqlite3.Connection:
    """A connection in autocommit mode that never fails on undecodable text (the checksum will tell)."""
    connection = sqlite3.connect(path, timeout=BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False)
    connection.text_factory = lambda raw: raw.decode("utf-8", "replace")
    return connection


@contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """A write transaction."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def check_format(connection: sqlite3.Connection, path: Path, tables: list[str]) -> None:
    """Raise StoreError for a file of another program, or of another format of ours; the message says what to do."""
    marked = connection.execute("PRAGMA application_id").fetchone()[0] == APPLICATION_ID
    if not marked and not {"meta", "responses"} <= set(tables):
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


def explained(path: Path, error: Exception) -> StoreError:
    """One of `READ_ERRORS` as a StoreError that names the file and what to do."""
    if _is_damage(error):
        return StoreError(_rescue(path, error))
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    advice = _ADVICE.get(code, f"SQLite says: {error}. Look at the file, or name another path")
    return StoreError(
        f"store {path}: {advice}, and run the same command again; what was stored before is kept ({error})."
    )


def _rescue(path: Path, problem: Exception) -> str:
    """What to do with a damaged file: SQLite's own tool reads what is left, and checksums decide what of it counts."""
    saved = f"{path}.recovered"
    return (
        f"store {path}: the file is damaged ({problem}); it was left as it is. Rescue its answers with SQLite's "
        f"command-line tool: `sqlite3 {path} .recover | sqlite3 {saved}`, or with a tool that was built without "
        f".recover: `sqlite3 {path} .dump | sed 's/^ROLLBACK.*/COMMIT;/' | sqlite3 {saved}`. Then move {path}, "
        f"{path}-wal and {path}-shm away, rename {saved} to {path}, and run the same command again: answers that are "
        f"missing or fail their checksum are asked again. If nothing can be rescued, move the file away alone."
    )


def _is_damage(error: Exception) -> bool:
    """Whether the file itself is broken, rather than the disk, its rights or its size."""
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if isinstance(error, UnicodeDecodeError) or code in _DAMAGE_CODES:
        return True
    return code in (0, sqlite3.SQLITE_ERROR) and any(word in str(error) for word in _DAMAGE_WORDS)


def create_tables(connection: sqlite3.Connection) -> None:
    """Make an empty store, in one transaction."""
    connection.execute("BEGIN IMMEDIATE")
    for statement in _TABLES:
        connection.execute(statement)
    rows = [("schema", str(SCHEMA_VERSION)), ("needs", SCHEMA_NEEDS)]
    connection.executemany("INSERT INTO meta VALUES (?, ?)", rows)
    connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
    connection.execute("COMMIT")


def move_identity(connection: sqlite3.Connection, bare: str, identity: str) -> int:
    """Give all rows of `bare` the keys that they have as `identity`, inside a transaction; returns how many."""
    endpoint, count = split_identity(identity)[1], 0
    query = "SELECT id, key, identity, payload, sha256 FROM responses WHERE identity = ?"
    for row in connection.execute(query, (bare,)).fetchall():
        if not is_sound(*row[1:]):
            continue
        key = key_at(endpoint, row[1])
        changed = "UPDATE OR IGNORE responses SET key = ?, identity = ?, sha256 = ? WHERE id = ?"
        count += connection.execute(changed, (key, identity, checksum(key, identity, row[3]), row[0])).rowcount
    connection.execute("UPDATE OR IGNORE paid SET identity = ? WHERE identity = ?", (identity, bare))
    return count


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
    usage = response.usage
    return canonical_json(
        {
            "text": response.text,
            "finish_reason": response.finish_reason,
            "usage": {
                "tokens_in": usage.tokens_in,
                "tokens_out": usage.tokens_out,
                "tokens_cached": usage.tokens_cached,
                **({"estimated": True} if usage.estimated else {}),
            },
            "logprobs": [token.top for token in response.logprobs],
            "reasoning": response.reasoning,
            "refusal": response.refusal,
            "cost_usd": response.cost_usd,
            "model": response.model,
        }
    )


def decode(key: str, payload: str) -> Response:
    """The response in a payload whose checksum holds. An earlier version kept texts that no file can hold."""
    fields = json.loads(payload)
    return Response(
        text=valid_text(fields["text"]),
        finish_reason=fields["finish_reason"],
        usage=Usage(**fields["usage"]),
        key=key,
        logprobs=tuple(_token(top) for top in fields["logprobs"]),
        reasoning=valid_text(fields["reasoning"]),
        refusal=valid_text(fields["refusal"]),
        cost_usd=fields["cost_usd"],
        # Absent in answers that an earlier version stored.
        model=fields.get("model", ""),
    )


def _token(top: Sequence[tuple[str, float]]) -> TokenLogprobs:
    """One token's alternatives from their JSON lists."""
    return TokenLogprobs(top=tuple((text, value) for text, value in top))
