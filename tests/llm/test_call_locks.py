"""Calls in flight are shared by the processes on one store: one makes a call, the others wait for its answer."""

from __future__ import annotations

import asyncio
import errno
import json
import logging
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from support.ports import SPEC, FakeTime, ScriptedBackend, request
from support.scripted_server import Fault, ScriptedServer

from personalrm.core.errors import BudgetExceeded, PermanentError
from personalrm.llm import client as port_module
from personalrm.llm.cache import store_locks
from personalrm.llm.cache.store import ResponseStore
from personalrm.llm.cache.store_locks import CallLocks
from personalrm.llm.client import ModelClient
from personalrm.llm.limits.budget import Budget
from personalrm.llm.limits.faults import ModelUnavailable
from personalrm.llm.types import Response

CLIENT = """
import asyncio, json, sys, time
from pathlib import Path
from personalrm.core.errors import ModelCallError
from personalrm.llm.open import RuntimeSettings, open_model
from personalrm.llm.cache.store import ResponseStore
from personalrm.llm.types import Message, ModelSpec, Request
store, url, journal, count, usd = sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4]), float(sys.argv[5])

async def ask(port, number):
    try:
        return (await port.complete(Request((Message("user", f"question {number}"),), 16))).text
    except ModelCallError as error:
        return type(error).__name__

async def main():
    from personalrm.llm.limits.budget import Budget
    spec = ModelSpec("m", "openai", "x", api_base=url, max_concurrency=60, timeout_s=60, max_attempts=1,
                     price_in=1.0, price_out=1.0)
    with ResponseStore(store, journal, run="r") as opened:
        budget = Budget(opened, spec, usd) if usd else None
        async with open_model(spec, store=opened, runtime=RuntimeSettings(Path(store).parent, 1), budget=budget,
                              eager=True) as port:
            print("ready", flush=True)
            sys.stdin.readline()
            print(json.dumps(await asyncio.gather(*(ask(port, n) for n in range(count)))), flush=True)

asyncio.run(main())
"""


@pytest.fixture
def locks(store: ResponseStore) -> CallLocks:
    return CallLocks(store.path)


