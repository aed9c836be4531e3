"""The store behind links, and on full and read-only disks and those without locks."""

from __future__ import annotations

import asyncio
import errno
import io
import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import IO

import pytest
from support.ports import request
from support.scripted_server import ScriptedServer
from support.stores import answer, fill, key

from personalrm.core import files
from personalrm.core.errors import OutputError, StoreError
from personalrm.core.files import atomic_write_text, file_lock, holders
from personalrm.llm.cache import store_file
from personalrm.llm.cache.store import ResponseStore
from personalrm.llm.cache.store_locks import CallLocks
from personalrm.llm.limits.budget import lift
from personalrm.llm.open import RuntimeSettings, open_model
from personalrm.llm.types import ModelSpec
from personalrm.studies.config_load import parse_config
from personalrm.studies.preflight import missing
from personalrm.studies.study import Needs


@contextmanager
def disk(path: Path, options: str = "size=400k") -> Iterator[Path]:
    """A small file system of its own."""
    path.mkdir(parents=True)
    if os.geteuid() != 0 or shutil.which("mount") is None:
        pytest.skip("a file system of a test's own needs root and mount")
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(path)], check=False)
    if done.returncode:
        pytest.skip("no file system can be mounted here")
    try:
        yield path
    finally:
        subprocess.run(["umount", "--lazy", str(path)], check=True)


def read_only(path: Path) -> None:
    subprocess.run(["mount", "-o", "remount,ro", str(path)], check=True)


async def asked(store: ResponseStore, server: ScriptedServer, text: str = "hello") -> str:
    spec = ModelSpec("m", "openai", "m", api_base=server.url, max_attempts=1)
    async with open_model(spec, store=store, runtime=RuntimeSettings(store.path.parent, 1)) as model:
        return (await model.complete(request(text))).text


def ask(store: ResponseStore, server: ScriptedServer, text: str = "hello") -> str:
    return asyncio.run(asked(store, server, text))


