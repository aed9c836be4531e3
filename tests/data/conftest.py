"""A hub of its own for each test that asks for one."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.hub_server import HubRepo, HubServer

from .hub_cases import FILES

really_sleep = time.sleep


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[HubServer]:
    """A hub with one data set, whose conversations are a large file; an empty working folder; waits are short."""
    for name in [name for name in os.environ if name.startswith(("HF_", "HUGGING", "TRANSFORMERS_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HF_HUB_DISABLE_TELEMETRY", "1")
    monkeypatch.setenv("HF_HUB_DISABLE_XET", "1")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1,localhost")
    monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", str(tmp_path / "no-token"))
    monkeypatch.setattr(time, "sleep", lambda seconds: really_sleep(min(seconds, 0.01)))
    monkeypatch.chdir(tmp_path)
    with HubServer(repos={"some/set": HubRepo(dict(FILES), lfs={"conversations.jsonl"})}) as running:
        monkeypatch.setenv("HF_ENDPOINT", running.url)
        yield running
