"""Requests and tokens a minute: never more in any window, shared by processes, corrected by what was used."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.ports import SPEC, FakeTime, ScriptedBackend, request
from support.scripted_server import ScriptedServer

from personalrm.core.errors import RateLimited
from personalrm.llm import tokens
from personalrm.llm.cache.store import ResponseStore
from personalrm.llm.client import ModelClient
from personalrm.llm.limits.rate_limit import STALE_S, RateLimit
from personalrm.llm.limits.retry import RetryPolicy
from personalrm.llm.open import RuntimeSettings, open_model
from personalrm.llm.types import ModelSpec

JOB = """
import asyncio, sys
from pathlib import Path
from support.ports import request
from personalrm.llm.open import RuntimeSettings, open_model
from personalrm.llm.cache.store import ResponseStore
from personalrm.llm.types import ModelSpec

async def ask(name, url, store, at_once):
    spec = ModelSpec(name, "openai", "x", api_base=url, requests_per_minute=1220, max_concurrency=int(at_once))
    async with open_model(spec, store=ResponseStore(Path(store)), runtime=RuntimeSettings(Path("rt"), 1)) as port:
        await asyncio.gather(*(port.complete(request(f"{name} {n}")) for n in range(500)))

asyncio.run(ask(*sys.argv[1:]))
"""


def pace_for(path: Path, time: FakeTime, **limits: int) -> RateLimit:
    return RateLimit(ResponseStore(path), replace(SPEC, **limits), clock=lambda: time.now, sleep=time.sleep)  # type: ignore[arg-type]


@settings(max_examples=60, deadline=None)
@given(
    limit=st.integers(1, 90),
    idle=st.lists(st.one_of(st.just(0.0), st.floats(0, 90)), min_size=1, max_size=150),
)
def test_no_window_holds_more_requests_than_the_limit(limit: int, idle: list[float]) -> None:
    """Two jobs in turn, with pauses of any length between their calls."""
    time, sent = FakeTime(), []
    with tempfile.TemporaryDirectory() as folder:
        jobs = [pace_for(Path(folder, "s"), time, requests_per_minute=limit) for _ in range(2)]
        for number, seconds in enumerate(idle):
            time.now += seconds
            asyncio.run(jobs[number % 2].take(1))
            sent.append(time.now)
    for start in sent:
        assert sum(start <= moment < start + 60 - 1e-6 for moment in sent) <= limit


@settings(max_examples=40, deadline=None)
@given(calls=st.lists(st.tuples(st.integers(1, 3000), st.floats(0, 60)), min_size=1, max_size=80))
def test_no_window_holds_more_tokens_than_the_limit_and_one_call(calls: list[tuple[int, float]]) -> None:
    time, sent = FakeTime(), []
    with tempfile.TemporaryDirectory() as folder:
        pace = pace_for(Path(folder, "s"), time, tokens_per_minute=2000)
        for size, seconds in calls:
            time.now += seconds
            asyncio.run(pace.take(size))
            sent.append((time.now, size))
    for start, _ in sent:
        window = [size for moment, size in sent if start <= moment < start + 60 - 1e-6]
        assert sum(window[:-1]) <= 2000


def test_the_limit_is_used(tmp_path: Path) -> None:
    """A step is 61 s / 120, as a burst of a second is added: the last of 300 calls is sent after 299 steps less it."""
    time = FakeTime()
    pace = pace_for(tmp_path / "s", time, requests_per_minute=120)
    begun = time.now
    for _ in range(300):
        asyncio.run(pace.take(9))
    assert time.now - begun == pytest.approx(299 * 61 / 120 - 1, abs=0.01)


def test_tokens_are_corrected_by_what_was_used(tmp_path: Path) -> None:
    """At 0.1 s a token, with a second of burst: after 10 tokens nothing is left to wait for; 71 more are 7.1 s."""
    time = FakeTime()
    pace = pace_for(tmp_path / "s", time, tokens_per_minute=610)

    def waits() -> float:
        before = time.now
        asyncio.run(pace.take(0))
        return time.now - before

    asyncio.run(pace.take(610))
    pace.correct(-600)
    assert waits() == 0.0
    pace.correct(71)
    assert waits() == pytest.approx(7.1)


def test_the_port_estimates_before_and_corrects_after(store: ResponseStore) -> None:
    """Used are 1500 tokens a call; estimated were 2 + 8 of prompt and 50 to generate."""
    taken: list[int] = []
    corrected: list[int] = []

    class Noting(RateLimit):
        async def take(self, tokens: int) -> None:
            taken.append(tokens)

        def correct(self, tokens: int) -> None:
            corrected.append(tokens)

    backend, time = ScriptedBackend([RateLimited("wait"), None]), FakeTime()
    pace = Noting(store, replace(SPEC, tokens_per_minute=1))
    asyncio.run(ModelClient(SPEC, backend, store, rate_limit=pace, retry=time.policy()).complete(request()))
    assert tokens.at_most(request().messages) == 10
    # A retry is a request like any other, and what its failed attempt used is not known.
    assert (taken, corrected) == ([60, 60], [1440])


def test_waiting_for_a_turn_is_not_counted_by_the_deadline(store: ResponseStore) -> None:
    time = FakeTime()
    backend = ScriptedBackend([RateLimited("one"), RateLimited("two")])
    pace = pace_for(store.path, time, requests_per_minute=1)
    retry = RetryPolicy(3, 40.0, time.sleep, lambda: time.now, time.policy().rng)
    begun = time.now
    assert (
        asyncio.run(ModelClient(SPEC, backend, store, rate_limit=pace, retry=retry).complete(request())).text
        == "answer 3"
    )
    assert time.now - begun > 2 * 61 - 2


@pytest.mark.parametrize("left", ["", "[1.0", "far ahead"])
def test_half_a_schedule_and_another_clocks_count_as_none(tmp_path: Path, left: str) -> None:
    time = FakeTime()
    pace = pace_for(tmp_path / "s", time, requests_per_minute=1)
    asyncio.run(pace.take(1))
    with sqlite3.connect(tmp_path / "s") as raw:
        ahead = f"[{time.now + STALE_S + 100}, 0]"
        raw.execute("UPDATE shared SET value = ?", (ahead if left == "far ahead" else left,))
    raw.close()
    before = time.now
    asyncio.run(pace.take(1))
    assert time.now == before
    asyncio.run(pace.take(1))
    assert time.now == pytest.approx(before + 60)


def test_a_model_without_limits_keeps_no_schedule(tmp_path: Path) -> None:
    async def run(url: str, store: ResponseStore) -> None:
        spec = ModelSpec("m", "openai", "x", api_base=url)
        async with open_model(spec, store=store, runtime=RuntimeSettings(tmp_path, 1)) as port:
            await port.complete(request())

    with ScriptedServer(lambda _: "x") as server, ResponseStore(tmp_path / "s") as store:
        asyncio.run(run(server.url, store))
        assert store.peek("limits a minute") == {}


def test_two_processes_keep_one_limit_and_get_equal_shares(tmp_path: Path) -> None:
    """20 calls a second together, though one job has 16 calls in flight and the other 3."""
    arrived: list[tuple[float, str]] = []

    def answer(body: dict[str, Any]) -> str:
        arrived.append((time.monotonic(), body["messages"][0]["content"].split()[0]))
        return "x"

    path = os.pathsep.join([str(Path(__file__).parents[1]), *sys.path])
    with ScriptedServer(answer, latency=0.05) as server:
        jobs = [
            subprocess.Popen(
                [sys.executable, "-c", JOB, name, server.url, str(tmp_path / "s"), at_once],
                env={**os.environ, "PYTHONPATH": path},
                cwd=tmp_path,
            )
            for name, at_once in (("many", "16"), ("few", "3"))
        ]
        try:
            until = time.monotonic() + 25
            while sum(name == "few" for _, name in arrived) < 50 and time.monotonic() < until:
                time.sleep(0.05)
        finally:
            for job in jobs:
                job.kill()
                job.wait()
    names = [name for _, name in arrived]
    first = max(names.index("few"), names.index("many"))
    together = arrived[first:]
    assert len(together) >= 60
    share = sum(name == "few" for _, name in together) / len(together)
    assert 0.4 <= share <= 0.6
    # What a busy machine delays may come with what follows: half a second of tolerance.
    for number, (start, _) in enumerate(arrived):
        for end, _ in arrived[number + 10 :: 10]:
            inside = sum(start <= moment <= end for moment, _ in arrived)
            assert inside <= (end - start + 1.0 + 0.5) * 20 + 1
