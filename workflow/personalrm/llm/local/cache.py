"""The model cache on disk: where files lie, and how they are checked.

A file is used only after its SHA-256 was seen to be right. Hashing a gigabyte for every job would be too
slow, so a full check leaves a note (size, modification time, hash) that is trusted while both still match.
"""

from __future__ import annotations

import json
import os
from contextlib import suppress
from pathlib import Path

from personalrm.core.errors import EmbeddedModelError
from personalrm.core.files import atomic_write_text, sha256_file, stable_hash
from personalrm.llm.local.catalogue import CatalogueEntry


def default_cache_dir() -> Path:
    """`$PERSONALRM_CACHE`, else `$XDG_CACHE_HOME/personalrm`, else `~/.cache/personalrm`."""
    own = os.environ.get("PERSONALRM_CACHE")
    if own:
        return Path(own).expanduser()
    shared = os.environ.get("XDG_CACHE_HOME")
    return (Path(shared) if shared else Path.home() / ".cache") / "personalrm"


def cached_path(cache_dir: Path, entry: CatalogueEntry) -> Path:
    """Where the cache keeps a model. The hash is part of it: two models of one name have two files."""
    return cache_dir / "models" / f"{entry.id}-{entry.sha256[:8]}" / entry.file


def partial_dir(cache_dir: Path, entry: CatalogueEntry) -> Path:
    """Where an unfinished download of a model waits to be resumed."""
    return cache_dir / "partial" / f"{entry.id}-{entry.sha256[:8]}"


def check(path: Path, entry: CatalogueEntry, cache_dir: Path) -> None:
    """Accept `path` as the model's file, or raise EmbeddedModelError that says what was found instead.

    A former full check of the same size and modification time (ns) is enough.
    """
    if _read_note(_note_path(path, cache_dir)) != _mark(path, entry):
        check_in_full(path, entry)
        remember(path, entry, cache_dir)


def check_in_full(path: Path, entry: CatalogueEntry) -> None:
    """Hash the file; raise EmbeddedModelError, naming the file, what was expected and what was found."""
    try:
        size = path.stat().st_size
        # A wrong size needs no hashing.
        found = f"SHA-256 {sha256_file(path)}" if size == entry.bytes else f"{size} bytes"
    except OSError as error:
        raise EmbeddedModelError(f"{path}: cannot be read ({error.strerror or error}).") from error
    if found != f"SHA-256 {entry.sha256}":
        raise EmbeddedModelError(
            f"{path} is not {entry.id}: expected SHA-256 {entry.sha256} ({entry.bytes} bytes), found {found}."
        )


def remember(path: Path, entry: CatalogueEntry, cache_dir: Path) -> None:
    """Note that `path` was checked in full."""
    # A read-only cache is fine: the next job checks in full again.
    with suppress(OSError):
        atomic_write_text(_note_path(path, cache_dir), json.dumps(_mark(path, entry)) + "\n")


def _mark(path: Path, entry: CatalogueEntry) -> dict[str, object]:
    try:
        stat = path.stat()
    except OSError:
        return {}
    return {"sha256": entry.sha256, "size": stat.st_size, "mtime_ns": stat.st_mtime_ns}


def _note_path(path: Path, cache_dir: Path) -> Path:
    return cache_dir / "checked" / f"{stable_hash(str(path.resolve()))[:32]}.json"


def _read_note(note: Path) -> object:
    try:
        return json.loads(note.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def set_aside(path: Path) -> Path:
    """Rename a file that cannot be trusted to `*.bad` (replacing an older one) and return the new path."""
    bad = path.with_name(f"{path.name}.bad")
    os.replace(path, bad)
    return bad
