"""Convert a response store of format 1 (package version 0.1) and keep every answer that was paid for.

Format 1 knew a model by its id alone; format 2 knows a server of one's own by its endpoint, too, and stores the model
that the reply names. The key of an answer at an endpoint follows from its old key, so that answers whose endpoint is
known get their new keys at once; the others keep the old ones, until a model of their identity asks for them.
"""

from __future__ import annotations

import os
import shutil
from collections import Counter
from collections.abc import Iterable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from personalrm.core.errors import StoreError
from personalrm.core.files import file_lock
from personalrm.llm.cache.store import UNCLAIMED, ResponseStore
from personalrm.llm.cache.store_file import (
    check_format,
    connect,
    create_tables,
    explained,
    is_sound,
    tables_of,
    transaction,
)
from personalrm.llm.types import ModelSpec

_SIDES = ("-wal", "-shm", "-journal")


@dataclass(frozen=True, slots=True)
class Migration:
    """What became of a store: where it is and what it was; counts of answers, by identity where they were given an
    endpoint (`claimed`) or several models of one config could have given them (`ambiguous`), and of those that still
    wait for a model that asks for them (`unclaimed`)."""

    path: Path
    kept_as: Path
    answers: int
    bad: int
    claimed: dict[str, int]
    ambiguous: dict[str, int]
    unclaimed: dict[str, int]


def migrate(old: Path, specs: Iterable[ModelSpec] = (), to: Path | None = None) -> Migration:
    """Write the answers of `old` in today's format to `to`, or in its place, the old file then being kept as `.v1`.

    Args:
        old: a store of format 1 that no job works on.
        specs: the models of the runs that filled it: they say which endpoints its answers came from.
        to: a new file; None for the same place.

    Raises:
        StoreError: no such store, another format, a damaged file, batches under way, or `to` exists.
    """
    if not old.is_file():
        raise StoreError(f"store {old}: no such file")
    if to is not None and to.exists():
        raise StoreError(f"store {to}: it exists; name a new file, or leave --to out")
    if any(old.with_name(f"{old.name}.batches").rglob("*.json")):
        raise StoreError(
            f"store {old}: batches are under way ({old.name}.batches), which the earlier version has to fetch: run it "
            f"to its end there, then migrate"
        )
    target = to or old
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f"{target.name}.migrating")
    for side in ("", *_SIDES):
        partial.with_name(f"{partial.name}{side}").unlink(missing_ok=True)
    # Jobs of the earlier version hold this lock whenever they use the file.
    with file_lock(old.with_name(f"{old.name}.lock")):
        with explained(old):
            bad, identities = _copy(old, partial)
        kept = old
        if to is None:
            kept = old.with_name(f"{old.name}.v1")
            if not kept.exists():
                try:
                    os.link(old, kept)
                except OSError:  # a file system without second names
                    shutil.copy2(old, kept)
            # Their contents went into the old file when it was read.
            for side in _SIDES:
                old.with_name(f"{old.name}{side}").unlink(missing_ok=True)
        os.replace(partial, target)
    claimed, ambiguous = _claim(target, list(specs), identities)
    with ResponseStore(target) as store:
        unclaimed = {name: identities[name] for name in store.peek(UNCLAIMED)}
    return Migration(target, kept, identities.total(), bad, claimed, ambiguous, unclaimed)


def _copy(old: Path, partial: Path) -> tuple[int, Counter[str]]:
    """Copy all sound rows; returns the count of bad ones, which stay in the old file, and of sound ones by identity."""
    with closing(connect(old)) as source, closing(connect(partial)) as made:
        found = (
            "meta" in tables_of(source) and source.execute("SELECT value FROM meta WHERE name = 'schema'").fetchone()
        )
        if not found or found[0] != "1":
            check_format(source, old)
            raise StoreError(f"store {old}: it has today's format; there is nothing to convert")
        # What an earlier process left in its journal becomes part of the file.
        source.execute("PRAGMA journal_mode = delete")
        create_tables(made)
        identities: Counter[str] = Counter()
        bad = 0
        with transaction(made):
            for row in source.execute("SELECT key, identity, payload, sha256, created FROM responses"):
                if not is_sound(*row[:4]):
                    bad += 1
                    continue
                identities[row[1]] += 1
                made.execute("INSERT INTO responses VALUES (NULL, ?, ?, ?, ?, ?)", row)
            made.executemany("INSERT INTO paid VALUES (?, ?, ?, ?, ?, ?, ?)", source.execute("SELECT * FROM paid"))
            made.executemany("INSERT INTO shared VALUES (?, ?, '0')", [(UNCLAIMED, name) for name in identities])
    return bad, identities


def _claim(path: Path, specs: list[ModelSpec], identities: Counter[str]) -> tuple[dict[str, int], dict[str, int]]:
    """Give answers to the models of the configs; returns those given, and those that more than one could have got."""
    claimed, ambiguous = {}, {}
    with ResponseStore(path) as store:
        for bare in sorted({spec.bare_identity for spec in specs} & identities.keys()):
            of_this = {spec.identity: spec for spec in specs if spec.bare_identity == bare}
            if len(of_this) > 1:
                ambiguous[bare] = identities[bare]
                # Nobody may take for one server's what another one may have said.
                with store.shared(UNCLAIMED) as unclaimed:
                    del unclaimed[bare]
                continue
            (spec,) = of_this.values()
            store.claim(spec)
            claimed[spec.identity] = identities[bare]
    return claimed, ambiguous
