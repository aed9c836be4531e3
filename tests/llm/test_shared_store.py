"""Files that several machines share: the store's journal, and one job at a time on one output."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from support.stores import start_writer

from personalrm.core.files import file_lock
from personalrm.llm.cache.store import ResponseStore
from personalrm.studies.config_load import parse_config
from personalrm.studies.preflight import file_system, store_problems
from personalrm.studies.runner import sole_writer


def config(**changes: Any) -> dict[str, Any]:  # noqa: ANN401
    return {"run": "r", "datasets": {"people": {"path": "votes.jsonl"}}, **changes}


def test_a_write_ahead_log_on_a_network_file_system_is_named_before_the_run() -> None:
    wal, delete = parse_config(config()), parse_config(config(store_journal="delete"))
    for kind in ("nfs4", "lustre", "fuse.sshfs"):
        (problem,) = store_problems(wal, kind)
        assert "store/responses.sqlite" in problem
        assert f"({kind})" in problem
        assert "set store_journal: delete" in problem
        assert store_problems(delete, kind) == []
    for kind in ("ext4", "overlay", "tmpfs", ""):
        assert store_problems(wal, kind) == []


def test_the_file_system_is_that_of_the_nearest_mount() -> None:
    # No such folder: it is looked at before the store is made.
    assert file_system(Path("/proc/self/store/responses.sqlite")) == "proc"
    assert file_system(Path("store/responses.sqlite")) not in ("", "proc")


def test_processes_share_a_store_without_a_write_ahead_log(tmp_path: Path) -> None:
    path = tmp_path / "s.sqlite"
    writers = [start_writer(path, name, 40, "delete") for name in ("one", "two", "three")]
    told = [dict(line.split() for line in writer.communicate(timeout=60)[0].splitlines()) for writer in writers]
    assert [writer.returncode for writer in writers] == [0, 0, 0]
    # The first write wins, and all were told of the same one.
    assert len(told[0]) == 40
    assert told[0] == told[1] == told[2]
    assert not list(tmp_path.glob("*-wal"))
    # Bytes 18 and 19 of an SQLite file: 2 with a write-ahead log, 1 without.
    assert path.read_bytes()[18:20] == b"\x01\x01"
    with ResponseStore(path, "delete") as store:
        assert store.paid_totals("r")["m@1"].calls == 120


def test_a_second_job_on_one_output_waits_for_the_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PERSONALRM_RUNTIME", str(tmp_path))
    order: list[str] = []

    def second() -> None:
        with sole_writer(Path("out/a.jsonl")):
            order.append("second")

    waiting = threading.Thread(target=second)
    with sole_writer(Path("out/a.jsonl")):
        waiting.start()
        with sole_writer(Path("out/b.jsonl")):
            order.append("another output")
        waiting.join(0.3)
        order.append("first")
    waiting.join(10)
    assert order == ["another output", "first", "second"]


OPENING = """
import asyncio, json, sys
from pathlib import Path
from personalrm.llm.open import RuntimeSettings
from personalrm.studies.config_load import parse_config
from personalrm.studies.runner import Job

async def opened():
    print("ready", flush=True)
    async with Job(parse_config(json.loads(sys.argv[1])), RuntimeSettings(Path("."), 1)).model("m"):
        print("opened", flush=True)

asyncio.run(opened())
"""
"""A job up to its store."""


def test_ctrl_c_ends_a_job_that_waits_for_the_lock_of_its_store(tmp_path: Path) -> None:
    entry = {"backend": "openai", "model": "m", "api_base": "http://127.0.0.1:9/v1"}
    raw = config(store=str(tmp_path / "s.sqlite"), models={"m": entry})
    with (
        file_lock(tmp_path / "s.sqlite.lock"),
        subprocess.Popen(
            [sys.executable, "-c", OPENING, json.dumps(raw)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        ) as job,
    ):
        try:
            assert job.stdout is not None
            assert job.stdout.readline() == b"ready\n"
            time.sleep(1)
            job.send_signal(signal.SIGINT)
            assert job.wait(timeout=10) == -signal.SIGINT
            assert job.stdout.read() == b""
        finally:
            job.kill()
