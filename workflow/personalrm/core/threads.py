"""Blocking code next to a running event loop."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

T = TypeVar("T")


async def beside(work: Callable[[], T]) -> T:
    """Run `work` in a thread, and return its result or raise its error.

    Unlike the threads of `asyncio.to_thread`, this one is not waited for: Ctrl-C ends the process at once, also while
    a model of a gigabyte is fetched or loaded.
    """
    done: Future[T] = Future()
    # A cancelled waiter must not cancel work that the thread is still doing.
    done.set_running_or_notify_cancel()

    def run() -> None:
        try:
            done.set_result(work())
        except BaseException as error:  # noqa: BLE001  (handed to the caller, whatever it is)
            done.set_exception(error)

    threading.Thread(target=run, name="personalrm-beside", daemon=True).start()
    return await asyncio.wrap_future(done)
