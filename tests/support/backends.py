"""One call of a backend against the scripted server, for tests of both backends."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from personalrm.core.errors import (
    ModelCallError,
)
from personalrm.llm.types import Backend, Message, ModelSpec, Request, Response
from support.scripted_server import Fault, ScriptedServer

# Not of a shape that a provider's own redaction would know.
CANARY = "canary/0123456789+abcdef"
PREFILL = "The user prefers Response"
MakeBackend = Callable[[ModelSpec], Backend]


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


def error_body(message: str, code: str | int | None = None, kind: str = "invalid_request_error") -> dict[str, Any]:
    return {"error": {"message": message, "type": kind, "code": code}}
