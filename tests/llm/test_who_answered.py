"""Who answered: two servers under one id are two models, and the model that replies name is kept and watched."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.ports import request
from support.scripted_server import Fault, ScriptedServer

from personalrm.llm.cache.store import ResponseStore
from personalrm.llm.open import RuntimeSettings, open_model
from personalrm.llm.types import ModelSpec, normalised, split_identity
from personalrm.studies.config_load import parse_config

SPEC = ModelSpec("m", "openai", "default", api_base="http://127.0.0.1:1/v1")


def answers(path: Path, spec: ModelSpec, count: int = 3) -> list[str]:
    async def run() -> list[str]:
        with ResponseStore(path) as store:
            async with open_model(spec, store=store, runtime=RuntimeSettings(path.parent, 1)) as model:
                return [(await model.complete(request(f"q{n}"))).text for n in range(count)]

    return asyncio.run(run())


def test_two_servers_under_one_id_are_both_asked(tmp_path: Path) -> None:
    path = tmp_path / "s.sqlite"
    with ScriptedServer(lambda _: "one") as one, ScriptedServer(lambda _: "two") as two:
        specs = [replace(SPEC, name=name, api_base=server.url) for name, server in (("base", one), ("tuned", two))]
        assert [answers(path, spec) for spec in specs] == [["one"] * 3, ["two"] * 3]
        assert (one.count, two.count) == (3, 3)
        # Once more, from the store.
        assert [answers(path, spec) for spec in specs] == [["one"] * 3, ["two"] * 3]
        assert (one.count, two.count) == (3, 3)


def test_a_snapshot_with_same_weights_is_known_at_any_address(tmp_path: Path) -> None:
    path = tmp_path / "s.sqlite"
    known = replace(SPEC, snapshot="2026-01", same_weights=True)
    with ScriptedServer(lambda _: "one") as server:
        assert answers(path, replace(known, api_base=server.url)) == ["one"] * 3
    # Nothing listens there.
    assert answers(path, replace(known, api_base="http://127.0.0.1:9/v1")) == ["one"] * 3
    assert replace(known, same_weights=False).identity != known.identity
    assert replace(known, snapshot="").identity != replace(SPEC, same_weights=True, api_base="http://b/v1").identity


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("http://localhost:8000/v1", "HTTP://127.0.0.1:8000/v1/"),
        ("https://host/v1", "https://me:secret@Host.:443/v1?key=x"),
        ("http://[::1]:80/v1", "http://localhost/v1//"),
    ],
)
def test_spellings_of_one_endpoint_are_one(one: str, other: str) -> None:
    assert normalised(one) == normalised(other)
    assert replace(SPEC, api_base=one).identity == replace(SPEC, api_base=other).identity
    assert "secret" not in replace(SPEC, api_base=other).identity


def test_an_address_that_cannot_be_read_is_an_endpoint_that_is_none() -> None:
    # The checks before a run refuse it; no part of it is kept.
    spec = ModelSpec("m", "openai", "m", api_base="http://me:sesame@[::1/v1")
    assert spec.identity == "m@ at ://"


@pytest.mark.parametrize("other", ["http://127.0.0.1:2/v1", "https://127.0.0.1:1/v1", "http://127.0.0.1:1/v2"])
def test_another_port_protocol_or_path_is_another_endpoint(other: str) -> None:
    assert replace(SPEC, api_base=other).identity != SPEC.identity


def test_a_providers_and_an_embedded_models_identity_has_no_endpoint() -> None:
    plain = ModelSpec("m", "litellm", "openai/gpt-4o-mini")
    assert plain.identity == replace(plain, backend="openai", api_base="https://api.openai.com/v1/").identity
    assert plain.identity == "openai/gpt-4o-mini@"
    assert ModelSpec("m", "embedded", "x", snapshot="ab", api_base="http://h/v1").identity == "x@ab"


@given(st.text(), st.sampled_from(["", "http://a/v1", "https://b:1/v1"]))
def test_an_identity_comes_apart_again(model: str, base: str) -> None:
    spec = ModelSpec("m", "openai", model, api_base=base or None)
    assert split_identity(spec.identity) == (spec.bare_identity, base)


def test_an_endpoint_in_a_variable_is_part_of_the_identity_of_all_stages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_SERVER", "http://gpu7:8000/v1")
    entry = {"backend": "openai", "model": "x", "api_base_env": "MY_SERVER"}
    config = parse_config({"run": "r", "datasets": {"d": {"path": "v"}}, "models": {"m": entry}})
    assert config.models["m"].spec("m").identity == "x@ at http://gpu7:8000/v1"


def test_a_change_of_the_model_that_replies_name_is_a_warning_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "s.sqlite"

    def named(model: str) -> Fault:
        choice = {"message": {"content": "fine"}, "finish_reason": "stop"}
        usage = {"prompt_tokens": 3, "completion_tokens": 1}
        return Fault("body", body={"model": model, "choices": [choice], "usage": usage})

    with ScriptedServer(faults=[named("v1"), named("v1"), named("v2"), named("v1"), named("v2")]) as server:
        spec = replace(SPEC, api_base=server.url)
        with caplog.at_level(logging.WARNING):
            answers(path, spec, 2)
            assert not caplog.records
            # Another process.
            answers(path, spec, 5)
        assert [record.getMessage() for record in caplog.records] == [
            "model m: the server now answers as 'v2', before as 'v1'; results may rest on both. Give the config's "
            "entry a dated model id, or a snapshot"
        ]
    with ResponseStore(path) as store:
        assert store.served() == {spec.identity: {"v1": 3, "v2": 2}}
