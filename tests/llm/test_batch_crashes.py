"""Jobs that die at any moment, and jobs side by side: each request is submitted once."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from support.batch_server import Batch, BatchServer, Event
from support.batches import QUICK, asked, complete, journals, records, spec_for

from personalrm.core.errors import StoreError, TransientError
from personalrm.llm.backends.batch.batch import BatchBackend
from personalrm.llm.cache.key import request_key
from personalrm.llm.cache.store import ResponseStore
from personalrm.llm.types import ModelSpec, Request, Response

JOB = """
import json, sys
from personalrm.llm.cache.store import ResponseStore
from personalrm.llm.types import ModelSpec
from support.batches import asked, complete
url, path, first, last = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
spec = ModelSpec("tester", "openai", "openai/m", api_base=url, timeout_s=10.0, price_in=2.0, price_out=4.0)
with ResponseStore(path, run="r") as store:
    found, _ = complete(spec, store, asked(last)[first:])
print(json.dumps([one.text for one in found]))
"""


def echo(body: dict[str, list[dict[str, str]]]) -> str:
    return f"answer {body['messages'][0]['content'].split()[1]}"


def expected(first: int, last: int) -> list[str]:
    return [f"answer {number}" for number in range(first, last)]


def start(server: BatchServer, store: Path, first: int, last: int) -> subprocess.Popen[str]:
    """A job that asks the questions from `first` to `last`, in a process of its own."""
    path = os.pathsep.join([str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", "")])
    arguments = [server.url, str(store), str(first), str(last)]
    return subprocess.Popen(
        [sys.executable, "-c", JOB, *arguments],
        env={**os.environ, "PYTHONPATH": path},
        stdout=subprocess.PIPE,
        text=True,
    )


def wait_for(condition: Callable[[], object]) -> None:
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


@pytest.mark.parametrize("event", ["upload", "create", "created", "look", "content"])
def test_kill_9_at_any_moment_then_the_same_job_again(store: ResponseStore, event: Event) -> None:
    jobs: list[subprocess.Popen[str]] = []
    pending = {event}

    def kill(now: Event) -> bool:
        if now not in pending:
            return False
        pending.clear()
        jobs[0].kill()
        jobs[0].wait()
        return True

    with BatchServer(echo, cut=kill) as server:  # type: ignore[arg-type]
        jobs.append(start(server, store.path, 0, 4))
        assert jobs[0].wait(60) == -9
        # It asks for more now: those that are under way are not sent with the new ones.
        found, _ = complete(spec_for(server), store, asked(6))
        assert [one.text for one in found if isinstance(one, Response)] == expected(0, 6)
        assert len(server.submitted) == 6
        assert set(server.submitted.values()) == {1}
        assert records(store) == []


def test_a_batch_whose_making_was_not_answered_is_found_among_others(store: ResponseStore) -> None:
    def cut(event: Event) -> bool:
        if event != "created" or len(server.batches) > 1:
            return False
        for name in ("newer", "newest"):
            server.batches[name] = Batch(name, "file-0", {}, [], "completed")
        return True

    with BatchServer(echo, cut=cut) as server:  # type: ignore[arg-type]
        found, stats = complete(spec_for(server), store, asked(3))
        assert [one.text for one in found if isinstance(one, Response)] == expected(0, 3)
        assert (set(server.submitted.values()), stats.attempts) == ({1}, 6)


def test_a_batch_that_appears_late_is_not_made_twice(store: ResponseStore) -> None:
    hidden: dict[str, Batch] = {}
    with BatchServer(echo, held=True) as server:  # type: ignore[arg-type]
        complete(spec_for(server), store, asked(2), QUICK.model_copy(update={"max_wait_h": 0.3 / 3600}))
        # As a job leaves it that died before it heard the batch's id, at a provider whose list is late.
        (journal,) = journals(store)
        with store.shared(journal) as kept:
            (record,) = kept.values()
            record["batch"] = ""
        hidden.update(server.batches)
        server.batches.clear()
        server.held = False
        asyncio.run(_later(lambda: server.batches.update(hidden), spec_for(server), store))
        assert set(server.submitted.values()) == {1}


async def _later(appear: Callable[[], None], spec: ModelSpec, store: ResponseStore) -> None:
    backend = BatchBackend(spec, QUICK.model_copy(update={"settle_s": 1.0}), store)
    asyncio.get_running_loop().call_later(0.6, appear)
    try:
        assert (await backend.call(asked(2)[1])).text == "answer 1"
    finally:
        await backend.aclose()


def test_two_jobs_at_once_submit_each_request_once(store: ResponseStore) -> None:
    def slow(event: Event) -> bool:
        if event == "upload" and not server.batches:
            time.sleep(3)  # The other one is at the same point by now, if nothing keeps it back.
        return False

    with BatchServer(echo, cut=slow) as server:  # type: ignore[arg-type]
        jobs = [start(server, store.path, 0, 10), start(server, store.path, 5, 15)]
        outputs = [job.communicate(timeout=60)[0] for job in jobs]
        assert [json.loads(output) for output in outputs] == [expected(0, 10), expected(5, 15)]
        assert len(server.submitted) == 15
        assert set(server.submitted.values()) == {1}


def test_a_job_waits_for_the_batch_of_another_that_lives(store: ResponseStore) -> None:
    with BatchServer(echo, held=True) as server:  # type: ignore[arg-type]
        job = start(server, store.path, 0, 3)
        wait_for(lambda: any(record["batch"] for record in records(store)))
        found, _ = complete(spec_for(server), store, asked(3), QUICK.model_copy(update={"max_wait_h": 0.4 / 3600}))
        assert all(isinstance(one, TransientError) for one in found)
        server.held = False
        assert json.loads(job.communicate(timeout=60)[0]) == expected(0, 3)
        assert (len(server.batches), set(server.submitted.values())) == (1, {1})


def call_all(spec: ModelSpec, store: ResponseStore, requests: list[Request]) -> list[Response]:
    """Answers of the backend alone: nobody stores them."""

    async def run() -> list[Response]:
        backend = BatchBackend(spec, QUICK, store)
        try:
            return list(await asyncio.gather(*map(backend.call, requests)))
        finally:
            await backend.aclose()
            await backend.aclose()

    return asyncio.run(run())


def test_answers_that_were_fetched_and_not_stored_are_fetched_again(store: ResponseStore) -> None:
    with BatchServer(echo) as server:  # type: ignore[arg-type]
        spec = spec_for(server)
        first = call_all(spec, store, asked(3))
        assert [record["ended"] for record in records(store)] == [True]
        assert call_all(spec, store, asked(3)[1:]) == first[1:]
        for number, request in enumerate(asked(3)):
            assert len(records(store)) == 1
            store.put(request_key(spec.identity, request), spec.identity, first[number])
            call_all(spec, store, [])
        assert (records(store), len(server.batches)) == ([], 1)


def test_an_answer_that_another_job_stored_meanwhile_is_not_asked_for(store: ResponseStore) -> None:
    with BatchServer(echo) as server:  # type: ignore[arg-type]
        spec, (request,) = spec_for(server), asked(1)
        complete(spec, store, [request])
        (found,) = call_all(spec, store, [request])
        # It costs nothing a second time.
        assert (found.text, found.cost_usd, len(server.batches)) == ("answer 0", 0.0, 1)


def test_a_store_that_cannot_be_written_stops_the_job_before_the_batch_is_made(store: ResponseStore) -> None:
    with BatchServer(echo) as server:  # type: ignore[arg-type]
        store._query("PRAGMA query_only = ON")
        found, _ = complete(spec_for(server), store, asked(2))
        assert all(isinstance(one, StoreError) and "cannot be written" in str(one) for one in found)
        assert len(server.batches) == 0


def test_a_lock_that_cannot_be_made_is_named_and_nothing_is_sent(store: ResponseStore) -> None:
    with BatchServer(echo) as server:  # type: ignore[arg-type]
        folder = Path(f"{store.path}.batches")
        folder.write_text("in the way", encoding="utf-8")
        found, _ = complete(spec_for(server), store, asked(2))
        assert all(isinstance(one, StoreError) and str(folder) in str(one) for one in found), found
        assert len(server.batches) == 0
