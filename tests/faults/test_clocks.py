"""Fault 10, clocks: the wall clock of all processes of a run jumps while they work.

The clock of a process is moved by a preloaded library (`../support/moved_clock.c`; needs a C compiler), and times of
files by giving them others. The kernel's own idea of when processes began: `../llm/local/test_lifecycle.py`. Who may
read the wall clock, and why, stands in `pyproject.toml` (ruff's TID251).
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest
from support.projects import MAIN_TABLE, ROOT, paid_project
from support.scripted_judge import judge
from support.scripted_server import ScriptedServer

from personalrm.app.snakefile_support import settle_times
from personalrm.llm.cache.store import ResponseStore

from .conftest import Undisturbed, wait_for_calls

DAY, YEAR = 86400, 365 * 86400
SPENDER = """
import asyncio, sys
from pathlib import Path
from personalrm.llm.limits.budget import Budget
from personalrm.llm.cache.store import ResponseStore
from personalrm.llm.types import ModelSpec

async def spend(store):
    try:
        async with asyncio.timeout(0.5), Budget(store, ModelSpec("m", "openai", "m"), 1.0).paying(0.6):
            print("paid")
    except TimeoutError:
        print("waits")

with ResponseStore(Path(sys.argv[1]), run="r") as store:
    asyncio.run(spend(store))
"""


@pytest.fixture(scope="session")
def clock(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The library that moves clocks."""
    compiler = shutil.which("cc")
    if compiler is None or sys.platform != "linux":
        pytest.skip("moving a process's clock needs Linux and a C compiler (cc)")
    made = tmp_path_factory.mktemp("clock") / "moved_clock.so"
    source = ROOT / "tests" / "support" / "moved_clock.c"
    subprocess.run([compiler, "-shared", "-fPIC", "-o", made, source, "-ldl"], check=True)
    return made


def moved(clock: Path, by: Path) -> dict[str, str]:
    """Environment of processes whose clocks are off by the seconds that stand in `by`."""
    return {"LD_PRELOAD": str(clock), "MOVED_CLOCK": str(by)}


def put_into_the_future(folder: Path, seconds: int) -> None:
    """What files look like to a machine whose clock was set back."""
    for path in [path for path in folder.rglob("*") if path.is_file()]:
        with suppress(FileNotFoundError):
            later = path.stat().st_mtime + seconds
            os.utime(path, (later, later))


@pytest.mark.full
@pytest.mark.parametrize("by", [-DAY, YEAR])
def test_a_clock_that_jumps_in_mid_run_changes_no_byte(
    folder: Path, undisturbed: Undisturbed, clock: Path, by: int
) -> None:
    offset = folder.with_name("offset")
    offset.write_text("0", encoding="ascii")
    with ScriptedServer(judge, latency=0.05) as server:
        project = paid_project(folder, server.url, requests_per_minute=60_000)
        process = project.start(MAIN_TABLE, **moved(clock, offset))
        wait_for_calls(server, undisturbed.asked.total() // 2, process)
        offset.write_text(str(by), encoding="ascii")
        if by < 0:
            put_into_the_future(project.run, -by)
        # Snakemake ends a run whose files are of the future, and says so.
        assert process.wait(timeout=240) == (0 if by > 0 else 1)
        project.snakemake(MAIN_TABLE, **moved(clock, offset))
        undisturbed.is_reached(project, server.requests, repeated=0)


def test_files_of_the_future_become_present_in_their_order(tmp_path: Path) -> None:
    now = time.time()
    times = {"old": now - 60, "a": now + DAY, "sub/b": now + 2 * DAY, "c": now + 2 * DAY, "d": now + 3 * DAY}
    for name, moment in times.items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.touch()
        os.utime(path, (moment, moment))
    settle_times(tmp_path)
    after = {name: (tmp_path / name).stat().st_mtime for name in times}
    assert after["old"] == pytest.approx(times["old"])
    assert after["old"] < now <= after["a"] < after["sub/b"] == after["c"] < after["d"] <= time.time()


@pytest.mark.parametrize("by", [-DAY, YEAR])
def test_what_another_machine_has_in_flight_counts_whatever_the_clock_says(
    tmp_path: Path, clock: Path, by: int
) -> None:
    store, offset = tmp_path / "store.sqlite", tmp_path / "offset"
    offset.write_text("0", encoding="ascii")

    def spend() -> str:
        command = [sys.executable, "-c", SPENDER, str(store)]
        environment = {**os.environ, **moved(clock, offset)}
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout

    assert spend() == "paid\n"

    def note(until: float) -> None:
        with ResponseStore(store, run="r") as opened, opened.shared("in flight in r") as ledger:
            ledger["elsewhere|1:1"] = {"usd": {"m@": 0.6}, "until": until}

    note(time.time() + 60)
    offset.write_text(str(by), encoding="ascii")
    assert spend() == "waits\n"
    note(time.time() - 60)
    assert spend() == "paid\n"
