"""A working folder as a user has it, with a scripted server that counts calls."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from support.once import Finished, once, whole_run
from support.projects import ROOT, Project, quickstart_votes, small_config, write_votes
from support.scripted_judge import judge
from support.scripted_server import ScriptedServer

__all__ = ["ROOT", "Project", "quickstart_votes", "small_config", "write_votes"]


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    with ScriptedServer(judge) as running:
        yield running


@pytest.fixture
def project(tmp_path: Path, server: ScriptedServer) -> Project:
    made = Project(tmp_path / "work", small_config(server.url))
    write_votes(made.folder / "votes.jsonl", quickstart_votes())
    return made


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    return Finished.read(once(tmp_path_factory, "finished", whole_run))
