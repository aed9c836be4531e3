"""Calls in flight: the first alone, more while it goes well, fewer at 429, and all answered in the end."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from support.ports import SPEC, FakeTime, ScriptedBackend, request
from support.scripted_server import Fault, ScriptedServer
from support.virtual_time import VirtualTime

from personalrm.core.errors import ModelCallError, PermanentError, RateLimited, TransientError
from personalrm.llm.cache.store import ResponseStore
from personalrm.llm.client import ModelClient
from personalrm.llm.limits.adaptive_concurrency import START, AdaptiveConcurrency
from personalrm.llm.limits.faults import ModelUnavailable
from personalrm.llm.open import RuntimeSettings, open_model
from personalrm.llm.types import ModelSpec


class Crowd:
    """More calls than any limit allows; those in flight end when, and as, the test says."""

    def __init__(self, flow: AdaptiveConcurrency, calls: int = 500) -> None:
        self.flow = flow
        self.inside: list[asyncio.Future[None]] = []
        self.tasks = [asyncio.create_task(self._call()) for _ in range(calls)]

    async def _call(self) -> None:
        async with self.flow.place():
            ending: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self.inside.append(ending)
            await ending

    async def end(self, error: Exception | None = None, calls: int | None = None) -> int:
        """End all calls in flight, or so many of them, alike; returns how many are in flight then."""
        ending, self.inside = self.inside[:calls], self.inside[calls or len(self.inside) :]
        for future in ending:
            future.set_exception(error) if error else future.set_result(None)
        for _ in range(5):
            await asyncio.sleep(0)
        return len(self.inside)

    async def leave(self) -> None:
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)


async def in_flight(most: int, *endings: Exception | None, eager: bool = False) -> list[int]:
    """Calls in flight at first, and after each round of calls that all end alike."""
    crowd = Crowd(AdaptiveConcurrency("m", most, eager=eager))
    counts = [await crowd.end()] + [await crowd.end(ending) for ending in endings]
    await crowd.leave()
    return counts


LIMITED = RateLimited("429")
COURSES: dict[str, tuple[int, list[Exception | None], list[int]]] = {
    "doubles each round, to the most": (40, [None] * 4, [1, 8, 16, 32, 40]),
    "the most may be below the start": (3, [None, None], [1, 3, 3]),
    "halves once a round, then one more each round": (64, [None, None, LIMITED, None, None], [1, 8, 16, 8, 9, 10]),
    "never fewer than one": (64, [None, *[LIMITED] * 4, None], [1, 8, 4, 2, 1, 1, 2]),
    "the first call may be limited": (64, [LIMITED], [1, 4]),
    "other failures change nothing": (64, [TransientError("x"), PermanentError("y")], [1, 8, 8]),
    "a refusal for good opens nothing": (64, [ModelUnavailable("401")] * 2, [1, 1, 1]),
}


@pytest.mark.parametrize("name", COURSES)
def test_places_follow_how_calls_end(name: str) -> None:
    most, endings, expected = COURSES[name]
    assert asyncio.run(in_flight(most, *endings)) == expected


def test_an_eager_flow_begins_with_all_its_places_and_halves_as_any() -> None:
    assert asyncio.run(in_flight(24, None, LIMITED, None, eager=True)) == [24, 24, 12, 13]


def test_late_429_of_one_round_halve_once() -> None:
    async def run() -> list[int]:
        crowd = Crowd(AdaptiveConcurrency("m", 64))
        for ending in (None, None, None):
            await crowd.end(ending)
        counts = [len(crowd.inside), await crowd.end(LIMITED, calls=1), await crowd.end(LIMITED)]
        await crowd.leave()
        return counts

    # 16 in flight; one ends: 15 are more than 8, so none is let in; the others ended with the same round.
    assert asyncio.run(run()) == [16, 15, 8]


def test_places_that_are_not_used_are_not_added() -> None:
    async def run() -> int:
        flow = AdaptiveConcurrency("m", 64)
        for _ in range(100):
            async with flow.place():
                pass
        return flow.limit

    assert asyncio.run(run()) == START


def complete_all(spec: ModelSpec, folder: Path, calls: int, jobs: int = 1) -> list[str]:
    """Texts, or messages of the errors, of jobs side by side on one store."""

    async def job(name: int, store: ResponseStore) -> list[str]:
        async with open_model(spec, store=store, runtime=RuntimeSettings(folder, 1)) as port:
            asked = (port.complete(request(f"{name} {n}")) for n in range(calls))
            results = await asyncio.gather(*asked, return_exceptions=True)
        assert all(isinstance(result, ModelCallError) or hasattr(result, "text") for result in results), results
        return [getattr(result, "text", str(result)) for result in results]

    async def run() -> list[str]:
        with ResponseStore(folder / "s.sqlite") as store:
            done = await asyncio.gather(*(job(name, store) for name in range(jobs)))
        return [text for texts in done for text in texts]

    return asyncio.run(run())


def echo(body: dict[str, Any]) -> str:
    return "to " + str(body["messages"][0]["content"])


def test_a_good_server_gets_all_that_is_allowed(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "personalrm.llm"), ScriptedServer(echo, latency=0.5) as server:
        spec = ModelSpec("m", "openai", "x", api_base=server.url, max_concurrency=24)
        assert complete_all(spec, tmp_path, 150) == [f"to 0 {n}" for n in range(150)]
        assert server.most_in_flight == 24
    lines = [record.getMessage() for record in caplog.records if "at once" in record.getMessage()]
    assert lines == ["model m: up to 16 calls at once", "model m: up to 24 calls at once"]


@pytest.mark.parametrize("seed", range(20))
def test_a_server_that_bears_twelve_is_asked_about_twelve(seed: int) -> None:
    """After 100 requests fewer than one in ten is answered by 429, and the server is kept busy. In virtual time."""
    flow, generator, loop = AdaptiveConcurrency("m", 64), random.Random(seed), VirtualTime()
    inside: list[object] = []
    busy: list[int] = []

    async def call() -> None:
        async with flow.place():
            busy.append(len(inside) + 1)
            if busy[-1] > 12:
                await asyncio.sleep(0.002)
                raise RateLimited("slow down")
            inside.append(me := object())
            await asyncio.sleep(generator.uniform(0.01, 0.03))
            inside.remove(me)

    async def answered() -> None:
        while True:
            with suppress(RateLimited):
                return await call()
            await asyncio.sleep(0.05)

    async def all_answered() -> None:
        await asyncio.gather(*(answered() for _ in range(600)))

    loop.run_until_complete(all_answered())
    loop.close()
    after = busy[100:]
    assert sum(count > 12 for count in after) / len(after) < 0.1
    assert sum(after) / len(after) > 6


def test_all_is_answered_by_a_server_that_bears_twelve(tmp_path: Path) -> None:
    """A server counts an answer as in flight until all of it is sent: who is refused depends on the machine, too."""
    busy: list[int] = []

    def fault(number: int, body: dict[str, Any]) -> Fault | None:
        busy.append(server.in_flight)
        return Fault("rate_limit", retry_after="0.05") if server.in_flight > 12 else None

    server = ScriptedServer(echo, faults=fault, latency=0.02)
    with server:
        spec = ModelSpec("m", "openai", "x", api_base=server.url, max_concurrency=64)
        assert complete_all(spec, tmp_path, 600) == [f"to 0 {n}" for n in range(600)]
    assert sum(busy[100:]) / len(busy[100:]) > 3


def test_a_dead_provider_is_not_found_out_one_call_after_another(store: ResponseStore) -> None:
    backend = ScriptedBackend([TransientError("dead")] * 100, delay=0.01)
    port = ModelClient(SPEC, backend, store, max_concurrency=32, retry=FakeTime().policy())

    async def run() -> None:
        await asyncio.gather(*(port.complete(request(str(n))) for n in range(32)), return_exceptions=True)

    asyncio.run(run())
    assert backend.most == START


def test_several_jobs_make_no_more_calls_than_they_are_when_the_key_is_refused(tmp_path: Path, canary: str) -> None:
    with ScriptedServer(echo, api_key="other", latency=0.1) as server:
        spec = ModelSpec("m", "openai", "x", api_base=server.url, api_key_env="SCRIPTED_API_KEY", max_concurrency=16)
        messages = complete_all(spec, tmp_path, 30, jobs=5)
        assert 1 <= server.count <= 5
    assert len(set(messages)) == 1


def test_429_that_do_not_depend_on_load_do_not_make_a_job_crawl(tmp_path: Path) -> None:
    """40 % of all calls get a plain 429, whatever is in flight, so that 1.7 times as many are sent."""
    rng = random.Random(4)
    seconds = {}
    for share in (0.0, 0.4):
        folder = tmp_path / str(share)
        folder.mkdir()

        def fault(number: int, body: dict[str, Any], share: float = share) -> Fault | None:
            return Fault("rate_limit") if rng.random() < share else None

        with ScriptedServer(echo, faults=fault, latency=0.3) as server:
            spec = ModelSpec("m", "openai", "x", api_base=server.url, max_concurrency=16)
            begun = time.monotonic()
            assert complete_all(spec, folder, 200) == [f"to 0 {n}" for n in range(200)]
            seconds[share] = time.monotonic() - begun
    assert seconds[0.4] <= 2.5 * seconds[0.0], seconds


def gone(error: Exception, calls: int, most: int = 32) -> tuple[ScriptedBackend, list[Any], FakeTime]:
    """What becomes of many calls to a provider that answers three and then none."""
    backend, clock = ScriptedBackend([None] * 3 + [error] * 100_000, delay=0.001), FakeTime()
    spec = replace(SPEC, max_attempts=6, deadline_s=300.0)

    async def run() -> list[Any]:
        with ResponseStore(":memory:") as store:
            port = ModelClient(spec, backend, store, max_concurrency=most, retry=clock.policy(spec))
            asked = (port.complete(request(str(n))) for n in range(calls))
            return list(await asyncio.gather(*asked, return_exceptions=True))

    return backend, asyncio.run(run()), clock


@pytest.mark.parametrize("error", [TransientError("502"), RateLimited("429"), RateLimited("429", retry_after=2.0)])
def test_a_provider_that_is_gone_gets_some_tens_of_calls_and_ends_the_job(error: Exception) -> None:
    backend, found, _ = gone(error, 1000)
    assert backend.calls < 100
    failed = [one for one in found if isinstance(one, Exception)]
    assert len(failed) == 997
    assert {str(one) for one in failed if isinstance(one, ModelUnavailable)} == {str(failed[-1])}
    assert "calls in a row failed" in str(failed[-1])
    assert "run the same command again" in str(failed[-1])


def test_a_provider_that_comes_back_within_the_attempts_costs_no_answer() -> None:
    backend, clock = ScriptedBackend([None] * 3 + [TransientError("502")] * 24, delay=0.001), FakeTime()
    spec = replace(SPEC, max_attempts=30, deadline_s=900.0)

    async def run() -> list[str]:
        with ResponseStore(":memory:") as store:
            port = ModelClient(spec, backend, store, max_concurrency=32, retry=clock.policy(spec))
            return [
                answer.text for answer in await asyncio.gather(*(port.complete(request(str(n))) for n in range(60)))
            ]

    assert len(asyncio.run(run())) == 60
    # It was asked one call at a time meanwhile, with pauses.
    assert max(clock.waits) > 10
