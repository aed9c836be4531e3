"""Convert a response store of format 1 (package version 0.1) and keep every answer that was paid for.

Format 1 knew a model by its id alone; format 2 knows a server of one's own by its endpoint, too, and stores the model
that the reply names. The key of an answer at an endpoint follows from its old key, so that the answers of a server that
a config names get their new keys; all others keep the old ones, which are those of hosted and embedded models.
"""

from __future__ import annotations

import os
import shutil
from collections import Counter
from collections.abc import Iterable, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from personalrm.core.errors import StoreError
from personalrm.core.files import file_lock
from personalrm.llm.cache.key import key_at
from personalrm.llm.cache.store_file import (
    check_format,
    checksum,
    connect,
    create_tables,
    explained,
    is_sound,
    tables_of,
    transaction,
)
from personalrm.llm.types import ModelSpec, split_identity

_SIDES = ("-wal", "-shm", "-journal")


@dataclass(frozen=True, slots=True)
class Migration:
    """What became of a store: where it is and what it was; counts of answers, by identity: of a model of the configs
    (`claimed`), of several models of them (`ambiguous`), of none (`unclaimed`)."""

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
    specs = list(specs)
    identities = {(spec.bare_identity, spec.identity) for spec in specs}
    several = {bare for bare, count in Counter(bare for bare, _ in identities).items() if count > 1}
    known = {bare: identity for bare, identity in identities if bare not in several}
    if not old.is_file():
        raise StoreError(f"store {old}: no such file")
    # A link stays one.
    old = Path(os.path.realpath(old))
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
            bad, counts = _copy(old, partial, known)
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
    claimed, ambiguous, unclaimed = {}, {}, {}
    for bare, count in counts.items():
        if bare in known:
            claimed[known[bare]] = count
        elif any(spec.bare_identity == bare for spec in specs):
            ambiguous[bare] = count
        else:
            unclaimed[bare] = count
    return Migration(target, kept, counts.total(), bad, claimed, ambiguous, unclaimed)


def _copy(old: Path, partial: Path, known: Mapping[str, str]) -> tuple[int, Counter[str]]:
    """Copy all sound rows, as answers of the identity that `known` gives for their own; returns the count of bad ones,
    which stay in the old file, and of sound ones by their own identity."""
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
        counts: Counter[str] = Counter()
        bad = 0
        with transaction(made):
            for old_key, bare, payload, digest, created in source.execute(
                "SELECT key, identity, payload, sha256, created FROM responses"
            ):
                if not is_sound(old_key, bare, payload, digest):
                    bad += 1
                    continue
                counts[bare] += 1
                identity = known.get(bare, bare)
                key = key_at(split_identity(identity)[1], old_key)
                row = (key, identity, payload, checksum(key, identity, payload), created)
                made.execute("INSERT INTO responses VALUES (NULL, ?, ?, ?, ?, ?)", row)
            for run, bare, *sums in source.execute("SELECT * FROM paid"):
                made.execute("INSERT INTO paid VALUES (?, ?, ?, ?, ?, ?, ?)", (run, known.get(bare, bare), *sums))
    return bad, counts
