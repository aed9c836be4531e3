"""Faults 1 and 11: processes that are killed, and Ctrl-C. Nothing paid for is lost, and the tables are the same."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from support.batch_server import BatchServer
from support.projects import MAIN_TABLE, paid_project
from support.scripted_judge import judge
from support.scripted_server import ScriptedServer

from .conftest import Undisturbed, soon, wait_for_calls

ASKING = """
import asyncio, sys, time
from pathlib import Path
from personalrm.llm.backends.batch.batch_settings import BatchSettings
from personalrm.llm.open import RuntimeSettings, open_model
from personalrm.llm.cache.store import ResponseStore
from personalrm.llm.types import Message, ModelSpec, Request

what, folder, url = sys.argv[1], Path(sys.argv[2]), sys.argv[3]

def fetch(spec):
    (folder / "fetching").touch()
    time.sleep(600)

async def ask(store):
    spec = ModelSpec("m", "embedded" if what == "fetching" else "openai", "m", api_base=url)
    batch = BatchSettings(gather_s=0.05, poll_s=0.05) if what == "polling" else None
    opened = open_model(spec, store=store, runtime=RuntimeSettings(folder, 1), embedded_url=fetch, batch=batch)
    async with opened as port:
        print((await port.complete(Request((Message("user", "hello"),), 8))).text)

with ResponseStore(folder / "store.sqlite") as store:
    asyncio.run(ask(store))
"""
"""One call, of a model that is fetched for ever, of an endpoint, or in a batch."""
VICTIMS = ("worker", "snakemake", "run")
ORDINARY, ALL = 3, 20
"""How many of the random points are tested each time, and how many by `pytest -m full`."""


def points() -> list[object]:
    """Who is killed, and after which share of all calls: random, but the same each time."""
    rng = random.Random(6)
    found: list[object] = []
    for number in range(ALL):
        share, marks = rng.uniform(0.03, 0.9), () if number < ORDINARY else (pytest.mark.full,)
        victim = VICTIMS[number % len(VICTIMS)]
        found.append(pytest.param(victim, share, marks=marks, id=f"{victim} at {share:.0%}"))
    return found


def workers(process: psutil.Process) -> list[psutil.Process]:
    """The stages that are asking the model."""
    children = [child for child in process.children(recursive=True) if child.is_running()]
    return [child for child in children if child.cmdline()[1:3] == ["-m", "personalrm"]]


@pytest.mark.parametrize(("victim", "share"), points())
def test_kill_9_loses_no_answer_and_changes_no_byte(
    folder: Path, undisturbed: Undisturbed, victim: str, share: float
) -> None:
    with ScriptedServer(judge, latency=0.05) as server:
        project = paid_project(folder, server.url)
        process = project.start(MAIN_TABLE)
        wait_for_calls(server, round(share * undisturbed.asked.total()), process)
        children = psutil.Process(process.pid).children(recursive=True)
        if victim == "run":
            os.killpg(process.pid, signal.SIGKILL)
        elif victim == "snakemake":
            process.kill()
        else:
            while not (found := workers(psutil.Process(process.pid))):
                assert process.poll() is None
            found[0].kill()
        if victim == "worker":
            # Snakemake starts the job again, within the same run.
            assert process.wait(timeout=240) == 0
        else:
            process.wait()
            _, alive = psutil.wait_procs(children, timeout=20)
            assert alive == []
            project.snakemake(MAIN_TABLE)
        undisturbed.is_reached(project, server.requests)


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_and_kill_end_within_seconds_and_the_run_goes_on(
    folder: Path, undisturbed: Undisturbed, how: signal.Signals
) -> None:
    with ScriptedServer(judge, latency=0.05) as server:
        project = paid_project(folder, server.url)
        process = project.start(MAIN_TABLE)
        wait_for_calls(server, 30, process)
        children = psutil.Process(process.pid).children(recursive=True)
        # A terminal sends Ctrl-C to all of its processes; `kill` reaches Snakemake, which lets running jobs finish.
        if how is signal.SIGINT:
            os.killpg(process.pid, how)
        else:
            process.send_signal(how)
        # Ctrl-C ends calls in mid-flight; else jobs come to their end.
        process.wait(timeout=soon(5 if how is signal.SIGINT else 20))
        _, alive = psutil.wait_procs(children, timeout=10)
        assert alive == []
        project.snakemake(MAIN_TABLE)
        undisturbed.is_reached(project, server.requests)


@pytest.mark.parametrize("what", ["fetching", "calling", "polling"])
def test_ctrl_c_ends_a_job_at_once_whatever_it_waits_for(tmp_path: Path, what: str) -> None:
    """As all jobs do, on the way that calls go; a batch that was submitted is waited for again."""
    with BatchServer(lambda _: "fine", held=True) as server:
        server.latency = 600
        command = [sys.executable, "-c", ASKING, what, str(tmp_path), server.url]
        job = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        try:
            end = time.monotonic() + 60
            while not ((tmp_path / "fetching").exists() or server.requests or looks(server)):
                assert time.monotonic() < end
                time.sleep(0.02)
            time.sleep(0.2)
            job.send_signal(signal.SIGINT)
            assert job.wait(timeout=soon()) == -signal.SIGINT
        finally:
            job.kill()
            job.wait()
        if what == "polling":
            server.held = False
            again = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
            assert again.stdout == "fine\n"
            assert set(server.submitted.values()) == {1}


def looks(server: BatchServer) -> int:
    """How often batches were looked at, as far as it counts them."""
    return sum(batch.looks for batch in server.batches.values())
