"""The process that a run belongs to: servers and workers end when it does, however it ends.

A process is named by its id and when it was created, so that a reused id is not mistaken for it.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import psutil

from personalrm.core.errors import EmbeddedModelError

OWNER_ENV = "PERSONALRM_OWNER"
_CHECK_S = 0.5
_PROC = Path("/proc")
_STARTED = 19
"""Place of `starttime` among the fields of `/proc/<pid>/stat` that follow the name (proc(5): field 22)."""


@dataclass(frozen=True, slots=True)
class Owner:
    """A process by its id and a word for the moment of its creation, which stays the same when the clock is set."""

    pid: int
    created: str

    def __str__(self) -> str:
        return f"{self.pid}:{self.created}"

    @classmethod
    def of(cls, pid: int) -> Owner:
        """The process that has the id now. Raises EmbeddedModelError if there is none."""
        try:
            return cls(pid, _created(pid))
        except (psutil.Error, OverflowError) as error:
            raise EmbeddedModelError(f"Process {pid} is not running, so it cannot own a model server.") from error

    @classmethod
    def parse(cls, text: str) -> Owner:
        """Read `pid` or `pid:created`. Raises EmbeddedModelError for anything else."""
        pid, _, created = text.partition(":")
        try:
            return cls(int(pid), created) if created else cls.of(int(pid))
        except ValueError:
            raise EmbeddedModelError(f"{text!r} names no process: 'pid:created' is needed.") from None

    def process(self) -> psutil.Process | None:
        """A handle on the process while it is alive, else None. A zombie is dead."""
        try:
            process = psutil.Process(self.pid)
            return process if _created(self.pid) == self.created and is_alive(process) else None
        except (psutil.Error, ValueError, OverflowError):
            return None


def _created(pid: int) -> str:
    """When the process was created, as the kernel counts: clock ticks since a boot that has a name.

    psutil counts them from when the machine booted by its clock, which moves when the clock is set: a process that
    lives would look like one that is gone. Raises psutil.Error if there is none.
    """
    try:
        # The name, in parentheses, may hold blanks and parentheses.
        ticks = (_PROC / str(pid) / "stat").read_text(errors="replace").rpartition(")")[2].split()[_STARTED]
        boot = (_PROC / "sys/kernel/random/boot_id").read_text(encoding="ascii")
    except (OSError, IndexError):
        return str(psutil.Process(pid).create_time())
    return f"{ticks}@{boot[:8]}"


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
