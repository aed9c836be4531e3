"""Progress of a run: read from Snakemake's output, shown in one line, with the log behind it."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from support.projects import Project, small_config
from support.scripted_server import ScriptedServer

from personalrm.app.progress import Step, problems_in, run_snakemake, shown, steps_of

OUTPUT = """\
Building DAG of jobs...
Job stats:
job              count
-------------  -------
all                  1
total                4

[Sun Nov 29 09:00:00 2026]
Job 3: Reading votes: people
Reason: Missing output files: results/small/data/people/shards/s00.jsonl
[Sun Nov 29 09:00:01 2026]
Finished jobid: 3 (Rule: prepare_people)
1 of 4 steps (25%) done
localrule all:
Job 2: Judging: profiles of m, judge m, people, k = all, shard s00
2 of 4 steps (50%) done
"""


def test_steps_are_read_from_the_output() -> None:
    assert list(steps_of(OUTPUT.splitlines())) == [
        Step(0, 4, "planning the jobs"),
        Step(0, 4, "Reading votes: people"),
        Step(1, 4, "Reading votes: people"),
        Step(1, 4, "Judging: profiles of m, judge m, people, k = all, shard s00"),
        Step(2, 4, "Judging: profiles of m, judge m, people, k = all, shard s00"),
    ]


@pytest.mark.parametrize(
    ("step", "elapsed", "text"),
    [
        (Step(0, 0, "planning the jobs"), 3.0, "0:03  planning the jobs"),
        (Step(0, 4, "Reading votes"), 3.0, "  0 %  0 of 4 steps, 0:03  Reading votes"),
        # A quarter took 65 seconds, so that three quarters take 195.
        (Step(1, 4, "Judging"), 65.0, " 25 %  1 of 4 steps, 1:05, about 3:15 left  Judging"),
        (Step(4, 4, "Judging"), 65.0, "100 %  4 of 4 steps, 1:05, about 0:00 left  Judging"),
    ],
)
def test_one_line_says_what_how_far_and_how_long_yet(step: Step, elapsed: float, text: str) -> None:
    assert shown(step, elapsed) == text


def test_the_problem_is_shown_from_its_first_line_on() -> None:
    lines = [f"line {n}" for n in range(50)]
    assert problems_in(lines) == lines[-10:]
    assert problems_in([*lines, "WorkflowError:", "no key"]) == ["WorkflowError:", "no key"]
    assert len(problems_in(["Error in rule judge:", *lines, *lines])) == 60


def test_the_exit_code_is_snakemakes_and_the_log_has_all_that_it_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = Project(tmp_path / "work", small_config("http://127.0.0.1:9/v1"))
    project.write_config()
    monkeypatch.chdir(project.folder)
    stream, log = io.StringIO(), Path("results/small/logs/run.log")
    assert run_snakemake(["-n", "--cores", "1", "--configfile", "run.yaml"], log, stream) == 0
    assert stream.getvalue().splitlines()[-1].endswith(f"full output: {log}")
    assert "This was a dry-run" in log.read_text(encoding="utf-8")
    stream = io.StringIO()
    assert run_snakemake(["--cores", "1", "--configfile", "absent.yaml"], log, stream) != 0
    assert "absent.yaml" in stream.getvalue()
    assert "failed (exit code 1)" in stream.getvalue().splitlines()[-1]
    assert sys.executable not in stream.getvalue()


def test_an_interrupted_run_ends_with_one_line(tmp_path: Path) -> None:
    # As a terminal does, the signal goes to all processes of the command.
    with ScriptedServer(latency=2) as server:
        project = Project(tmp_path / "work", small_config(server.url))
        project.write_config()
        command = [sys.executable, "-m", "personalrm", "run", "run.yaml", "--cores", "1"]
        with subprocess.Popen(
            command,
            cwd=project.folder,
            stderr=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        ) as run:
            assert run.stderr is not None
            next(line for line in run.stderr if " steps, " in line)
            os.killpg(run.pid, signal.SIGINT)
            out, rest = run.communicate(timeout=120)
    assert run.returncode != 0
    assert out == ""
    lines = [line for line in rest.splitlines() if " steps, " not in line]
    assert len(lines) == 1, rest
    assert lines[0].startswith("stopped after ")
    assert "the same command continues; full output: results/small/logs/run.log" in lines[0]
