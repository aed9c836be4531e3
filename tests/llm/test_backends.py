"""Both backends against one scripted server: the same answer of a provider means the same through either."""

from __future__ import annotations

import asyncio
import logging
import subprocess
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import replace
from email.utils import formatdate
from typing import Any

import pytest
from support.scripted_server import Answer, Fault, ScriptedServer

from personalrm.errors import (
    ContextOverflow,
    ModelCallError,
    PermanentError,
    RateLimited,
    Refused,
    TransientError,
)
from personalrm.llm.faults import ModelUnavailable, retry_after_seconds, scrub
from personalrm.llm.litellm_backend import LiteLLMBackend, litellm_model, load_litellm
from personalrm.llm.openai_http import OpenAIHttpBackend
from personalrm.llm.types import Backend, Message, ModelSpec, Request, Response
from personalrm.llm.wire import strip_prefill

# Not of a shape that a provider's own redaction would know.
CANARY = "canary/0123456789+abcdef"
PREFILL = "The user prefers Response"
MakeBackend = Callable[[ModelSpec], Backend]


@pytest.fixture(scope="module", autouse=True)
def _warm_litellm() -> None:
    """litellm takes seconds to load at its first call: not within any test's time-out."""
    with ScriptedServer(lambda _: "warm") as server:
        spec = ModelSpec("warm", "litellm", "openai/warm", api_base=server.url, timeout_s=60)
        asyncio.run(LiteLLMBackend(spec).call(request()))


@pytest.fixture(params=[OpenAIHttpBackend, LiteLLMBackend], ids=["http", "litellm"])
def make(request: pytest.FixtureRequest) -> MakeBackend:
    chosen: MakeBackend = request.param
    return chosen


