"""Model ids in the forms of the published README, and where their calls and keys go. No provider is called."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from support.scripted_server import ScriptedServer

from personalrm import DefaultJudge
from personalrm.app.library.models import MODEL, model_entry
from personalrm.core.errors import ConfigError, PermanentError
from personalrm.llm.types import normalised

from .conftest import QUICK, prefers_good

NAMES = (
    *("OPENAI_API_KEY", "OPENAI_BASE_URL", "OPENAI_API_BASE", "GEMINI_API_KEY", "GOOGLE_API_KEY"),
    *("TOGETHERAI_API_KEY", "TOGETHER_API_KEY", "TOGETHER_AI_API_KEY", "AZURE_API_KEY"),
    *("LITELLM_PROXY_API_BASE", "LITELLM_PROXY_API_KEY"),
)


@pytest.fixture(autouse=True)
def _own_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1,localhost")
    monkeypatch.chdir(tmp_path)


URL = "http://localhost:1/v1"
PROXY = "http://localhost:7410/v1"
FORMS: list[tuple[str, str | None, tuple[str, str, str | None, str | None]]] = [
    ("openai/gpt-4o-mini", None, ("litellm", "openai/gpt-4o-mini", None, "OPENAI_API_KEY")),
    ("openai/gpt-4o-mini", URL, ("openai", "openai/gpt-4o-mini", URL, None)),
    ("together/meta/x", None, ("litellm", "together_ai/meta/x", None, "TOGETHERAI_API_KEY")),
    ("together_ai/meta/x", None, ("litellm", "together_ai/meta/x", None, "TOGETHERAI_API_KEY")),
    ("together/meta/x", URL, ("litellm", "together_ai/meta/x", URL, None)),
    ("gemini/gemini-1.5-flash", None, ("litellm", "gemini/gemini-1.5-flash", None, "GEMINI_API_KEY")),
    ("azure/mine", None, ("litellm", "azure/mine", None, None)),
    ("litellm/anthropic/claude", None, ("litellm", "anthropic/claude", None, None)),
    ("litellm_proxy/meta/x", None, ("openai", "meta/x", PROXY, None)),
    ("litellm_proxy/meta/x", URL, ("openai", "meta/x", URL, None)),
    ("Qwen/Qwen2-7B-Instruct", URL, ("openai", "Qwen/Qwen2-7B-Instruct", URL, None)),
    ("Qwen/Qwen2-7B-Instruct", None, ("openai", "Qwen/Qwen2-7B-Instruct", PROXY, None)),
    ("embedded/smollm2-135m", None, ("embedded", "smollm2-135m", None, None)),
]


@pytest.mark.parametrize(("model_id", "url", "expected"), FORMS)
def test_the_forms_of_the_readme(
    model_id: str, url: str | None, expected: tuple[str, str, str | None, str | None]
) -> None:
    spec = DefaultJudge(model_id, url, num_workers=2).config.models[MODEL].spec(model_id)
    assert (spec.backend, spec.model, spec.api_base, spec.api_key_env) == expected
    assert (spec.name, spec.max_concurrency) == (model_id, 2)
    # Answers that an earlier version stored are found.
    assert spec.identity == f"{spec.model}@{spec.snapshot}{f' at {normalised(spec.api_base)}' if spec.api_base else ''}"


def test_keys_under_other_names_of_a_provider_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, model in (
        ("GOOGLE_API_KEY", "gemini/x"),
        ("TOGETHER_API_KEY", "together/x"),
        ("AZURE_API_KEY", "azure/x"),
    ):
        monkeypatch.setenv(name, "secret")
        assert model_entry(model, None, {})["api_key_env"] == name
    monkeypatch.setenv("LITELLM_PROXY_API_BASE", URL)
    monkeypatch.setenv("LITELLM_PROXY_API_KEY", "secret")
    entry = model_entry("litellm_proxy/x", None, {})
    assert (entry["api_base"], entry["api_key_env"]) == (URL, "LITELLM_PROXY_API_KEY")
    assert "api_key_env" not in model_entry("litellm_proxy/x", "http://elsewhere/v1", {})


@pytest.mark.parametrize(
    ("model_id", "sent"),
    [
        ("openai/m", "m"),
        ("openai/gpt-oss-20b", "openai/gpt-oss-20b"),
        ("litellm_proxy/a/m", "a/m"),
        ("a/m", "a/m"),
    ],
)
def test_calls_go_to_the_url_that_was_given_and_no_key_with_them(
    model_id: str, sent: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-not-for-you")
    monkeypatch.setenv("LITELLM_PROXY_API_KEY", "sk-not-for-you")
    with ScriptedServer(prefers_good) as server:
        assert DefaultJudge(model_id, server.url, model_options=QUICK).predict_pairwise("Which?", "GOOD", "BAD") == 1
        assert {body["model"] for body in server.requests} == {sent}
        assert not [head for head in server.headers if "not-for-you" in str(head)]


@pytest.mark.parametrize("model_id", ["openai/m", "together/m", "gemini/m"])
def test_a_missing_key_is_named_and_nothing_is_sent(model_id: str) -> None:
    judge = DefaultJudge(model_id, model_options=QUICK)
    with pytest.raises(PermanentError, match="_API_KEY is not set"):
        judge.predict_pairwise("Which?", "GOOD", "BAD")


def test_further_options_are_those_of_the_config() -> None:
    options: dict[str, Any] = {"context_length": 4000, "api_key_env": "MINE", "prompts": "compact", "max_tokens": 9}
    options["verdicts"] = ["logprob"]
    entry = DefaultJudge("a/b", URL, model_options=options).config.models[MODEL]
    assert (entry.context_length, entry.api_key_env, entry.prompts, entry.max_tokens) == (4000, "MINE", "compact", 9)


def test_small_models_read_labels_by_log_probability() -> None:
    with ScriptedServer() as server:
        options = {**QUICK, "prompts": "compact", "verdicts": ["logprob_both"]}
        judge = DefaultJudge("m", server.url, model_options=options)
        one, other = judge.predict_pairwise("Which?", "x", "y"), judge.predict_pairwise("Which?", "y", "x")
        assert one == -other != 0
        assert all(body["logprobs"] for body in server.requests)
    assert judge.get_judge_prompt().endswith("The user prefers Response")


@pytest.mark.embedded
def test_an_embedded_model_judges() -> None:
    with DefaultJudge("embedded/smollm2-135m", model_options={"context_length": 2048}) as judge:
        assert judge.predict_pairwise("Say hello.", "Hello!", "zxq zxq zxq zxq") in (1, -1)


@pytest.mark.parametrize(
    ("model_id", "meant"),
    [
        ("gpt-4o-mini", "openai/gpt-4o-mini"),
        ("deepseek-chat", "litellm/deepseek/deepseek-chat"),
        ("gemini-2.5-flash", "gemini/gemini-2.5-flash"),
        ("claude-sonnet-4-5", "litellm/anthropic/claude-sonnet-4-5"),
        ("mistral-large-latest", "litellm/mistral/mistral-large-latest' or 'azure/mistral-large-latest' or '"),
        ("codestral-latest", "litellm/codestral/codestral-latest' or 'litellm/mistral/codestral-latest"),
        ("smollm2-135m", "embedded/smollm2-135m"),
    ],
)
def test_ids_of_known_models_are_not_sent_to_this_machine(model_id: str, meant: str) -> None:
    with pytest.raises(ConfigError, match=f"{model_id}' needs a model_url; did you mean '{meant}"):
        DefaultJudge(model_id=model_id)
    assert model_entry(model_id, "http://127.0.0.1:1/v1", {})["api_base"] == "http://127.0.0.1:1/v1"
