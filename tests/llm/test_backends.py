"""Both backends against one scripted server: the same answer of a provider means the same through either."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from dataclasses import replace
from typing import Any

import pytest
from support.backends import PREFILL, MakeBackend, ask, request, spec_for
from support.scripted_server import Answer, Fault, ScriptedServer

from personalrm.core.errors import ContextOverflow, Refused, TransientError
from personalrm.llm.backends.litellm_backend import LiteLLMBackend, litellm_model
from personalrm.llm.backends.openai_format import parse_body, strip_prefill
from personalrm.llm.backends.openai_http import OpenAIHttpBackend
from personalrm.llm.limits.faults import ModelUnavailable
from personalrm.llm.types import ModelSpec, Response


def test_an_answer_with_all_its_parts(make: MakeBackend) -> None:
    def answer(_: dict[str, Any]) -> Answer:
        text = "Prefers\n\nFirst ✓"
        return Answer(text, (), "length", "thinking", tokens_in=40, tokens_out=7, tokens_cached=32)

    with ScriptedServer(answer) as server:
        response = ask(make, spec_for(server), request("what?"))
    assert (response.text, response.reasoning, response.finish_reason) == ("Prefers\n\nFirst ✓", "thinking", "length")
    assert (response.usage.tokens_in, response.usage.tokens_out, response.usage.tokens_cached) == (40, 7, 32)
    assert (response.key, response.refusal, response.logprobs) == ("", "", ())


def test_what_is_sent(make: MakeBackend) -> None:
    asked = request("one", "two", "three", temperature=0.7, top_p=0.9, seed=5, top_logprobs=4, stop=("\n", "##"))
    with ScriptedServer(lambda _: "x") as server:
        ask(make, spec_for(server), asked)
        ask(make, spec_for(server), replace(asked, sample_index=1))
        first, second = server.requests
    assert first["model"].removeprefix("openai/") == "scripted"
    assert first["messages"] == [
        {"role": "user", "content": "one"},
        {"role": "assistant", "content": "two"},
        {"role": "user", "content": "three"},
    ]
    expected = {"max_tokens": 16, "temperature": 0.7, "top_p": 0.9, "seed": 5, "top_logprobs": 4, "stop": ["\n", "##"]}
    assert {name: first[name] for name in expected} == expected
    assert first["logprobs"] is True
    assert second["seed"] != first["seed"]


def test_schema_and_extra_body_are_sent(make: MakeBackend) -> None:
    asked = request(json_schema='{"type": "object", "additionalProperties": false}')
    extra = (("reasoning_effort", "low"), ("chat_template_kwargs", '{"enable_thinking": false}'))
    with ScriptedServer(lambda _: "{}") as server:
        ask(make, spec_for(server, extra_body=extra), asked)
        body = server.requests[0]
    assert body["response_format"]["json_schema"]["schema"] == {"type": "object", "additionalProperties": False}
    assert body["reasoning_effort"] == "low"
    assert body["chat_template_kwargs"] == {"enable_thinking": False}


def test_lone_surrogates_are_replaced_both_ways(make: MakeBackend) -> None:
    raw = '{"choices":[{"message":{"role":"assistant","content":"\\ud800 x"},"finish_reason":"stop"}]}'
    with ScriptedServer(lambda _: "x", faults=[Fault("body", body=raw)]) as server:
        response = ask(make, spec_for(server), request("a\ud83db \ud83d\ude00"))
        assert server.requests[0]["messages"][0]["content"] == "a�b \U0001f600"
    assert response.text == "\ufffd x"


@pytest.mark.parametrize("echo", [True, False])
def test_a_prefill_is_no_part_of_the_answer(make: MakeBackend, echo: bool) -> None:
    logprobs = [[(" A", -0.25), (" B", -1.5), (" The", -7.0)], [(".", -0.1)]]
    with ScriptedServer(lambda _: Answer(" A.", logprobs=logprobs), echo_prefill=echo) as server:
        response = ask(make, spec_for(server), request("which?", PREFILL, top_logprobs=3))
    assert response.text == " A."
    assert response.logprobs[0].top == ((" A", -0.25), (" B", -1.5), (" The", -7.0))
    assert response.logprobs[1].top == ((".", -0.1),)


def test_log_probabilities_are_listed_best_first_and_only_on_request(make: MakeBackend) -> None:
    unsorted = Answer("B", logprobs=[[("B", -2.0), ("A", -0.5), ("C", -9.0)]])
    with ScriptedServer(lambda _: unsorted) as server:
        assert [t for t, _ in ask(make, spec_for(server), request(top_logprobs=3)).logprobs[0].top] == ["A", "B", "C"]
        assert ask(make, spec_for(server), request()).logprobs == ()


def test_null_content_and_a_refusal_are_answers(make: MakeBackend) -> None:
    with ScriptedServer(lambda _: Answer(None, refusal="I will not"), faults=[Fault("null_content")]) as server:
        response = ask(make, spec_for(server), request())
    assert (response.text, response.refusal) == ("", "I will not")


def test_parts_of_a_content_are_joined_without_thinking() -> None:
    thought = [{"type": "thinking", "thinking": [{"type": "text", "text": "a"}]}, {"type": "reasoning", "text": "b"}]
    for parts in ([*thought, {"type": "text", "text": "One."}], ["One", "."]):
        body = {"choices": [{"message": {"role": "assistant", "content": parts}, "finish_reason": "stop"}]}
        assert parse_body(body, request(), "m").text == "One."


@pytest.mark.parametrize("content", [{"text": "One."}, 1, True])
def test_a_content_that_is_no_text_is_a_failure(content: object) -> None:
    body = {"choices": [{"message": {"role": "assistant", "content": content}, "finish_reason": "stop"}]}
    with pytest.raises(TransientError, match=r"^m: the content of the message is no text"):
        parse_body(body, request(), "m")


def minimax(code: int, words: str) -> dict[str, object]:
    """As MiniMax reports a failure, with status 200."""
    return {"base_resp": {"status_code": code, "status_msg": words}, "choices": None}


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (minimax(1008, "insufficient balance"), ModelUnavailable),
        (minimax(1027, "output new_sensitive"), Refused),
        ({"object": "error", "message": "This model's maximum context length is 8 tokens."}, ContextOverflow),
        ({"success": False, "errors": [{"message": "exceeded this model's context window limit"}]}, ContextOverflow),
        ({"detail": "Model is loading"}, TransientError),
        ({"model": "moderation", "moderation": None}, TransientError),
        ({"message": {"role": "assistant", "content": "That is inappropriate content."}}, TransientError),
        ({"content": [{"type": "text", "text": "That is inappropriate content."}]}, TransientError),
    ],
)
def test_a_body_without_choices_is_the_failure_that_it_says(body: dict[str, object], expected: type[Exception]) -> None:
    with pytest.raises(expected, match=r"^m: HTTP 200: the body has no choices: ") as caught:
        parse_body(body, request(), "m")
    assert type(caught.value) is expected


def test_an_odd_usage_counts_as_nothing(make: MakeBackend) -> None:
    raw = '{"choices":[{"message":{"role":"assistant","content":"x"},"finish_reason":"stop"}]}'
    with ScriptedServer(lambda _: "x", faults=[Fault("body", body=raw)]) as server:
        usage = ask(make, spec_for(server), request()).usage
    assert (usage.tokens_in, usage.tokens_cached) == (0, 0)


def test_a_hundred_calls_at_once(make: MakeBackend) -> None:
    async def run(spec: ModelSpec) -> list[Response]:
        backend = make(spec)
        answers = await asyncio.gather(*(backend.call(request(str(n))) for n in range(100)))
        await backend.aclose()
        return answers

    with ScriptedServer(lambda body: f"to {body['messages'][0]['content']}", latency=0.5) as server:
        answers = asyncio.run(run(spec_for(server, timeout_s=60.0)))
        assert server.most_in_flight >= 90
    assert [answer.text for answer in answers] == [f"to {n}" for n in range(100)]


@pytest.mark.parametrize(
    ("content", "prefill", "tokens", "expected"),
    [
        ("It is A", "It is", (), " A"),
        ("It is  A", "It is ", (), " A"),
        ("It is", "It is ", (), ""),
        ("A", "It is", (), "A"),
        ("It is", "It is", ("It", " is"), "It is"),
        ("It isIt is", "It is", ("It", " is"), "It is"),
        ("anything", "", (), "anything"),
        ("  x", "  ", (), "x"),
    ],
)
def test_stripping_a_prefill(content: str, prefill: str, tokens: tuple[str, ...], expected: str) -> None:
    assert strip_prefill(content, prefill, tokens) == expected


def test_only_embedded_calls_name_the_prefix_cache() -> None:
    with ScriptedServer(lambda _: "x") as server:
        ask(OpenAIHttpBackend, spec_for(server), request(seed=3))
        assert server.requests[0]["seed"] == 3
        assert "cache_prompt" not in server.requests[0]


@pytest.mark.parametrize("lost", ["gone before", "gone in mid-call"])
def test_a_server_that_came_back_elsewhere_is_found_again(lost: str) -> None:
    with ScriptedServer(faults=[Fault("reset")]) as old, ScriptedServer(lambda _: "x") as server:
        bases = iter(["http://127.0.0.1:9/v1" if lost == "gone before" else old.url, server.url, "never asked for"])

        async def find() -> str:
            return next(bases)

        async def run() -> list[Response]:
            backend = OpenAIHttpBackend(spec_for(server), find)
            with pytest.raises(TransientError):
                await backend.call(request())
            answers = [await backend.call(request()) for _ in range(2)]
            await backend.aclose()
            return answers

        assert [answer.text for answer in asyncio.run(run())] == ["x", "x"]


def test_litellm_ids() -> None:
    assert litellm_model("together/meta-llama/L") == "together_ai/meta-llama/L"
    assert litellm_model("together_ai/x") == "together_ai/x"
    assert litellm_model("gemini/gemini-2.0-flash") == "gemini/gemini-2.0-flash"


def test_litellm_prices_are_known_for_known_models_only() -> None:
    known = LiteLLMBackend(ModelSpec("m", "litellm", "openai/gpt-4o-mini"))
    assert known.list_price(1_000_000, 1_000_000) == pytest.approx(0.15 + 0.60)
    for model in ("openai/no-such-model", "no-such-provider-or-model", "hosted_vllm/a/b"):
        assert LiteLLMBackend(ModelSpec("m", "litellm", model)).list_price(1, 1) is None


def test_an_unknown_provider_is_permanent_without_network() -> None:
    with pytest.raises(ModelUnavailable, match="LLM Provider NOT provided"):
        ask(LiteLLMBackend, ModelSpec("m", "litellm", "no-such-provider-or-model", timeout_s=30), request())


def test_the_http_backend_and_the_port_do_not_import_litellm() -> None:
    code = (
        "import sys, personalrm.llm.open, personalrm.llm.backends.openai_http, personalrm.llm.backends.litellm_backend;"
        "print([m for m in ('litellm', 'openai', 'aiohttp', 'pandas', 'torch') if m in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"
