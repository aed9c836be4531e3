"""The response store: every answer that was paid for, kept for good, in one SQLite file.

It outlives the outputs of any rule, kill -9 and a full disk. A row that fails its checksum is set aside and counts as
missing; it is never returned. Raw answers only: failures are never stored, and parsing happens elsewhere.
"""

from __future__ import annotations

import copy
import json
import logging
import os
import sqlite3
import tempfile
import threading
import time
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from personalrm.core.errors import StoreError
from personalrm.core.files import canonical_json
from personalrm.llm.backends.openai_format import is_broken_off, wire_text
from personalrm.llm.cache.store_file import (
    JournalMode,
    check_room,
    checksum,
    decode,
    encode,
    explained,
    is_sound,
    is_writable,
    open_file,
    transaction,
)
from personalrm.llm.types import Response

_SELECT = "SELECT key, identity, payload, sha256, id FROM responses WHERE key IN (SELECT value FROM json_each(?))"
_INSERT = (
    "INSERT INTO responses (key, identity, payload, sha256, created) VALUES (?, ?, ?, ?, ?)"
    " ON CONFLICT (key) DO NOTHING"
)
_PAY = (
    "INSERT INTO paid VALUES (?, ?, 1, ?, ?, ?, ?) ON CONFLICT (run, identity) DO UPDATE SET"
    " calls = calls + 1, tokens_in = tokens_in + excluded.tokens_in, tokens_out = tokens_out + excluded.tokens_out,"
    " tokens_cached = tokens_cached + excluded.tokens_cached, cost_usd = cost_usd + excluded.cost_usd"
)
# A payload that is no JSON is found, and set aside, when it is read.
_TOTALS = (
    "SELECT identity, count(*), "
    + ", ".join(
        f"coalesce(sum(json_extract(payload, '$.{name}')), {zero})"
        for name, zero in [
            ("usage.tokens_in", 0),
            ("usage.tokens_out", 0),
            ("usage.tokens_cached", 0),
            ("cost_usd", 0.0),
        ]
    )
    + " FROM responses WHERE json_valid(payload) GROUP BY identity ORDER BY identity"
)
_PAID = (
    "SELECT identity, calls, tokens_in, tokens_out, tokens_cached, cost_usd FROM paid WHERE run = ? ORDER BY identity"
)
_SERVED = (
    "SELECT identity, coalesce(json_extract(payload, '$.model'), '') AS model, count(*) FROM responses"
    " WHERE json_valid(payload) GROUP BY identity, model ORDER BY identity, model"
)
_EMPTY_OR_ODD = (
    "SELECT key FROM responses WHERE json_valid(payload) AND (json_extract(payload, '$.text') = ''"
    " OR json_extract(payload, '$.finish_reason') NOT IN ('stop', 'length'))"
)

log = logging.getLogger("personalrm.llm")

Row = tuple[str, str, str, str, int]
"""Of `responses`: key, identity, payload, checksum, id."""


@dataclass(frozen=True, slots=True)
class Totals:
    """Sums over calls. `cost_usd` is the list price of those calls whose price is known."""

    calls: int = 0
    tokens_in: int = 0
    tokens_out: int = 0
    tokens_cached: int = 0
    cost_usd: float = 0.0


