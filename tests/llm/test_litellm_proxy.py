"""A real LiteLLM proxy before the provider: it holds the key, and one limit serves all jobs that ask through it.

The proxy runs in an environment of its own (`litellm[proxy]`), which is made once.
"""

from __future__ import annotations

import asyncio
import socket
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

import httpx
import pytest
import yaml
from support.backends import ask, request
from support.environments import environment_with
from support.scripted_server import ScriptedServer

from personalrm.core.errors import RateLimited
from personalrm.llm.backends.openai_http import OpenAIHttpBackend
from personalrm.llm.cache.store import ResponseStore
from personalrm.llm.open import RuntimeSettings, open_model
from personalrm.llm.types import ModelSpec

# An environment of 340 MB, and a program that takes a minute to start.
pytestmark = pytest.mark.full

PROVIDER_KEY, SHARED_KEY = "of-the-provider", "sk-of-the-proxy"
AT_ONCE = 3
A_MINUTE = 5
STARTS_WITHIN_S = 300.0
"""It imports for half a minute, and for longer where other work shares the machine."""


def config_of(server: ScriptedServer) -> dict[str, object]:
    """Two names for one provider: one with calls at once limited, and one with calls a minute."""
    reached = {"model": "openai/scripted", "api_base": server.url, "api_key": PROVIDER_KEY}
    return {
        "model_list": [
            {"model_name": "judge", "litellm_params": reached | {"max_parallel_requests": AT_ONCE}},
            {"model_name": "slow", "litellm_params": reached | {"rpm": A_MINUTE}},
        ],
        "router_settings": {"routing_strategy": "usage-based-routing-v2", "num_retries": 0, "disable_cooldowns": True},
        "litellm_settings": {"num_retries": 0, "telemetry": False},
        "general_settings": {"master_key": SHARED_KEY},
    }


@pytest.fixture(scope="module")
def server() -> Iterator[ScriptedServer]:
    with ScriptedServer(lambda body: f"echo {body['messages'][-1]['content']}", api_key=PROVIDER_KEY) as server:
        yield server


@pytest.fixture(scope="module")
def proxy(server: ScriptedServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Base URL of the proxy."""
    python = environment_with("proxy", f"litellm[proxy]=={version('litellm')}")
    folder = tmp_path_factory.mktemp("proxy")
    (folder / "proxy.yaml").write_text(yaml.safe_dump(config_of(server)), encoding="utf-8")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [python, "-m", "litellm.proxy.proxy_cli", "--config", "proxy.yaml"]
    command += ["--host", "127.0.0.1", "--port", str(port)]
    environment = {
        "PATH": f"{python.parent}:/usr/bin:/bin",
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",
        "HOME": str(folder),
    }
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, cwd=folder, env=environment, stdout=log, stderr=subprocess.STDOUT)
    try:
        _wait_for(f"http://127.0.0.1:{port}", process, folder / "log")
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        process.kill()
        process.wait()


def _wait_for(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    until = time.monotonic() + STARTS_WITHIN_S
    while time.monotonic() < until and process.poll() is None:
        try:
            if httpx.get(f"{url}/health/liveliness", timeout=2, trust_env=False).status_code == 200:
                return
        except httpx.HTTPError:
            time.sleep(0.3)
    pytest.fail(f"the proxy did not start: {log.read_text(encoding='utf-8', errors='replace')[-2000:]}")


@pytest.fixture
def spec(proxy: str, monkeypatch: pytest.MonkeyPatch) -> ModelSpec:
    """The proxy as the docs say that a config names it."""
    monkeypatch.setenv("PROXY_KEY", SHARED_KEY)
    return ModelSpec("m", "openai", "judge", api_base=proxy, api_key_env="PROXY_KEY", max_concurrency=8)


def ask_all(spec: ModelSpec, folder: Path, prompts: list[str]) -> list[str]:
    """The answers that one job gets."""

    async def run() -> list[str]:
        with ResponseStore(folder / "s.sqlite", run="r") as store:
            async with open_model(spec, store=store, runtime=RuntimeSettings(folder, 1)) as port:
                found = await asyncio.gather(*(port.complete(request(prompt)) for prompt in prompts))
        return [answer.text for answer in found]

    return asyncio.run(run())


def test_two_jobs_share_what_the_proxy_lets_through(server: ScriptedServer, spec: ModelSpec, tmp_path: Path) -> None:
    server.latency = 0.2
    before = server.count
    jobs = [[f"job {job} call {number}" for number in range(12)] for job in range(2)]
    with ThreadPoolExecutor(2) as pool:
        found = list(pool.map(lambda prompts: ask_all(spec, tmp_path / prompts[0][:5], prompts), jobs))
    assert found == [[f"echo {prompt}" for prompt in prompts] for prompts in jobs]
    assert server.count == before + 24
    # Both jobs together, though each may send eight at once.
    assert server.most_in_flight == AT_ONCE


def test_a_call_past_the_proxys_minute_is_not_made_and_says_that_it_may_be_asked_later(
    server: ScriptedServer, spec: ModelSpec
) -> None:
    server.latency, before = 0.0, server.count
    limited = 0
    for number in range(3 * A_MINUTE):
        try:
            ask(OpenAIHttpBackend, replace(spec, model="slow"), request(f"call {number}"))
        except RateLimited:
            limited += 1
    made = server.count - before
    assert made + limited == 3 * A_MINUTE
    # The clock's minute may end in between.
    assert 1 <= made <= 2 * A_MINUTE


def test_only_the_proxy_has_the_providers_key(server: ScriptedServer, spec: ModelSpec, tmp_path: Path) -> None:
    ask_all(spec, tmp_path, ["hello"])
    assert {headers["Authorization"] for headers in server.headers} == {f"Bearer {PROVIDER_KEY}"}