class Client:
    """A process that asks `count` questions when it is told to."""

    def __init__(self, store: Path, url: str, *, journal: str = "wal", count: int = 50, usd: float = 0.0) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", CLIENT, str(store), url, journal, str(count), str(usd)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == "ready\n"

    def go(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()

    def answers(self) -> list[str]:
        out, _ = self.process.communicate(timeout=60)
        found: list[str] = json.loads(out)
        return found


def asked(server: ScriptedServer) -> Counter[str]:
    return Counter(body["messages"][0]["content"] for body in server.requests)


def within(seconds: float, true: Callable[[], bool]) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end
        time.sleep(0.02)


@pytest.mark.parametrize("journal", ["wal", "delete"])
def test_two_processes_that_ask_the_same_at_once_make_each_call_once(tmp_path: Path, journal: str) -> None:
    path = tmp_path / "s.sqlite"
    with ScriptedServer(lambda body: "to " + body["messages"][0]["content"], latency=1.0) as server:
        clients = [Client(path, server.url, journal=journal) for _ in range(2)]
        for client in clients:
            client.go()
        answers = [client.answers() for client in clients]
        assert set(asked(server).values()) == {1}
        assert server.count == 50
    assert answers[0] == answers[1] == [f"to question {n}" for n in range(50)]
    with ResponseStore(path) as store:
        assert store.paid_totals("r")[f"x@ at {server.url}"].calls == 50


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_a_process_that_ends_with_calls_in_flight_leaves_them_to_the_other(tmp_path: Path, how: int) -> None:
    stall = Fault("stall", seconds=600)
    with ScriptedServer(lambda _: "fine", faults=[stall] * 50) as server:
        first, second = (Client(tmp_path / "s.sqlite", server.url) for _ in range(2))
        first.go()
        within(20, lambda: server.count == 50)
        second.go()
        time.sleep(0.5)
        assert server.count == 50, "the second waits"
        first.process.send_signal(how)
        first.process.wait(20)
        begun = time.monotonic()
        assert second.answers() == ["fine"] * 50
        # No lock has to expire.
        assert time.monotonic() - begun < 15
        assert set(asked(server).values()) == {2}


def test_a_call_that_fails_is_tried_by_who_waited_for_it(tmp_path: Path) -> None:
    # Two in three calls fail for good, whoever makes them first.
    seen: set[str] = set()

    def fault(_: int, body: dict[str, list[dict[str, str]]]) -> Fault | None:
        text = body["messages"][0]["content"]
        first = text not in seen
        seen.add(text)
        return Fault("status", 405) if first and int(text.split()[1]) % 3 else None

    with ScriptedServer(lambda _: "fine", faults=fault, latency=0.5) as server:
        clients = [Client(tmp_path / "s.sqlite", server.url, count=30) for _ in range(2)]
        for client in clients:
            client.go()
        answers = [client.answers() for client in clients]
        counts = asked(server)
    for number in range(30):
        told = {answer[number] for answer in answers}
        assert told == ({"fine"} if number % 3 == 0 else {"fine", "PermanentError"})
        assert counts[f"question {number}"] == (1 if number % 3 == 0 else 2)


def test_a_budget_holds_for_processes_that_wait_for_each_other(tmp_path: Path) -> None:
    with ScriptedServer(lambda _: "fine", latency=0.3) as server:
        # Enough for 50 calls, with room for what is set aside for those in flight; not for 100.
        clients = [Client(tmp_path / "s.sqlite", server.url, usd=0.004) for _ in range(2)]
        for client in clients:
            client.go()
        assert [client.answers() for client in clients] == [["fine"] * 50] * 2
        assert server.count == 50


def port_of(store: ResponseStore, backend: ScriptedBackend, **options: object) -> ModelClient:
    return ModelClient(SPEC, backend, store, locks=CallLocks(store.path), **options)  # type: ignore[arg-type]


def test_two_ports_of_one_process_share_a_call(store: ResponseStore) -> None:
    backends = [ScriptedBackend(delay=0.2), ScriptedBackend(delay=0.2)]

    async def run() -> list[Response]:
        ports = [port_of(store, backend) for backend in backends]
        answers = await asyncio.gather(*(port.complete(request()) for port in ports))
        assert [port.stats.joined for port in ports] == [0, 1]
        return list(answers)

    one, other = asyncio.run(run())
    assert one == other
    assert sum(backend.calls for backend in backends) == 1


def test_who_waits_keeps_no_place_from_others(store: ResponseStore, locks: CallLocks) -> None:
    backend = ScriptedBackend()

    async def run() -> None:
        port = port_of(store, backend, max_concurrency=1)
        with locks.held(port_key(port)) as mine:
            assert mine
            waiting = asyncio.create_task(port.complete(request()))
            await asyncio.sleep(0.05)
            assert (await asyncio.wait_for(port.complete(request("another")), 5)).text == "answer 1"
            assert not waiting.done()
        assert (await asyncio.wait_for(waiting, 5)).text == "answer 2"

    asyncio.run(run())


def test_who_waits_spends_no_budget(store: ResponseStore, locks: CallLocks) -> None:
    backend = ScriptedBackend()
    budget = Budget(store, SPEC, 0.003)

    async def run() -> None:
        port = port_of(store, backend, budget=budget)
        with locks.held(port_key(port)):
            waiting = asyncio.create_task(port.complete(request()))
            await asyncio.sleep(0.05)
            # Both calls do not fit: that one which waits for another process must not hold what this one needs.
            await asyncio.wait_for(port.complete(request("another")), 5)
        with pytest.raises(BudgetExceeded):
            await waiting

    asyncio.run(run())


def test_who_waits_ends_when_the_door_is_closed(store: ResponseStore, locks: CallLocks) -> None:
    backend = ScriptedBackend([ModelUnavailable("401: check KEY")])

    async def run() -> None:
        port = port_of(store, backend)
        with locks.held(port_key(port)):
            waiting = asyncio.create_task(port.complete(request()))
            await asyncio.sleep(0.05)
            with pytest.raises(ModelUnavailable):
                await port.complete(request("another"))
            with pytest.raises(ModelUnavailable, match="401: check KEY"):
                await asyncio.wait_for(waiting, 5)

    asyncio.run(run())
    assert backend.calls == 1


def test_an_answer_that_was_stored_while_a_request_queued_is_not_asked_again(store: ResponseStore) -> None:
    slow, other = ScriptedBackend(delay=0.1), ScriptedBackend()

    async def run() -> None:
        port = port_of(store, slow, max_concurrency=1)
        queued = [asyncio.create_task(port.complete(request(text))) for text in ("before", "same")]
        await asyncio.sleep(0.02)
        await port_of(store, other).complete(request("same"))
        await asyncio.gather(*queued)

    asyncio.run(run())
    assert (slow.calls, other.calls) == (1, 1)


def test_a_failed_and_a_cancelled_call_leave_no_lock(store: ResponseStore, locks: CallLocks) -> None:
    backend = ScriptedBackend([PermanentError("no")], delay=0.05)
    port = port_of(store, backend, retry=FakeTime().policy())
    key = port_key(port)

    async def run() -> None:
        with pytest.raises(PermanentError):
            await port.complete(request())
        with locks.held(key) as free:
            assert free
        task = asyncio.create_task(port.complete(request()))
        await asyncio.sleep(0.01)
        with locks.held(key) as free:
            assert not free
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        # The call is under way, and paid for.
        with locks.held(key) as free:
            assert not free
        await asyncio.sleep(0.1)
        with locks.held(key) as free:
            assert free

    asyncio.run(run())


def test_without_locks_of_files_calls_are_made_and_a_warning_says_so_once(
    store: ResponseStore, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(store_locks, "_set", refuse)
    backend = ScriptedBackend()

    async def run() -> None:
        port = port_of(store, backend)
        await asyncio.gather(*(port.complete(request(str(n))) for n in range(5)))

    with caplog.at_level(logging.WARNING, "personalrm.llm"):
        asyncio.run(run())
    assert backend.calls == 5
    (message,) = [record.getMessage() for record in caplog.records]
    assert "s.sqlite.calls cannot be locked (No locks available)" in message


def test_processes_exclude_each_other_where_locks_are_of_a_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on systems without locks of an open file."""
    monkeypatch.setattr(store_locks, "_SET_OF_OPEN_FILE", None)
    store = tmp_path / "s.sqlite"
    hold = (
        "import sys; from pathlib import Path; from personalrm.llm.cache.store_locks import CallLocks\n"
        "with CallLocks(Path(sys.argv[1])).held(sys.argv[2]) as mine: print(mine, flush=True); sys.stdin.readline()"
    )
    holder = subprocess.Popen(
        [sys.executable, "-c", hold, str(store), "a" * 64], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == "True\n"
    locks = CallLocks(store)
    with locks.held("a" * 64) as mine, locks.held("b" * 64) as another:
        assert (mine, another) == (False, True)
    holder.kill()
    holder.wait()
    with locks.held("a" * 64) as mine:
        assert mine


def test_locks_are_closed_with_the_port_and_nothing_is_written(store: ResponseStore) -> None:
    port = port_of(store, ScriptedBackend())

    async def run() -> None:
        await port.complete(request())
        await port.aclose()
        await port.aclose()

    asyncio.run(run())
    assert store.path.with_name("s.sqlite.calls").read_bytes() == b""


def port_key(port: ModelClient, text: str = "hello") -> str:
    return port_module.request_key(port.spec.identity, request(text))


def test_locks_that_this_user_may_not_open_count_as_free_and_not_as_held(
    store: ResponseStore, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(*_: object) -> int:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(store_locks.os, "open", refuse)
    with CallLocks(store.path).held("a" * 64) as mine:
        assert mine
    assert "s.sqlite.calls cannot be locked (Permission denied)" in caplog.text


def test_who_can_write_the_store_can_lock_its_calls(store: ResponseStore) -> None:
    store.path.chmod(0o666)
    with CallLocks(store.path).held("a" * 64) as mine:
        assert mine
    assert store.path.with_name("s.sqlite.calls").stat().st_mode & 0o777 == 0o666
