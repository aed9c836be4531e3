"""A working folder as a user has it: the checkout's workflow, a config, and a scripted server that counts calls."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from support.warm import run_warm

ROOT = Path(__file__).resolve().parents[2]
DEADLINE_S = 850
"""Of a run, which takes a minute at most on two quiet cores; pytest ends a test after 900 s."""
MAIN_TABLE = "results/small/tables/main.csv"


@dataclass
class Project:
    """A folder in which Snakemake runs, with the checkout's files linked in."""

    folder: Path
    config: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        for name in ("Snakefile", "workflow", "profiles", "resources", "config"):
            target = self.folder / name
            if not target.exists():
                target.symlink_to(ROOT / name)

    @property
    def run(self) -> Path:
        return self.folder / "results" / str(self.config["run"])

    def write_config(self) -> None:
        (self.folder / "run.yaml").write_text(yaml.safe_dump(self.config), encoding="utf-8")

    def command(self, *arguments: str, cores: int | None = 2, configfile: bool = True) -> list[str]:
        """`cores` None: none are given, as on a cluster."""
        self.write_config()
        given = [] if cores is None else ["--cores", str(cores)]
        given += ["--configfile", "run.yaml"] if configfile else []
        return [sys.executable, "-m", "snakemake", *arguments, *given]

    @property
    def workflow(self) -> Path:
        return (self.folder / "workflow").resolve()

    def environment(self, **extra: str) -> dict[str, str]:
        """Of a job. A folder with another workflow than the checkout's runs that one."""
        kept = {k: v for k, v in os.environ.items() if not k.startswith("PERSONALRM_") or k == "PERSONALRM_CACHE"}
        if self.workflow != ROOT / "workflow":
            kept["PYTHONPATH"] = os.pathsep.join(filter(None, (str(self.workflow), kept.get("PYTHONPATH", ""))))
        return {**kept, **extra}

    def snakemake(
        self, *arguments: str, cores: int | None = 2, ok: bool = True, configfile: bool = True, **env: str
    ) -> str:
        """What Snakemake prints. Its processes are forked (`support.warm`), but where PYTHONPATH is given."""
        command, variables = self.command(*arguments, cores=cores, configfile=configfile), self.environment(**env)
        if "PYTHONPATH" in env:
            done = subprocess.run(
                command,
                cwd=self.folder,
                env=variables,
                capture_output=True,
                text=True,
                timeout=DEADLINE_S,
                check=False,
            )
            code, output = done.returncode, done.stdout + done.stderr
        else:
            trains = not self.config.keys().isdisjoint(("reward_models", "tailor"))
            code, output = run_warm(command[2:], self.folder, variables, self.workflow, DEADLINE_S, trains=trains)
        assert (code == 0) == ok, output
        return output

    def personalrm(self, *arguments: str, ok: bool = True) -> str:
        """What a command of ours prints in the folder, in a forked process."""
        command = ["personalrm", *arguments]
        code, output = run_warm(command, self.folder, self.environment(), self.workflow, DEADLINE_S)
        assert (code == 0) == ok, output
        return output

    def start(self, *arguments: str, cores: int | None = 2, **env: str) -> subprocess.Popen[bytes]:
        """The same command, left running in a session (process group) of its own, for tests that stop it."""
        return subprocess.Popen(
            self.command(*arguments, cores=cores),
            cwd=self.folder,
            env=self.environment(**env),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    def tables(self) -> dict[str, bytes]:
        """All results that must be equal from run to run, by relative path; cost.* holds seconds and is left out."""
        kept = ("data", "traces", "profiles", "verdicts", "tables", "figures")
        files = [path for name in kept for path in sorted((self.run / name).rglob("*")) if path.is_file()]
        files += self.run.glob("transcripts.html")
        return {str(path.relative_to(self.run)): path.read_bytes() for path in files if path.stem != "cost"}


def quickstart_votes() -> list[dict[str, Any]]:
    text = (ROOT / "resources" / "quickstart" / "votes.jsonl").read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]


def write_votes(path: Path, votes: list[dict[str, Any]], *, shuffle: int | None = None) -> None:
    rows = list(votes)
    if shuffle is not None:
        random.Random(shuffle).shuffle(rows)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


ANYWHERE = {"snapshot": "scripted", "same_weights": True}
"""Each test has servers of its own ports, and compares what runs give byte by byte."""


def small_config(url: str, **changes: object) -> dict[str, Any]:
    config: dict[str, Any] = {
        "run": "small",
        "seed": 1,
        "datasets": {"people": {"path": "votes.jsonl", "shards": 1, "max_users": 3, "licence": "MIT"}},
        "models": {
            "big": {"backend": "openai", "model": "big", "api_base": url, "max_concurrency": 4, **ANYWHERE},
            "tiny": {
                "backend": "openai",
                "model": "tiny",
                "api_base": url,
                **ANYWHERE,
                "prompts": "compact",
                "verdicts": ["logprob", "logprob_both"],
                "max_concurrency": 4,
            },
        },
        "k": [2, "all"],
        "draws": 2,
        "methods": ["random", "longer", "default", "demos", "persona", "both"],
        "learn": {
            "models": ["big", "tiny"],
            "bootstrap": {"attempts": 2, "max_tokens": 64},
            "persona": {"max_tokens": 64},
            "search": {"num_search_candidates": 1, "max_bootstrapped_demos": 3, "max_labeled_demos": 3},
        },
        "transfer": {"pairs": [["tiny", "big"]], "methods": ["both"]},
        "statistics": {"resamples": 200},
    }
    return {**config, **changes}


def paid_project(folder: Path, url: str, users: int = 3, **options: float) -> Project:
    """A run of one model, to be asked for `MAIN_TABLE`: what faults disturb is the paid part. `options` of models."""
    config = small_config(url, draws=1, transfer={}, k=["all"])
    config["datasets"]["people"]["max_users"] = users
    config["models"] = {name: model | options for name, model in config["models"].items()}
    config["learn"]["models"] = ["big"]
    project = Project(folder, config)
    write_votes(project.folder / "votes.jsonl", quickstart_votes())
    return project


def embedded_project(folder: Path, **changes: object) -> Project:
    """A run of the smallest embedded model on one user."""
    config: dict[str, Any] = {
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
    project = Project(folder, {**config, **changes})
    write_votes(project.folder / "votes.jsonl", quickstart_votes())
    return project


def server_pids(project: Project) -> list[int]:
    """Processes of the run's embedded servers that answer, or did."""
    states = (project.folder / ".snakemake" / "personalrm" / "servers").glob("*.json")
    return [int(json.loads(path.read_text(encoding="utf-8"))["pid"]) for path in states]
