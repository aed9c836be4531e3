"""The response store on damaged files: what is sound is kept, what is not is never returned."""

from __future__ import annotations

import logging
import os
import random
import sqlite3
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.stores import answer, fill, key, readable

from personalrm.llm.cache.store import ResponseStore
from personalrm.llm.cache.store_rows import PAGE_SIZE


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
    for _ in range(3):
        with ResponseStore(path) as store:
            for number in range(40):
                assert store.put(key(number), "m@1", answer(number)).text == answer(number).text
        if readable(path, 40) == 40:
            break
    # By a damaged list of free pages SQLite may write over pages in use: an answer is then asked for once more.
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
