"""Fault 1, the embedded server alone: it is killed while Snakemake and its jobs live.

Answers of an embedded model may differ a little with the state of its prefix cache (README, Limits), which a killed
server loses. So tables are not compared with those of another run, but with what the stored answers give: each was
asked for once, none changed, and the tables follow from them.
"""

from __future__ import annotations

import os
import random
import signal
import sqlite3
import subprocess
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import psutil
import pytest
from support.projects import Project, embedded_project, server_pids

from personalrm.llm.cache.store import ResponseStore

from .conftest import soon

pytestmark = pytest.mark.embedded

TABLE = "results/real/tables/main.csv"
CALLS = 25
"""Of a whole run, at least; how many it takes hangs on the answers."""
POINTS = [random.Random(number).randrange(2, CALLS) for number in range(4)]
SERVER = "personalrm.llm.local.server"


def store(project: Project) -> Path:
    return project.folder / "store" / "responses.sqlite"


def answers(project: Project) -> dict[str, str]:
    """What is stored now, by key."""
    if not store(project).exists():
        return {}
    with closing(sqlite3.connect(store(project))) as connection:
        try:
            return dict(connection.execute("SELECT key, payload FROM responses"))
        except sqlite3.OperationalError:
            return {}  # its tables are about to be made


def wait(process: subprocess.Popen[bytes], until: Callable[[], object]) -> None:
    end = time.monotonic() + 240
    while not until():
        assert process.poll() is None, "the run ended before it could be disturbed"
        assert time.monotonic() < end
        time.sleep(0.02)


def servers(project: Project) -> list[psutil.Process]:
    """Server processes of the run, ready or not."""
    own = str(project.folder)
    found = []
    for process in psutil.process_iter(["cmdline"]):
        command = process.info["cmdline"] or []
        if SERVER in command and any(own in part for part in command):
            found.append(process)
    return found


def is_whole(project: Project, kept: dict[str, str]) -> None:
    """Assert that nothing of `kept` changed, nothing was asked for twice, and no server is left."""
    now = answers(project)
    assert kept.items() <= now.items()
    with ResponseStore(store(project)) as opened:
        (paid,) = opened.paid_totals("real").values()
    assert paid.calls == len(now)
    assert (project.folder / TABLE).exists()
    _, alive = psutil.wait_procs(servers(project), timeout=20)
    assert alive == []


def test_a_killed_server_is_started_again_by_the_job_that_asks_it(tmp_path: Path) -> None:
    project = embedded_project(tmp_path / "work", methods=["default"], learn={"models": ["smollm2-135m"]})
    process = project.start(TABLE, "--retries", "0")
    wait(process, lambda: len(answers(project)) >= 2)
    (pid,) = server_pids(project)
    os.kill(pid, signal.SIGKILL)
    kept = answers(project)
    assert process.wait(timeout=240) == 0
    assert len(answers(project)) > len(kept)
    is_whole(project, kept)


@pytest.mark.full
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("point", [0, *POINTS])
def test_a_server_killed_at_any_point_costs_no_answer(tmp_path: Path, point: int) -> None:
    """At 0 it is not ready yet: the job fails, and is retried."""
    project = embedded_project(tmp_path / "work", methods=["default", "persona"])
    process = project.start(TABLE, *(("--retries", "0") if point else ()))
    wait(process, lambda: len(answers(project)) >= point and servers(project))
    for server in servers(project):
        server.kill()
    kept = answers(project)
    assert process.wait(timeout=1200) == 0
    is_whole(project, kept)
    before = project.tables()
    project.snakemake("--forceall", TABLE, cores=1)
    assert project.tables() == before


@pytest.mark.full
def test_ctrl_c_ends_the_server_with_the_run_which_goes_on(tmp_path: Path) -> None:
    project = embedded_project(tmp_path / "work", methods=["default"], learn={"models": ["smollm2-135m"]})
    process = project.start(TABLE)
    wait(process, lambda: len(answers(project)) >= 2)
    alive = [*servers(project), *psutil.Process(process.pid).children(recursive=True)]
    os.killpg(process.pid, signal.SIGINT)
    assert process.wait(timeout=soon()) == 1
    assert psutil.wait_procs(alive, timeout=soon())[1] == []
    kept = answers(project)
    project.snakemake(TABLE)
    is_whole(project, kept)
