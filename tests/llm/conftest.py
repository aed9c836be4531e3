"""Fixtures of the tests of the model port."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from support.backends import CANARY, MakeBackend
from support.backends import request as hello
from support.scripted_server import ScriptedServer

from personalrm.llm.backends.litellm_backend import LiteLLMBackend
from personalrm.llm.backends.openai_http import OpenAIHttpBackend
from personalrm.llm.cache.store import ResponseStore
from personalrm.llm.types import ModelSpec


@pytest.fixture
def store(tmp_path: Path) -> ResponseStore:
    return ResponseStore(tmp_path / "s.sqlite", run="r")


@pytest.fixture(scope="session")
def warm_litellm() -> None:
    """litellm takes seconds to load at its first call: not within any test's time-out."""
    with ScriptedServer(lambda _: "warm") as server:
        spec = ModelSpec("warm", "litellm", "openai/warm", api_base=server.url, timeout_s=60)
        asyncio.run(LiteLLMBackend(spec).call(hello()))


@pytest.fixture(params=[OpenAIHttpBackend, LiteLLMBackend], ids=["http", "litellm"])
def make(request: pytest.FixtureRequest, warm_litellm: None) -> MakeBackend:
    chosen: MakeBackend = request.param
    return chosen


@pytest.fixture
def canary(monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("SCRIPTED_API_KEY", CANARY)
    return CANARY
