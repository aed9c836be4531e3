"""Torch with one thread: a forked process must not inherit a pool of threads, and the machine is shared."""

from __future__ import annotations

import sys

import pytest


@pytest.fixture(autouse=True)
def one_thread() -> None:
    # Not imported here: tests that need none run where it is not installed.
    if torch := sys.modules.get("torch"):
        torch.set_num_threads(1)
