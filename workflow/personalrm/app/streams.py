"""Standard streams that the caller closed, that a full disk takes, or that nobody reads."""

from __future__ import annotations

import os
import sys
from pathlib import Path


def open_closed() -> None:
    """Open the null device in place of closed standard streams: the files that are opened next would get their numbers,
    to which any library may write."""
    while (handle := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(handle, True)
    os.close(handle)
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, Path(os.devnull).open("w", encoding="utf-8"))  # noqa: SIM115


def flush() -> None:
    """Write what standard output holds. Raises OSError where it cannot be written, and not again at the process's end;
    output that nobody reads any more (`| head -1`) is dropped."""
    try:
        sys.stdout.flush()
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        if not isinstance(error, BrokenPipeError):
            raise
