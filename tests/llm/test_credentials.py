"""Keys as people paste them, `.env` files as editors save them, and keys in the place of their variables' names."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from support.backends import ask, request, spec_for
from support.scripted_server import ScriptedServer

from personalrm.app.library.models import object_config
from personalrm.core.credentials import clean_key, is_key, key_problem
from personalrm.core.errors import ConfigError
from personalrm.llm.backends.litellm_backend import LiteLLMBackend
from personalrm.llm.backends.openai_http import OpenAIHttpBackend
from personalrm.llm.limits.faults import ModelUnavailable, scrub
from personalrm.llm.types import ModelSpec
from personalrm.studies.config_load import parse_config
from personalrm.studies.preflight import load_environment, missing
from personalrm.studies.study import Needs

KEY = "canary/0123456789+abcdef"
PASTED = {
    "blanks and a line end": f"  {KEY}\r\n",
    "curly quotes": f"\u201c{KEY}\u201d",
    "German quotes": f"\u201e{KEY}\u201c",
    "zero-width blanks": f"\ufeff{KEY[:6]}\u200b{KEY[6:]}\u2060",
    "quotes in quotes": f"' {KEY}'",
    "the word before it": f'"Bearer {KEY}"',
    "its header": f"Authorization: bearer  {KEY}",
}
BROKEN = {
    "a line end inside": (f"{KEY}\n{KEY}", "a line end"),
    "a curly quote inside": (f"{KEY}\u201d{KEY}", "right double quotation mark"),
    "a blank inside": (f"my {KEY}", "space"),
    "a Cyrillic letter": (f"\u0430{KEY}", "cyrillic small letter a"),
}


@pytest.mark.parametrize("name", PASTED)
def test_a_key_is_sent_without_what_was_pasted_around_it(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PASTED_API_KEY", PASTED[name])
    with ScriptedServer(lambda _: "fine", api_key=KEY) as server:
        assert ask(OpenAIHttpBackend, spec_for(server, api_key_env="PASTED_API_KEY"), request()).text == "fine"
    # In neither form is it shown.
    assert KEY not in scrub(f"key={KEY}; {PASTED[name]}", "PASTED_API_KEY")


@pytest.mark.parametrize("value", ["$OPENAI_API_KEY", "${OPENAI_API_KEY}", "%OPENAI_API_KEY%"])
def test_a_name_that_nothing_was_put_in_place_of_is_no_key(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PASTED_API_KEY", value)
    with ScriptedServer(lambda _: "fine") as server:
        with pytest.raises(ModelUnavailable, match="the key in PASTED_API_KEY: it refers to another variable"):
            ask(OpenAIHttpBackend, spec_for(server, api_key_env="PASTED_API_KEY"), request())
        assert server.count == 0


@pytest.mark.parametrize("value", ["$ecret123", "%abc%", "$ABC-123", "%ABC%123"])
def test_a_key_of_ones_own_may_hold_signs_of_variables(value: str) -> None:
    assert key_problem(clean_key(value)) is None


@pytest.mark.parametrize("name", BROKEN)
def test_a_key_that_no_header_can_hold_is_named_before_any_call(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    value, says = BROKEN[name]
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PASTED_API_KEY", value)
    with ScriptedServer(lambda _: "fine") as server:
        spec = spec_for(server, api_key_env="PASTED_API_KEY")
        with pytest.raises(ModelUnavailable, match=f"PASTED_API_KEY: character .* is {says}") as caught:
            ask(OpenAIHttpBackend, spec, request())
        entry = {"backend": "openai", "model": "m", "api_base": server.url, "api_key_env": "PASTED_API_KEY"}
        config = parse_config({"run": "r", "datasets": {"d": {"path": "v"}}, "models": {"m": entry}})
        (problem,) = missing(config, Needs(models={"m"}))
        assert server.count == 0
    assert f"is {says}" in problem
    assert KEY not in str(caught.value) + problem


@pytest.mark.usefixtures("warm_litellm")
def test_keys_that_litellm_finds_by_itself_are_cleaned_and_checked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with ScriptedServer(lambda _: "fine", api_key=KEY) as server:
        spec = ModelSpec("m", "litellm", "together_ai/a/b", api_base=server.url, timeout_s=20)
        monkeypatch.setenv("TOGETHERAI_API_KEY", f"\u201c{KEY}\u201d\n")
        load_environment()
        assert ask(LiteLLMBackend, spec, request()).text == "fine"
        monkeypatch.setenv("TOGETHERAI_API_KEY", f"{KEY}\u201d{KEY}")
        with pytest.raises(ModelUnavailable, match="a character that no header can hold"):
            ask(LiteLLMBackend, spec, request())
        assert server.count == 1


@pytest.mark.parametrize("around", ["\u201c{}\u201d", "\ufeff{}\n", " '{}' "])
def test_an_address_is_used_without_what_was_pasted_around_it(around: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PASTED_BASE", around.format("http://h/v1"))
    for given in ({"api_base_env": "PASTED_BASE"}, {"api_base": around.format("http://h/v1")}):
        entry = {"backend": "openai", "model": "m", **given}
        config = parse_config({"run": "r", "datasets": {"d": {"path": "v"}}, "models": {"m": entry}})
        assert config.specs["m"].api_base == "http://h/v1"
        assert config.specs["m"].identity == "m@ at http://h/v1"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-32"])
def test_a_dotenv_in_any_unicode_is_read(encoding: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SET_BEFORE", "kept")
    monkeypatch.delenv("FROM_FILE", raising=False)
    (tmp_path / ".env").write_bytes(f"FROM_FILE={KEY} # mine\nSET_BEFORE=changed\n".encode(encoding))
    load_environment()
    assert (os.environ["FROM_FILE"], os.environ["SET_BEFORE"]) == (KEY, "kept")
    monkeypatch.delenv("FROM_FILE")


@pytest.mark.parametrize("raw", ["FROM_FILE=schl\u00fcssel".encode("latin-1"), b"FROM_FILE=a\0b"])
def test_a_dotenv_that_is_no_text_is_one_line(raw: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".env").write_bytes(raw)
    with pytest.raises(ConfigError, match=r"^\.env: not .*; save it as UTF-8$"):
        object_config("m", "http://h/v1", 1, None, "both")


def test_a_dotenv_without_the_right_to_read_it_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path) -> bytes:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.chdir(tmp_path)
    (tmp_path / ".env").touch()
    monkeypatch.setattr(Path, "read_bytes", refuse)
    with pytest.raises(ConfigError, match=r"^\.env: Permission denied; make it readable, or move it away$"):
        load_environment()


@pytest.mark.parametrize("key", ["api_key_env", "api_base_env"])
@pytest.mark.parametrize(
    "value",
    [
        "sk-proj-abc123",
        "gsk_a1b2c3d4",
        "AIzaSyB1c2d3",
        "hf_abcdEfghIjklMnopQrstUvwxYzabcdEfgh",
        "key_abcdefghijklmnopqrst",
        "0123456789abcdef0123456789abcdef",
        "abcdef0123456789ABCDEF",
        "a b",
        "http://me:pw@h/v1",
    ],
)
def test_a_key_in_the_place_of_its_variable_is_refused_and_not_shown(key: str, value: str) -> None:
    entry = {"backend": "openai", "model": "m", "api_base": "http://h/v1", key: value}
    raw = {"run": "r", "datasets": {"d": {"path": "v"}}, "models": {"m": entry}}
    with pytest.raises(ConfigError, match=rf"^models\.m\.{key}: must be the name of an environment variable") as caught:
        parse_config(raw)
    assert value not in str(caught.value)


@pytest.mark.parametrize(
    "name", ["OPENAI_API_KEY", "my_key_2", "K", "LLAMA_3_1_70B_KEY", "together_ai_api_key", "hf_TOKEN"]
)
def test_names_of_variables_are_names(name: str) -> None:
    assert not is_key(name)


def test_a_variable_that_is_set_is_a_name_whatever_it_looks_like(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("gsk_a1b2c3d4", "x")
    assert not is_key("gsk_a1b2c3d4")


@pytest.mark.parametrize("name", ["api_key", "Authorization", "x-api-key"])
def test_a_key_in_the_extra_body_is_refused_and_not_shown(name: str) -> None:
    entry = {"model": "openai/m", "extra_body": {name: "sk-canary-1"}}
    with pytest.raises(ConfigError, match=rf"^models\.m\.extra_body\.{name}: holds a credential\?") as caught:
        parse_config({"run": "r", "datasets": {"d": {"path": "v"}}, "models": {"m": entry}})
    assert "canary" not in str(caught.value)


def test_a_key_deeper_in_the_extra_body_is_refused_and_not_shown() -> None:
    for deep in ({"headers": {"Authorization": "Bearer canary"}}, {"a": {"b": {"api_key": "canary"}}}):
        raw = {"run": "r", "datasets": {"d": {"path": "v"}}, "models": {"m": {"model": "openai/m", "extra_body": deep}}}
        with pytest.raises(ConfigError, match=r"^models\.m\.extra_body\.\w+\.[\w.]+: holds a credential\?") as caught:
            parse_config(raw)
        assert "canary" not in str(caught.value)
