"""An outside opinion on faults 2 and 3: `llmock`, a server for faults of providers, says how our port behaved.

It runs in an environment of its own, kept beside the model files; skipped where it cannot be installed.
"""

from __future__ import annotations

import asyncio
import json
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from support.backends import request
from support.environments import environment_with
from support.projects import MAIN_TABLE, paid_project

from personalrm.core.errors import ModelCallError, PermanentError, RequestRejected
from personalrm.llm.cache.store import ResponseStore
from personalrm.llm.open import RuntimeSettings, open_model
from personalrm.llm.types import ModelSpec

LLMOCK = "llmock==0.2.2"
SAYS = {"type": "reply", "text": "It is shorter.\nPreference: First", "times": None}
PASSING: dict[str, list[dict[str, Any]]] = {
    "a rate limit": [{"type": "fail", "status": 429, "retry_after": 0.5, "times": 3}],
    "an outage that ends": [{"type": "fail", "status": 503, "times": 2}],
    "an overloaded server": [{"type": "fail", "status": 529}, {"type": "fail", "status": 500}],
}


@dataclass(frozen=True)
class LLMock:
    url: str

    def script(self, *behaviors: dict[str, Any]) -> None:
        """Forget what was, and behave so from now on."""
        httpx.post(f"{self.url}/_llmock/reset").raise_for_status()
        httpx.post(f"{self.url}/_llmock/scenario", json={"behaviors": list(behaviors)}).raise_for_status()

    def verdict(self) -> dict[str, Any]:
        found: dict[str, Any] = httpx.get(f"{self.url}/_llmock/verdict").json()
        return found


def serve(*options: str) -> Iterator[LLMock]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    program = environment_with("llmock", LLMOCK).parent / "llmock"
    command = [str(program), "serve", "--port", str(port), "--log-level", "warning", *options]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        url, end = f"http://127.0.0.1:{port}", time.monotonic() + 60
        while True:
            try:
                httpx.get(f"{url}/health").raise_for_status()
                break
            except httpx.HTTPError:
                assert process.poll() is None, "llmock ended"
                assert time.monotonic() < end
                time.sleep(0.1)
        yield LLMock(url)
    finally:
        process.kill()
        process.wait()


@pytest.fixture(scope="module")
def llmock() -> Iterator[LLMock]:
    yield from serve()


def ask(llmock: LLMock, folder: Path, **options: float) -> str:
    async def run() -> str:
        limits: dict[str, Any] = {"timeout_s": 2.0, **options}
        spec = ModelSpec("m", "openai", "gpt", api_base=f"{llmock.url}/v1", **limits)
        with ResponseStore(":memory:") as store:
            async with open_model(spec, store=store, runtime=RuntimeSettings(folder, 1)) as port:
                return (await port.complete(request("hello"))).text

    return asyncio.run(run())


@pytest.mark.parametrize("name", PASSING)
def test_what_passes_is_waited_for_as_it_should_be(llmock: LLMock, tmp_path: Path, name: str) -> None:
    llmock.script(SAYS, *PASSING[name])
    assert ask(llmock, tmp_path) == SAYS["text"]
    verdict = llmock.verdict()
    assert verdict["findings"] == []
    assert verdict["attempts"] == 1 + sum(fault.get("times", 1) for fault in PASSING[name])


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (400, RequestRejected),
        (401, PermanentError),
        (403, PermanentError),
        (404, PermanentError),
        (422, RequestRejected),
    ],
)
def test_what_no_retry_can_mend_is_asked_once(
    llmock: LLMock, tmp_path: Path, status: int, error: type[ModelCallError]
) -> None:
    llmock.script(SAYS, {"type": "fail", "status": status, "times": None})
    with pytest.raises(error):
        ask(llmock, tmp_path)
    verdict = llmock.verdict()
    assert (verdict["findings"], verdict["attempts"]) == ([], 1)


def test_an_outage_that_lasts_is_given_up_after_the_stated_attempts(llmock: LLMock, tmp_path: Path) -> None:
    llmock.script({"type": "fail", "status": 503, "times": None})
    with pytest.raises(ModelCallError):
        ask(llmock, tmp_path, max_attempts=3)
    verdict = llmock.verdict()
    assert (verdict["findings"], verdict["attempts"]) == ([], 3)


@pytest.mark.full
def test_a_workflow_comes_to_the_same_tables_through_llmocks_chaos(folder: Path) -> None:
    """Its judge says `First` to everything, so that half of the attempts and judgments are right."""
    tables, verdicts = [], []
    for name, options in (("quiet", ()), ("chaos", ("--error-rate", "429=0.1", "--error-rate", "503=0.1"))):
        for llmock in serve(*options):
            llmock.script(SAYS)
            project = paid_project(folder / name, f"{llmock.url}/v1", users=1, max_attempts=12)
            project.config["k"] = ["all"]
            project.snakemake(MAIN_TABLE)
            tables.append(project.tables())
            verdicts.append(llmock.verdict())
    assert tables[0] == tables[1]
    quiet, chaos = verdicts
    assert (quiet["findings"], quiet["faults_injected"]) == ([], 0)
    assert chaos["faults_injected"] > 0
    assert chaos["errors"] == 0, json.dumps(chaos["findings"])
    assert chaos["attempts"] - chaos["faults_injected"] == quiet["attempts"]
