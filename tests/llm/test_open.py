"""Opening a model, and the port on real sockets: faults, storms, and another process's server."""

from __future__ import annotations

import asyncio
import json
import random
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from support.scripted_judge import Answer, judge
from support.scripted_server import Fault, ScriptedServer

from personalrm.core.errors import ConfigError
from personalrm.llm.cache.store import ResponseStore
from personalrm.llm.client import ModelClient
from personalrm.llm.limits.budget import Budget
from personalrm.llm.limits.retry import RetryPolicy
from personalrm.llm.open import RuntimeSettings, open_model
from personalrm.llm.types import BackendName, Message, ModelSpec, Request, Response

SERVER = Path(__file__).parents[1] / "support" / "scripted_server.py"


@pytest.fixture
def store(tmp_path: Path) -> ResponseStore:
    return ResponseStore(tmp_path / "s.sqlite", run="r")


@pytest.fixture
def runtime(tmp_path: Path) -> RuntimeSettings:
    return RuntimeSettings(tmp_path / "runtime", cores=2)


def request(text: str, max_tokens: int = 50) -> Request:
    return Request((Message("user", text),), max_tokens)


def complete_all(spec: ModelSpec, requests: list[Request], **options: Any) -> list[Response]:  # noqa: ANN401
    async def run() -> list[Response]:
        async with open_model(spec, **options) as port:
            return list(await asyncio.gather(*(port.complete(asked) for asked in requests)))

    return asyncio.run(run())


@pytest.mark.parametrize("backend", ["openai", "litellm"])
def test_a_configured_model_answers_and_the_store_stays_open(
    store: ResponseStore, runtime: RuntimeSettings, backend: BackendName
) -> None:
    with ScriptedServer(lambda _: "fine") as server:
        spec = ModelSpec("m", backend, "openai/x", api_base=server.url, timeout_s=60, price_in=1.0, price_out=1.0)
        asked = [request("a"), request("b")]
        first = complete_all(spec, asked, store=store, runtime=runtime, budget=Budget(store, spec, 1.0))
        assert complete_all(spec, asked, store=store, runtime=runtime) == first
        assert server.count == 2
    assert first[0].cost_usd is not None


def test_a_litellm_model_takes_its_price_from_the_map(store: ResponseStore, runtime: RuntimeSettings) -> None:
    with ScriptedServer(lambda _: Answer("x", tokens_in=1000, tokens_out=100)) as server:
        spec = ModelSpec("m", "litellm", "openai/gpt-4o-mini", api_base=server.url, timeout_s=60)
        answer = complete_all(spec, [request("a")], store=store, runtime=runtime, budget=Budget(store, spec, 1.0))[0]
        assert answer.cost_usd == pytest.approx(1000 * 0.15e-6 + 100 * 0.6e-6)
        unknown = ModelSpec("m", "litellm", "openai/nobody-knows", api_base=server.url, timeout_s=60)
        with pytest.raises(ConfigError, match=r"models\.m\.price_in"):
            complete_all(unknown, [request("b")], store=store, runtime=runtime, budget=Budget(store, unknown, 1.0))


def test_an_embedded_server_is_started_once_at_the_first_miss(store: ResponseStore, runtime: RuntimeSettings) -> None:
    started: list[str] = []
    with ScriptedServer(lambda _: "x", latency=0.02) as server:

        def url(spec: ModelSpec) -> str:
            started.append(spec.model)
            return server.url

        spec = ModelSpec("m", "embedded", "smollm2-135m")
        options: dict[str, Any] = {"store": store, "runtime": runtime, "embedded_url": url}
        short = [request(str(n), 1) for n in range(6)]
        complete_all(spec, [*short, *(request(str(n), 64) for n in range(12))], **options)
        # What shares a batch shares its shape, and so its numbers.
        assert server.most_in_flight == 1
        complete_all(spec, [request("later")], **options)
        assert started == ["smollm2-135m"] * 2
        complete_all(spec, short, **options)
        assert len(started) == 2
        assert server.count == 19


def test_an_unknown_backend_names_its_config_line(store: ResponseStore, runtime: RuntimeSettings) -> None:
    spec = ModelSpec("m", "telepathy", "x")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=r"models\.m\.backend: 'telepathy'"):
        complete_all(spec, [request("a")], store=store, runtime=runtime)


