"""Failures through both backends: each has its class, and no key is in any of their words."""

from __future__ import annotations

import asyncio
import logging
import signal
import socketserver
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from email.utils import formatdate
from typing import cast

import pytest
from support.backends import CANARY, MakeBackend, ask, error_body, failure, request, spec_for
from support.ports import FakeTime
from support.scripted_server import Answer, Fault, ScriptedServer

from personalrm.core.addresses import without_credentials
from personalrm.core.errors import (
    ContextOverflow,
    ModelCallError,
    PermanentError,
    RateLimited,
    Refused,
    RequestRejected,
    TransientError,
)
from personalrm.core.files import canonical_json
from personalrm.judge.judge import is_refused
from personalrm.llm.backends.litellm_backend import load_litellm
from personalrm.llm.cache.store import ResponseStore
from personalrm.llm.cache.store_file import encode
from personalrm.llm.client import ModelClient
from personalrm.llm.limits.faults import Failure, ModelUnavailable, retry_after_of, scrub
from personalrm.llm.types import ModelSpec

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
    "400": (Fault("status", 400), RequestRejected),
    "422": (Fault("status", 422), RequestRejected),
    "405": (Fault("status", 405), PermanentError),
}


def ended(reason: object, **choice: object) -> Fault:
    """A reply of status 200 whose choice ends so."""
    whole = {"index": 0, "message": {"role": "assistant", "content": ""}, "finish_reason": reason, **choice}
    usage = {"prompt_tokens": 9, "completion_tokens": 20, "total_tokens": 29}
    return Fault("body", body={"id": "x", "object": "chat.completion", "created": 1, "model": "m"}
                 | {"choices": [{k: v for k, v in whole.items() if v is not ...}], "usage": usage})  # fmt: skip


HALF = {"message": {"role": "assistant", "content": "Because the first"}}
BROKEN_OFF = {
    "choice error": ended("error", error={"code": 502, "message": "upstream overloaded"}),
    "choice error with half an answer": ended("error", error={"message": "upstream"}, **HALF),
    "choice error that ends well": ended("stop", error={"code": 502, "message": "upstream overloaded"}),
    "error": ended("error"),
    "abort": ended("abort"),
    "abort with half an answer": ended("abort", **HALF),
    "insufficient_system_resource": ended("insufficient_system_resource", **HALF),
    "upstream_error": ended("upstream_error", **HALF),
    "engine_aborted": ended("ENGINE_ABORTED", **HALF),
    "null": ended(None),
    "no reason": ended(...),
    "a reason that nobody knows": ended("gremlins"),
    "preempted": ended("preempted", **HALF),
    "no message": ended("stop", message=...),
    "null message": ended("stop", message=None),
    "no choices": Fault("body", body={"choices": [], "model": "m"}),
    "null choices": Fault("body", body={"choices": None, "model": "m"}),
}


@pytest.mark.parametrize("name", BROKEN_OFF)
def test_a_failure_in_the_form_of_an_answer_is_transient_and_asked_again(make: MakeBackend, name: str) -> None:
    error = failure(make, BROKEN_OFF[name])
    assert isinstance(error, TransientError)

    async def run(url: str) -> tuple[str, int]:
        spec = ModelSpec("tester", "openai", "openai/scripted", api_base=url, timeout_s=30.0)
        with ResponseStore(":memory:") as store:
            time = FakeTime()
            client = ModelClient(spec, make(spec), store, retry=time.policy(spec))
            text = (await client.complete(request())).text
            await client.aclose()
            return text, sum(totals.calls for totals in store.usage_totals().values())

    with ScriptedServer(lambda _: "fine", faults=[BROKEN_OFF[name]] * 2) as server:
        assert asyncio.run(run(server.url)) == ("fine", 1)
        assert server.count == 3


@pytest.mark.parametrize("reason", ["stop", "eos", "length"])
def test_an_empty_answer_that_ends_is_an_answer(make: MakeBackend, reason: str) -> None:
    with ScriptedServer(faults=[ended(reason)]) as server:
        assert ask(make, spec_for(server), request()).text == ""


def test_text_without_a_reason_is_an_answer(make: MakeBackend) -> None:
    with ScriptedServer(faults=[ended(None, **HALF)]) as server:
        assert ask(make, spec_for(server), request()).text == "Because the first"


def test_texts_are_made_valid_on_arrival(make: MakeBackend) -> None:
    """Whatever a file cannot hold; numbers that are none; a megabyte stays as it is."""
    top = '[{"token": "A\\udc00", "logprob": NaN}, {"token": "B\\u0000", "logprob": -1e999}]'
    body = (
        '{"id": "x", "object": "chat.completion", "created": 1, "model": "m\\ud800", "choices": [{"index": 0, '
        '"finish_reason": "stop", "message": {"role": "assistant", "content": "a\\ud83d b\\u0000 CCC", '
        '"reasoning_content": "\\udfff"}, "logprobs": {"content": [{"token": "A", '
        '"logprob": NaN, "top_logprobs": TOP}]}}], '
        '"usage": {"prompt_tokens": 1e30, "completion_tokens": -5, "total_tokens": 1}}'
    ).replace("TOP", top).replace("CCC", "word " * 200_000)  # fmt: skip
    if "litellm" in str(make):
        # The library's own types hold whole numbers alone, and no NaN.
        body = body.replace("1e30", "1").replace("-5", "1").replace("NaN", "-0.5").replace("-1e999", "-9e9")
    with ScriptedServer(faults=[Fault("body", body=body)]) as server:
        answer = ask(make, spec_for(server), request(top_logprobs=2))
    text = encode(answer) + canonical_json([answer.text, answer.reasoning, answer.model])
    assert "NaN" not in text
    for said in (answer.text, answer.reasoning, answer.model, *(t for p in answer.logprobs for t, _ in p.top)):
        said.encode("utf-8")
        assert "\0" not in said
    assert answer.text.startswith("a\ufffd b\ufffd word ")
    assert len(answer.text) > 1_000_000
    assert 0 <= answer.usage.tokens_in < 10**10


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


