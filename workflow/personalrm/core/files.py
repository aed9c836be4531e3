"""Whole files or none, locks between processes, canonical JSON, stable hashes."""

from __future__ import annotations

import asyncio
import fcntl
import hashlib
import json
import os
import tempfile
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import BinaryIO, TextIO


@contextmanager
def atomic_open(path: Path) -> Iterator[BinaryIO]:
    """Open a temporary file next to `path`; on success flush, fsync and rename it, else remove it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name[:80]}.", suffix=".tmp")
    try:
        with os.fdopen(handle, "wb") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        # mkstemp makes private files; results should be as readable as the umask allows.
        umask = os.umask(0)
        os.umask(umask)
        os.chmod(name, 0o666 & ~umask)
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def atomic_write_bytes(path: Path, data: bytes) -> None:
    """Write `data` to `path`, whole or not at all."""
    with atomic_open(path) as stream:
        stream.write(data)


def atomic_write_lines(path: Path, lines: Iterable[str]) -> None:
    """Write `lines` (without line ends) to `path` as UTF-8, whole or not at all."""
    with atomic_open(path) as stream:
        for line in lines:
            stream.write(f"{line}\n".encode())


def atomic_write_text(path: Path, text: str) -> None:
    """Write `text` to `path` as UTF-8, whole or not at all."""
    atomic_write_bytes(path, text.encode())


@contextmanager
def file_lock(path: Path, on_wait: Callable[[], object] | None = None) -> Iterator[None]:
    """Hold an exclusive lock on `path`; the kernel frees it when the process dies, however it dies.

    `on_wait` is called once if another process holds it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as stream:
        if not _locked(stream):
            if on_wait is not None:
                on_wait()
            fcntl.flock(stream, fcntl.LOCK_EX)
        yield


@asynccontextmanager
async def waiting_lock(path: Path, poll_s: float = 0.05) -> AsyncIterator[None]:
    """`file_lock` for coroutines: other coroutines run while it waits or is held."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as stream:
        while not _locked(stream):
            await asyncio.sleep(poll_s)
        yield


def _locked(stream: TextIO) -> bool:
    try:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def canonical_json(value: object) -> str:
    """JSON with sorted keys and no blanks: equal values give equal text."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True)


def stable_hash(*parts: str) -> str:
    """SHA-256 (hex) of the parts; independent of PYTHONHASHSEED, and of where one part ends."""
    # surrogatepass: a lone surrogate in user text must not stop a run.
    return hashlib.sha256(canonical_json(list(parts)).encode("utf-8", "surrogatepass")).hexdigest()


def stable_fraction(*parts: str) -> float:
    """A number in [0, 1) decided by the parts alone."""
    return int(stable_hash(*parts)[:13], 16) / 16**13


def sha256_file(path: Path) -> str:
    """SHA-256 (hex) of a file's bytes, read in blocks."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
