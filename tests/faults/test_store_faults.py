"""Fault 5: a store that was cut, damaged, or written by a newer version, under a run that goes on.

The store by itself, and two processes on one: tests/llm/test_store*.py, tests/llm/test_shared_store.py.
"""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest
from support.projects import paid_project
from support.scripted_judge import judge
from support.scripted_server import ScriptedServer
from support.stores import fill

from personalrm.llm.cache.store import ResponseStore

JUDGED = "results/small/verdicts/people/baseline/big/s00.jsonl"
"""What is made with the store: by one job, once the votes are read."""
NOTES = b"somebody's notes" * 1000


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    rng = random.Random(5)
    for _ in range(400):
        data[rng.randrange(100, len(data))] ^= 1 << rng.randrange(8)
    path.write_bytes(data)


def replace(path: Path) -> None:
    path.write_bytes(NOTES)


@pytest.mark.parametrize("damage", [cut, flip, replace])
def test_a_damaged_store_ends_the_run_with_the_way_out_and_is_left_alone(
    folder: Path, damage: Callable[[Path], None]
) -> None:
    with ScriptedServer(judge) as server:
        project = paid_project(folder, server.url, users=1)
        store = folder / "store" / "responses.sqlite"
        store.parent.mkdir()
        fill(store, 500)
        damage(store)
        before = store.read_bytes()
        output = project.snakemake(JUDGED, "--retries", "0", ok=False)
        assert "the file is damaged" in output
        assert ".recover" in output
        assert "Traceback" not in output
        assert store.read_bytes() == before
        assert server.count == 0


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
        output = project.snakemake(JUDGED, "--retries", "0", ok=False)
        assert "schema version" in output
        assert store.read_bytes() == before
        assert server.count == 0


def test_something_else_in_the_folders_place_ends_the_run(folder: Path) -> None:
    with ScriptedServer(judge) as server:
        project = paid_project(folder, server.url, users=1)
        (folder / "store").write_bytes(NOTES)
        output = project.snakemake(JUDGED, "--retries", "0", ok=False)
        assert "store/responses.sqlite" in output
        assert "Traceback" not in output
        assert (folder / "store").read_bytes() == NOTES
        assert server.count == 0
