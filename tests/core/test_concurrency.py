"""Coroutines side by side: results in order, and nothing goes on after a failure; and how long a block may take."""

from __future__ import annotations

import asyncio
import threading
import time

import pytest

from personalrm.core import concurrency
from personalrm.core.concurrency import concurrently, within


async def _late(seconds: float, value: str, ended: list[str]) -> str:
    try:
        await asyncio.sleep(seconds)
        ended.append(f"{value} done")
    except asyncio.CancelledError:
        # What is cleaned up is waited for.
        await asyncio.sleep(0)
        ended.append(f"{value} cancelled")
        raise
    return value


async def _fails(message: str) -> str:
    await asyncio.sleep(0)
    raise ValueError(message)


def test_results_stand_in_the_order_of_the_work() -> None:
    ended: list[str] = []

    async def work() -> tuple[str, ...]:
        return await concurrently(_late(0.05, "a", ended), _late(0, "b", ended), _late(0.02, "c", ended))

    assert asyncio.run(work()) == ("a", "b", "c")
    assert ended == ["b done", "c done", "a done"]


@pytest.mark.parametrize("inside", [1, 2])
def test_the_first_error_is_raised_when_the_others_are_cancelled(inside: int, caplog: pytest.LogCaptureFixture) -> None:
    ended: list[str] = []

    async def work() -> None:
        names = "ab"[:inside]
        others = concurrently(*(_late(60, name, ended) for name in names))
        with pytest.raises(ValueError, match="first"):
            await concurrently(others, _fails("first"), _fails("second"))
        assert ended == [f"{name} cancelled" for name in names]

    asyncio.run(work())
    assert not caplog.records


def test_a_cancelled_caller_leaves_nothing_behind() -> None:
    ended: list[str] = []

    async def work() -> None:
        task = asyncio.create_task(concurrently(_late(60, "a", ended), _late(60, "b", ended)))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert ended == ["a cancelled", "b cancelled"]

    asyncio.run(work())


def test_a_block_ends_at_its_limit() -> None:
    async def work() -> None:
        begun = time.monotonic()
        with pytest.raises(TimeoutError):
            async with within(0.2):
                await asyncio.sleep(60)
        assert 0.2 <= time.monotonic() - begun < 5
        async with within(0.2):
            await asyncio.sleep(0)
        # No timer is left behind.
        await asyncio.sleep(0.3)

    asyncio.run(work())


@pytest.mark.parametrize("arrives", [True, False])
def test_what_arrives_while_the_loop_stands_still_is_in_time(arrives: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(concurrency, "LATE_S", 0.1)

    async def work() -> str:
        loop = asyncio.get_running_loop()
        answer = loop.create_future()
        if arrives:
            threading.Timer(0.3, loop.call_soon_threadsafe, (answer.set_result, "answer")).start()
        loop.call_soon(time.sleep, 0.6)
        async with within(0.2):
            return str(await answer)

    if arrives:
        assert asyncio.run(work()) == "answer"
    else:
        begun = time.monotonic()
        with pytest.raises(TimeoutError):
            asyncio.run(work())
        assert time.monotonic() - begun < 5