@pytest.fixture
def canary(monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("SCRIPTED_API_KEY", CANARY)
    return CANARY


def request(*turns: str, **options: Any) -> Request:  # noqa: ANN401
    """A request whose turns alternate, the user first."""
    roles = ("user", "assistant")
    messages = tuple(Message(roles[n % 2], turn) for n, turn in enumerate(turns or ("hello",)))  # type: ignore[arg-type]
    return Request(messages, **{"max_tokens": 16, **options})


def spec_for(server: ScriptedServer, **options: Any) -> ModelSpec:  # noqa: ANN401
    return ModelSpec("tester", "openai", "openai/scripted", **{"api_base": server.url, "timeout_s": 10.0, **options})


def ask(make: MakeBackend, spec: ModelSpec, asked: Request) -> Response:
    async def run() -> Response:
        backend = make(spec)
        try:
            return await backend.call(asked)
        finally:
            await backend.aclose()
            await backend.aclose()

    return asyncio.run(run())


def failure(make: MakeBackend, fault: Fault, **options: Any) -> ModelCallError:  # noqa: ANN401
    """The error that `fault` leads to; exactly one request must have been sent."""
    with ScriptedServer(lambda _: "fine", faults=[fault]) as server:
        with pytest.raises(ModelCallError) as caught:
            ask(make, spec_for(server, **options), request())
        assert server.count == 1
    return caught.value


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
    assert first["model"] == "scripted"
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
    asked = request(json_schema='{"type": "object"}')
    extra = (("reasoning_effort", "low"), ("chat_template_kwargs", '{"enable_thinking": false}'))
    with ScriptedServer(lambda _: "{}") as server:
        ask(make, spec_for(server, extra_body=extra), asked)
        body = server.requests[0]
    assert body["response_format"]["json_schema"]["schema"] == {"type": "object"}
    assert body["reasoning_effort"] == "low"
    assert body["chat_template_kwargs"] == {"enable_thinking": False}


def test_lone_surrogates_are_replaced_on_the_way_out_and_kept_on_the_way_in(make: MakeBackend) -> None:
    raw = '{"choices":[{"message":{"role":"assistant","content":"\\ud800 x"},"finish_reason":"stop"}]}'
    with ScriptedServer(lambda _: "x", faults=[Fault("body", body=raw)]) as server:
        response = ask(make, spec_for(server), request("a\ud83db \ud83d\ude00"))
        assert server.requests[0]["messages"][0]["content"] == "a�b \U0001f600"
    assert response.text == "\ud800 x"


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


def test_an_odd_usage_counts_as_nothing(make: MakeBackend) -> None:
    raw = '{"choices":[{"message":{"role":"assistant","content":"x"},"finish_reason":"stop"}]}'
    with ScriptedServer(lambda _: "x", faults=[Fault("body", body=raw)]) as server:
        usage = ask(make, spec_for(server), request()).usage
    assert (usage.tokens_in, usage.tokens_cached) == (0, 0)


def error_body(message: str, code: str | int | None = None, kind: str = "invalid_request_error") -> dict[str, Any]:
    return {"error": {"message": message, "type": kind, "code": code}}


LLAMA_OVERFLOW = error_body(
    "request (900 tokens) exceeds the available context size (512 tokens), try increasing it",
    400,
    "exceed_context_size_error",
)
OPENAI_OVERFLOW = error_body(
    "This model's maximum context length is 8192 tokens. However, your messages resulted in 9000 tokens.",
    "context_length_exceeded",
)
CASES: dict[str, tuple[Fault, type[ModelCallError]]] = {
    "429": (Fault("rate_limit"), RateLimited),
    "429 in the body": (Fault("error_body", body=error_body("slow down", 429)), RateLimited),
    "500": (Fault("status", 500), TransientError),
    "502": (Fault("status", 502, body="<html>bad gateway</html>"), TransientError),
    "503 loading": (Fault("status", 503, body=error_body("Loading model", 503, "unavailable_error")), TransientError),
    "529": (Fault("status", 529), TransientError),
    "408": (Fault("status", 408), TransientError),
    "409": (Fault("status", 409), TransientError),
    "reset": (Fault("reset"), TransientError),
    "200 with an error": (Fault("error_body"), TransientError),
    "not JSON": (Fault("body", body="<html>"), TransientError),
    "half JSON": (Fault("body", body='{"choices": [{"mess'), TransientError),
    "no choices": (Fault("body", body='{"choices": []}'), TransientError),
    "a list": (Fault("body", body="[]"), TransientError),
    "empty": (Fault("body", body="null"), TransientError),
    "overflow llama.cpp": (Fault("status", 400, body=LLAMA_OVERFLOW), ContextOverflow),
    "overflow OpenAI": (Fault("status", 400, body=OPENAI_OVERFLOW), ContextOverflow),
    "overflow 413": (
        Fault("status", 413, body=error_body("prompt is too long: 9 tokens > 8 maximum")),
        ContextOverflow,
    ),
    "content filter": (Fault("status", 400, body=error_body("filtered", "content_filter")), Refused),
    "moderation 403": (Fault("status", 403, body=error_body("input was flagged by moderation", 403)), Refused),
    "401": (Fault("status", 401), ModelUnavailable),
    "402": (Fault("status", 402), ModelUnavailable),
    "403": (Fault("status", 403), ModelUnavailable),
    "404": (Fault("status", 404), ModelUnavailable),
    "unknown model": (Fault("status", 400, body=error_body("Unknown", "model_not_found")), ModelUnavailable),
    "no credit": (Fault("status", 429, body=error_body("quota", "insufficient_quota")), ModelUnavailable),
    "400": (Fault("status", 400), PermanentError),
    "422": (Fault("status", 422), PermanentError),
}


@pytest.mark.parametrize("name", CASES)
def test_each_failure_has_its_class(make: MakeBackend, name: str) -> None:
    fault, expected = CASES[name]
    error = failure(make, fault)
    assert type(error) is expected
    assert str(error).startswith("model tester ")


@pytest.mark.parametrize("fault", [Fault("stall"), Fault("drip", seconds=0.2)], ids=["stall", "drip"])
def test_a_call_ends_at_its_time_out(make: MakeBackend, fault: Fault) -> None:
    started = time.monotonic()
    error = failure(make, fault, timeout_s=0.8)
    assert type(error) is TransientError
    assert "no answer within 0.8 s" in str(error)
    assert time.monotonic() - started < 4


def test_a_server_that_is_not_there_is_transient(make: MakeBackend) -> None:
    spec = ModelSpec("tester", "openai", "openai/x", api_base="http://127.0.0.1:9/v1", timeout_s=5)
    with pytest.raises(TransientError):
        ask(make, spec, request())


def test_a_filtered_answer_is_refused(make: MakeBackend) -> None:
    filtered = Answer("half an ans", finish_reason="content_filter")
    with ScriptedServer(lambda _: filtered) as server, pytest.raises(Refused):
        ask(make, spec_for(server), request())


def test_retry_after_in_seconds_and_as_a_date(make: MakeBackend) -> None:
    error = failure(make, Fault("rate_limit", retry_after="2.5"))
    assert isinstance(error, RateLimited)
    assert error.retry_after == 2.5
    error = failure(make, Fault("rate_limit", retry_after=formatdate(time.time() + 60, usegmt=True)))
    assert isinstance(error, RateLimited)
    assert error.retry_after == pytest.approx(60, abs=4)


def test_odd_retry_after_headers() -> None:
    cases = {"": None, "soon": None, "-5": None, "inf": None, "0": 0.0, "Thu, 01 Jan 1970 00:00:00 GMT": 0.0}
    assert {text: retry_after_seconds({"Retry-After": text}) for text in cases} == cases
    assert retry_after_seconds({"retry-after-ms": "1500", "retry-after": "9"}) == 1.5


def test_the_key_is_sent(make: MakeBackend, canary: str) -> None:
    with ScriptedServer(lambda _: "x", api_key=canary) as server:
        assert ask(make, spec_for(server, api_key_env="SCRIPTED_API_KEY"), request()).text == "x"


def test_no_key_of_the_environment_goes_to_an_own_endpoint(make: MakeBackend, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", CANARY)
    with ScriptedServer(lambda _: "x") as server:
        ask(make, spec_for(server), request())
        assert CANARY not in str(server.headers)


def test_a_missing_key_is_named_and_nothing_is_sent(make: MakeBackend, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SCRIPTED_API_KEY", raising=False)
    expected = r"models\.tester\.api_key_env: the environment variable SCRIPTED_API_KEY is not set"
    with ScriptedServer(lambda _: "x") as server:
        with pytest.raises(ModelUnavailable, match=expected):
            ask(make, spec_for(server, api_key_env="SCRIPTED_API_KEY"), request())
        assert server.count == 0


ECHOES = [
    Fault("status", 401, body=error_body(f"Incorrect API key provided: {CANARY}")),
    Fault("status", 500, body=f"Authorization: Bearer {CANARY} failed"),
    Fault("status", 400, body=error_body("x" * 380 + CANARY)),
    Fault("error_body", body=error_body(f"upstream said no to {CANARY}")),
    Fault("reset"),
    None,
]


@pytest.mark.parametrize("fault", ECHOES, ids=["401", "500", "at the cut", "200", "reset", "wrong key"])
def test_a_key_is_in_no_exception_and_no_log(
    make: MakeBackend, canary: str, fault: Fault | None, caplog: pytest.LogCaptureFixture
) -> None:
    """Also at debug level, in chained exceptions, and where the provider itself repeats the key."""
    with caplog.at_level(logging.DEBUG), ScriptedServer(lambda _: "x", faults=[fault], api_key="other") as server:
        loggers = [logging.getLogger(name) for name in ("LiteLLM", "openai", "httpx", "httpcore", "personalrm")]
        levels = [logger.level for logger in loggers]
        for logger in loggers:
            logger.setLevel(logging.DEBUG)
        try:
            server._api_key = None if fault else "other"
            with pytest.raises(ModelCallError) as caught:
                ask(make, spec_for(server, api_key_env="SCRIPTED_API_KEY"), request())
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)
        assert canary in str(server.headers)
    text = "".join(traceback.format_exception(caught.value)) + repr(caught.value) + repr(caught.value.__context__)
    assert canary not in text
    assert canary[:16] not in text
    logged = caplog.text + "".join(f"{record.msg!r} {record.args!r} {record.exc_text}" for record in caplog.records)
    assert canary not in logged


def test_log_lines_of_the_libraries_below_are_scrubbed(canary: str, caplog: pytest.LogCaptureFixture) -> None:
    load_litellm()
    with caplog.at_level(logging.DEBUG, "openai"):
        logger = logging.getLogger("openai")
        logger.warning("sent %s", canary)
        try:
            raise ValueError(canary)
        except ValueError:
            logger.exception("failed")
    assert "sent ***" in caplog.text
    assert canary not in caplog.text


def test_scrub_takes_all_credentials_and_keeps_the_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANY_TOKEN", "abc/def+secret")
    monkeypatch.setenv("LONG_KEY", "abc/def+secret-longer")
    monkeypatch.setenv("SHORT_KEY", "no")
    assert scrub("a abc/def+secret-longer b abc%2Fdef%2Bsecret no\n c") == "a *** b *** no c"
    assert scrub("header Bearer something-unknown, end") == "header Bearer ***, end"
    assert len(scrub("x" * 9999)) == 400


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


def test_embedded_calls_ask_for_the_prefix_cache_and_others_do_not() -> None:
    with ScriptedServer(lambda _: "x") as server:
        ask(OpenAIHttpBackend, replace(spec_for(server), backend="embedded"), request(seed=3))
        ask(OpenAIHttpBackend, spec_for(server), request())
        assert (server.requests[0]["cache_prompt"], server.requests[0]["seed"]) == (True, 3)
        assert "cache_prompt" not in server.requests[1]


def test_a_server_that_came_back_elsewhere_is_found_again() -> None:
    with ScriptedServer(lambda _: "x") as server:
        bases = iter(["http://127.0.0.1:9/v1", server.url, "never asked for"])

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
        "import sys, personalrm.llm.open, personalrm.llm.openai_http, personalrm.llm.litellm_backend;"
        "print([m for m in ('litellm', 'openai', 'aiohttp', 'pandas', 'torch') if m in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"
