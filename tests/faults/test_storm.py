"""Faults 2 and 3: a provider in a storm, one that goes for good, one that comes back, and one that refuses the key."""

from __future__ import annotations

import random
import time
from pathlib import Path
from typing import Any

import pytest
from support.projects import MAIN_TABLE, paid_project
from support.scripted_judge import judge
from support.scripted_server import Fault, ScriptedServer

from .conftest import Undisturbed, run_undisturbed, wait_for_calls

STORM = (
    (0.30, lambda rng: Fault("rate_limit", retry_after="0.05")),
    (0.10, lambda rng: Fault("status", status=rng.choice((500, 502, 503, 529)))),
    (0.05, lambda rng: Fault("reset")),
    (0.05, lambda rng: Fault("stall", seconds=30)),
    (0.05, lambda rng: Fault("drip", seconds=0.01)),
    (0.05, lambda rng: Fault("error_body")),
)
"""Shares of all requests, and what becomes of them."""


def storm(number: int, body: dict[str, Any]) -> Fault | None:
    rng = random.Random(number)
    place = rng.random()
    for share, fault in STORM:
        place -= share
        if place < 0:
            return fault(rng)
    return None


def is_answered(number: int, body: dict[str, Any]) -> bool:
    fault = storm(number, body)
    return fault is None or fault.kind == "drip"


@pytest.mark.parametrize("users", [1, pytest.param(3, marks=pytest.mark.full)])
def test_a_storm_changes_no_byte_and_no_answer_is_asked_for_twice(
    folder: Path, users: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    undisturbed = run_undisturbed(tmp_path_factory, users)
    with ScriptedServer(judge, faults=storm) as server:
        paid_project(folder, server.url, users, timeout_s=2, max_attempts=15).snakemake(MAIN_TABLE)
        undisturbed.is_reached(
            paid_project(folder, server.url, users),
            [body for n, body in enumerate(server.requests) if is_answered(n, body)],
        )
        kinds = {fault.kind for n, body in enumerate(server.requests) if (fault := storm(n, body)) is not None}
    assert kinds == {"rate_limit", "status", "reset", "stall", "drip", "error_body"}
    assert server.count > 1.4 * undisturbed.asked.total()


def test_a_provider_that_goes_for_good_ends_the_run_which_goes_on_when_there_is_one(
    folder: Path, undisturbed: Undisturbed
) -> None:
    with ScriptedServer(judge, latency=0.05) as first:
        project = paid_project(folder, first.url, max_attempts=2, deadline_s=4)
        process = project.start(MAIN_TABLE, "--retries", "0")
        wait_for_calls(first, undisturbed.asked.total() // 2, process)
    # Its port is closed from here on.
    assert process.wait(timeout=120) == 1
    logs = "".join(path.read_text(encoding="utf-8") for path in (project.run / "logs").rglob("*.log"))
    assert "run the same command again" in logs
    assert not (project.folder / MAIN_TABLE).exists()
    assert not list(project.run.rglob("*.tmp"))
    with ScriptedServer(judge, port=first.port) as second:
        project.snakemake(MAIN_TABLE)
    undisturbed.is_reached(project, [*first.requests, *second.requests])


def test_a_provider_that_comes_back_is_waited_for(folder: Path, undisturbed: Undisturbed) -> None:
    with ScriptedServer(judge, latency=0.05) as first:
        project = paid_project(folder, first.url, max_attempts=15)
        process = project.start(MAIN_TABLE, "--retries", "0")
        wait_for_calls(first, undisturbed.asked.total() // 3, process)
    time.sleep(3)
    with ScriptedServer(judge, port=first.port) as second:
        assert process.wait(timeout=240) == 0
    undisturbed.is_reached(project, [*first.requests, *second.requests])


def test_a_refused_key_ends_each_job_after_one_round_of_calls(folder: Path, undisturbed: Undisturbed) -> None:
    answered = undisturbed.asked.total() // 3

    def plan(number: int, body: dict[str, Any]) -> Fault | None:
        refused = Fault("status", status=401, body={"error": {"message": "no such key"}})
        return refused if number >= answered else None

    with ScriptedServer(judge, faults=plan) as first:
        project = paid_project(folder, first.url)
        output = project.snakemake(MAIN_TABLE, "--retries", "0", ok=False)
        assert "no such key" in output
        # Those in flight in two jobs, and one call of each later job, which costs nothing.
        assert first.count <= answered + 16
    with ScriptedServer(judge) as second:
        for model in project.config["models"].values():
            model["api_base"] = second.url
        project.snakemake(MAIN_TABLE)
    undisturbed.is_reached(project, [*first.requests[:answered], *second.requests])
