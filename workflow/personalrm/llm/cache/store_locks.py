"""Locks on calls in flight: of all processes that share a response store, one makes a call and the others wait for it.

A call's lock is one byte of `<store>.calls`, an empty file, at an offset that its store key gives. The kernel releases
it when the process that holds it ends, also by SIGKILL or the machine's crash (on a network file system: when its
server gives the client up), so that no lock expires too early, outlives its owner or needs cleaning up. Our choice.
"""

from __future__ import annotations

import errno
import fcntl
import logging
import os
import struct
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_OFFSETS = 2**62
"""Offsets in use. Two keys on one offset (one pair of keys in flight in 10^18) wait for each other, no more."""
_BUSY = frozenset({errno.EACCES, errno.EAGAIN})
_FLOCK = "hhqqi4x"
"""`struct flock` of 64-bit Linux: type, whence, start, length, pid."""
# Of an open file, not of a process, so that two ports of one process exclude each other, too. Elsewhere: of a process.
_SET_OF_OPEN_FILE: int | None = (
    getattr(fcntl, "F_OFD_SETLK", None) if sys.platform == "linux" and sys.maxsize > 2**32 else None
)

log = logging.getLogger("personalrm.llm")


class CallLocks:
    """The locks of one store, as one client uses them. Usable from any thread.

    Where files cannot be locked (some network file systems) every call counts as free, and a warning says so once:
    two processes may then make the same call, which costs money but changes no result.

    Args:
        store: the response store's file.
    """

    def __init__(self, store: Path) -> None:
        self._store = store
        self._path = store.with_name(f"{store.name}.calls")
        self._guard = threading.Lock()
        self._handle = -1
        self._works = True

    @contextmanager
    def held(self, key: str) -> Iterator[bool]:
        """Hold the lock on the call of `key` (a hexadecimal hash) until the end; False if another holds it."""
        offset = int(key[:16], 16) % _OFFSETS
        if not self._lock(fcntl.LOCK_EX | fcntl.LOCK_NB, offset):
            yield False
            return
        try:
            yield True
        finally:
            self._lock(fcntl.LOCK_UN, offset)

    def close(self) -> None:
        """Release all locks. Safe to call twice; the locks can be used again."""
        with self._guard:
            if self._handle >= 0:
                os.close(self._handle)
                self._handle = -1

    def _lock(self, kind: int, offset: int) -> bool:
        """Set or clear one lock without waiting; False if another holds it."""
        with self._guard:
            if not self._works:
                return True
            try:
                if self._handle < 0:
                    self._handle = self._opened()
                _set(self._handle, kind, offset)
            except OSError as error:
                if self._handle >= 0 and error.errno in _BUSY:
                    return False
                self._works = False
                log.warning(
                    "%s cannot be locked (%s): processes that ask the same at the same time are not kept apart",
                    *(self._path, error.strerror),
                )
        return True

    def _opened(self) -> int:
        """Open the file of the locks; create it if absent. It gets owner and permissions of the store, as SQLite's own
        files do, so that every user who can write the store can lock its calls. Raises OSError."""
        handle = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o666)
        with suppress(OSError):
            store = os.stat(self._store)
            os.fchmod(handle, store.st_mode & 0o666)
            os.fchown(handle, store.st_uid, store.st_gid)
        return handle


def _set(handle: int, kind: int, offset: int) -> None:
    """Lock or unlock one byte. Raises OSError."""
    if _SET_OF_OPEN_FILE is None:
        fcntl.lockf(handle, kind, 1, offset)
        return
    lock_type = fcntl.F_UNLCK if kind == fcntl.LOCK_UN else fcntl.F_WRLCK
    fcntl.fcntl(handle, _SET_OF_OPEN_FILE, struct.pack(_FLOCK, lock_type, os.SEEK_SET, offset, 1, 0))
