"""Fetching hub files: what arrives, what is noted, and what is tried again. Real servers."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from support.hub_server import COMMIT, Fault, HubRepo, HubServer

from personalrm.core.errors import ConfigError, DataError
from personalrm.data.card import source_facts
from personalrm.data.hub import check_files, shared_source
from personalrm.data.pair_sets import PairSet
from personalrm.data.settings import Dataset, HubSource, LocalDataset, PrismDataset

from .hub_cases import FILES, FOLDER, LARGE, SMALL, TOKEN, fetch, files_below, refused, sha, source


def test_bytes_and_record_are_what_the_hub_has_and_a_second_fetch_asks_nothing(
    hub: HubServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.tokens = {TOKEN}
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    notes = fetch()
    assert files_below(FOLDER) == {*FILES, "checksums.json"}
    for name, content in FILES.items():
        assert (FOLDER / name).read_bytes() == content
    assert json.loads((FOLDER / "checksums.json").read_text(encoding="utf-8")) == {
        "repo": "some/set",
        "revision": COMMIT,
        "commit": COMMIT,
        "files": {name: sha(content) for name, content in FILES.items()},
    }
    assert len(notes) == len(FILES)
    for asked in hub.asked:
        assert (asked.headers.get("Authorization") is None) == asked.path.startswith("/network/")
    before = len(hub.asked)
    assert fetch() == []
    assert len(hub.asked) == before


@pytest.mark.parametrize("name", ["conversations.jsonl", "survey.jsonl"])
@pytest.mark.parametrize("fault", [503, 429, "cut"])
def test_what_may_pass_is_tried_again(hub: HubServer, name: str, fault: Fault) -> None:
    hub.faults[name] = [fault]
    hub.head_faults[name] = [503, 502]
    notes = fetch()
    assert (FOLDER / name).read_bytes() == FILES[name]
    assert [note for note in notes if "again in" in note and "HTTP 50" in note and name in note]
    assert hub.count("HEAD", name) >= 3


@pytest.mark.parametrize("name", ["conversations.jsonl", "survey.jsonl"])
def test_a_file_damaged_on_the_way_is_fetched_again(hub: HubServer, name: str) -> None:
    hub.faults[name] = ["damage"]
    notes = fetch()
    assert (FOLDER / name).read_bytes() == FILES[name]
    assert any("damaged on the way" in note for note in notes)


def test_what_arrived_of_a_file_is_not_requested_again(hub: HubServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.DOWNLOAD_CHUNK_SIZE", 1_000)
    hub.faults["conversations.jsonl"] = ["cut", 500]
    refused(attempts=1)
    fetch()
    assert (FOLDER / "conversations.jsonl").read_bytes() == LARGE
    ranges = [each.headers.get("Range") for each in hub.asked if each.path.startswith("/network/")]
    assert ranges == [None, *[f"bytes={len(LARGE) // 2}-"] * 2]


numbers = itertools.count()


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(faults=st.lists(st.sampled_from([500, 503, 408, "cut", "damage"]), max_size=3))
def test_whatever_passes_the_bytes_are_right(hub: HubServer, faults: list[Fault]) -> None:
    repo = f"some/set{next(numbers)}"
    hub.repos[repo] = HubRepo({"a.bin": LARGE}, lfs={"a.bin"})
    hub.faults["a.bin"] = list(faults)
    wanted = source(repo=repo, files=["a.bin"])
    fetch(wanted)
    assert (wanted.folder / "a.bin").read_bytes() == LARGE
    assert files_below(wanted.folder) == {"a.bin", "checksums.json"}


def test_a_hub_that_stays_down_is_given_up_and_leaves_no_file(hub: HubServer) -> None:
    hub.head_faults["survey.jsonl"] = [503] * 9
    assert "answers HTTP 503 for survey.jsonl" in refused(source(files=["survey.jsonl"]), attempts=3)
    assert hub.count("HEAD", "survey.jsonl") == 3
    hub.head_faults, hub.faults = {}, {"survey.jsonl": ["cut"] * 99}
    assert "hung up on survey.jsonl" in refused(source(files=["survey.jsonl"]), attempts=1)
    assert not [path for path in FOLDER.iterdir() if path.name != ".incoming"]


def test_what_arrived_before_a_failure_is_not_fetched_again(hub: HubServer) -> None:
    hub.head_faults["survey.jsonl"] = [503] * 2
    refused(attempts=2)
    assert not (FOLDER / "conversations.jsonl").exists()
    fetch()
    assert (FOLDER / "conversations.jsonl").read_bytes() == LARGE
    assert sum(each.method == "GET" and each.path.startswith("/network/") for each in hub.asked) == 1


def test_an_arrived_file_that_was_changed_since_is_fetched_again(hub: HubServer) -> None:
    hub.head_faults["survey.jsonl"] = [503]
    refused(attempts=1)
    (FOLDER / ".incoming" / "conversations.jsonl").write_bytes(b"cut")
    fetch()
    assert (FOLDER / "conversations.jsonl").read_bytes() == LARGE


@pytest.mark.parametrize("name", ["conversations.jsonl", "survey.jsonl"])
def test_a_checksum_of_the_config_must_hold(hub: HubServer, name: str) -> None:
    text = refused(source(sha256={name: "ab" * 32}))
    assert sha(FILES[name]) in text
    assert "datasets.prism.hub.sha256 says " + "ab" * 32 in text
    assert not (FOLDER / name).exists()
    if name == "conversations.jsonl":
        # The hub's own record told.
        assert not any(each.path.startswith("/network/") for each in hub.asked)
    fetch(source(sha256={name: sha(FILES[name]).upper()}))
    assert (FOLDER / name).read_bytes() == FILES[name]


@pytest.mark.parametrize("name", ["conversations.jsonl", "survey.jsonl"])
def test_a_file_that_changed_at_the_hub_is_an_error_with_both_sums(hub: HubServer, name: str) -> None:
    fetch()
    (FOLDER / name).unlink()
    hub.repos["some/set"].files[name] = b"other"
    text = refused()
    assert sha(b"other") in text
    assert sha(FILES[name]) in text
    assert "checksums.json" in text
    assert not (FOLDER / name).exists()


def test_a_file_that_changed_here_is_an_error_with_both_sums(hub: HubServer) -> None:
    fetch()
    (FOLDER / "survey.jsonl").write_bytes(b"edited")
    for text in (refused(), _check_refused()):
        assert sha(b"edited") in text
        assert sha(SMALL) in text
    assert (FOLDER / "survey.jsonl").read_bytes() == b"edited"


def _check_refused(wanted: HubSource | None = None) -> str:
    with pytest.raises(DataError) as caught:
        check_files("prism", wanted or source())
    return str(caught.value)


def test_check_of_fetched_files(hub: HubServer) -> None:
    assert "conversations.jsonl is not there" in _check_refused()
    fetch()
    check_files("prism", source())
    assert "hub.sha256 says" in _check_refused(source(sha256={"survey.jsonl": "0" * 64}))
    (FOLDER / "checksums.json").write_text('{"files": []}', encoding="utf-8")
    assert "not the record that was written" in _check_refused()


def test_a_branch_stays_at_the_commit_of_the_first_fetch(hub: HubServer) -> None:
    fetch(source(revision="main", files=["survey.jsonl"]))
    repo, later = hub.repos["some/set"], "d" * 40
    repo.commit, repo.refs = later, {"main": later}
    hub.asked.clear()
    refused(source(revision="main"))
    assert [each.path for each in hub.asked] == [f"/datasets/some/set/resolve/{COMMIT}/conversations.jsonl"]
    noted = json.loads(Path("data/hub/some--set/main/checksums.json").read_text(encoding="utf-8"))
    assert noted["commit"] == COMMIT
    pairs = PairSet.model_validate({"name": "d", "hub": source(revision="main", files=["survey.jsonl"]).model_dump()})
    assert source_facts(pairs) == {
        "source_sha256": {"survey.jsonl": sha(SMALL)},
        "licence": "",
        "hub": {"repo": "some/set", "revision": "main", "commit": COMMIT},
    }


def test_files_of_one_name_in_two_folders_are_both_named(tmp_path: Path) -> None:
    for folder, content in (("SHP", SMALL), ("Mnemonic", LARGE)):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "train.jsonl").write_bytes(content)
    both = source_facts(PairSet(name="d", path=tmp_path))
    assert both["source_sha256"] == {"Mnemonic/train.jsonl": sha(LARGE), "SHP/train.jsonl": sha(SMALL)}
    one = source_facts(PairSet(name="d", path=tmp_path / "SHP"))
    assert one["source_sha256"] == {"train.jsonl": sha(SMALL)}


def test_a_renamed_repository_is_followed(hub: HubServer) -> None:
    hub.moved["old/name"] = "some/set"
    wanted = source(repo="old/name")
    fetch(wanted)
    assert (wanted.folder / "conversations.jsonl").read_bytes() == LARGE


@pytest.mark.parametrize("variable", ["HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"])
def test_files_put_there_by_hand_need_no_network(
    hub: HubServer, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    monkeypatch.setenv(variable, "1")
    assert "HF_HUB_OFFLINE is set" in refused()
    for name, content in FILES.items():
        (FOLDER / name).parent.mkdir(parents=True, exist_ok=True)
        (FOLDER / name).write_bytes(content)
    fetch()
    check_files("prism", source())
    assert hub.asked == []


def prism(name: str, **changes: object) -> Dataset:
    return PrismDataset(name=name, source="prism", shards=1, hub=source(**changes))


def test_data_sets_of_the_same_files_are_fetched_as_one() -> None:
    datasets = {
        "mine": LocalDataset(name="mine", path=Path("votes.jsonl")),
        "one": prism("one", files=["a"], sha256={"a": "AB" * 32}),
        "two": prism("two", files=["b", "a"], sha256={"b": "0" * 64, "a": "ab" * 32}),
        "other": prism("other", revision="main", files=["c"]),
    }
    expected = source(files=["a", "b"], sha256={"a": "ab" * 32, "b": "0" * 64})
    assert shared_source(datasets, "one") == shared_source(datasets, "two") == expected
    assert shared_source(datasets, "other") == source(revision="main", files=["c"])
    with pytest.raises(ConfigError, match=r"datasets\.mine\.hub: not given"):
        shared_source(datasets, "mine")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"files": ["a/../../b"]}, "is not the name of a file"),
        ({"files": ["/etc/hosts"]}, "is not the name of a file"),
        ({"files": [".incoming/x"]}, "is not the name of a file"),
        ({"files": [""]}, "is not the name of a file"),
        ({"files": ["checksums.json"]}, "our own record"),
        ({"files": ["a"], "sha256": {"A": "0" * 64}}, r"sha256\.A: no such file"),
        ({"files": ["a"], "sha256": {"a": "00"}}, r"sha256\.a\n.*should match pattern"),
        ({"files": ["a"], "sha256": {"a": "1" * 64}}, "differs from another"),
    ],
)
def test_what_a_config_may_not_ask_for(changes: dict[str, Any], message: str) -> None:
    one = prism("one", files=["a"], sha256={"a": "0" * 64})
    with pytest.raises((ConfigError, ValidationError), match=message):
        shared_source({"one": one, "two": prism("two", **changes)}, "one")
