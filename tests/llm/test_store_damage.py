"""The response store on damaged files: a row that fails its checksum is never returned; a broken file is one error."""

from __future__ import annotations

import logging
import random
import re
import shutil
import sqlite3
import subprocess
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from support.stores import answer, fill, key, readable

from personalrm.core.errors import StoreError
from personalrm.llm.cache.store import ResponseStore
from personalrm.llm.cache.store_file import PAGE_SIZE


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
        raw.execute(
            f"UPDATE responses SET {column} = ? WHERE id = 2", (value.translate({ord("1"): "7", ord("2"): "3"}),)
        )
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


def cut(data: bytearray) -> None:
    del data[len(data) // 2 :]


def break_header(data: bytearray) -> None:
    data[0:200] = b"\xff" * 200


def zero_a_page(data: bytearray) -> None:
    start = data.rfind(b"answer 100 ") // PAGE_SIZE * PAGE_SIZE
    data[start : start + PAGE_SIZE] = bytes(PAGE_SIZE)


def replace_all(data: bytearray) -> None:
    data[:] = b"somebody's notes" * 1000


@pytest.mark.parametrize("damage", [cut, break_header, zero_a_page, replace_all])
def test_a_damaged_file_is_one_error_with_the_way_out_and_stays_as_it_is(tmp_path: Path, damage: object) -> None:
    path = tmp_path / "s.sqlite"
    fill(path, 200)
    data = bytearray(path.read_bytes())
    damage(data)  # type: ignore[operator]
    path.write_bytes(data)
    expected = rf"store {re.escape(str(path))}: the file is damaged .*sqlite3 {re.escape(str(path))} \.recover"
    with pytest.raises(StoreError, match=expected), ResponseStore(path) as store:
        _ = [store.get(key(number)) for number in range(200)]
    assert path.read_bytes() == data


@pytest.mark.skipif(shutil.which("sqlite3") is None, reason="needs SQLite's command-line tool")
def test_the_way_out_that_the_error_names_saves_what_is_left(tmp_path: Path) -> None:
    path = tmp_path / "s.sqlite"
    fill(path, 200)
    data = bytearray(path.read_bytes())
    zero_a_page(data)
    path.write_bytes(data)
    with pytest.raises(StoreError) as caught, ResponseStore(path) as store:
        _ = [store.get(key(number)) for number in range(200)]
    recover, dump = re.findall(r"`(sqlite3 .*?)`", str(caught.value))
    saved = tmp_path / "s.sqlite.recovered"
    works = subprocess.run(["sqlite3", ":memory:", "select 1 from sqlite_dbpage"], capture_output=True, check=False)
    subprocess.run(["bash", "-c", dump if works.returncode else recover], check=True)
    for name in ("s.sqlite-wal", "s.sqlite-shm", "s.sqlite"):
        (tmp_path / name).unlink(missing_ok=True)
    saved.rename(path)
    left = readable(path, 200)
    assert 150 <= left < 200
    with ResponseStore(path) as store:
        for number in range(200):
            assert store.put(key(number), "m@1", answer(number)).text == answer(number).text
    assert readable(path, 200) == 200


@settings(deadline=None, max_examples=60)
@given(seed=st.integers(0, 2**32))
@example(seed=25234).via("an index that led to the row of another key")
def test_flipped_bytes_never_give_a_wrong_answer(tmp_path_factory: pytest.TempPathFactory, seed: int) -> None:
    rng = random.Random(seed)
    path = tmp_path_factory.mktemp("flip") / "s.sqlite"
    fill(path, 40)
    data = bytearray(path.read_bytes())
    for _ in range(rng.choice((1, 1, 3, 20))):
        limit = rng.choice((100, PAGE_SIZE, len(data)))
        data[rng.randrange(limit)] ^= 1 << rng.randrange(8)
    path.write_bytes(data)
    # Each answer is right, or the file is an error that names it.
    with suppress(StoreError):
        readable(path, 40)
        with ResponseStore(path) as store:
            for number in range(40):
                assert store.put(key(number), "m@1", answer(number)).text == answer(number).text
        readable(path, 40)
