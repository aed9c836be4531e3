"""The response store: what it returns, and what happens when files, disks and processes fail."""

from __future__ import annotations

import fcntl
import logging
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
from hypothesis import given, settings
from hypothesis import strategies as st

from personalrm.errors import StoreError
from personalrm.llm.store import ResponseStore, Totals
from personalrm.llm.store_rows import PAGE_SIZE, SCHEMA_VERSION, decode, encode
from personalrm.llm.types import Response, TokenLogprobs, Usage

WRITER = """
import sys
from personalrm.llm.store import ResponseStore
from personalrm.llm.types import Response, Usage
path, name, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
with ResponseStore(path, run="r") as store:
    for number in range(count):
        response = Response(f"{name} {number} " + "x" * 300, "stop", Usage(1, 2, 0))
        stored = store.put(f"key-{number:05d}", "m@1", response)
        print(number, stored.text.split()[0], flush=True)
"""


def answer(number: int, size: int = 400) -> Response:
    return Response(f"answer {number} " + "x" * size, "stop", Usage(10, number, 3), cost_usd=0.5)


def key(number: int) -> str:
    return f"{number:064x}"


def fill(path: Path, count: int) -> None:
    with ResponseStore(path) as store:
        for number in range(count):
            store.put(key(number), "m@1", answer(number))


def readable(path: Path, count: int) -> int:
    """How many answers the store returns; each is asserted to be the one that was written."""
    with ResponseStore(path) as store:
        found = store.get_many([key(number) for number in range(count)])
    for number in range(count):
        if key(number) in found:
            assert found[key(number)] == decode(key(number), encode(answer(number)))
    return len(found)


def start_writer(path: Path, name: str, count: int) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", WRITER, str(path), name, str(count)], stdout=subprocess.PIPE, text=True
    )


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
)


@given(responses)
def test_a_response_survives_encoding(response: Response) -> None:
    assert decode("k", encode(response)) == replace(response, key="k")