class ResponseStore:
    """All stored answers. Any number of processes and threads may use one file at once.

    Args:
        path: the SQLite file; it and its folder are made if absent. ":memory:" is a store that ends with the object.
        journal_mode: "wal"; "delete", "truncate" or "persist" for network file systems without shared memory.
        run: name under which this process's paid calls are accounted; none are if it is empty.

    Raises:
        StoreError: the file is not ours, is damaged or of another format, or cannot be made. One that cannot be written
            can be read.
    """

    def __init__(self, path: Path | str, journal_mode: JournalMode = "wal", run: str = "") -> None:
        self.run = run
        self.quarantined = 0
        self._scratch = tempfile.TemporaryDirectory() if str(path) == ":memory:" else None
        where = Path(self._scratch.name, "store.sqlite") if self._scratch else Path(path)
        # Locks lie beside the file itself, so that all links to it share them.
        self.path = where = Path(os.path.realpath(where))
        self._probed = False
        self._guard = threading.RLock()
        self._connection: sqlite3.Connection | None = open_file(where, journal_mode)

    def get(self, key: str) -> Response | None:
        """The stored answer, or None. A row that fails its checksum is set aside and is None."""
        return self.get_many((key,)).get(key)

    def get_many(self, keys: Collection[str]) -> dict[str, Response]:
        """The stored answers among `keys`, by key; missing ones are left out."""
        rows: list[Row] = self._query(_SELECT, json.dumps(list(keys)))
        sound = [row for row in rows if is_sound(*row[:4])]
        if len(sound) < len(rows) and is_writable(self.path):
            with self._writing() as connection:
                self._set_aside(connection, rows)
        return {key: decode(key, payload) for key, _, payload, _, _ in sound}

    def put(self, key: str, identity: str, response: Response, paid_usd: float | None = None) -> Response:
        """Store `response` unless `key` has an answer; return the answer that is stored.

        The first write wins, so that concurrent workers go on with one answer. Every call is counted as
        paid, also one that came second, with `paid_usd` (default: its list price). When this returns, a killed
        process can no longer lose the answer.
        """
        identity = wire_text(identity)
        payload = encode(response)
        row = (key, identity, payload, checksum(key, identity, payload), time.time())
        usage = response.usage
        paid = response.cost_usd or 0.0 if paid_usd is None else paid_usd
        with self._writing() as connection:
            if connection.execute(_INSERT, row).rowcount == 0:
                self._set_aside(connection, self._query(_SELECT, json.dumps([key])))
                connection.execute(_INSERT, row)
                stored: list[Row] = self._query(_SELECT, json.dumps([key]))
                if not stored or not is_sound(*stored[0][:4]):
                    # A damaged index leads to the row of another key.
                    raise sqlite3.DatabaseError("malformed index of keys")
                payload = stored[0][2]
            if self.run:
                tokens = (usage.tokens_in, usage.tokens_out, usage.tokens_cached)
                connection.execute(_PAY, (wire_text(self.run), identity, *tokens, paid))
        return decode(key, payload)

    def check_room(self, in_flight: int = 0) -> None:
        """Raise StoreError if there is no room for the answers of the calls in flight and one more. Cheap after the
        first call."""
        check_room(self.path, in_flight, probe=not self._probed)
        self._probed = True

    def forget(self, key: str) -> None:
        """Drop the answer of `key`, if there is one, so that it is asked for again; what it cost stays accounted."""
        with self._writing() as connection:
            connection.execute("DELETE FROM responses WHERE key = ?", (key,))

    @contextmanager
    def shared(self, kind: str) -> Iterator[dict[str, Any]]:
        """What the processes on this store share under `kind`, JSON values by name, kept as it is left.

        Other writers wait until the end of the block, which must be short. A value that cannot be read counts as none.
        """
        with self._writing() as connection:
            before = self.peek(kind)
            values = copy.deepcopy(before)
            yield values
            gone = [(kind, name) for name in before.keys() - values.keys()]
            connection.executemany("DELETE FROM shared WHERE kind = ? AND name = ?", gone)
            changed = [
                (kind, name, canonical_json(value))
                for name, value in values.items()
                if name not in before or before[name] != value
            ]
            connection.executemany("INSERT OR REPLACE INTO shared VALUES (?, ?, ?)", changed)

    def peek(self, kind: str, *, strict: bool = False) -> dict[str, Any]:
        """What the processes on this store share under `kind`, without waiting for writers. With `strict` a value that
        cannot be read is a ValueError."""
        values: dict[str, Any] = {}
        for name, text in self._query("SELECT name, value FROM shared WHERE kind = ?", kind):
            with nullcontext() if strict else suppress(ValueError):
                values[name] = json.loads(text)
        return values

    def served(self) -> dict[str, dict[str, int]]:
        """By identity, the models that replies named, with counts of stored answers; "" where a reply named none."""
        found: dict[str, dict[str, int]] = {}
        for identity, model, count in self._query(_SERVED):
            found.setdefault(identity, {})[model] = count
        return found

    def broken_off(self) -> list[str]:
        """Keys of stored answers that are failures: an earlier version stored answers that a server broke off."""
        found = self.get_many([row[0] for row in self._query(_EMPTY_OR_ODD)])
        return [key for key, response in found.items() if is_broken_off(response) or _is_nothing(response)]

    def usage_totals(self) -> dict[str, Totals]:
        """Calls, tokens and list cost of all stored answers, by model identity."""
        return {row[0]: Totals(*row[1:]) for row in self._query(_TOTALS)}

    def paid_totals(self, run: str) -> dict[str, Totals]:
        """What the calls of `run` took, by model identity: every call that was answered, stored first or not."""
        return {row[0]: Totals(*row[1:]) for row in self._query(_PAID, wire_text(run))}

    def close(self) -> None:
        """Close the file. Safe to call twice."""
        with self._guard:
            connection, self._connection = self._connection, None
            if connection is not None:
                connection.close()
        if self._scratch is not None:
            self._scratch.cleanup()

    def __enter__(self) -> ResponseStore:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @contextmanager
    def _used(self) -> Iterator[sqlite3.Connection]:
        """The connection, for one thread at a time; its failures are StoreError."""
        with self._guard, explained(self.path):
            if self._connection is None:
                raise StoreError(f"store {self.path}: it was closed")
            yield self._connection

    def _query(self, query: str, *values: str) -> list[Any]:
        """All rows of a query."""
        with self._used() as connection:
            return connection.execute(query, values).fetchall()

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        """A write transaction, taken at once, so that two writers queue instead of failing half-way; part of the one
        around it, if there is one."""
        with self._used() as connection, nullcontext() if connection.in_transaction else transaction(connection):
            yield connection

    def _set_aside(self, connection: sqlite3.Connection, rows: Sequence[Row]) -> None:
        """Move rows that fail their checksum to the quarantine table, inside a transaction."""
        for *_, number in rows:
            # Looked at again under the write lock: another process may have mended it, under the same id.
            query = "SELECT key, identity, payload, sha256 FROM responses WHERE id = ?"
            present = connection.execute(query, (number,)).fetchone()
            if present is None or is_sound(*present):
                continue
            connection.execute(
                "INSERT INTO quarantine (key, identity, payload, sha256, created, found)"
                " SELECT key, identity, payload, sha256, created, ? FROM responses WHERE id = ?",
                (time.time(), number),
            )
            connection.execute("DELETE FROM responses WHERE id = ?", (number,))
            self.quarantined += 1
            log.warning(
                "store %s: answer %s failed its checksum; set aside, will be asked again", self.path, present[0]
            )


def _is_nothing(response: Response) -> bool:
    """Whether an answer of an earlier version holds nothing: litellm gave failures that it did not know as "stop"."""
    said = response.text or response.reasoning or response.refusal or response.logprobs
    return not response.model and not said and response.finish_reason == "stop"
