"""The response store: what it returns, and what happens when files, disks and processes fail."""

from __future__ import annotations

import os
import random
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.stores import WRITER, answer, fill, key, readable, start_writer

from personalrm.core.errors import StoreError
from personalrm.llm.backends.openai_format import valid_text
from personalrm.llm.cache.store import ResponseStore, Totals
from personalrm.llm.cache.store_file import SCHEMA_VERSION, decode, encode
from personalrm.llm.types import Response, TokenLogprobs, Usage

responses = st.builds(
    Response,
    text=st.text(max_size=20) | st.sampled_from(("\ud800", "a\udfffb")),
    finish_reason=st.sampled_from(("stop", "length")),
    usage=st.builds(Usage, st.integers(0, 9), st.integers(0, 9), st.integers(0, 9)),
    logprobs=st.lists(
        st.builds(TokenLogprobs, st.lists(st.tuples(st.text(max_size=3), st.floats(-99, 0)), max_size=3).map(tuple)),
        max_size=2,
    ).map(tuple),
    reasoning=st.text(max_size=5),
    refusal=st.text(max_size=5),
    cost_usd=st.none() | st.floats(0, 9),
    model=st.text(max_size=5),
)


@given(responses)
def test_a_response_survives_encoding(response: Response) -> None:
    kept = decode("k", encode(response))
    assert kept == decode("k", encode(kept))
    texts = {name: valid_text(getattr(response, name)) for name in ("text", "reasoning", "refusal")}
    assert kept == replace(response, key="k", **texts)
    kept.text.encode("utf-8")