def test_put_then_get_also_after_reopening(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "er" / "store.sqlite"
    full = Response(
        "\ud800 text", "length", Usage(3, 2, 1), logprobs=(TokenLogprobs((("a", -0.5), ("b", -9999.0))),),
        reasoning="think", refusal="no", cost_usd=0.25,
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


@pytest.mark.parametrize("column", ["payload", "identity", "sha256", "key"])
def test_a_row_that_fails_its_checksum_is_set_aside(
    tmp_path: Path, column: str, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "s.sqlite"
    fill(path, 3)
    with sqlite3.connect(path) as raw:
        value = (
            key(77) if column == "key" else raw.execute(f"SELECT {column} FROM responses WHERE id = 2").fetchone()[0]
        )
        raw.execute(f"UPDATE responses SET {column} = ? WHERE id = 2", (value.replace("1", "7", 1),))
    raw.close()
    asked = key(77) if column == "key" else key(1)
    with ResponseStore(path) as store, caplog.at_level(logging.WARNING):
        assert store.get(asked) is None
        assert store.quarantined == 1
        assert "checksum" in caplog.text
        assert store.put(asked, "m@1", answer(9)).text == answer(9).text
        assert store.get(asked) is not None
        assert store.get(key(0)) is not None
    with sqlite3.connect(path) as raw:
        assert raw.execute("SELECT count(*) FROM quarantine").fetchone() == (1,)
    raw.close()


def test_put_replaces_a_bad_row_that_nobody_has_read(tmp_path: Path) -> None:
    fill(tmp_path / "s.sqlite", 1)
    with sqlite3.connect(tmp_path / "s.sqlite") as raw:
        raw.execute("UPDATE responses SET payload = 'no json'")
    raw.close()
    with ResponseStore(tmp_path / "s.sqlite") as store:
        assert store.usage_totals() == {}
        assert store.put(key(0), "m@1", answer(5)).text == answer(5).text
        assert store.get(key(0)) is not None


def test_newer_schema_is_refused_and_names_the_package(tmp_path: Path) -> None:
    path = tmp_path / "s.sqlite"
    fill(path, 2)
    with sqlite3.connect(path) as raw:
        raw.execute(f"PRAGMA user_version = {SCHEMA_VERSION + 1}")
        raw.execute("UPDATE meta SET value = ? WHERE name = 'schema'", (str(SCHEMA_VERSION + 1),))
        raw.execute("UPDATE meta SET value = '3.1.4' WHERE name = 'needs'")
    raw.close()
    before = path.read_bytes()
    with pytest.raises(StoreError, match=r"schema version 2.*Install personalrm 3\.1\.4"):
        ResponseStore(path)
    assert path.read_bytes() == before
    assert not list(tmp_path.glob("*.damaged*"))


def test_a_file_of_another_program_is_refused_and_untouched(tmp_path: Path) -> None:
    path = tmp_path / "other.sqlite"
    with sqlite3.connect(path) as raw:
        raw.execute("CREATE TABLE recipes (name TEXT)")
    raw.close()
    before = path.read_bytes()
    with pytest.raises(StoreError, match="not a response store"):
        ResponseStore(path)
    assert path.read_bytes() == before


def test_a_truncated_file_keeps_what_is_left(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "s.sqlite"
    fill(path, 200)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with caplog.at_level(logging.WARNING):
        left = readable(path, 200)
    assert 60 <= left < 200
    assert "answers saved" in caplog.text
    assert (tmp_path / "s.sqlite.damaged-1").read_bytes() == whole[: len(whole) // 2]
    assert readable(path, 200) == left
    assert not (tmp_path / "s.sqlite.damaged-2").exists()


def test_a_file_with_a_broken_header_loses_nothing(tmp_path: Path) -> None:
    path = tmp_path / "s.sqlite"
    fill(path, 50)
    data = bytearray(path.read_bytes())
    data[0:200] = b"\xff" * 200
    path.write_bytes(data)
    assert readable(path, 50) == 50


def test_a_zeroed_page_loses_its_rows_only(tmp_path: Path) -> None:
    path = tmp_path / "s.sqlite"
    fill(path, 200)
    data = bytearray(path.read_bytes())
    start = data.rfind(b"answer 100 ") // PAGE_SIZE * PAGE_SIZE
    data[start : start + PAGE_SIZE] = bytes(PAGE_SIZE)
    path.write_bytes(data)
    assert 180 <= readable(path, 200) < 200
    with ResponseStore(path) as store:
        assert store.put(key(100), "m@1", answer(100)).text == answer(100).text
    assert len(list(tmp_path.glob("*.damaged-1"))) == 1


@settings(deadline=None, max_examples=60)
@given(seed=st.integers(0, 2**32))
def test_flipped_bytes_never_give_a_wrong_answer(tmp_path_factory: pytest.TempPathFactory, seed: int) -> None:
    rng = random.Random(seed)
    path = tmp_path_factory.mktemp("flip") / "s.sqlite"
    fill(path, 40)
    data = bytearray(path.read_bytes())
    for _ in range(rng.choice((1, 1, 3, 20))):
        limit = rng.choice((100, PAGE_SIZE, len(data)))
        data[rng.randrange(limit)] ^= 1 << rng.randrange(8)
    path.write_bytes(data)
    readable(path, 40)
    with ResponseStore(path) as store:
        for number in range(40):
            assert store.put(key(number), "m@1", answer(number)).text == answer(number).text
    assert readable(path, 40) == 40


def test_damage_under_an_open_store_is_repaired_for_all_who_have_it_open(tmp_path: Path) -> None:
    path = tmp_path / "s.sqlite"
    fill(path, 200)
    one, two = ResponseStore(path), ResponseStore(path)
    assert one.get(key(5)) == two.get(key(5))
    with path.open("r+b") as stream:
        stream.seek(PAGE_SIZE)
        stream.write(os.urandom(path.stat().st_size - 2 * PAGE_SIZE))
    # Caches are dropped when another connection has written.
    one.put(key(1001), "m@1", answer(1))
    two.put(key(1002), "m@1", answer(2))
    found = [store.get_many([key(n) for n in (*range(200), 1001, 1002)]) for store in (one, two)]
    assert found[0] == found[1]
    assert {key(1001), key(1002)} <= set(found[0])
    one.close()
    two.close()
    with ResponseStore(path) as store:
        assert store.get(key(1001)) is not None


def test_a_deleted_file_is_made_anew_under_an_open_store(tmp_path: Path) -> None:
    path = tmp_path / "s.sqlite"
    with ResponseStore(path) as store:
        store.put(key(1), "m@1", answer(1))
        path.unlink()
        assert store.put(key(2), "m@1", answer(2)).text == answer(2).text
        assert store.get(key(1)) is None
    with ResponseStore(path) as store:
        assert store.get(key(2)) is not None


@pytest.mark.parametrize("done", ["copied", "renamed", "sides"])
def test_a_salvage_that_was_killed_is_finished(tmp_path: Path, done: str) -> None:
    path = tmp_path / "s.sqlite"
    fill(path, 20)
    (tmp_path / "s.sqlite.salvage-copy").write_bytes(b"half")
    if done != "copied":
        os.rename(path, tmp_path / "s.sqlite.salvaged")
        (tmp_path / "s.sqlite.damaged-1").write_bytes(b"old")
        (tmp_path / "s.sqlite-wal").write_bytes(b"a write-ahead log of the old file" * 200)
    assert readable(path, 20) == 20
    assert not (tmp_path / "s.sqlite.salvage-copy").exists()
    if done != "copied":
        assert (tmp_path / "s.sqlite.damaged-1-wal").exists()


def test_disk_full_is_an_error_with_advice_and_loses_nothing(tmp_path: Path) -> None:
    path = tmp_path / "s.sqlite"
    with ResponseStore(path) as store:
        store.put(key(0), "m@1", answer(0))
        store._file.run(lambda connection: connection.execute("PRAGMA max_page_count = 20").fetchall())
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
            assert store.rebuilds == 0


def test_nobody_writes_while_the_file_is_being_replaced(tmp_path: Path) -> None:
    with ResponseStore(tmp_path / "s.sqlite") as store, (tmp_path / "s.sqlite.lock").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        writer = threading.Thread(target=store.put, args=(key(1), "m@1", answer(1)))
        writer.start()
        writer.join(0.2)
        assert writer.is_alive()
        fcntl.flock(lock, fcntl.LOCK_UN)
        writer.join(10)
        assert store.get(key(1)) is not None


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
