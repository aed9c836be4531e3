"""What every failure of a fetch says, and what it asked the hub before. A real server."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from support.hub_server import HubRepo, HubServer

from .hub_cases import FILES, TOKEN, fetch, refused, source


@pytest.mark.parametrize(
    ("changes", "token", "parts"),
    [
        ({"repo": "some/gated"}, None, ["gated; accept the terms at", "/datasets/some/gated", "and set HF_TOKEN"]),
        ({"repo": "some/gated"}, TOKEN, ["gated; accept the terms at", "with the account of the HF_TOKEN in use"]),
        ({}, f"{TOKEN}Old", ["refuses the HF_TOKEN in use"]),
        ({"repo": "some/gated"}, f"{TOKEN}Old", ["refuses the HF_TOKEN in use"]),
        (
            {"repo": "no/such"},
            None,
            ["there is no repository", "/no/such", "private: then set HF_TOKEN; correct repo"],
        ),
        ({"repo": "no/such"}, TOKEN, ["there is no repository", "the account of the HF_TOKEN in use may not see it"]),
        ({"revision": "gone"}, None, ["no revision gone", "correct revision"]),
        ({"files": ["a.jsonl", "survey.jsonl"]}, None, ["no file 'a.jsonl'", "correct files"]),
        ({}, f"{TOKEN} \u00e9", ["HF_TOKEN holds characters"]),
    ],
)
def test_every_refusal_says_what_to_do(
    hub: HubServer, monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any], token: str | None, parts: list[str]
) -> None:
    hub.repos["some/gated"] = HubRepo(dict(FILES), gated=True)
    hub.tokens = {TOKEN}
    if token:
        monkeypatch.setenv("HF_TOKEN", token)
    text = refused(source(**changes))
    for part in parts:
        assert part in text
    # None of them may pass, so none was tried again.
    assert len(hub.asked) <= 1


def test_members_read_gated_data(hub: HubServer, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.repos["some/gated"] = HubRepo(dict(FILES), gated=True, lfs={"conversations.jsonl"})
    hub.tokens = hub.members = {TOKEN}
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    fetch(source(repo="some/gated"))


@pytest.mark.parametrize(("status", "part"), [(403, "may not read it"), (418, "answers HTTP 418"), (400, "HTTP 400")])
def test_other_answers_are_named(hub: HubServer, status: int, part: str) -> None:
    hub.head_faults["conversations.jsonl"] = [status]
    assert part in refused()


@pytest.mark.parametrize(
    ("endpoint", "part"),
    [
        ("http://127.0.0.1:9", "could not be reached"),
        ("http://me:sesame@127.0.0.1:9", "could not be reached"),
        ("no address", "HF_ENDPOINT is no usable address"),
    ],
)
def test_a_wrong_endpoint(hub: HubServer, monkeypatch: pytest.MonkeyPatch, endpoint: str, part: str) -> None:
    monkeypatch.setenv("HF_ENDPOINT", endpoint)
    text = refused(attempts=2)
    assert part in text
    assert "sesame" not in text


def test_a_server_that_is_no_hub(hub: HubServer) -> None:
    hub.plain = True
    assert "not as a hub does; correct HF_ENDPOINT" in refused()


def test_a_file_that_cannot_fit_is_not_begun(hub: HubServer) -> None:
    hub.repos["some/set"].size["conversations.jsonl"] = 10**18
    assert "no room below data/hub" in refused()
    assert not any(each.method == "GET" for each in hub.asked)


def test_a_folder_that_cannot_be_written(hub: HubServer) -> None:
    Path("data").write_text("a file", encoding="utf-8")
    assert "must be writable" in refused()


def test_a_wrong_number_of_bytes_may_pass_and_is_named(hub: HubServer) -> None:
    hub.repos["some/set"].size["conversations.jsonl"] = len(FILES["conversations.jsonl"]) + 1
    assert "conversations.jsonl came with a wrong number of bytes" in refused(attempts=2)
    assert sum(each.path.startswith("/network/") for each in hub.asked) == 2
