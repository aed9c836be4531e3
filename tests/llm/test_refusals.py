"""A provider that refuses for good is asked once: the mark beside the store, who reads it, and what lifts it."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from support.backends import CANARY, error_body
from support.ports import request
from support.scripted_server import Fault, ScriptedServer

from personalrm.app.cli import main
from personalrm.llm.cache.store import ResponseStore
from personalrm.llm.limits.faults import ModelUnavailable
from personalrm.llm.limits.refusals import marks_folder
from personalrm.llm.open import RuntimeSettings, open_model
from personalrm.llm.types import ModelSpec

KEY = "SCRIPTED_API_KEY"
UNKNOWN = Fault("status", 404, body=error_body("The model `x` does not exist", "model_not_found"))
ASK = """
import asyncio, sys
from pathlib import Path
from support.ports import request
from personalrm.core.errors import PersonalRMError
from personalrm.llm.open import RuntimeSettings, open_model
from personalrm.llm.cache.store import ResponseStore
from personalrm.llm.types import ModelSpec

async def ask(url, store):
    spec = ModelSpec("hosted", "openai", "x", api_base=url, api_key_env="SCRIPTED_API_KEY")
    async with open_model(spec, store=ResponseStore(Path(store)), runtime=RuntimeSettings(Path("rt"), 1)) as port:
        await asyncio.gather(*(port.complete(request(str(n))) for n in range(20)))

try:
    asyncio.run(ask(*sys.argv[1:]))
except PersonalRMError as error:
    print(error)
