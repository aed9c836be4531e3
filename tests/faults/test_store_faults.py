"""Fault 5: a store that was cut, damaged, or written by a newer version, under a run that goes on.

The store by itself, and two processes on one: tests/llm/test_store*.py, tests/unit/test_shared_store.py.
"""

from __future__ import annotations

import random
import shutil
import sqlite3
from pathlib import Path

import pytest
from support.projects import MAIN_TABLE, Project, paid_project
from support.scripted_judge import judge
from support.scripted_server import ScriptedServer

from personalrm.llm.cache.store import ResponseStore

from .conftest import requests_of


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    rng = random.Random(5)
    for _ in range(40):
        data[rng.randrange(100, len(data))] ^= 1 << rng.randrange(8)
    path.write_bytes(data)


def forget_results(project: Project) -> None:
    shutil.rmtree(project.run)


@pytest.mark.full
def test_what_a_damaged_store_lost_is_asked_again_and_nothing_else(folder: Path) -> None:
    with ScriptedServer(judge) as server:
        project = paid_project(folder, server.url, users=1)
        project.snakemake(MAIN_TABLE)
        tables, first = project.tables(), requests_of(server.requests)
        store = folder / "store" / "responses.sqlite"
        for damage in (cut, flip):
            asked = server.count
            forget_results(project)
            damage(store)
            project.snakemake(MAIN_TABLE)
            again = requests_of(server.requests[asked:])
            assert project.tables() == tables
            assert 0 < again.total() == len(again) < len(first)
            assert again.keys() <= first.keys()
        assert len(list(store.parent.glob("responses.sqlite.damaged-*"))) >= 2
        # All is there again.
        asked = server.count
        forget_results(project)
        project.snakemake(MAIN_TABLE)
        assert server.count == asked
        assert project.tables() == tables


def test_a_store_of_a_newer_version_ends_the_run_and_is_left_alone(folder: Path) -> None:
    with ScriptedServer(judge) as server:
        project = paid_project(folder, server.url, users=1)
        store = folder / "store" / "responses.sqlite"
        store.parent.mkdir()
        ResponseStore(store).close()
        with sqlite3.connect(store) as raw:
            raw.execute("PRAGMA user_version = 99")
            raw.execute("UPDATE meta SET value = '99' WHERE name = 'schema'")
        raw.close()
        before = store.read_bytes()
        output = project.snakemake(MAIN_TABLE, "--retries", "0", ok=False)
        assert "schema version" in output
        assert store.read_bytes() == before
        assert server.count == 0


NOTES = b"somebody's notes" * 1000


def test_something_else_in_the_stores_place_is_set_aside_whole(folder: Path) -> None:
    with ScriptedServer(judge) as server:
        project = paid_project(folder, server.url, users=1)
        store = folder / "store" / "responses.sqlite"
        store.parent.mkdir()
        store.write_bytes(NOTES)
        project.snakemake(MAIN_TABLE)
        assert [path.read_bytes() for path in store.parent.glob("responses.sqlite.damaged-*")] == [NOTES]
        assert server.count > 0


def test_something_else_in_the_folders_place_ends_the_run(folder: Path) -> None:
    with ScriptedServer(judge) as server:
        project = paid_project(folder, server.url, users=1)
        (folder / "store").write_bytes(NOTES)
        output = project.snakemake(MAIN_TABLE, "--retries", "0", ok=False)
        assert "store/responses.sqlite" in output
        assert "Traceback" not in output
        assert (folder / "store").read_bytes() == NOTES
        assert server.count == 0
