"""The workflow on a real embedded model: served once, shared, gone with its owner, resumed, and repeatable."""

from __future__ import annotations

import json
import time
from pathlib import Path

import psutil
import pytest
from support.projects import embedded_project, server_pids

pytestmark = pytest.mark.embedded


def test_a_killed_run_leaves_no_server_and_the_same_command_completes_it(tmp_path: Path) -> None:
    project = embedded_project(tmp_path / "work")
    process = project.start()
    end = time.monotonic() + 120
    while not server_pids(project) and process.poll() is None and time.monotonic() < end:
        time.sleep(0.1)
    (pid,) = server_pids(project)
    process.kill()
    process.wait()
    _, alive = psutil.wait_procs([psutil.Process(pid)] if psutil.pid_exists(pid) else [], timeout=50)  # bar: 10 s
    assert alive == []

    table = f"{project.run.relative_to(project.folder)}/tables/main.csv"
    project.snakemake(table)
    assert server_pids(project) == []
    assert "Nothing to be done" in project.snakemake(table)
    text = (project.run / "tables" / "main.csv").read_text(encoding="utf-8")
    assert "persona.logprob_both" in text
    profiles = [
        json.loads(line)
        for path in (project.run / "profiles").rglob("*.jsonl")
        for line in path.read_text(encoding="utf-8").splitlines()
    ]
    assert all(profile["status"] == "ok" and profile["persona"] for profile in profiles)

    # All jobs again, from the same store: the same bytes, and no server is needed.
    before = project.tables()
    project.snakemake("--forceall", table, cores=1)
    assert project.tables() == before
