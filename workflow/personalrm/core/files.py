"""Whole files or none, locks between processes, canonical JSON, stable hashes."""

from __future__ import annotations

import asyncio
import errno
import fcntl
import hashlib
import json
import logging
import os
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, TextIO

from personalrm.core.errors import OutputError


@contextmanager
def atomic_open(path: Path) -> Iterator[BinaryIO]:
    """Open a temporary file next to `path`; on success flush, fsync and rename it, else remove it.

    Raises OutputError where the disk has no room, or the user no right.
    """
    try:
        with _temporary(path) as stream:
            yield stream
    except OSError as error:
        if error.errno not in _ADVICE:
            raise
        raise OutputError(
            f"{path}: cannot be written: {error.strerror}. {_ADVICE[error.errno]}, and run the same command again; "
            "nothing that was paid for is lost."
        ) from error


@contextmanager
def _temporary(path: Path) -> Iterator[BinaryIO]:
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name[:40]}.", suffix=".tmp")
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


def said(error: OSError) -> str | None:
    """One line about a failure of files, folders or limits of this machine, and what to do; None for any other."""
    advice = _ADVICE.get(error.errno or 0)
    if advice is None and error.filename is None:
        return None
    text = f"{error.strerror or error}. {advice or 'Correct the path'}, and run the same command again."
    return text if error.filename is None else f"{os.fsdecode(error.filename)}: {text}"


_ADVICE = {
    **dict.fromkeys((errno.ENOSPC, errno.EDQUOT, errno.EFBIG), "Free some space or inodes (df, df -i)"),
    **dict.fromkeys((errno.EACCES, errno.EPERM), "Make the folder writable by this user"),
    errno.EROFS: "Make the folder writable",
    errno.EIO: "Check the disk",
    errno.ELOOP: "Correct the link, which leads to itself",
    errno.ENAMETOOLONG: "Shorten the path",
    errno.EISDIR: "Move the folder away, which has the place of a file",
    **dict.fromkeys((errno.EEXIST, errno.ENOTDIR), "Move away the file or broken link in a folder's place"),
    **dict.fromkeys((errno.EMFILE, errno.ENFILE), "Raise the limit of open files (ulimit -n 1024)"),
}
"""What to do about a failure, by its number."""
_NO_LOCKS = frozenset({errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EBADF})
"""Failures of `flock` where a file system cannot lock files, or not those of another user."""
SLOW_S = 10.0
"""Seconds after which a process that waits for a lock logs which process holds it."""
_RETRY_S = 0.01

log = logging.getLogger("personalrm.core.files")


@contextmanager
def file_lock(path: Path, on_wait: Callable[[], object] | None = None) -> Iterator[None]:
    """Hold an exclusive lock on `path`; the kernel frees it when the process dies, however it dies.

    `on_wait` is called once if another process holds it; if it still does after `SLOW_S`, a warning names it. If
    the file system cannot lock files, a warning is logged and the block runs without a lock.
    """
    with _lock_file(path) as stream:
        if not _locked(stream):
            if on_wait is not None:
                on_wait()
            until = time.monotonic() + SLOW_S
            while not (mine := _locked(stream)) and time.monotonic() < until:
                time.sleep(_RETRY_S)
            if not mine:
                warn_of_lock(path)
                fcntl.flock(stream, fcntl.LOCK_EX)
        yield


@asynccontextmanager
async def waiting_lock(path: Path, poll_s: float = 0.05) -> AsyncIterator[None]:
    """`file_lock` for coroutines: other coroutines run while it waits or is held. The warning comes only if the process
    that holds it is stopped, because such a lock may be held for long."""
    with _lock_file(path) as stream:
        until = time.monotonic() + SLOW_S
        while not _locked(stream):
            await asyncio.sleep(poll_s)
            if time.monotonic() > until:
                until = float("inf")
                if any(stopped for _, stopped in holders(path)):
                    warn_of_lock(path)
        yield


def warn_of_lock(*paths: Path) -> None:
    """Log which processes of this machine hold a lock on any of these files, and what to do if they are stopped."""
    known = sorted({held for path in paths for held in holders(path) if held[0] != os.getpid()})
    who = ", ".join(f"process {pid}{' (stopped)' if stopped else ''}" for pid, stopped in known) or "another process"
    halted = [str(pid) for pid, stopped in known if stopped]
    advice = f". Continue it (kill -CONT {' '.join(halted)}) or end it" if halted else ""
    log.warning("waiting for the lock of %s, which %s holds for %.0f s now%s", paths[0], who, SLOW_S, advice)


def holders(path: Path) -> list[tuple[int, bool]]:
    """Processes of this machine that hold a lock on a file, and whether each is stopped; empty where Linux does not say
    (`/proc/locks`), as on network file systems."""
    found: dict[int, bool] = {}
    with suppress(OSError, ValueError):
        number = os.stat(path).st_ino
        for line in Path("/proc/locks").read_text(encoding="ascii").splitlines():
            fields = line.split()
            # 1: FLOCK ADVISORY WRITE <pid> <major>:<minor>:<inode> 0 EOF; a waiting one has an arrow second.
            if fields[1] != "->" and fields[5].rpartition(":")[2] == str(number) and int(fields[4]) > 0:
                found[int(fields[4])] = _is_stopped(int(fields[4]))
    return sorted(found.items())


def _is_stopped(pid: int) -> bool:
    """Whether a process was stopped, by a signal or a debugger."""
    with suppress(OSError, IndexError):
        return (
            Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()[0]
            in "Tt"
        )
    return False


def _lock_file(path: Path) -> TextIO:
    """Open a lock file; create it if absent. A file of another user can be locked without the right to write it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        return path.open("a")
    except PermissionError:
        return path.open()


def _locked(stream: TextIO) -> bool:
    try:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
        log.warning("%s cannot be locked (%s): processes are not kept apart there", stream.name, error.strerror)
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
