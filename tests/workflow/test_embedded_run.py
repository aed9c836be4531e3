"""The workflow on a real embedded model: served once, shared, gone with its owner, resumed, and repeatable."""

from __future__ import annotations

import json
import time
from pathlib import Path

import psutil
import pytest

from .conftest import Project, quickstart_votes, write_votes

pytestmark = pytest.mark.embedded


def config() -> dict[str, object]:
    return {
        "run": "real",
        "seed": 1,
        "datasets": {"people": {"path": "votes.jsonl", "shards": "per_user", "users": ["chen"]}},
        "models": {
            "smollm2-135m": {
                "backend": "embedded",
                "model": "smollm2-135m",
                "context_length": 2048,
                "prompts": "compact",
                "verdicts": ["logprob_both"],
                "max_concurrency": 4,
            }
        },
        "k": [2],
        "methods": ["longer", "default", "demos", "persona", "both"],
        "learn": {
            "models": ["smollm2-135m"],
            "bootstrap": {"attempts": 2, "max_tokens": 16},
            "persona": {"max_tokens": 24},
            "search": {
                "num_search_candidates": 1,
                "special_candidates": ["unshuffled"],
                "max_bootstrapped_demos": 2,
                "max_labeled_demos": 2,
            },
            "rebootstrap": False,
        },
        "statistics": {"resamples": 200},
    }


def make(folder: Path) -> Project:
    project = Project(folder, config())
    write_votes(project.folder / "votes.jsonl", quickstart_votes())
    return project


def servers(project: Project) -> list[int]:
    states = (project.folder / ".snakemake" / "personalrm" / "servers").glob("*.json")
    return [int(json.loads(path.read_text(encoding="utf-8"))["pid"]) for path in states]


def test_a_killed_run_leaves_no_server_and_the_same_command_completes_it(tmp_path: Path) -> None:
    project = make(tmp_path / "work")
    process = project.start()
    end = time.monotonic() + 120
    while not servers(project) and process.poll() is None and time.monotonic() < end:
        time.sleep(0.1)
    (pid,) = servers(project)
    process.kill()
    process.wait()
    _, alive = psutil.wait_procs([psutil.Process(pid)] if psutil.pid_exists(pid) else [], timeout=50)  # bar: 10 s
    assert alive == []

    table = f"{project.run.relative_to(project.folder)}/tables/main.csv"
    project.snakemake(table)
    assert servers(project) == []
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
