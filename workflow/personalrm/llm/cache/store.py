"""The response store: every answer that was paid for, kept for good, in one SQLite file.

It outlives the outputs of any rule, kill -9 and a full disk. A row that fails its checksum is set aside and counts as
missing; it is never returned. Raw answers only: failures are never stored, and parsing happens elsewhere.
"""

from __future__ import annotations

import json
import logging
import sqlite3
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from personalrm.core.files import canonical_json
from personalrm.llm.backends.openai_format import is_broken_off, wire_text
from personalrm.llm.cache.store_file import JournalMode, StoreFile, checksum, decode, encode, is_sound, move_identity
from personalrm.llm.types import ModelSpec, Response

_IN_CHUNK = 500
_COLUMNS = "id, key, identity, payload, sha256"
_INSERT = (
    "INSERT INTO responses (key, identity, payload, sha256, created) VALUES (?, ?, ?, ?, ?)"
    " ON CONFLICT (key) DO NOTHING"
)
_PAY = (
    "INSERT INTO paid VALUES (?, ?, 1, ?, ?, ?, ?) ON CONFLICT (run, identity) DO UPDATE SET"
    " calls = calls + 1, tokens_in = tokens_in + excluded.tokens_in, tokens_out = tokens_out + excluded.tokens_out,"
    " tokens_cached = tokens_cached + excluded.tokens_cached, cost_usd = cost_usd + excluded.cost_usd"
)
# NULL for a payload that is no JSON: such a row is found, and set aside, when it is read.
_TOTALS = (
    "SELECT identity, count(*), {tokens_in}, {tokens_out}, {tokens_cached}, {cost} FROM responses"
    " WHERE json_valid(payload) GROUP BY identity ORDER BY identity"
).format(
    **{
        name: f"coalesce(sum(json_extract(payload, '$.usage.{name}')), 0)"
        for name in ("tokens_in", "tokens_out", "tokens_cached")
    },
    cost="coalesce(sum(json_extract(payload, '$.cost_usd')), 0.0)",
)

_SERVED = (
    "SELECT identity, coalesce(json_extract(payload, '$.model'), '') AS model, count(*) FROM responses"
    " WHERE json_valid(payload) GROUP BY identity, model ORDER BY identity, model"
)
_EMPTY_OR_ODD = (
    "SELECT key FROM responses WHERE json_valid(payload) AND (json_extract(payload, '$.text') = ''"
    " OR json_extract(payload, '$.finish_reason') NOT IN ('stop', 'length'))"
)
UNCLAIMED = "endpoint unknown"
"""Under what the store keeps the identities whose answers an earlier format stored without their endpoint."""

log = logging.getLogger("personalrm.llm")

