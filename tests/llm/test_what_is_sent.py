"""What is sent to servers that refuse a field of the usual requests: which key helps, and what it does to the store."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from aiohttp import web
from pydantic import ValidationError
from support.backends import MakeBackend, ask
from support.scripted_server import Fault, ScriptedServer

from personalrm.core.errors import FieldRefused, RequestRejected
from personalrm.judge.label_probe import Probed, UnreadableLabels, probe_request
from personalrm.llm.backends.litellm_backend import LiteLLMBackend
from personalrm.llm.backends.openai_format import as_extra_body
from personalrm.llm.cache.store import ResponseStore
from personalrm.llm.limits.faults import Failure, ModelUnavailable, to_error
from personalrm.llm.open import RuntimeSettings, open_model
from personalrm.llm.types import Message, ModelSpec, Request
from personalrm.studies.model_config import ModelConfig

ASKED = Request(
    (Message("system", "Be brief."), Message("user", "Which?")),
    max_tokens=9,
    temperature=0.7,
    stop=("\n",),
    json_schema='{"type": "object", "additionalProperties": false}',
)


class Server(NamedTuple):
    """A server that refuses some requests: which, in which words, what the message advises, and the keys that help."""

    refuses: Callable[[dict[str, Any]], bool]
    words: str
    advice: str
    keys: dict[str, Any]
    status: int = 400


def roles(body: dict[str, Any]) -> list[str]:
    return [message["role"] for message in body["messages"]]


SERVERS = {
    "both": Server(
        lambda body: "temperature" in body and "top_p" in body,
        "`temperature` and `top_p` cannot both be specified for this model. Please use only one.",
        "omit: [top_p]",
        {"omit": ["top_p"]},
    ),
    "one temperature": Server(
        lambda body: "temperature" in body,
        "Unsupported value: 'temperature' does not support 0.7 with this model. Only the default (1) is supported.",
        "omit: [temperature, top_p]",
        {"omit": ["temperature", "top_p"]},
    ),
    "max_completion_tokens": Server(
        lambda body: "max_tokens" in body,
        "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead.",
        "token_limit_key: max_completion_tokens",
        {"token_limit_key": "max_completion_tokens"},
    ),
    "a limit of its own": Server(
        lambda body: "max_new_tokens" not in body,
        "the field max_new_tokens is missing",
        "",
        {"token_limit_key": "max_new_tokens"},
    ),
    "no schema": Server(
        lambda body: "response_format" in body,
        "'response_format' of type 'json_schema' is not supported with this model.",
        "omit: [response_format]",
        {"omit": ["response_format"]},
    ),
    "no seed": Server(
        lambda body: "seed" in body or "stop" in body,
        '[{"type":"extra_forbidden","loc":["body","seed"],"msg":"Extra inputs are not permitted"}]',
        "omit: [seed]",
        {"omit": ["seed", "stop"]},
        422,
    ),
    "no system role": Server(
        lambda body: roles(body) != ["user"],
        "System role not supported",
        "system_role: user",
        {"system_role": "user"},
    ),
    "another id": Server(
        lambda body: body["model"] != "alias",
        "The model `m` does not exist.",
        "Check the model's id",
        {"sent_as": "alias"},
        404,
    ),
    "more fields": Server(
        lambda body: body.get("reasoning_effort") != "low" or not body.get("continue_final_message"),
        "reasoning_effort is required",
        "",
        {"extra_body": {"reasoning_effort": "low", "continue_final_message": True}},
    ),
}


def entry(url: str, **keys: Any) -> ModelSpec:  # noqa: ANN401
    given = {"backend": "openai", "model": "org/m", "api_base": url, "max_attempts": 1, **keys}
    return ModelConfig.model_validate(given).spec("mine")


def answer(store: Path, spec: ModelSpec) -> str:
    async def run() -> str:
        with ResponseStore(store) as kept:
            async with open_model(spec, store=kept, runtime=RuntimeSettings(store.parent, 1)) as model:
                return (await model.complete(ASKED)).text

    return asyncio.run(run())


@pytest.mark.parametrize("name", SERVERS)
def test_a_refused_field_is_named_with_its_key_which_helps(tmp_path: Path, name: str) -> None:
    case = SERVERS[name]

    def fault(_: int, body: dict[str, Any]) -> Fault | None:
        return Fault("status", case.status, {"error": {"message": case.words}}) if case.refuses(body) else None

    with ScriptedServer(lambda _: "fine", faults=fault) as server:
        with pytest.raises(Exception, match="HTTP 4") as caught:
            answer(tmp_path / "s.sqlite", entry(server.url))
        assert case.advice in str(caught.value)
        assert isinstance(caught.value, ModelUnavailable) == bool(case.advice)
        assert server.count == 1
        assert answer(tmp_path / "s.sqlite", entry(server.url, **case.keys)) == "fine"
        # What changes an answer is part of the store's key; what is not set changes nothing.
        changed = entry(server.url, **case.keys).identity
        assert answer(tmp_path / "s.sqlite", entry(server.url, **case.keys)) == "fine"
        assert server.count == 2
    assert changed != entry(server.url).identity == f"org/m@ at {server.url}"


def test_each_setting_has_an_identity_of_its_own() -> None:
    plain = ModelSpec("m", "openai", "openai/x", api_base="http://h/v1")
    known = [
        plain,
        *(replace(plain, omit=names) for names in [("seed",), ("stop",), ("seed", "stop")]),
        replace(plain, system_role="user"),
        replace(plain, token_limit_key="max_completion_tokens"),
        replace(plain, sent_as="y"),
        replace(plain, extra_body=as_extra_body({"omit:seed": 1})),
    ]
    assert len({spec.identity for spec in known}) == len(known)
    # So it was sent by earlier versions.
    assert replace(plain, sent_as="x").identity == plain.identity
    assert replace(plain, omit=("stop", "seed")).identity == replace(plain, omit=("seed", "stop", "seed")).identity


@pytest.mark.parametrize(
    ("base", "sent"),
    [("http://gpu/v1", "openai/gpt-oss-20b"), ("https://api.openai.com/v1/", "gpt-oss-20b"), (None, "gpt-oss-20b")],
)
def test_an_id_is_sent_as_it_stands_but_to_openai(base: str | None, sent: str) -> None:
    assert ModelSpec("m", "openai", "openai/gpt-oss-20b", api_base=base).wire_id == sent


def test_an_instruction_without_a_role_begins_the_next_question(make: MakeBackend) -> None:
    asked = Request((*ASKED.messages, Message("assistant", "A."), Message("user", "Sure?")), max_tokens=5)
    with ScriptedServer(lambda _: "x") as server:
        ask(make, ModelSpec("m", "openai", "openai/m", api_base=server.url, system_role="user"), asked)
    assert server.requests[0]["messages"] == [
        {"role": "user", "content": "Be brief.\n\nWhich?"},
        {"role": "assistant", "content": "A."},
        {"role": "user", "content": "Sure?"},
    ]


class AnthropicServer(ScriptedServer):
    """Speaks Anthropic's protocol, and refuses what Claude refuses."""

    def add_routes(self, router: web.UrlDispatcher) -> None:
        router.add_post("/v1/messages", self._message)

    async def _message(self, request: web.Request) -> web.Response:
        body = await request.json()
        self.requests.append(body)
        odd = {"extra_body", "reasoning_effort"} & body.keys()
        said = ""
        if odd or {"temperature", "top_p"} <= body.keys():
            said = "`temperature` and `top_p` cannot both be specified for this model."
        elif "thinking" in body and body.get("temperature", 1) != 1:
            said = "`temperature` may only be set to 1 when thinking is enabled."
        if said:
            return web.json_response({"type": "error", "error": {"message": said}}, status=400)
        content = [{"type": "text", "text": "fine"}]
        usage = {"input_tokens": 3, "output_tokens": 1}
        head = {"id": "m", "type": "message", "role": "assistant", "model": body["model"], "stop_reason": "end_turn"}
        return web.json_response({**head, "content": content, "usage": usage})