def test_put_then_get_also_after_reopening(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "er" / "store.sqlite"
    full = Response(
        "text", "length", Usage(3, 2, 1), logprobs=(TokenLogprobs((("a", -0.5), ("b", -9999.0))),),
        reasoning="think", refusal="no", cost_usd=0.25, model="served",
    )  # fmt: skip
    with ResponseStore(path) as store:
        assert store.get(key(1)) is None
        stored = store.put(key(1), "m@1", full)
        assert stored.key == key(1)
        assert store.get(key(1)) == stored
    with ResponseStore(path) as store:
        assert store.get(key(1)) == replace(full, key=key(1))


def test_first_write_wins_and_every_call_is_paid(tmp_path: Path) -> None:
    with ResponseStore(tmp_path / "s.sqlite", run="run-1") as store:
        assert store.put(key(1), "m@1", answer(1)).text == answer(1).text
        assert store.put(key(1), "m@1", answer(2)).text == answer(1).text
        store.put(key(3), "other@1", answer(3))
        assert store.usage_totals() == {"m@1": Totals(1, 10, 1, 3, 0.5), "other@1": Totals(1, 10, 3, 3, 0.5)}
        assert store.paid_totals("run-1") == {"m@1": Totals(2, 20, 3, 6, 1.0), "other@1": Totals(1, 10, 3, 3, 0.5)}
        assert store.paid_totals("run-2") == {}


def test_get_many_returns_what_is_there(tmp_path: Path) -> None:
    fill(tmp_path / "s.sqlite", 1200)
    with ResponseStore(tmp_path / "s.sqlite") as store:
        found = store.get_many([key(number) for number in range(0, 2400, 2)])
        assert set(found) == {key(number) for number in range(0, 1200, 2)}
        assert store.get_many([]) == {}


def test_newer_schema_is_refused_and_names_the_package(tmp_path: Path) -> None:
    path = tmp_path / "s.sqlite"
    fill(path, 2)
    with sqlite3.connect(path) as raw:
        raw.execute(f"PRAGMA user_version = {SCHEMA_VERSION + 1}")
        raw.execute("UPDATE meta SET value = ? WHERE name = 'schema'", (str(SCHEMA_VERSION + 1),))
        raw.execute("UPDATE meta SET value = '3.1.4' WHERE name = 'needs'")
    raw.close()
    before = path.read_bytes()
    with pytest.raises(StoreError, match=r"schema version 3.*Install personalrm 3\.1\.4"):
        ResponseStore(path)
    assert path.read_bytes() == before


def test_a_file_of_another_program_is_refused_and_untouched(tmp_path: Path) -> None:
    path = tmp_path / "other.sqlite"
    with sqlite3.connect(path) as raw:
        raw.execute("CREATE TABLE recipes (name TEXT)")
    raw.close()
    before = path.read_bytes()
    with pytest.raises(StoreError, match="not a response store"):
        ResponseStore(path)
    assert path.read_bytes() == before


def test_disk_full_is_an_error_with_advice_and_loses_nothing(tmp_path: Path) -> None:
    path = tmp_path / "s.sqlite"
    with ResponseStore(path) as store:
        store.put(key(0), "m@1", answer(0))
        store._query("PRAGMA max_page_count = 20")
        with pytest.raises(StoreError, match=r"s\.sqlite: the disk is full\. Free some space.*run the same command"):
            _ = [store.put(key(number), "m@1", answer(number)) for number in range(1, 500)]
        assert store.get(key(0)) is not None
    assert readable(path, 1) == 1


def test_a_file_size_limit_is_an_error_and_loses_nothing(tmp_path: Path) -> None:
    """A real refusal of the kernel to write more, in a process of its own: the limit holds for all its files."""
    path = tmp_path / "s.sqlite"
    code = (
        "import resource, signal, sys\nsignal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, 1_000_000))\n" + WRITER
    )
    arguments = [sys.executable, "-c", code, str(path), "w", "5000"]
    result = subprocess.run(arguments, capture_output=True, text=True, check=False)
    assert result.returncode == 1
    assert "StoreError" in result.stderr
    assert "free space" in result.stderr
    written = len(result.stdout.splitlines())
    assert written > 50
    with ResponseStore(path) as store:
        assert len(store.get_many([f"key-{n:05d}" for n in range(5000)])) == written


def test_a_read_only_folder_is_an_error_with_advice() -> None:
    # /proc refuses new files even to root.
    with pytest.raises(StoreError, match=r"store /proc/store\.sqlite: .*Name a path for the store"):
        ResponseStore(Path("/proc/store.sqlite"))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_file_is_an_error_with_advice(tmp_path: Path) -> None:
    fill(tmp_path / "s.sqlite", 1)
    (tmp_path / "s.sqlite").chmod(0o444)
    with pytest.raises(StoreError, match="writable"), ResponseStore(tmp_path / "s.sqlite") as store:
        store.put(key(2), "m@1", answer(2))


def test_an_unknown_journal_mode_and_a_closed_store_are_errors(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="journal_mode 'memory'"):
        ResponseStore(tmp_path / "s.sqlite", journal_mode="memory")  # type: ignore[arg-type]
    store = ResponseStore(tmp_path / "s.sqlite", journal_mode="delete")
    store.put(key(1), "m@1", answer(1))
    store.close()
    store.close()
    with pytest.raises(StoreError, match="closed"):
        store.get(key(1))


def test_a_store_in_memory_leaves_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with ResponseStore(":memory:") as store:
        store.put(key(1), "m@1", answer(1))
        assert store.get(key(1)) is not None
        folder = store.path.parent
    assert not folder.exists()
    assert not list(tmp_path.iterdir())


def test_two_processes_write_one_store_and_agree(tmp_path: Path) -> None:
    path = tmp_path / "s.sqlite"
    writers = [start_writer(path, name, 400) for name in ("one", "two")]
    outputs = [writer.communicate(timeout=60)[0].split("\n")[:-1] for writer in writers]
    assert [writer.returncode for writer in writers] == [0, 0]
    assert outputs[0] == outputs[1]
    assert len(outputs[0]) == 400
    with ResponseStore(path) as store:
        assert store.paid_totals("r") == {"m@1": Totals(800, 800, 1600, 0, 0.0)}
        assert store.usage_totals() == {"m@1": Totals(400, 400, 800, 0, 0.0)}


def test_kill_9_of_a_writer_loses_no_answer_that_it_reported(tmp_path: Path) -> None:
    path = tmp_path / "s.sqlite"
    rng = random.Random(1)
    for round_ in range(3):
        writer = start_writer(path, f"w{round_}", 100_000)
        reported = [writer.stdout.readline() for _ in range(200)] if writer.stdout else []
        time.sleep(rng.uniform(0, 0.05))
        writer.send_signal(signal.SIGKILL)
        reported += writer.communicate()[0].split("\n")[:-2]
        with ResponseStore(path) as store:
            keys = [f"key-{int(line.split()[0]):05d}" for line in reported]
            assert len(store.get_many(keys)) == len(keys) >= 200


def test_threads_share_one_store(tmp_path: Path) -> None:
    with ResponseStore(tmp_path / "s.sqlite") as store:
        seen: list[set[str]] = []

        def work(name: str) -> None:
            seen.append({store.put(key(n), "m@1", Response(name, "stop", Usage())).text + str(n) for n in range(100)})

        threads = [threading.Thread(target=work, args=(f"t{n}",)) for n in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(seen) == 4
    assert all(one == seen[0] for one in seen)