def test_a_storm_of_faults_leaves_every_answer_stored_once(store: ResponseStore, runtime: RuntimeSettings) -> None:
    """30 % 429, 10 % 5xx, 5 % resets, 5 % stalls, some error bodies: 150 requests, each answered in the end."""
    kinds = [Fault("rate_limit", retry_after="0.05")] * 6 + [Fault("status", 503)] * 2 + [Fault("reset")]
    kinds += [Fault("stall", seconds=5), Fault("error_body")]
    rng = random.Random(3)

    def fault(number: int, body: dict[str, Any]) -> Fault | None:
        return kinds[n] if (n := rng.randrange(20)) < len(kinds) else None

    async def quick(seconds: float) -> None:
        await asyncio.sleep(min(seconds, 0.02))

    async def run(url: str) -> list[Response]:
        spec = ModelSpec("m", "openai", "x", api_base=url, timeout_s=1, max_attempts=12)
        async with open_model(spec, store=store, runtime=runtime) as opened:
            policy = RetryPolicy(12, 900, sleep=quick, rng=rng)
            port = ModelClient(spec, opened._backend, store, max_concurrency=40, retry=policy)
            return list(await asyncio.gather(*(port.complete(request(str(n))) for n in range(150))))

    with ScriptedServer(lambda body: "to " + body["messages"][0]["content"], faults=fault) as server:
        answers = asyncio.run(run(server.url))
        assert server.count > 220
    assert [answer.text for answer in answers] == [f"to {n}" for n in range(150)]
    assert sum(totals.calls for totals in store.paid_totals("r").values()) == 150


def start_server(folder: Path) -> tuple[subprocess.Popen[str], str]:
    files = ["--log", str(folder / "requests.jsonl"), "--url-file", str(folder / "url")]
    process = subprocess.Popen([sys.executable, str(SERVER), *files], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    url = process.stdout.readline().strip()
    assert (folder / "url").read_text() == url
    return process, url


def test_a_server_in_another_process_logs_every_request(
    tmp_path: Path, store: ResponseStore, runtime: RuntimeSettings
) -> None:
    process, url = start_server(tmp_path)
    try:
        spec = ModelSpec("m", "openai", "x", api_base=url)
        answers = complete_all(spec, [request(f"q{n}") for n in range(20)], store=store, runtime=runtime)
    finally:
        process.kill()
        process.communicate()
    lines = [json.loads(line) for line in (tmp_path / "requests.jsonl").read_text().splitlines()]
    assert sorted(line["body"]["messages"][0]["content"] for line in lines) == sorted(f"q{n}" for n in range(20))
    assert all(answer.text for answer in answers)


PAIR = """Conversation:
[user]: hi

Response {0}:
{one}

Response {1}:
{two}

Which response does this user prefer?"""


@pytest.mark.parametrize("labels", [("First", "Second"), ("A", "B")])
def test_the_scripted_judge_names_the_same_answer_in_both_orders(labels: tuple[str, str]) -> None:
    chosen = []
    for one, two in (("cats", "dogs"), ("dogs", "cats")):
        body = {"messages": [{"role": "user", "content": PAIR.format(*labels, one=one, two=two)}], "max_tokens": 1}
        answer = judge({**body, "logprobs": True, "top_logprobs": 5})
        assert answer.text is not None
        chosen.append((one, two)[labels.index(answer.text.strip())])
        assert answer.logprobs[0][0][0] == answer.text
        assert judge({**body, "max_tokens": 99}).text.endswith(f"Preference: {answer.text.strip()}")  # type: ignore[union-attr]
    assert chosen[0] == chosen[1]


def test_the_scripted_server_stops_quickly_with_calls_in_flight() -> None:
    async def run(url: str) -> None:
        import httpx

        async with httpx.AsyncClient() as client:
            await asyncio.wait_for(client.post(f"{url}/chat/completions", json={"messages": []}), 0.3)

    server = ScriptedServer(lambda _: "x", latency=60).start()
    with pytest.raises(TimeoutError):
        asyncio.run(run(server.url))
    started = time.monotonic()
    server.stop()
    assert time.monotonic() - started < 3
