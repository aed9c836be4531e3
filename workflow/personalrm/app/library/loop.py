"""Coroutines from ordinary code, also where an event loop runs already, as it does in a notebook."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

from anyio.from_thread import start_blocking_portal

T = TypeVar("T")


def run_blocking(make: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Run the coroutine that `make` returns to its end, and return its result or raise its error.

    Where an event loop runs in this thread, it runs in a thread of its own, which ends with it. An interruption
    (Ctrl-C, a notebook's stop button) cancels the coroutine and waits for its clean-up.
    """
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(make())
    whole: Callable[[], Awaitable[T]] = make
    with start_blocking_portal() as portal:
        return portal.call(whole)
