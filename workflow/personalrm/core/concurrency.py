"""Calls of models side by side, none of which is left behind."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Any, TypeVar, overload

T = TypeVar("T")
S = TypeVar("S")


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