Row = tuple[int, str, str, str, str]


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
        StoreError: the file is not ours, is damaged or of another format, or cannot be written.
    """

    def __init__(self, path: Path | str, journal_mode: JournalMode = "wal", run: str = "") -> None:
        self.run = run
        self.quarantined = 0
        self._scratch = tempfile.TemporaryDirectory() if str(path) == ":memory:" else None
        where = Path(self._scratch.name, "store.sqlite") if self._scratch else Path(path)
        self._file = StoreFile(where, journal_mode)

    @property
    def path(self) -> Path:
        """The store's file."""
        return self._file.path

    def get(self, key: str) -> Response | None:
        """The stored answer, or None. A row that fails its checksum is set aside and is None."""
        return self.get_many((key,)).get(key)

    def get_many(self, keys: Sequence[str]) -> dict[str, Response]:
        """The stored answers among `keys`, by key; missing ones are left out."""
        found: dict[str, Response] = {}
        bad: list[Row] = []
        for start in range(0, len(keys), _IN_CHUNK):
            for row in self._file.run(_select(keys[start : start + _IN_CHUNK])):
                if is_sound(*row[1:]):
                    found[row[1]] = decode(row[1], row[3])
                else:
                    bad.append(row)
        if bad:
            with self._file.writing() as connection:
                self._set_aside(connection, bad)
        return found

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
        tokens = (usage.tokens_in, usage.tokens_out, usage.tokens_cached)
        paid = response.cost_usd or 0.0 if paid_usd is None else paid_usd
        account = (wire_text(self.run), identity, *tokens, paid)

        with self._file.writing() as connection:
            stored = self._insert(connection, row)
            if self.run:
                connection.execute(_PAY, account)
        return decode(key, stored)

    def forget(self, key: str) -> None:
        """Drop the answer of `key`, if there is one, so that it is asked for again; what it cost stays accounted."""
        with self._file.writing() as connection:
            connection.execute("DELETE FROM responses WHERE key = ?", (key,))

    @contextmanager
    def shared(self, kind: str) -> Iterator[dict[str, Any]]:
        """What the processes on this store share under `kind`, JSON values by name, kept as it is left.

        Other writers wait until the end of the block, which must be short. A value that cannot be read counts as none.
        """
        with self._file.writing() as connection:
            before = dict(_shared(connection, kind))
            values = _read(before)
            yield values
            after = {name: canonical_json(value) for name, value in values.items()}
            gone = [(kind, name) for name in before.keys() - after.keys()]
            connection.executemany("DELETE FROM shared WHERE kind = ? AND name = ?", gone)
            connection.executemany(
                "INSERT OR REPLACE INTO shared VALUES (?, ?, ?)",
                [(kind, name, text) for name, text in after.items() if before.get(name) != text],
            )

    def peek(self, kind: str) -> dict[str, Any]:
        """What the processes on this store share under `kind`, without waiting for writers."""
        return _read(dict(self._file.run(lambda connection: _shared(connection, kind))))

    def claim(self, spec: ModelSpec) -> int:
        """Give `spec` the answers that an earlier format kept without endpoint; returns how many.

        They belong to the first model of that id that asks for them: a later one with another endpoint does not find
        them.
        """
        bare, identity = spec.bare_identity, spec.identity
        if bare not in self.peek(UNCLAIMED):
            return 0
        with self.shared(UNCLAIMED) as unclaimed, self._file.writing() as connection:
            if unclaimed.pop(bare, None) is None or identity == bare:
                return 0
            count = move_identity(connection, bare, identity)
        log.info("store %s: %d answers of %s belong to %s from now on", self.path, count, bare, identity)
        return count

    def served(self) -> dict[str, dict[str, int]]:
        """By identity, the models that replies named, with counts of stored answers; "" where a reply named none."""
        found: dict[str, dict[str, int]] = {}
        for identity, model, count in self._file.run(lambda connection: connection.execute(_SERVED).fetchall()):
            found.setdefault(identity, {})[model] = count
        return found

    def broken_off(self) -> list[str]:
        """Keys of stored answers that are failures: an earlier version took what a server broke off for whole."""
        rows = self._file.run(lambda connection: connection.execute(_EMPTY_OR_ODD).fetchall())
        found = self.get_many([row[0] for row in rows])
        return [key for key, response in found.items() if is_broken_off(response) or _is_nothing(response)]

    def usage_totals(self) -> dict[str, Totals]:
        """Calls, tokens and list cost of all stored answers, by model identity."""
        rows = self._file.run(lambda connection: connection.execute(_TOTALS).fetchall())
        return {row[0]: Totals(*row[1:]) for row in rows}

    def paid_totals(self, run: str) -> dict[str, Totals]:
        """What the calls of `run` took, by model identity: every call that was answered, stored first or not."""
        query = (
            "SELECT identity, calls, tokens_in, tokens_out, tokens_cached, cost_usd FROM paid WHERE run = ?"
            " ORDER BY identity"
        )
        rows = self._file.run(lambda connection: connection.execute(query, (wire_text(run),)).fetchall())
        return {row[0]: Totals(*row[1:]) for row in rows}

    def close(self) -> None:
        """Close the file. Safe to call twice."""
        self._file.close()
        if self._scratch is not None:
            self._scratch.cleanup()

    def __enter__(self) -> ResponseStore:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _insert(self, connection: sqlite3.Connection, row: tuple[str, str, str, str, float]) -> str:
        """Insert `row`; return the payload that stands under its key afterwards."""
        if connection.execute(_INSERT, row).rowcount == 1:
            return row[2]
        present = _select((row[0],))(connection)
        if present and is_sound(*present[0][1:]):
            return present[0][3]
        self._set_aside(connection, present)
        connection.execute(_INSERT, row)
        return row[2]

    def _set_aside(self, connection: sqlite3.Connection, rows: Sequence[Row]) -> None:
        """Move rows to the quarantine table, inside a transaction."""
        for row in rows:
            # Looked at again under the write lock: another process may have mended it, under the same id.
            query = f"SELECT {_COLUMNS} FROM responses WHERE id = ?"
            present = connection.execute(query, (row[0],)).fetchone()
            if present is None or is_sound(*present[1:]):
                continue
            connection.execute(
                "INSERT INTO quarantine (key, identity, payload, sha256, created, found)"
                " SELECT key, identity, payload, sha256, created, ? FROM responses WHERE id = ?",
                (time.time(), row[0]),
            )
            connection.execute("DELETE FROM responses WHERE id = ?", (row[0],))
            self.quarantined += 1
            log.warning("store %s: answer %s failed its checksum; set aside, will be asked again", self.path, row[1])


def _select(keys: Sequence[str]) -> Callable[[sqlite3.Connection], list[Row]]:
    """A query for the rows of at most `_IN_CHUNK` keys."""
    marks = ",".join("?" * len(keys))

    def query(connection: sqlite3.Connection) -> list[Row]:
        return connection.execute(f"SELECT {_COLUMNS} FROM responses WHERE key IN ({marks})", keys).fetchall()

    return query


def _shared(connection: sqlite3.Connection, kind: str) -> list[tuple[str, str]]:
    """Names and JSON texts of one kind."""
    return connection.execute("SELECT name, value FROM shared WHERE kind = ?", (kind,)).fetchall()


def _read(texts: Mapping[str, str]) -> dict[str, Any]:
    """The values of JSON texts; what is no JSON is left out."""
    values: dict[str, Any] = {}
    for name, text in texts.items():
        with suppress(ValueError):
            values[name] = json.loads(text)
    return values


def _is_nothing(response: Response) -> bool:
    """Whether an answer of an earlier version holds nothing: litellm gave failures that it did not know as "stop"."""
    said = response.text or response.reasoning or response.refusal or response.logprobs
    return not response.model and not said and response.finish_reason == "stop"