@pytest.mark.usefixtures("warm_litellm", "canary")
def test_claude_is_asked_as_it_wants_to_be() -> None:
    with AnthropicServer() as server:
        base = server.url.removesuffix("/v1")
        spec = ModelSpec("m", "litellm", "anthropic/claude-sonnet-4-5", api_base=base, api_key_env="SCRIPTED_API_KEY")
        thinks = replace(spec, extra_body=as_extra_body({"reasoning_effort": "low", "top_k": 7}))
        plain = Request(ASKED.messages, 3000)
        assert ask(LiteLLMBackend, replace(thinks, omit=("temperature", "top_p")), plain).text == "fine"
        assert ask(LiteLLMBackend, spec, ASKED).text == "fine"
        with pytest.raises(FieldRefused, match=r"omit: \[top_p\]"):
            ask(LiteLLMBackend, spec, replace(plain, temperature=0.5, top_p=0.9))
        with pytest.raises(FieldRefused, match=r"omit: \[temperature, top_p\]"):
            ask(LiteLLMBackend, thinks, plain)
    first, second, third, _ = server.requests
    assert (first["thinking"]["type"], first["top_k"]) == ("enabled", 7)
    assert (second["temperature"], "top_p" in second, third["top_p"]) == (0.7, False, 0.9)


