"""A server that cannot be reached is found within seconds; one that answered before is waited for."""

from __future__ import annotations

import asyncio
import socket
import time
from pathlib import Path

import pytest
from support.ports import request
from support.scripted_server import ScriptedServer

from personalrm.core.errors import ModelCallError, TransientError
from personalrm.llm.backends.reach import PAUSE_S, connection_problem
from personalrm.llm.cache.store import ResponseStore
from personalrm.llm.limits.faults import ModelUnavailable
from personalrm.llm.open import RuntimeSettings, open_model
from personalrm.llm.types import BackendName, ModelSpec


def closed_port() -> int:
    """A port that no server listens at."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


def ask(base: str, text: str = "hello", address: str | None = "model_url", backend: BackendName = "openai") -> str:
    spec = ModelSpec("m", backend, "openai/x", api_base=base, timeout_s=5, max_attempts=2)

    async def run() -> str:
        with ResponseStore(":memory:") as store:
            runtime = RuntimeSettings(Path("servers"), 1)
            async with open_model(spec, store=store, runtime=runtime, eager=True, address=address) as client:
                asked = (client.complete(request(f"{text} {n}")) for n in range(8))
                answers = await asyncio.gather(*asked, return_exceptions=True)
                if isinstance(answers[0], BaseException):
                    raise answers[0]
                return answers[0].text

    return asyncio.run(run())


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]"])
def test_nobody_listens(host: str) -> None:
    problem = connection_problem(f"http://{host}:{closed_port()}/v1")
    assert problem is not None
    assert "refused" in problem or "cannot be reached" in problem  # where the machine has no IPv6


def test_an_unknown_host_and_an_address_without_credentials_in_the_message() -> None:
    problem = connection_problem("https://me:sesame@nobody.invalid/v1?key=sesame")
    assert problem is not None
    assert problem.startswith("host 'nobody.invalid' is not known (")
    assert "sesame" not in problem


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("localhost:8000/v1", "write http://localhost:8000/v1"),
        ("api.example.org/v1", "write https://api.example.org/v1"),
        ("me:sesame@10.0.0.1:8000/v1", "write http://10.0.0.1:8000/v1"),
        ("http://127.0.0.1:80o0/v1", "the port is no number"),
        ("file:///v1", "not http or https"),
        ("http://[::1/v1", "is no address"),
        ("", "has no scheme; write https://localhost:8000/v1"),
        ("[::1/v1", "is no address"),
        ("http://127.0.0.1:80o0/v1?to=http://127.0.0.1:1", "'http://127.0.0.1:80o0/v1': the port is no number"),
        ("sesame-proj-0123456789abcdef", "is no address"),
        ("me:open/sesame@10.0.0.1:8000/v1", "write http://10.0.0.1:8000/v1"),
        ("http://me:sesame#1@10.0.0.1:8000/v1", "'http://10.0.0.1:8000/v1': the port is no number"),
        ("http://me:open/sesame@10.0.0.1:8000/v1", "the port is no number"),
    ],
)
def test_what_is_no_address_is_named_at_once(address: str, said: str) -> None:
    begun = time.monotonic()
    problem = connection_problem(address)
    assert problem is not None
    assert said in problem
    assert "sesame" not in problem
    assert time.monotonic() - begun < PAUSE_S / 2


def test_a_server_that_starts_between_two_tries_is_found() -> None:
    with ScriptedServer() as server:
        assert connection_problem(server.url) is None
    port = closed_port()
    late = ScriptedServer(port=port)

    async def start() -> str | None:
        looking = asyncio.create_task(asyncio.to_thread(connection_problem, f"http://127.0.0.1:{port}/v1"))
        await asyncio.sleep(PAUSE_S / 2)
        late.start()
        return await looking

    try:
        assert asyncio.run(start()) is None
    finally:
        late.stop()


def test_what_goes_through_a_proxy_is_not_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    monkeypatch.setenv("no_proxy", "other.invalid")
    assert connection_problem("http://nobody.invalid/v1") is None
    assert connection_problem("http://other.invalid/v1") is not None
    assert connection_problem(f"http://127.0.0.1:{closed_port()}/v1") is not None


@pytest.mark.parametrize("backend", ["openai", "litellm"])
def test_the_first_calls_share_one_look_and_name_the_argument(backend: BackendName) -> None:
    begun = time.monotonic()
    with pytest.raises(ModelUnavailable, match=r"^model_url: no server listens at 127\.0\.0\.1:\d+ \(conn") as caught:
        ask(f"http://127.0.0.1:{closed_port()}/v1", backend=backend)
    assert "\n" not in str(caught.value)
    assert time.monotonic() - begun < 3


def test_without_a_name_for_the_address_calls_are_tried_as_the_settings_say() -> None:
    with pytest.raises(TransientError):
        ask(f"http://127.0.0.1:{closed_port()}/v1", address=None)


def test_a_server_that_was_absent_is_looked_for_again_and_one_that_answered_is_waited_for() -> None:
    port = closed_port()
    base = f"http://127.0.0.1:{port}/v1"
    with pytest.raises(ModelUnavailable):
        ask(base)
    with ScriptedServer(lambda _: "fine", port=port):
        assert ask(base) == "fine"
    # It has answered: from now on its absence is an outage, with as many attempts as the settings say.
    with pytest.raises(ModelCallError) as caught:
        ask(base, "again")
    assert isinstance(caught.value, TransientError)


@pytest.mark.parametrize("backend", ["openai", "litellm"])
@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "0.0.0.0"])
@pytest.mark.parametrize("no_proxy", [None, "example.org"])
def test_no_proxy_of_the_environment_stands_before_a_server_of_this_machine(
    backend: BackendName, host: str, no_proxy: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    if no_proxy:
        monkeypatch.setenv("no_proxy", no_proxy)
    with ScriptedServer(lambda _: "fine") as server:
        assert ask(server.url.replace("127.0.0.1", host), backend=backend) == "fine"


@pytest.mark.parametrize("proxy", ["ftp://me:pass-word@x", "nonsense me:pass-word", "socks5://me:pass-word@x:1080"])
def test_a_proxy_that_cannot_be_used_is_named_without_its_value(proxy: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", proxy)
    monkeypatch.delenv("no_proxy", raising=False)
    with pytest.raises(
        ModelUnavailable, match=r"^model m: HTTP_PROXY in the environment is no address of an"
    ) as caught:
        ask("http://server.invalid/v1", address=None)
    assert "pass-word" not in str(caught.value)
    with ScriptedServer(lambda _: "fine") as server:
        assert ask(server.url) == "fine"
