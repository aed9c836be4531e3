"""Torch with one thread: a forked process must not inherit a pool of threads, and the machine is shared."""

from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def one_thread() -> None:
    import torch

    torch.set_num_threads(1)
