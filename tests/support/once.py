"""What several tests only read is made once, whichever worker of pytest-xdist needs it first."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from support.projects import ROOT, Project, quickstart_votes, small_config, write_votes
from support.scripted_judge import judge
from support.scripted_server import ScriptedServer


def once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], object]) -> Path:
    """Folder `name` as `make` left it. One worker makes it; the others wait, and all read it: no test may change it."""
    root = factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        root = root.parent
    folder, done = root / name, root / f"{name}.done"
    with (root / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not done.exists():
            shutil.rmtree(folder, ignore_errors=True)
            make(folder)
            done.touch()
    return folder


@dataclass(frozen=True)
class Finished:
    """A run that came to its end: its folder, what its server was sent (by whatever job), and what was printed.

    Its server is gone: whatever goes on from a copy has to rest on the responses that are stored.
    """

    project: Project
    requests: list[dict[str, Any]]
    said: str

    def keep(self) -> None:
        notes = {"config": self.project.config, "requests": self.requests, "said": self.said}
        (self.project.folder / "finished.json").write_text(json.dumps(notes), encoding="utf-8")

    @classmethod
    def read(cls, folder: Path) -> Finished:
        notes = json.loads((folder / "finished.json").read_text(encoding="utf-8"))
        return cls(Project(folder, notes["config"]), notes["requests"], notes["said"])

    def copy(self, folder: Path) -> Project:
        """The run in a folder of a test's own, with the times of all files; its workflow is still the run's."""
        shutil.copytree(self.project.folder, folder, symlinks=True, ignore=shutil.ignore_patterns("workflow"))
        (folder / "workflow").symlink_to((self.project.folder / "workflow").resolve())
        return Project(folder, json.loads(json.dumps(self.project.config)))


ADDED = '''
"""How many judgments each user has."""

from __future__ import annotations

from pathlib import Path

from personalrm.results.figure_style import new_figure
from personalrm.results.scores import read_frame
from personalrm.results.spec import Drawing, FigureResult


def build(verdicts: Path, *, title_note: str) -> Drawing:
    """One bar per user."""
    counts = read_frame(verdicts).groupby("user_id", observed=True)["pair_id"].count()
    figure = new_figure(4, 3)
    axes = figure.add_subplot()
    axes.bar(range(len(counts)), counts)
    axes.set_title(title_note)
    return Drawing(figure, f"{len(counts)} users.")


RESULT = FigureResult(
    name="judgments", order=15, caption="Judgments of each user, counted.", build=build
)
'''
"""All that somebody writes who adds a figure: one file."""


def whole_run(folder: Path) -> None:
    """All results of the small config with a figure that was added, Snakemake's own report, and a password in a URL."""
    with ScriptedServer(judge) as server:
        project = Project(folder, small_config(server.url))
        project.config["models"]["big"]["api_base"] = server.url.replace("://", "://me:canary-pass@")
        write_votes(folder / "votes.jsonl", quickstart_votes())
        (folder / "workflow").unlink()
        shutil.copytree(ROOT / "workflow", folder / "workflow", ignore=shutil.ignore_patterns("__pycache__"))
        (folder / "workflow" / "personalrm" / "results" / "figures" / "judgments_figure.py").write_text(ADDED)
        said = project.snakemake()
        said += project.snakemake("--report", "snakemake.html")
        Finished(project, list(server.requests), said).keep()
