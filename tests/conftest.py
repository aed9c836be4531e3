"""Shared fixtures. Tests run from the root of a checkout; they write below pytest's temporary folders only."""

from __future__ import annotations

import gc
import signal
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# Tests share helpers (tests/support); this is the one place that makes them importable.
sys.path.insert(0, str(Path(__file__).parent))

# Generating inputs is slow where the machine is busy with something else; that says nothing of the code. Each run has
# the same examples; `--hypothesis-profile full` draws more of them anew, and prints how a failing one is made again.
ANY_MACHINE = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow]}
settings.register_profile("test", max_examples=50, derandomize=True, **ANY_MACHINE)
settings.register_profile("full", max_examples=300, print_blob=True, **ANY_MACHINE)
settings.load_profile("test")

# What is imported for all tests stays to the end: no garbage collection goes through it.
gc.disable()

# A shell that starts pytest in the background has it ignore Ctrl-C, and so all processes that the tests start.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

LONG = ("reference", "workflow", "faults")
"""Folders whose tests run whole workflows."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Long tests first: at the end short ones are left, which the processes of pytest-xdist share evenly."""
    folders = [item.path.relative_to(Path(__file__).parent).parts[0] for item in items]
    places = [LONG.index(folder) if folder in LONG else len(LONG) for folder in folders]
    items[:] = [item for _, item in sorted(zip(places, items, strict=True), key=lambda placed: placed[0])]


def pytest_collection_finish() -> None:
    """From here on objects come and go."""
    gc.freeze()
    gc.enable()
