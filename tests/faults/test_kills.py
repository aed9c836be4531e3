"""Faults 1 and 11: processes that are killed, and Ctrl-C. Nothing paid for is lost, and the tables are the same."""

from __future__ import annotations

import os
import random
import signal
from pathlib import Path

import psutil
import pytest
from support.projects import MAIN_TABLE, paid_project
from support.scripted_judge import judge
from support.scripted_server import ScriptedServer

from .conftest import Undisturbed, wait_for_calls

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
        process.wait(timeout=25)  # bar: 5 s on a quiet machine
        _, alive = psutil.wait_procs(children, timeout=10)
        assert alive == []
        project.snakemake(MAIN_TABLE)
        undisturbed.is_reached(project, server.requests)
