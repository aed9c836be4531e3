"""Locks and stores that a stopped process keeps: told of, and waited for."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from support.ports import request
from support.scripted_server import ScriptedServer
from support.stores import answer, fill, key

from personalrm.core import files
from personalrm.core.files import file_lock, holders
from personalrm.llm import client
from personalrm.llm.cache import store_file
from personalrm.llm.cache.key import request_key
from personalrm.llm.cache.store import ResponseStore
from personalrm.llm.cache.store_locks import CallLocks
from personalrm.llm.open import RuntimeSettings, open_model
from personalrm.llm.types import ModelSpec


@contextmanager
def stopped(code: str, *arguments: str) -> Iterator[int]:
    """A process that has run some lines, and is stopped by SIGSTOP."""
    lines = f"{code}\nprint('ready', flush=True)\nimport time\ntime.sleep(600)"
    process = subprocess.Popen([sys.executable, "-c", lines, *arguments], stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        os.kill(process.pid, signal.SIGSTOP)
        time.sleep(0.05)
        yield process.pid
    finally:
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


LOCKED = "import fcntl, sys\nfile = open(sys.argv[1], 'a')\nfcntl.flock(file, fcntl.LOCK_EX)"
WRITING = "import sqlite3, sys\ns = sqlite3.connect(sys.argv[1], isolation_level=None)\ns.execute('BEGIN IMMEDIATE')"
READING = f"{WRITING.replace(' IMMEDIATE', '')}\nrows = s.execute('SELECT * FROM responses')\nrows.fetchone()"


def waits_and_says(work: threading.Thread, caplog: pytest.LogCaptureFixture, pid: int) -> None:
    """`work` waits, and a warning names the process and the way out; it goes on when that process ends."""
    work.start()
    until = time.monotonic() + 20
    while not caplog.records and time.monotonic() < until:
        time.sleep(0.02)
    assert work.is_alive()
    (record,) = caplog.records
    assert f" which process {pid} (stopped) holds " in record.getMessage()
    assert f"kill -CONT {pid}" in record.getMessage()


def test_a_lock_that_a_stopped_process_holds_is_told_of(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "SLOW_S", 0.3)
    lock, told = tmp_path / "x.lock", list[str]()

    def take() -> None:
        with file_lock(lock, lambda: told.append("waits")):
            told.append("held")

    with caplog.at_level(logging.WARNING):
        work = threading.Thread(target=take)
        with stopped(LOCKED, str(lock)) as pid:
            assert holders(lock) == [(pid, True)]
            waits_and_says(work, caplog, pid)
            assert told == ["waits"]
        work.join(10)
    assert told == ["waits", "held"]
    assert holders(lock) == []


@pytest.mark.parametrize(
    ("mode", "code"), [("wal", WRITING), ("delete", WRITING), ("delete", READING)], ids=["wal", "delete", "commit"]
)
def test_an_answer_waits_for_a_store_that_a_stopped_process_keeps(
    mode: store_file.JournalMode,
    code: str,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for module in (files, store_file):
        monkeypatch.setattr(module, "SLOW_S", 0.3)
    # What a statement waits otherwise; a paid answer waits longer.
    monkeypatch.setattr(store_file, "BUSY_TIMEOUT_S", 0.6)
    fill(tmp_path / "s.sqlite", 1)
    with ResponseStore(tmp_path / "s.sqlite", mode) as store, caplog.at_level(logging.WARNING):
        work = threading.Thread(target=store.put, args=(key(5), "m@1", answer(5)))
        with stopped(code, str(store.path)) as pid:
            waits_and_says(work, caplog, pid)
            time.sleep(1.5)
            assert work.is_alive()
        work.join(20)
        assert len(caplog.records) == 1
        assert store.get(key(5)) is not None


def test_ctrl_c_ends_the_wait_for_a_store(tmp_path: Path) -> None:
    fill(tmp_path / "s.sqlite", 1)
    code = (
        "import sys; from pathlib import Path; from personalrm.llm.cache import store_file as s; s.SLOW_S = 0.3\n"
        "c = s.open_file(Path(sys.argv[1]), 'wal'); print('ready', flush=True)\n"
        "with s.transaction(c): pass"
    )
    with stopped(WRITING, str(tmp_path / "s.sqlite")):
        waiting = subprocess.Popen(
            [sys.executable, "-c", code, str(tmp_path / "s.sqlite")], stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        assert waiting.stdout is not None
        assert waiting.stdout.readline() == b"ready\n"
        time.sleep(1)
        waiting.send_signal(signal.SIGINT)
        _, said = waiting.communicate(timeout=20)
    assert said.decode().rstrip().endswith("KeyboardInterrupt")


def test_a_call_that_another_process_does_not_end_is_told_of_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "SLOW_S", 0.2)
    with ScriptedServer(lambda _: "fine") as server, ResponseStore(tmp_path / "s.sqlite") as store:
        spec = ModelSpec("m", "openai", "m", api_base=server.url)
        keys = [request_key(spec.identity, request(text)) for text in "ab"]

        async def both() -> list[str]:
            async with open_model(spec, store=store, runtime=RuntimeSettings(tmp_path, 1)) as model:
                with CallLocks(store.path).held(keys[0]), CallLocks(store.path).held(keys[1]):
                    asked = [asyncio.create_task(model.complete(request(text))) for text in "ab"]
                    await asyncio.sleep(0.8)
                return [answer.text for answer in await asyncio.gather(*asked)]

        with caplog.at_level(logging.WARNING):
            assert asyncio.run(both()) == ["fine", "fine"]
    assert [record.getMessage() for record in caplog.records] == [
        "model m: waiting for a call that another process makes; is it stopped?"
    ]
