"""A run through sbatch with workflow/profiles/slurm: a job and Snakemake are killed, and the same command goes on."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from support.projects import Project, quickstart_votes, small_config, write_votes
from support.scripted_judge import judge
from support.scripted_server import ScriptedServer

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(600)]

TABLE = "results/small/tables/main.csv"
IN_FLIGHT = 4
"""Calls of one job at once."""
# A cluster without accounting; and nobody waits for a status here as long as for a job of hours.
SLURM = ["--workflow-profile", "workflow/profiles/slurm", "--slurm-no-account", "--slurm-status-command", "squeue"]
SLURM += ["--slurm-init-seconds-before-status-checks", "2"]


def make(folder: Path, server: ScriptedServer) -> Project:
    config = small_config(server.url, draws=1, transfer={}, k=[2], methods=["longer", "demos", "persona"])
    config["datasets"]["people"] |= {"shards": "per_user", "max_users": 2}
    config["models"] = {"big": {**config["models"]["big"], "max_concurrency": IN_FLIGHT}}
    config["learn"]["models"] = ["big"]
    project = Project(folder, config)
    write_votes(project.folder / "votes.jsonl", quickstart_votes())
    return project


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, bytes], int]:
    """Results of the same run without a cluster, and how many calls it made."""
    with ScriptedServer(judge) as server:
        project = make(tmp_path_factory.mktemp("undisturbed") / "work", server)
        project.snakemake(TABLE)
        return project.tables(), server.count


def jobs(slurm: Mapping[str, str], *states: str) -> dict[int, str]:
    """Slurm's jobs in these states (all of them, ended ones too, if none is named): id and what it does."""
    wanted = ["--states", ",".join(states) or "all"]
    done = subprocess.run(
        ["squeue", "--noheader", "--format", "%i %k", *wanted],
        env={**os.environ, **slurm}, capture_output=True, text=True, check=True, timeout=30,
    )  # fmt: skip
    return {int(number): what for number, what in (line.split(maxsplit=1) for line in done.stdout.splitlines())}


def wait_for(true: Callable[[], bool], process: subprocess.Popen[bytes]) -> None:
    end = time.monotonic() + 200
    while not true():
        assert process.poll() is None, "the run ended too early"
        assert time.monotonic() < end
        time.sleep(0.1)


def memory_and_time(slurm: Mapping[str, str], job: int) -> tuple[str, str]:
    done = subprocess.run(
        ["squeue", "--noheader", "--states", "all", "--jobs", str(job), "--format", "%m %l"],
        env={**os.environ, **slurm}, capture_output=True, text=True, check=True, timeout=30,
    )  # fmt: skip
    memory, limit = done.stdout.split()
    return memory, limit


def test_killed_jobs_and_a_killed_snakemake_cost_no_answer_and_change_no_byte(
    tmp_path: Path, slurm: dict[str, str], undisturbed: tuple[dict[str, bytes], int]
) -> None:
    with ScriptedServer(judge, latency=1.0) as server:
        project = make(tmp_path / "work", server)
        process = project.start(*SLURM, TABLE, cores=None, **slurm)

        def bootstraps(*states: str) -> list[int]:
            return sorted(number for number, what in jobs(slurm, *states).items() if "bootstrap" in what)

        # A job is cancelled while it works; Snakemake submits it again, and asks for more.
        wait_for(lambda: server.count >= 6, process)
        cancelled = bootstraps("RUNNING")[0]
        server.latency = 30.0
        subprocess.run(["scancel", str(cancelled)], env={**os.environ, **slurm}, check=True, timeout=30)
        wait_for(lambda: len(bootstraps()) == 3 and bootstraps()[-1] in bootstraps("RUNNING"), process)
        again = bootstraps()[-1]
        assert memory_and_time(slurm, cancelled) == ("1000M", "4:00:00")
        assert memory_and_time(slurm, again) == ("2000M", "8:00:00")

        # Snakemake is killed, as when a login node goes down: its jobs go on, and the same command submits them again.
        process.kill()
        process.wait()
        process = project.start(*SLURM, TABLE, cores=None, **slurm)
        wait_for(lambda: bootstraps()[-1] > again, process)
        assert again in bootstraps("RUNNING")
        server.latency = 0.05
        assert process.wait(timeout=300) == 0
        asked = Counter(json.dumps(body, sort_keys=True) for body in server.requests)
    tables, calls = undisturbed
    assert project.tables() == tables
    assert len(asked) == calls
    # Only what the cancelled job had in flight is asked again.
    assert sum(count - 1 for count in asked.values()) <= IN_FLIGHT
    assert len(jobs(slurm)) <= 20
