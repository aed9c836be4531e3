"""Servers that cannot be reached are named before a run, unless their answers are stored."""

from __future__ import annotations

import logging
import socket
import time
from pathlib import Path

import pytest
from support.ports import request
from support.projects import small_config
from support.scripted_server import ScriptedServer

from personalrm.core.errors import ConfigError
from personalrm.llm.cache.key import request_key
from personalrm.llm.cache.store import ResponseStore
from personalrm.llm.types import Response, Usage
from personalrm.studies.config_load import parse_config
from personalrm.studies.preflight import missing
from personalrm.studies.study import Needs
from personalrm.studies.synthesizeme.config import Config

NEEDS = Needs(models={"big", "tiny"})


def config_of(folder: Path, big: str, tiny: str) -> Config:
    raw = small_config(big) | {"store": str(folder / "store.sqlite")}
    raw["models"]["tiny"]["api_base"] = tiny
    return parse_config(raw)


def closed() -> str:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{taken.getsockname()[1]}/v1"


def test_each_server_that_cannot_be_reached_is_one_line_with_its_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = config_of(tmp_path, closed(), "http://nobody.invalid/v1")
    begun = time.monotonic()
    refused, unknown = missing(config, NEEDS)
    assert time.monotonic() - begun < 3
    assert refused.startswith("models.big.api_base: no server listens at 127.0.0.1:")
    assert unknown.startswith("models.tiny.api_base: host 'nobody.invalid' is not known")
    assert missing(config, Needs()) == []
    # What is reachable from the machines of a cluster is not known here.
    assert missing(config, Needs(models=NEEDS.models, here=False)) == []
    entry = config.models["big"].model_copy(update={"api_base": None, "api_base_env": "BIG_BASE"})
    monkeypatch.setenv("BIG_BASE", "localhost:8000/v1")
    (problem,) = missing(config.model_copy(update={"models": {"big": entry}}), Needs(models={"big"}))
    assert problem == "models.big.api_base_env: 'localhost:8000/v1' has no scheme; write http://localhost:8000/v1"
    monkeypatch.setenv("BIG_BASE", "http://me:sesame@[::1/v1")
    (problem,) = missing(config.model_copy(update={"models": {"big": entry}}), Needs(models={"big"}))
    assert problem == "models.big.api_base_env: is no address; write it as in http://localhost:8000/v1"


def test_nothing_is_sent_to_a_server_that_is_there(tmp_path: Path) -> None:
    with ScriptedServer() as server:
        assert missing(config_of(tmp_path, server.url, server.url), NEEDS) == []
        assert server.count == 0


def test_a_model_with_stored_answers_may_be_absent(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    config = config_of(tmp_path, closed(), closed())
    identity = config.specs["big"].identity
    with ResponseStore(config.store) as store:
        store.put(request_key(identity, request()), identity, Response("fine", "stop", Usage()))
    with caplog.at_level(logging.WARNING, "personalrm"):
        (problem,) = missing(config, NEEDS)
    assert problem.startswith("models.tiny.api_base: ")
    assert "models.big.api_base: no server listens" in caplog.text
    assert "only stored answers" in caplog.text


def test_an_address_without_a_scheme_is_refused_when_the_config_is_read() -> None:
    raw = small_config("127.0.0.1:8000/v1")
    raw["models"]["tiny"]["api_base"] = "http://me:sesame@[::1/v1"
    with pytest.raises(ConfigError) as caught:
        parse_config(raw)
    big, tiny = str(caught.value).splitlines()
    assert big == "models.big.api_base: '127.0.0.1:8000/v1' has no scheme; write http://127.0.0.1:8000/v1"
    assert tiny.startswith("models.tiny.api_base: is no address")
    assert "sesame" not in tiny
