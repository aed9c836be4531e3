"""Fault 4: no room, or no right to write, in the store, in the outputs and in the logs. What is paid for is kept.

The store by itself: tests/llm/test_store.py.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.projects import MAIN_TABLE, paid_project
from support.scripted_judge import judge
from support.scripted_server import ScriptedServer

from .conftest import Undisturbed

PLACES = {"store": "store", "outputs": "results/small/verdicts", "logs": "results/small/logs"}


class SmallDisk:
    """A file system of its own at a path: full, or read-only, until it is mended."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.mkdir(parents=True)
        self._mount("-t", "tmpfs", "-o", "size=256k", "tmpfs")

    def _mount(self, *arguments: str) -> None:
        done = subprocess.run(["mount", *arguments, str(self.path)], capture_output=True, text=True, check=False)
        if done.returncode:
            pytest.skip(f"no file system can be mounted here: {done.stderr.strip()}")

    def fill(self) -> None:
        with (self.path / "ballast").open("wb", buffering=0) as stream, contextlib.suppress(OSError):
            while stream.write(bytes(4096)):
                pass

    def lock(self) -> None:
        self._mount("-o", "remount,ro")

    def mend(self) -> None:
        self._mount("-o", "remount,rw,size=64m")
        (self.path / "ballast").unlink(missing_ok=True)

    def remove(self) -> None:
        subprocess.run(["umount", "--lazy", str(self.path)], check=True)


@pytest.fixture
def disk(folder: Path, request: pytest.FixtureRequest) -> Iterator[SmallDisk]:
    if os.geteuid() != 0 or shutil.which("mount") is None:
        pytest.skip("a file system of a test's own needs root and mount")
    made = SmallDisk(folder / PLACES[request.param])
    yield made
    made.remove()


@pytest.mark.parametrize(
    ("disk", "fault"),
    [
        ("store", "fill"),
        ("outputs", "fill"),
        *(pytest.param(place, "lock", marks=pytest.mark.full) for place in ("store", "outputs", "logs")),
    ],
    indirect=["disk"],
)
def test_no_room_ends_the_run_which_goes_on_when_there_is_some(
    folder: Path, disk: SmallDisk, fault: str, one_user: Undisturbed
) -> None:
    with ScriptedServer(judge) as server:
        project = paid_project(folder, server.url, users=1)
        getattr(disk, fault)()
        output = project.snakemake(MAIN_TABLE, "--retries", "0", ok=False)
        assert "No space left" in output or "disk is full" in output or "ead-only" in output or "writable" in output
        assert not (folder / MAIN_TABLE).exists()
        if fault == "fill":
            assert "Traceback" not in output
            # Where no answer can be stored, none is asked for.
            assert server.count == 0 or disk.path.name != "store"
        disk.mend()
        project.snakemake(MAIN_TABLE)
        one_user.is_reached(project, server.requests)


@pytest.mark.full
@pytest.mark.parametrize("disk", ["logs"], indirect=True)
def test_no_room_for_lines_of_a_log_costs_those_lines_alone(
    folder: Path, disk: SmallDisk, one_user: Undisturbed
) -> None:
    with ScriptedServer(judge) as server:
        project = paid_project(folder, server.url, users=1)
        disk.fill()
        project.snakemake(MAIN_TABLE)
        one_user.is_reached(project, server.requests)
