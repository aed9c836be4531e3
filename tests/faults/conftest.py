"""What a run of `paid_project` gives and asks when nothing disturbs it: what the tests of faults compare with."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from support.once import Finished, once
from support.projects import MAIN_TABLE, Project, paid_project
from support.scripted_judge import judge
from support.scripted_server import ScriptedServer

IN_FLIGHT = 2 * 4
"""Two jobs at once, four calls each: what a kill can cost."""


def requests_of(bodies: Iterable[dict[str, Any]]) -> Counter[str]:
    """How often each request was sent."""
    return Counter(json.dumps(body, sort_keys=True) for body in bodies)


@dataclass(frozen=True)
class Undisturbed:
    """Results by path, and the requests that they rest on."""

    tables: dict[str, bytes]
    asked: Counter[str]

    def is_reached(self, project: Project, bodies: Iterable[dict[str, Any]], *, repeated: int = IN_FLIGHT) -> None:
        """Assert that a run came to the same bytes by the same requests, at most `repeated` of them sent again."""
        assert project.tables() == self.tables
        asked = requests_of(bodies)
        assert asked.keys() == self.asked.keys()
        assert asked.total() - len(asked) <= repeated


def run_undisturbed(factory: pytest.TempPathFactory, users: int) -> Undisturbed:
    """The run, on a server that answers at once."""

    def finish(folder: Path) -> None:
        with ScriptedServer(judge) as server:
            project = paid_project(folder, server.url, users=users)
            project.snakemake(MAIN_TABLE)
            Finished(project, list(server.requests), "").keep()

    finished = Finished.read(once(factory, f"undisturbed-{users}", finish))
    return Undisturbed(finished.project.tables(), requests_of(finished.requests))


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Undisturbed:
    return run_undisturbed(tmp_path_factory, users=3)


@pytest.fixture(scope="session")
def one_user(tmp_path_factory: pytest.TempPathFactory) -> Undisturbed:
    return run_undisturbed(tmp_path_factory, users=1)


def wait_for_calls(server: ScriptedServer, count: int, process: subprocess.Popen[bytes]) -> None:
    """Wait until the server has been asked so often. Fails where the run ends before."""
    end = time.monotonic() + 120
    while server.count < count and process.poll() is None and time.monotonic() < end:
        time.sleep(0.02)
    assert process.poll() is None, "the run ended before it could be disturbed"


def soon(seconds: float = 5.0) -> float:
    """Seconds in which a run has to end; more where the machine has more to do than it has cores."""
    return seconds * max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "work"
