"""What an embedded model answers depends on the request alone: not on order, neighbours, load or what is stored."""

from __future__ import annotations

import asyncio
import json
import os
import random
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from support.backends import ask
from support.ports import request
from support.scripted_server import ScriptedServer

from personalrm.llm.cache.store import ResponseStore
from personalrm.llm.local.backend import EmbeddedBackend
from personalrm.llm.local.server import keep_newest, stop_servers
from personalrm.llm.open import RuntimeSettings, open_model
from personalrm.llm.types import Message, ModelSpec, Request, Response

SPEC = ModelSpec("tiny", "embedded", "smollm2-135m", context_length=1024, timeout_s=300)
QUESTIONS = (
    "Should I water young trees at noon?",
    "Should I water young trees at night, or is that bad for them?",
    "How do I get a coffee stain out of a white shirt before the meeting?",
)
ANSWERS = (
    "At noon much of it is gone before it reaches a root; early in the morning is better.",
    "1. Blot it.\n2. Cold water and a drop of soap.\n3. Blot again, and never rub.",
)
TASTES = ("The user likes short answers.", "The user likes reasons, and answers that say what to do first.")


def ask_about(question: str, swapped: bool) -> str:
    first, second = reversed(ANSWERS) if swapped else ANSWERS
    return f"Conversation:\n[user]: {question}\n\nResponse A:\n{first}\n\nResponse B:\n{second}\n\nWhich one?"


def requests() -> list[Request]:
    """Labels of pairs in both orders with and without demonstrations, seeded texts, a prompt of one message."""
    found = [Request((Message("user", question),), 12, temperature=0.7, seed=5) for question in QUESTIONS[:1]]
    for taste in TASTES:
        system = Message("system", taste)
        demonstration = (Message("user", ask_about(QUESTIONS[2], False)), Message("assistant", "The user prefers A"))
        for shown in ((), demonstration):
            for question in QUESTIONS:
                for swapped in (False, True):
                    asked = Message("user", ask_about(question, swapped))
                    prefill = Message("assistant", "The user prefers Response")
                    found.append(Request((system, *shown, asked, prefill), 1, top_logprobs=20))
        found.append(Request((system, Message("user", QUESTIONS[0])), 12, temperature=0.7, seed=5))
    return found


@pytest.fixture
def runtime(tmp_path: Path) -> Iterator[RuntimeSettings]:
    yield RuntimeSettings(tmp_path / "runtime", cores=2)
    stop_servers(tmp_path / "runtime")


def answers(runtime: RuntimeSettings, asked: list[Request]) -> dict[Request, tuple[object, ...]]:
    """What is answered to `asked`, in that order, over an empty store."""

    async def run() -> list[Response]:
        with ResponseStore(":memory:") as store:
            async with open_model(SPEC, store=store, runtime=runtime) as port:
                return [await port.complete(one) for one in asked]

    found = asyncio.run(run())
    return {one: (answer.text, answer.logprobs, answer.usage) for one, answer in zip(asked, found, strict=True)}


@pytest.mark.embedded
@pytest.mark.parametrize("every", [3, pytest.param(1, marks=pytest.mark.full)])
def test_answers_are_equal_in_any_order_beside_any_others_and_from_a_new_server(
    runtime: RuntimeSettings, every: int
) -> None:
    asked = requests()[::every]
    expected = answers(runtime, asked)

    # Another order, on the same server, while the machine is busy and others ask, too.
    shuffled = random.Random(3).sample(asked, len(asked))
    busy = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(2)]
    beside = threading.Thread(target=answers, args=(runtime, shuffled[: len(asked) // 2][::-1]))
    beside.start()
    try:
        assert answers(runtime, shuffled) == expected
    finally:
        beside.join()
        for process in busy:
            process.kill()
            process.wait()

    # A run that goes on where some answers are stored asks for the others alone, of a server that has nothing saved.
    (state,) = runtime.runtime_dir.glob("*.json")
    psutil.Process(json.loads(state.read_text(encoding="utf-8"))["pid"]).kill()
    assert answers(runtime, asked[1::3]) == {one: expected[one] for one in asked[1::3]}
    assert list(runtime.runtime_dir.glob("*.states"))
    stop_servers(runtime.runtime_dir)
    assert not list(runtime.runtime_dir.glob("*.states"))


@pytest.mark.embedded
def test_a_state_that_cannot_be_saved_costs_time_alone(
    runtime: RuntimeSettings, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    asked = requests()[1:7]
    expected = answers(runtime, asked)
    slot = EmbeddedBackend._slot

    async def broken(self: EmbeddedBackend, action: str, name: str) -> bool:
        return await slot(self, action, f"no/such/folder/{name}")

    monkeypatch.setattr(EmbeddedBackend, "_slot", broken)
    assert answers(runtime, asked) == expected
    (message,) = [record.getMessage() for record in caplog.records if "cannot be saved" in record.getMessage()]
    assert "model tiny" in message


def test_what_comes_before_the_last_question_is_evaluated_once_from_an_empty_cache(tmp_path: Path) -> None:
    system, first, second = (Message("system", "Judge."), Message("user", "one"), Message("user", "two"))
    prefill = Message("assistant", "The answer is")
    with ScriptedServer(lambda _: "x") as server:

        async def find() -> str:
            return server.url

        for asked in ((system, first, prefill), (system, second), (system, first)):
            spec = ModelSpec("tiny", "embedded", "m", extra_body=(("top_k", "5"), ("cache_prompt", "true")))
            ask(lambda spec: EmbeddedBackend(spec, find, tmp_path), spec, Request(asked, 4, top_logprobs=2))
        evaluated, *real = server.requests
    assert [message["content"] for message in evaluated["messages"]] == ["Judge."]
    assert (evaluated["max_tokens"], evaluated["cache_prompt"], evaluated["top_k"]) == (0, False, 5)
    assert [body["messages"][1]["content"] for body in real] == ["one", "two", "one"]
    assert [(body["max_tokens"], body["cache_prompt"]) for body in real] == [(4, True)] * 3
    assert len(server.states) == 1


def test_a_prompt_without_anything_before_its_question_starts_from_an_empty_cache(tmp_path: Path) -> None:
    with ScriptedServer(lambda _: "x") as server:

        async def find() -> str:
            return server.url

        ask(lambda spec: EmbeddedBackend(spec, find, tmp_path), SPEC, request())
        (body,) = server.requests
    assert body["cache_prompt"] is False
    assert not server.states


def test_old_states_go_and_the_newest_stays(tmp_path: Path) -> None:
    for number in range(5):
        file = tmp_path / f"{number}.state"
        file.write_bytes(bytes(100))
        os.utime(file, (1000 + number, 1000 + number))
    keep_newest(tmp_path, 250)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["3.state", "4.state"]
    keep_newest(tmp_path, 10)
    assert [file.name for file in tmp_path.iterdir()] == ["4.state"]
    keep_newest(tmp_path / "absent", 10)
