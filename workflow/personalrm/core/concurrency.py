"""Calls of models: side by side, none of which is left behind; and how long one may take."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from typing import Any, TypeVar, overload

T = TypeVar("T")
S = TypeVar("S")

LATE_S = 1.0
"""If a timer fires later than this, the event loop stood still (our choice)."""


@overload
async def concurrently(first: Awaitable[T], second: Awaitable[S], /) -> tuple[T, S]: ...
@overload
async def concurrently(*work: Awaitable[T]) -> tuple[T, ...]: ...
async def concurrently(*work: Awaitable[Any]) -> tuple[Any, ...]:
    """Results of coroutines that run side by side, in their order.

    As `asyncio.gather`; but when one fails or the caller is cancelled, the others are cancelled and waited for before
    the first error is raised. `gather` lets them go on, so that they make further calls, and asyncio prints their
    errors when the loop closes.
    """
    tasks = [asyncio.ensure_future(one) for one in work]
    try:
        return tuple(await asyncio.gather(*tasks))
    except BaseException:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        raise


@asynccontextmanager
async def within(seconds: float) -> AsyncIterator[None]:
    """As `asyncio.timeout`, but seconds in which the event loop stood still do not count.

    It stands still while the process is stopped (Ctrl-Z, a cluster that suspends jobs) or waits for a lock. An answer
    that arrived in the meantime is read only afterwards; a timer that is overdue would fire before.
    """
    loop = asyncio.get_running_loop()
    timer: asyncio.TimerHandle

    def check(due: float) -> None:
        nonlocal timer
        late = loop.time() - due
        if late > LATE_S:
            again = loop.time() + min(late, seconds)
            timer = loop.call_at(again, check, again)
        else:
            limit.reschedule(loop.time())

    end = loop.time() + seconds
    timer = loop.call_at(end, check, end)
    try:
        async with asyncio.timeout(None) as limit:
            yield
    finally:
        timer.cancel()