def test_a_link_to_a_store_is_the_store_and_shares_its_locks(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    link, real = tmp_path / "link.sqlite", tmp_path / "real" / "s.sqlite"
    link.symlink_to(real)
    with ResponseStore(link) as one, ResponseStore(real) as two:
        one.put(key(1), "m@1", answer(1))
        assert two.get(key(1)) is not None
        assert one.path == two.path == real
        with CallLocks(one.path).held("ab" * 32) as mine, CallLocks(two.path).held("ab" * 32) as free:
            assert (mine, free) == (True, False)
    assert link.is_symlink()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["link.sqlite", "real"]


def test_a_store_that_cannot_be_written_is_read_and_pays_for_nothing(tmp_path: Path) -> None:
    with disk(tmp_path / "disk", "size=8m") as folder, ScriptedServer(lambda _: "fine") as server:
        with ResponseStore(folder / "s.sqlite", run="r") as store:
            assert ask(store, server) == "fine"
        read_only(folder)
        lift(folder / "s.sqlite", "r")
        with ResponseStore(folder / "s.sqlite", run="r") as store:
            # From the store.
            assert ask(store, server) == "fine"
            assert store.paid_totals("r")
            with pytest.raises(StoreError, match=r"s\.sqlite: it cannot be written\. Make the file and its folder wri"):
                store.put(key(2), "m@1", answer(2))
            with pytest.raises(StoreError, match="no call was made"):
                ask(store, server, "another")
        assert server.count == 1


def test_a_damaged_answer_of_a_read_only_store_counts_as_missing(tmp_path: Path) -> None:
    with disk(tmp_path / "disk", "size=8m") as folder:
        fill(folder / "s.sqlite", 2)
        with closing(sqlite3.connect(folder / "s.sqlite")) as raw, raw:
            raw.execute("UPDATE responses SET payload = 'x' WHERE key = ?", (key(0),))
        read_only(folder)
        with ResponseStore(folder / "s.sqlite") as store:
            assert store.get(key(0)) is None
            assert store.get(key(1)) is not None


def test_what_a_killed_writer_left_in_its_journal_is_read_from_a_read_only_disk(tmp_path: Path) -> None:
    with disk(tmp_path / "disk", "size=8m") as folder:
        code = (
            "import os, sys\nfrom pathlib import Path\nfrom personalrm.llm.cache.store import ResponseStore\n"
            "from personalrm.llm.types import Response, Usage\n"
            "s = ResponseStore(Path(sys.argv[1]))\ns.put('k', 'm', Response('kept', 'stop', Usage(1, 1)))\nos._exit(9)"
        )
        subprocess.run([sys.executable, "-c", code, str(folder / "s.sqlite")], check=False)
        read_only(folder)
        with ResponseStore(folder / "s.sqlite") as store:
            found = store.get("k")
    assert found is not None
    assert found.text == "kept"


@pytest.mark.parametrize("options", ["size=400k", "size=8m,nr_inodes=12"], ids=["space", "files"])
def test_a_full_disk_is_found_before_the_first_call(options: str, tmp_path: Path) -> None:
    with disk(tmp_path / "disk", options) as folder, ScriptedServer(lambda _: "fine") as server:
        with (
            ResponseStore(folder / "s.sqlite") as store,
            pytest.raises(StoreError, match=r"the disk is full .*no call"),
        ):
            ask(store, server)
        entry = {"backend": "openai", "model": "m", "api_base": server.url}
        raw = {"run": "r", "datasets": {"d": {"path": "v"}}, "models": {"m": entry}}
        for store_path in (folder / "s.sqlite", folder / "new" / "s.sqlite"):
            config = parse_config(raw | {"store": str(store_path)})
            (problem,) = missing(config, Needs(models={"m"}))
            assert "s.sqlite: the disk is full" in problem
        assert server.count == 0


def test_a_disk_that_fills_with_calls_in_flight_loses_no_answer_that_was_paid_for(tmp_path: Path) -> None:
    with (
        disk(tmp_path / "disk", "size=8m") as folder,
        ScriptedServer(lambda _: "fine " * 8000, latency=0.3) as server,
        ResponseStore(folder / "s.sqlite", run="r") as store,
    ):
        spec = ModelSpec("m", "openai", "m", api_base=server.url, max_attempts=1, max_concurrency=50)

        async def many() -> list[str | BaseException]:
            async with open_model(spec, store=store, runtime=RuntimeSettings(tmp_path, 1), eager=True) as model:
                calls = (model.complete(request(str(number))) for number in range(300))
                return [getattr(one, "text", one) for one in await asyncio.gather(*calls, return_exceptions=True)]

        told = asyncio.run(many())
        refused = [one for one in told if isinstance(one, StoreError)]
        assert refused
        assert all("no call was made" in str(one) for one in refused)
        assert (
            0 < server.count == len(told) - len(refused) == sum(paid.calls for paid in store.paid_totals("r").values())
        )


class Quota(io.BytesIO):
    """A file that a quota keeps empty."""

    def write(self, _: object) -> int:
        raise OSError(errno.EDQUOT, "Disk quota exceeded")


@pytest.mark.parametrize("scratch", [Quota, lambda: io.FileIO("/dev/full", "w")], ids=["quota", "full"])
def test_what_is_full_though_space_is_free_is_found(
    scratch: Callable[[], IO[bytes]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_file.tempfile, "TemporaryFile", lambda **_: scratch())
    with ScriptedServer(lambda _: "fine") as server, ResponseStore(tmp_path / "s.sqlite") as store:
        with pytest.raises(StoreError, match="the disk is full"):
            ask(store, server)
        assert server.count == 0


def test_room_is_found_on_systems_that_cannot_reserve_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # As on macOS.
    monkeypatch.delattr(os, "posix_fallocate", raising=False)
    with ScriptedServer(lambda _: "fine") as server, ResponseStore(tmp_path / "s.sqlite") as store:
        assert ask(store, server) == "fine"


def test_a_full_disk_under_an_output_is_one_line(tmp_path: Path) -> None:
    with disk(tmp_path / "disk") as folder:
        (folder / "old").write_text("kept", encoding="utf-8")
        with pytest.raises(OutputError, match=r"old: cannot be written: No space left on device\. Free some space"):
            atomic_write_text(folder / "old", "x" * 500_000)
        assert [path.name for path in folder.iterdir()] == ["old"]
        assert (folder / "old").read_text(encoding="utf-8") == "kept"
        read_only(folder)
        with pytest.raises(OutputError, match="Make the folder writable"):
            atomic_write_text(folder / "deep" / "er", "x")


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP])
def test_a_file_system_without_locks_is_told_of_and_used(
    number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(files.fcntl, "flock", refuse)
    with ResponseStore(tmp_path / "s.sqlite") as store:
        store.put(key(1), "m@1", answer(1))
    (record,) = caplog.records
    assert f"s.sqlite.lock cannot be locked ({os.strerror(number)})" in record.getMessage()


def test_a_lock_of_another_user_can_be_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lock, opened = tmp_path / "x.lock", Path.open
    lock.touch()

    def no_right(path: Path, mode: str = "r", **options: object) -> object:
        if mode == "a":
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return opened(path, mode, **options)  # type: ignore[call-overload]

    monkeypatch.setattr(Path, "open", no_right)
    with file_lock(lock):
        assert holders(lock) == [(os.getpid(), False)]


def test_a_store_behind_a_link_to_itself_is_one_line(tmp_path: Path) -> None:
    link = tmp_path / "s.sqlite"
    link.symlink_to(link)
    raw = {"run": "r", "datasets": {"d": {"path": "v"}}, "store": str(link)}
    raw["models"] = {"m": {"backend": "openai", "model": "m", "api_base": "http://127.0.0.1:9/v1"}}
    assert missing(parse_config(raw), Needs(models={"m"}, here=False)) == []
    with pytest.raises(StoreError, match=r"s\.sqlite: it cannot be opened"):
        ResponseStore(link)


@pytest.mark.parametrize("place", ["broken link", "file", "loop", "long name"])
def test_an_output_where_no_folder_can_be_is_one_line(place: str, tmp_path: Path) -> None:
    folder = tmp_path / ("x" * 300 if place == "long name" else "there")
    if place == "file":
        folder.touch()
    elif place != "long name":
        folder.symlink_to(tmp_path / "absent" if place == "broken link" else folder)
    with pytest.raises(OutputError, match=r"cannot be written: .* run the same command again"):
        atomic_write_text(folder / "out", "x")


def test_an_output_may_have_the_longest_name_that_a_folder_takes(tmp_path: Path) -> None:
    out = tmp_path / ("\U0001f600" * 63)
    atomic_write_text(out, "x")
    assert out.read_text(encoding="utf-8") == "x"


def test_a_store_with_two_names_is_refused_for_its_journals_would_lose_answers(tmp_path: Path) -> None:
    one, other = tmp_path / "s.sqlite", tmp_path / "other.sqlite"
    fill(one, 2)
    other.hardlink_to(one)
    for path in (one, other):
        with pytest.raises(StoreError, match="the file has a second name") as caught:
            ResponseStore(path)
    # The way out that the message names.
    subprocess.run(str(caught.value).rpartition(": ")[2], shell=True, check=True)
    for path in (one, other):
        with ResponseStore(path) as store:
            assert store.get(key(1)) is not None