OK = b"HTTP/1.1 200 OK\r\n"
TWO_CALLS = """
import asyncio, sys
from personalrm.llm.backends.litellm_backend import LiteLLMBackend
from personalrm.llm.backends.openai_http import OpenAIHttpBackend
from personalrm.llm.types import Message, ModelSpec, Request

async def calls():
    for timeout_s in (60.0, 1.0):
        backend = globals()[sys.argv[1]](ModelSpec("m", "", "openai/x", api_base=sys.argv[2], timeout_s=timeout_s))
        print((await backend.call(Request((Message("user", "hello"),), max_tokens=9))).text, flush=True)
        await backend.aclose()

asyncio.run(calls())
"""


def test_an_answer_that_came_while_the_process_was_stopped_is_in_time(make: MakeBackend) -> None:
    """Ctrl-Z, or a cluster that suspends jobs: what was sent is paid for."""
    with ScriptedServer(lambda _: "paid") as server:
        command = [sys.executable, "-c", TWO_CALLS, cast("type", make).__name__, server.url]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            # The first call loads the libraries.
            assert process.stdout.readline() == "paid\n"
            server.latency = 0.5
            while server.count < 2:
                time.sleep(0.01)
            process.send_signal(signal.SIGSTOP)
            time.sleep(2.5)
            process.send_signal(signal.SIGCONT)
            said, errors = process.communicate(timeout=60)
    assert (said, process.returncode) == ("paid\n", 0), errors


NO_HTTP = {
    "nothing": b"",
    "no HTTP": b"good morning\r\n\r\n",
    "no status": b"HTTP/1.1 fine\r\n\r\n",
    "no header": OK + b"what is this\r\n\r\n",
    "endless header": OK + b"X: " + b"a" * 100_000 + b"\r\n\r\n",
    "negative length": OK + b"Content-Length: -5\r\n\r\n",
    "cut short": OK + b"Content-Length: 50\r\n\r\n{}",
    "no chunk": OK + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n{}",
    "not packed": OK + b"Content-Encoding: gzip\r\nContent-Length: 2\r\n\r\n{}",
}


@contextmanager
def saying(reply: bytes) -> Iterator[str]:
    """Base URL of a server that says these bytes whatever it is asked, and hangs up."""

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            self.request.recv(65_536)
            self.request.sendall(reply)

    with socketserver.TCPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}/v1"
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.parametrize("name", NO_HTTP)
def test_a_reply_that_is_no_answer_is_transient_and_says_why(make: MakeBackend, name: str) -> None:
    with saying(NO_HTTP[name]) as url, pytest.raises(TransientError, match=r"^model tester ") as caught:
        ask(make, ModelSpec("tester", "openai", "openai/x", api_base=url, timeout_s=5), request())
    assert "\n" not in str(caught.value)


def test_a_server_that_is_not_there_is_transient(make: MakeBackend) -> None:
    spec = ModelSpec("tester", "openai", "openai/x", api_base="http://127.0.0.1:9/v1", timeout_s=5)
    with pytest.raises(TransientError):
        ask(make, spec, request())


@pytest.mark.parametrize("address", ["http://me:sesame@127.0.0.1:9/v1", "http://127.0.0.1:9/v1?token=sesame"])
def test_an_address_is_named_without_what_may_be_secret_in_it(make: MakeBackend, address: str) -> None:
    spec = ModelSpec("tester", "openai", "openai/x", api_base=address, timeout_s=5)
    with pytest.raises(ModelCallError) as caught:
        ask(make, spec, request())
    assert "sesame" not in "".join(traceback.format_exception(caught.value))


def test_without_credentials() -> None:
    assert without_credentials("https://me:pw@host:1/v1?key=2#x") == "https://host:1/v1"


def test_a_filtered_answer_is_an_answer_that_was_paid_for(make: MakeBackend) -> None:
    filtered = Answer("half an ans", finish_reason="content_filter")
    with ScriptedServer(lambda _: filtered) as server:
        answer = ask(make, spec_for(server), request())
    assert (answer.finish_reason, is_refused(answer)) == ("content_filter", True)


@pytest.mark.parametrize("reason", ["SAFETY", "refusal", "sensitive"])
def test_a_filter_is_one_whatever_it_is_called(make: MakeBackend, reason: str) -> None:
    with ScriptedServer(lambda _: Answer("", finish_reason=reason)) as server:
        assert is_refused(ask(make, spec_for(server), request()))


@pytest.mark.parametrize("reason", ["ERROR", "Aborted"])
def test_an_answer_that_was_broken_off_is_none_however_that_is_spelt(make: MakeBackend, reason: str) -> None:
    with (
        ScriptedServer(lambda _: Answer("Preference: Fi", finish_reason=reason)) as server,
        pytest.raises(TransientError),
    ):
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
    assert {text: retry_after_of(Failure(429, "", {"Retry-After": text})) for text in cases} == cases
    assert retry_after_of(Failure(429, "", {"retry-after-ms": "1500", "retry-after": "9"})) == 1.5
    # By the provider's clock, whatever ours says.
    dates = {"Date": "Thu, 01 Jan 1970 00:01:00 GMT", "Retry-After": "Thu, 01 Jan 1970 00:01:30 GMT"}
    assert retry_after_of(Failure(429, "", dates)) == 30.0


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
