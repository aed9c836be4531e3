"""examples/serve_on_slurm.sh: a model server as a Slurm job, started, checked, asked by a run, and stopped.

The embedded server stands in for vLLM: it speaks the same protocol and answers the same health request.
"""

from __future__ import annotations

import csv
import os
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
from support.projects import ROOT, Project, quickstart_votes, write_votes

from personalrm.llm.local.catalogue import get_entry
from personalrm.llm.local.fetch import ensure_model

pytestmark = [pytest.mark.cluster, pytest.mark.embedded]

MODEL = "smollm2-135m"


class Server:
    """The script's commands on one folder."""

    def __init__(self, folder: Path, slurm: dict[str, str]) -> None:
        self.folder = folder
        # The stand-in listens on the loopback alone.
        self._environment = {**os.environ, **slurm, "SERVER_HOST": "127.0.0.1"}

    def do(self, action: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = [ROOT / "examples" / "serve_on_slurm.sh", action, self.folder, *arguments]
        return subprocess.run(command, env=self._environment, capture_output=True, text=True, timeout=120, check=False)


def config() -> dict[str, object]:
    model = {"backend": "openai", "model": MODEL, "api_base_env": "LOCAL_API_BASE", "context_length": 2048}
    return {
        "run": "served",
        "datasets": {"people": {"path": "votes.jsonl", "users": ["chen"]}},
        "models": {"local": {**model, "prompts": "compact", "verdicts": ["logprob"], "max_concurrency": 1}},
        "methods": ["default"],
        "learn": {"models": ["local"]},
    }


def test_a_server_is_started_checked_asked_and_stopped(tmp_path: Path, slurm: dict[str, str]) -> None:
    server = Server(tmp_path / "server", slurm)
    model = ensure_model(get_entry(MODEL), sources=("cache", "index"))
    # It ends with its owner: the script, which is the shell's parent.
    command = f"exec {sys.executable} -m personalrm.llm.local.server --model {model} --alias {MODEL} --port {{port}}"
    command += f" --threads 2 --context 2048 --owner $PPID --state {tmp_path}/state.json"
    started = server.do("start", "--cpus-per-task=2", "--mem=2000", "--", "sh", "-c", command)
    assert started.returncode == 0, started.stderr
    url = started.stdout.strip()
    assert server.do("health").stdout.strip() == url

    project = Project(tmp_path / "work", config())
    write_votes(project.folder / "votes.jsonl", quickstart_votes())
    project.snakemake("results/served/tables/main.csv", LOCAL_API_BASE=url)
    with (project.run / "tables" / "main.csv").open(encoding="utf-8", newline="") as stream:
        (row,) = csv.DictReader(stream)
    assert (row["judge_model"], row["method"], row["provider_error"]) == ("local", "default.logprob", "0")
    assert int(row["calls"]) == int(row["n_judgments"]) > 0

    assert server.do("stop").returncode == 0
    gone = server.do("health")
    assert (gone.returncode, gone.stdout) == (1, "")
    with pytest.raises(httpx.ConnectError):
        httpx.get(url, timeout=5, trust_env=False)


def test_a_server_that_ends_before_it_answers_is_told_with_its_log(tmp_path: Path, slurm: dict[str, str]) -> None:
    server = Server(tmp_path / "server", slurm)
    started = server.do("start", "--mem=100", "--", "sh", "-c", "echo no such model >&2; exit 3")
    assert started.returncode == 1
    assert "no such model" in started.stderr
    assert "the server ended before it answered" in started.stderr
    assert started.stdout == ""
