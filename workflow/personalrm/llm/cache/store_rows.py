"""Tables of the response store, and one stored response as a row: JSON text and a checksum."""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Sequence

from personalrm.core.files import canonical_json
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
