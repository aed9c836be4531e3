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


def run_undisturbed(folder: Path, users: int = 3) -> Undisturbed:
    """The run, on a server that answers at once."""
    with ScriptedServer(judge) as server:
        project = paid_project(folder, server.url, users=users)
        project.snakemake(MAIN_TABLE)
        return Undisturbed(project.tables(), requests_of(server.requests))


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Undisturbed:
    return run_undisturbed(tmp_path_factory.mktemp("undisturbed") / "work")


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
