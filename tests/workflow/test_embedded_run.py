"""The workflow on a real embedded model: served once, shared, gone with its owner, resumed, and repeatable."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path

import psutil
import pytest
import yaml
from support.projects import ROOT, Project, embedded_project, server_pids

from personalrm.llm.cache.store import ResponseStore

pytestmark = pytest.mark.embedded


@contextmanager
def busy() -> Iterator[None]:
    """Something else takes the cores."""
    processes = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(2)]
    try:
        yield
    finally:
        for process in processes:
            process.kill()
            process.wait()


def run_twice(
    one: Project,
    two: Project,
    *targets: str,
    interrupt_after: int,
    deadline_s: float,
    beside: AbstractContextManager[None],
) -> None:
    """The same run in two folders with a store each, the second `beside` something else and killed in the middle."""
    process = one.start(*targets, PYTHONHASHSEED="1")
    assert process.wait(deadline_s) == 0
    assert server_pids(one) == []
    with beside:
        process = two.start(*targets, PYTHONHASHSEED="2")
        end = time.monotonic() + deadline_s
        while stored(two) < interrupt_after and process.poll() is None and time.monotonic() < end:
            time.sleep(0.1)
        # One for each model that was used so far.
        pids = server_pids(two)
        assert pids
        process.kill()
        process.wait()
        servers = [psutil.Process(pid) for pid in pids if psutil.pid_exists(pid)]
        assert psutil.wait_procs(servers, timeout=50)[1] == []  # bar: 10 s
    assert 0 < stored(two) < stored(one)
    assert two.start(*targets, PYTHONHASHSEED="3").wait(deadline_s) == 0
    assert stored(two) == stored(one)
    first, second = one.tables(), two.tables()
    assert any(name.startswith("verdicts/") for name in first)
    assert second == first


def stored(project: Project) -> int:
    store = project.folder / "store" / "responses.sqlite"
    if not store.exists():
        return 0
    with ResponseStore(store) as opened:
        return sum(totals.calls for totals in opened.usage_totals().values())


def test_the_same_run_twice_gives_the_same_bytes_though_one_is_killed(tmp_path: Path) -> None:
    table = "results/real/tables/main.csv"
    one, two = embedded_project(tmp_path / "one"), embedded_project(tmp_path / "two")
    for project in (one, two):
        project.config["datasets"]["people"]["max_pairs"] = 8
    run_twice(one, two, table, interrupt_after=10, deadline_s=480, beside=nullcontext())
    assert "Nothing to be done" in two.snakemake(table)
    assert "persona.logprob_both" in (two.run / "tables" / "main.csv").read_text(encoding="utf-8")
    profiles = [
        json.loads(line)
        for path in (two.run / "profiles").rglob("*.jsonl")
        for line in path.read_text(encoding="utf-8").splitlines()
    ]
    assert all(profile["status"] == "ok" and profile["persona"] for profile in profiles)

    # All jobs again, from the same store: the same bytes, and no server is needed.
    before = two.tables()
    two.snakemake("--forceall", table, cores=1)
    assert two.tables() == before


@pytest.mark.full
@pytest.mark.timeout(7200)
def test_the_same_quickstart_twice_gives_the_same_bytes(tmp_path: Path) -> None:
    config = yaml.safe_load((ROOT / "config" / "quickstart.yaml").read_text(encoding="utf-8"))
    one, two = Project(tmp_path / "one", config), Project(tmp_path / "two", config)
    run_twice(one, two, interrupt_after=100, deadline_s=3600, beside=busy())