@pytest.mark.parametrize(
    ("keys", "says"),
    [
        ({"omit": ["max_tokens"]}, "omit"),
        ({"omit": ["logprobs"], "verdicts": ["logprob"]}, "omit: verdicts are read"),
        ({"omit": ["top_logprobs"], "prompts": "compact"}, "omit: verdicts are read"),
        ({"token_limit_key": "seed"}, "token_limit_key: seed is sent already"),
        ({"token_limit_key": "x", "extra_body": {"x": 1}}, "token_limit_key: x is sent already"),
        ({"token_limit_key": "max tokens"}, "token_limit_key"),
        ({"system_role": "developer"}, "system_role"),
        *(
            ({"backend": "embedded", "api_base": None, key: value}, f"{key}: of backends")
            for key, value in (("omit", ["seed"]), ("sent_as", "x"), ("system_role", "user"), ("token_limit_key", "x"))
        ),
    ],
)
def test_settings_that_cannot_be_are_refused(keys: dict[str, Any], says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        entry("http://h/v1", **keys)


WORDS: dict[str, tuple[int, str]] = {
    "Unsupported value: 'messages[0].role' does not support 'system' with this model.": (400, "system_role: user"),
    "Conversation roles must alternate user/assistant/user/assistant/...": (400, "system_role: user"),
    "Developer instruction is not enabled for models/gemma-3-27b-it": (400, "system_role: user"),
    "You are not allowed to request logprobs from this model": (403, "verdicts: [text]"),
    "property 'logprobs' is unsupported": (400, "verdicts: [text]"),
    "Requested sample logprobs of 20, which is greater than max allowed: 5": (400, "--max-logprobs 20"),
    "This model does not support assistant message prefill.": (400, "verdicts: [text]"),
    "`temperature` is deprecated for this model.": (400, "omit: [temperature, top_p]"),
    "`temperature` may only be set to 1 when thinking is enabled.": (400, "omit: [temperature, top_p]"),
    "temperature: this model only supports 1": (400, "omit: [temperature, top_p]"),
    "Cannot set `add_generation_prompt` to True when the last message is from the assistant. Consider using "
    "`continue_final_message` instead.": (400, "extra_body: {continue_final_message: true, add_gen"),
    "Cannot set both `continue_final_message` and `add_generation_prompt` to True.": (400, "extra_body: {continue_fin"),
    "This response_format type is unavailable now": (400, "omit: [response_format]"),
    "invalid request: unknown field 'seed'": (400, "omit: [seed]"),
    '[{"type":"extra_forbidden","loc":["body","max_completion_tokens"]}]': (422, "token_limit_key: max_tokens"),
    "max_tokens is too large: 100000. This model supports at most 16384 completion tokens": (400, "smaller max_tokens"),
    "Invalid max_tokens value, the valid range of max_tokens is [1, 8192]": (400, "smaller max_tokens"),
    "`max_tokens` must be less than or equal to `8192`": (400, "smaller max_tokens"),
    "`temperature` must be 1 when thinking is enabled": (400, "omit: [temperature, top_p]"),
    "`temperature` has to be a strictly positive float": (400, "omit: [temperature, top_p]"),
    "`top_p` must be > 0.0 and < 1.0": (400, "omit: [top_p]"),
    "Range of top_p should be (0.0, 1.0)": (400, "omit: [top_p]"),
    "top_logprobs must be between 0 and 5": (400, "--max-logprobs 20"),
    "'response_format.type' must be 'text' or 'json_object'": (400, "omit: [response_format]"),
    'roles must alternate between "user" and "assistant"': (400, "system_role: user"),
    "Only user, assistant and tool roles are supported!": (400, "system_role: user"),
    "Expected last role User or Tool for serving but got assistant": (400, "verdicts: [text]"),
    "parameter.enable_thinking must be set to false for non-streaming calls": (400, "enable_thinking: false"),
    "Unrecognized request argument supplied: reasoning_effort": (400, "extra_body without this field"),
}


@pytest.mark.parametrize("words", WORDS)
def test_words_of_providers_name_the_key(words: str) -> None:
    status, remedy = WORDS[words]
    error = to_error(Failure(status, json.dumps({"error": {"message": words}})), "m")
    assert type(error) is FieldRefused
    assert remedy in str(error).partition("set ")[2]


def test_words_of_one_request_are_no_matter_of_the_server() -> None:
    for words in (
        *("the temperature of the sea", "stop asking", "top_p: must be at most 1", "system overload, seed 3"),
        *("the oven's temperature should be 180", "it must be so; stop asking", "a wide range of sea temperature"),
        "Input should be 'user', 'assistant' or 'system'",
    ):
        assert type(to_error(Failure(400, words), "m")) is RequestRejected


def test_after_answers_a_refused_field_is_the_failure_of_its_request(tmp_path: Path) -> None:
    """A text may speak as such a refusal does: one pair must not end a job."""

    def fault(_: int, body: dict[str, Any]) -> Fault | None:
        odd = "odd" in body["messages"][-1]["content"]
        return Fault("status", 400, {"error": {"message": "temperature is not supported"}}) if odd else None

    async def run(server: ScriptedServer) -> None:
        with ResponseStore(tmp_path / "s.sqlite") as kept:
            async with open_model(entry(server.url), store=kept, runtime=RuntimeSettings(tmp_path, 1)) as model:
                assert (await model.complete(asked_of("plain"))).text == "fine"
                with pytest.raises(FieldRefused):
                    await model.complete(asked_of("odd"))
                assert (await model.complete(asked_of("plain, too"))).text == "fine"

    with ScriptedServer(lambda _: "fine", faults=fault) as server:
        asyncio.run(run(server))
        assert server.count == 3


def asked_of(text: str) -> Request:
    return Request((Message("user", text),), 5)


def test_the_probe_of_labels_passes_the_key_on_and_is_final(tmp_path: Path) -> None:
    def fault(_: int, body: dict[str, Any]) -> Fault | None:
        said = {"error": {"message": "property 'logprobs' is unsupported"}}
        return Fault("status", 400, said) if body.get("logprobs") else None

    async def run(server: ScriptedServer) -> None:
        with ResponseStore(tmp_path / "s.sqlite") as kept:
            async with open_model(entry(server.url), store=kept, runtime=RuntimeSettings(tmp_path, 1)) as model:
                probed = Probed(model, "standard")
                await probed.complete(asked_of("words first"))
                for _ in range(3):
                    with pytest.raises(UnreadableLabels, match=r"set verdicts: \[text\]"):
                        await probed.complete(probe_request("standard"))

    with ScriptedServer(lambda _: "fine", faults=fault) as server:
        asyncio.run(run(server))
        assert server.count == 2