"""


@pytest.fixture
def path(tmp_path: Path, canary: str) -> Path:
    return tmp_path / "s.sqlite"


def spec_at(url: str, **changes: Any) -> ModelSpec:  # noqa: ANN401
    return replace(ModelSpec("hosted", "openai", "x", api_base=url, api_key_env=KEY, max_concurrency=4), **changes)


def ask(path: Path, spec: ModelSpec, calls: int = 1) -> list[str]:
    """Texts of the answers, and messages of the errors, of one job."""

    async def run() -> list[str]:
        with ResponseStore(path) as store:
            async with open_model(spec, store=store, runtime=RuntimeSettings(path.parent, 1)) as port:
                asked = (port.complete(request(str(n))) for n in range(calls))
                results = await asyncio.gather(*asked, return_exceptions=True)
        assert all(isinstance(result, ModelUnavailable) or hasattr(result, "text") for result in results), results
        return [getattr(result, "text", str(result)) for result in results]

    return asyncio.run(run())


def test_many_tasks_of_one_job_make_at_most_as_many_calls_as_are_in_flight(path: Path) -> None:
    with ScriptedServer(lambda _: "x", api_key="other", latency=0.02) as server:
        messages = ask(path, spec_at(server.url), calls=60)
        assert 1 <= server.count <= 4
    assert len(set(messages)) == 1
    assert "HTTP 401" in messages[0]
    assert messages[0].endswith(f"python -m personalrm models unblock hosted --store {path}")


def test_another_process_makes_no_call_and_ends_with_the_same_message(path: Path) -> None:
    with ScriptedServer(lambda _: "x", api_key="other") as server:
        first = ask(path, spec_at(server.url))
        asked = server.count
        here = [str(Path(__file__).parents[1]), *sys.path]
        done = subprocess.run(
            [sys.executable, "-c", ASK, server.url, str(path)],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(here)},
            capture_output=True,
            text=True,
            check=True,
            cwd=path.parent,
        )
        assert done.stdout.splitlines() == first
        assert ask(path, spec_at(server.url)) == first
        assert server.count == asked
    everything = [file.read_bytes() for file in path.parent.rglob("*") if file.is_file()]
    assert not any(CANARY.encode() in data for data in (*everything, done.stdout.encode(), done.stderr.encode()))


@pytest.mark.parametrize("fault", [UNKNOWN, Fault("status", 403)], ids=["unknown model", "403"])
def test_a_job_at_work_stops_at_another_jobs_mark(path: Path, fault: Fault) -> None:
    def refuse(number: int, body: dict[str, Any]) -> Fault | None:
        return fault if number else None

    async def run(url: str) -> str:
        with ResponseStore(path) as store:
            async with open_model(spec_at(url), store=store, runtime=RuntimeSettings(path.parent, 1)) as port:
                assert (await port.complete(request("first"))).text == "fine"
                message = (await asyncio.to_thread(ask, path, spec_at(url)))[0]
                # What is stored stays readable.
                assert (await port.complete(request("first"))).text == "fine"
                with pytest.raises(ModelUnavailable) as caught:
                    await port.complete(request("second"))
        assert str(caught.value) == message
        return message

    with ScriptedServer(lambda _: "fine", faults=refuse) as server:
        assert f"HTTP {fault.status}" in asyncio.run(run(server.url))
        assert server.count == 2


def test_another_key_another_endpoint_or_another_model_is_asked(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with ScriptedServer(lambda _: "x", api_key="a good key") as server, ScriptedServer(lambda _: "y") as other:
        ask(path, spec_at(server.url))
        assert ask(path, spec_at(other.url, model="z")) == ["y"]
        ask(path, spec_at(server.url, model="z2"))
        assert (server.count, other.count) == (2, 1)
        monkeypatch.setenv(KEY, "a good key")
        assert ask(path, spec_at(server.url)) == ["x"]
        # The old key is still known to be refused.
        monkeypatch.setenv(KEY, CANARY)
        assert "HTTP 401" in ask(path, spec_at(server.url), calls=2)[1]
        assert server.count == 3


@pytest.mark.parametrize("named", [["hosted"], ["x"], []], ids=["name", "id", "all"])
def test_the_command_lifts_a_mark(path: Path, named: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with ScriptedServer(lambda _: "x", faults=[Fault("status", 403)]) as server:
        ask(path, spec_at(server.url))
        assert main(["models", "unblock", "another", "--store", str(path)]) == 0
        assert "none" in capsys.readouterr().out
        ask(path, spec_at(server.url))
        assert server.count == 1
        assert main(["models", "unblock", *named, "--store", str(path)]) == 0
        assert capsys.readouterr().out == f"{path}: to be asked again: hosted\n"
        assert ask(path, spec_at(server.url)) == ["x"]


PASSING = {
    "no credit": Fault("status", 402),
    "quota": Fault("status", 429, body=error_body("quota", "insufficient_quota")),
    "wrong path": Fault("status", 404, body="<html>not found</html>"),
}


@pytest.mark.parametrize("name", PASSING)
def test_what_may_pass_by_itself_leaves_no_mark(path: Path, name: str) -> None:
    with ScriptedServer(lambda _: "x", faults=[PASSING[name]]) as server:
        assert ask(path, spec_at(server.url)) != ["x"]
        assert not marks_folder(path).exists()
        assert ask(path, spec_at(server.url)) == ["x"]


def test_a_missing_key_leaves_no_mark(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(KEY)
    assert "is not set" in ask(path, spec_at("http://127.0.0.1:9/v1"))[0]
    assert not marks_folder(path).exists()


def test_the_mark_is_the_same_file_each_time_and_the_salt_is_private(path: Path) -> None:
    with ScriptedServer(lambda _: "x", api_key="other") as server:
        ask(path, spec_at(server.url))
        folder = marks_folder(path)
        (mark,) = folder.glob("*.json")
        written = mark.read_bytes()
        assert (folder / "salt").stat().st_mode & 0o777 == 0o600
        main(["models", "unblock", "--store", str(path)])
        ask(path, spec_at(server.url))
        assert mark.read_bytes() == written
        # A damaged mark is none, and is written anew.
        mark.write_text('{"message', encoding="utf-8")
        ask(path, spec_at(server.url))
        assert (server.count, mark.read_bytes()) == (3, written)


def test_without_a_place_for_marks_the_providers_word_remains(path: Path) -> None:
    marks_folder(path).write_text("a file where the folder would be", encoding="utf-8")
    with ScriptedServer(lambda _: "x", api_key="other") as server:
        assert "HTTP 401" in ask(path, spec_at(server.url))[0]
        assert "unblock" not in ask(path, spec_at(server.url))[0]
        assert server.count == 2


def test_litellms_own_keys_count(path: Path, warm_litellm: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOGETHERAI_API_KEY", CANARY)
    with ScriptedServer(lambda _: "x", api_key="a good key", latency=0.01) as server:
        spec = spec_at(server.url, backend="litellm", model="together_ai/x", api_key_env=None, timeout_s=60.0)
        first = ask(path, spec, calls=9)
        asked = server.count
        assert 1 <= asked <= 4
        assert ask(path, spec) == first[:1]
        assert server.count == asked
        monkeypatch.setenv("TOGETHERAI_API_KEY", "a good key")
        assert ask(path, spec) == ["x"]
