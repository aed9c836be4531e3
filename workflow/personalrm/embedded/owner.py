"""The process that a run belongs to: servers and workers end when it does, however it ends.

A process is named by its id and its creation time (Unix seconds), so that a reused id is not mistaken for it.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

import psutil

from personalrm.errors import EmbeddedModelError

OWNER_ENV = "PERSONALRM_OWNER"
# The kernel's idea of when it booted, and so of creation times, moves when the clock is set.
_TOLERANCE_S = 5.0
_CHECK_S = 0.5


@dataclass(frozen=True, slots=True)
class Owner:
    """A process by id and creation time."""

    pid: int
    create_time: float

    def __str__(self) -> str:
        return f"{self.pid}:{self.create_time}"

    @classmethod
    def of(cls, pid: int) -> Owner:
        """The process that has the id now. Raises EmbeddedModelError if there is none."""
        try:
            return cls(pid, psutil.Process(pid).create_time())
        except psutil.Error as error:
            raise EmbeddedModelError(f"Process {pid} is not running, so it cannot own a model server.") from error

    @classmethod
    def parse(cls, text: str) -> Owner:
        """Read `pid` or `pid:create_time`. Raises EmbeddedModelError for anything else."""
        pid, _, created = text.partition(":")
        try:
            return cls(int(pid), float(created)) if created else cls.of(int(pid))
        except ValueError:
            raise EmbeddedModelError(f"{text!r} names no process: 'pid:create_time' is needed.") from None

    def process(self) -> psutil.Process | None:
        """A handle on the process while it is alive, else None. A zombie is dead."""
        try:
            process = psutil.Process(self.pid)
            same = abs(process.create_time() - self.create_time) < _TOLERANCE_S
            return process if same and is_alive(process) else None
        except (psutil.Error, ValueError, OverflowError):
            return None


def is_alive(process: psutil.Process) -> bool:
    """Whether the very process behind the handle still runs; immune to reused ids and moved clocks."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def owner_from_env() -> Owner:
    """The process named by `PERSONALRM_OWNER` if it is alive on this host, else the current process."""
    text = os.environ.get(OWNER_ENV, "")
    if text:
        owner = Owner.parse(text)
        if owner.process() is not None:
            return owner
    return Owner.of(os.getpid())


def when_gone(process: psutil.Process, action: Callable[[], None]) -> None:
    """Start a daemon thread that calls `action` within a second of the end of `process`."""

    def watch() -> None:
        while is_alive(process):
            time.sleep(_CHECK_S)
        action()

    threading.Thread(target=watch, name=f"watch-{process.pid}", daemon=True).start()


def watch_owner() -> None:
    """End this worker at once (exit status 1) when the run's owner is gone, so that no orphan goes on.

    Does nothing where `PERSONALRM_OWNER` names no living process of this host, or this process itself.
    """
    process = owner_from_env().process()
    if process is not None and process.pid != os.getpid():
        # Not sys.exit: that would end the watching thread alone.
        when_gone(process, lambda: os._exit(1))
