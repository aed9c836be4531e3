"""Coroutines from ordinary code, also where an event loop runs already, as it does in a notebook."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from typing import Any, TypeVar

T = TypeVar("T")


def run_blocking(make: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Run the coroutine that `make` returns to its end, and return its result or raise its error.

    Where no loop runs in this thread, in a loop of this thread; else in a thread of its own, which ends with it. An
    interruption (Ctrl-C, a notebook's stop button) cancels the coroutine and waits for its clean-up.
    """
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(make())
    return _run_in_thread(make)


def _run_in_thread(make: Callable[[], Coroutine[Any, Any, T]]) -> T:
    loop = asyncio.new_event_loop()
    done: Future[T] = Future()
    context = contextvars.copy_context()
    task: list[asyncio.Task[T]] = []

    async def whole() -> T:
        current = asyncio.current_task()
        if current is not None:
            task.append(current)
        return await make()

    def work() -> None:
        try:
            with asyncio.Runner(loop_factory=lambda: loop) as runner:
                done.set_result(runner.run(whole(), context=context))
        except BaseException as error:  # noqa: BLE001  (handed to the caller, whatever it is)
            done.set_exception(error)

    thread = threading.Thread(target=work, name="personalrm-call", daemon=True)
    thread.start()
    try:
        return done.result()
    except KeyboardInterrupt:
        if task and not done.done():
            loop.call_soon_threadsafe(task[0].cancel)
        raise
    finally:
        thread.join()
