"""Standard streams that are closed, that are on a full disk, or whose reader has ended."""

from __future__ import annotations

import os
import sys
from pathlib import Path


def open_closed() -> None:
    """Open the null device for each closed standard stream. Otherwise files opened later would get their descriptors,
    to which any library may write."""
    while (handle := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(handle, True)
    os.close(handle)
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, Path(os.devnull).open("w", encoding="utf-8"))  # noqa: SIM115


def flush() -> None:
    """Flush standard output. Raises OSError if that fails, and prevents a second error at the end of the process.
    Output whose reader has ended (`| head -1`) is dropped."""
    try:
        sys.stdout.flush()
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        if not isinstance(error, BrokenPipeError):
            raise
