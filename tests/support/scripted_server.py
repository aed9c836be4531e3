"""A scripted OpenAI-compatible server for tests: real sockets, scripted answers and faults.

In a test:

    with ScriptedServer(lambda body: "Preference: First", faults=[Fault("status", 500)]) as server:
        ... server.url, server.requests, server.count

From another process (kill -9 tests), with a deterministic judge, one line of the log for each request:

    python tests/support/scripted_server.py --port 8123 --log requests.jsonl
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

from aiohttp import web

if __name__ == "__main__":
    # As a script, the folder above is not on the path; in tests, pytest's `pythonpath` has it.
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from support.scripted_judge import Answer, judge
from support.strict_schemas import strict_problem

__all__ = ["Answer", "Fault", "ScriptedServer", "judge"]

FaultKind = Literal["status", "rate_limit", "reset", "stall", "drip", "error_body", "null_content", "body"]
Body = Mapping[str, Any]
Answering = Callable[[dict[str, Any]], Answer | str]

_STALL_S = 3600.0
_DRIP_BYTES = 16


@dataclass(frozen=True, slots=True)
class Fault:
    """What goes wrong with one request.

    `status`: this HTTP status with `body`. `rate_limit`: 429 with Retry-After `retry_after` (sent as it is).
    `reset`: the connection is cut without an answer. `stall`: no answer for `seconds`. `drip`: the answer, 16
    bytes each `seconds`. `error_body`: 200 with an error object. `null_content`: content null. `body`: 200 with the
    raw text `body`.
    """

    kind: FaultKind
    status: int = 500
    body: str | Body = field(default_factory=dict)
    retry_after: str | None = None
    seconds: float | None = None


FaultPlan = Sequence[Fault | None] | Callable[[int, dict[str, Any]], Fault | None]


class ScriptedServer:
    """Serves `POST /v1/chat/completions` (and `/v1/models`, `/health`, `/slots/0`) from a thread of its own.

    A JSON schema that OpenAI's strict mode refuses gets 400, as there.

    Args:
        answer: from the parsed body to the answer; an exception in it becomes a 500 that names it.
        faults: a list, one entry a request in order of arrival (None: no fault), or a function of
            (number of the request from 0, body).
        latency: seconds before each answer.
        api_key: if set, other keys get 401 with the key that was sent in the message.
        echo_prefill: repeat a final assistant message in the content, as llama.cpp does.
        log: append each request's body as a JSON line, flushed before the answer.
        port: 0 for a free one.
    """

    def __init__(
        self,
        answer: Answering = judge,
        *,
        faults: FaultPlan = (),
        latency: float = 0.0,
        api_key: str | None = None,
        echo_prefill: bool = False,
        log: Path | None = None,
        port: int = 0,
    ) -> None:
        self.requests: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.states: set[str] = set()
        self.in_flight = 0
        self.most_in_flight = 0
        self.latency = latency
        self.port = port
        self._answer = answer
        self._faults = faults
        self._api_key = api_key
        self._echo_prefill = echo_prefill
        self._log = log.open("a", encoding="utf-8") if log is not None else None
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._serve, name="scripted-server", daemon=True)

    @property
    def url(self) -> str:
        """Base URL, ending in /v1."""
        return f"http://127.0.0.1:{self.port}/v1"

    @property
    def count(self) -> int:
        """Chat requests that arrived, faults included."""
        return len(self.requests)

    def start(self) -> ScriptedServer:
        """Start serving; returns when the port is open."""
        self._thread.start()
        if not self._ready.wait(30):
            raise RuntimeError("the scripted server did not start")
        return self

    def stop(self) -> None:
        """Cut all connections and end the thread."""
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(30)
        if self._log is not None:
            self._log.close()

    def __enter__(self) -> ScriptedServer:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _serve(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(self._listen())
        self._ready.set()
        self._loop.run_forever()
        self._loop.run_until_complete(self._runner.shutdown())
        for task in asyncio.all_tasks(self._loop):
            task.cancel()
        self._loop.run_until_complete(self._runner.cleanup())
        self._loop.close()

    async def _listen(self) -> None:
        app = web.Application(client_max_size=64 << 20)
        self.add_routes(app.router)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1, handle_signals=False)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self.port, backlog=1024)
        await site.start()
        self.port = int(self._runner.addresses[0][1])

    def add_routes(self, router: web.UrlDispatcher) -> None:
        router.add_post("/v1/chat/completions", self._chat)
        router.add_get("/v1/models", self._models)
        router.add_get("/health", self._health)
        router.add_post("/slots/0", self._slot)

    async def _slot(self, request: web.Request) -> web.Response:
        """As llama.cpp's server: a state that was not saved cannot be restored."""
        name = (await request.json())["filename"]
        if request.query["action"] == "save":
            self.states.add(name)
        return web.json_response({}) if name in self.states else _error(400, "Unable to restore slot", "server_error")

    async def _models(self, _: web.Request) -> web.Response:
        return web.json_response({"object": "list", "data": [{"id": "scripted", "object": "model"}]})

    async def _health(self, _: web.Request) -> web.Response:
        return web.json_response({"status": "ok"})

    async def _chat(self, request: web.Request) -> web.StreamResponse:
        due = asyncio.get_running_loop().time() + self.latency
        body: dict[str, Any] = await request.json()
        number = len(self.requests)
        self.requests.append(body)
        self.headers.append(dict(request.headers))
        if self._log is not None:
            self._log.write(json.dumps({"time": time.time(), "number": number, "body": body}) + "\n")
            self._log.flush()
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        try:
            reply = await self._reply(request, body, number)
            # What this server itself needs is a part of the latency: a provider answers many at the same time.
            await asyncio.sleep(max(0.0, due - asyncio.get_running_loop().time()))
            return reply
        finally:
            self.in_flight -= 1

    async def _reply(self, request: web.Request, body: dict[str, Any], number: int) -> web.StreamResponse:
        sent = request.headers.get("Authorization", "").removeprefix("Bearer ")
        if self._api_key is not None and sent != self._api_key:
            return _error(401, f"Incorrect API key provided: {sent}. Header was Bearer {sent}", "invalid_api_key")
        asked = body.get("response_format", {}).get("json_schema", {})
        if asked.get("strict") and (problem := strict_problem(asked["schema"])):
            return _error(400, f"Invalid schema for response_format 'answer': {problem}.", "invalid_request_error")
        fault = self._fault(number, body)
        if fault is not None and fault.kind not in ("drip", "null_content", "stall"):
            return _fail(request, fault)
        if fault is not None and fault.kind == "stall":
            await asyncio.sleep(fault.seconds or _STALL_S)
        try:
            answer = self._answer(body)
        except Exception as error:  # noqa: BLE001  (reported to the client, which fails the test)
            return _error(500, f"the test's answer function raised {error!r}", "scripted_answer_error")
        answer = Answer(answer) if isinstance(answer, str) else answer
        reply = completion(body, answer, number, echo_prefill=self._echo_prefill)
        if fault is not None and fault.kind == "null_content":
            reply["choices"][0]["message"]["content"] = None
        if fault is not None and fault.kind == "drip":
            return await _drip(request, json.dumps(reply).encode(), fault.seconds or 0.05)
        return web.json_response(reply)

    def _fault(self, number: int, body: dict[str, Any]) -> Fault | None:
        if callable(self._faults):
            return self._faults(number, body)
        return self._faults[number] if number < len(self._faults) else None


def completion(body: Body, answer: Answer, number: int, *, echo_prefill: bool) -> dict[str, Any]:
    """A chat completion object that holds `answer`, as much of it as `body` asks for."""
    content, prompt = answer.text, "\n".join(str(m["content"]) for m in body["messages"])
    if echo_prefill and content is not None and body["messages"][-1]["role"] == "assistant":
        content = body["messages"][-1]["content"] + content
    message: dict[str, Any] = {"role": "assistant", "content": content}
    if answer.reasoning is not None:
        message["reasoning_content"] = answer.reasoning
    if answer.refusal is not None:
        message["refusal"] = answer.refusal
    choice: dict[str, Any] = {"index": 0, "message": message, "finish_reason": answer.finish_reason}
    if body.get("logprobs"):
        choice["logprobs"] = {"content": [_logprobs(top, body) for top in answer.logprobs]}
    tokens_in = answer.tokens_in if answer.tokens_in is not None else len(prompt) // 4 + 1
    tokens_out = answer.tokens_out if answer.tokens_out is not None else len(answer.text or "") // 4 + 1
    cached = {"cached_tokens": answer.tokens_cached}
    usage = {"prompt_tokens": tokens_in, "completion_tokens": tokens_out, "prompt_tokens_details": cached}
    return {
        "id": f"scripted-{number}",
        "object": "chat.completion",
        "created": 1,
        "model": str(body.get("model", "scripted")),
        "choices": [choice],
        "usage": usage,
    }


def _logprobs(top: Sequence[tuple[str, float]], body: Body) -> dict[str, Any]:
    """One generated token: the first alternative is the chosen one."""
    shown = [{"token": t, "logprob": lp, "bytes": list(t.encode())} for t, lp in top]
    return {**shown[0], "top_logprobs": shown[: int(body.get("top_logprobs") or 0)]}


def _error(status: int, message: str, code: str, headers: Mapping[str, str] | None = None) -> web.Response:
    error = {"message": message, "type": code, "code": code, "param": None}
    return web.json_response({"error": error}, status=status, headers=headers)


def _fail(request: web.Request, fault: Fault) -> web.Response:
    """The reply of a fault that has no answer in it."""
    if fault.kind == "reset":
        if request.transport is not None:
            request.transport.abort()
        return web.Response(status=500)
    if fault.kind == "rate_limit":
        headers = {"Retry-After": fault.retry_after} if fault.retry_after is not None else None
        return _error(429, "Rate limit reached, slow down", "rate_limit_exceeded", headers)
    if fault.kind == "error_body":
        body = fault.body or {"error": {"message": "upstream overloaded", "type": "server_error"}}
        return web.json_response(body)
    if isinstance(fault.body, str):
        status = fault.status if fault.kind == "status" else 200
        return web.Response(status=status, text=fault.body, content_type="application/json")
    body = fault.body or {"error": {"message": "scripted failure", "type": "server_error", "code": "scripted"}}
    return web.json_response(body, status=fault.status if fault.kind == "status" else 200)


async def _drip(request: web.Request, payload: bytes, pause: float) -> web.StreamResponse:
    """Send `payload` a few bytes at a time."""
    response = web.StreamResponse(headers={"Content-Type": "application/json"})
    response.content_length = len(payload)
    await response.prepare(request)
    for start in range(0, len(payload), _DRIP_BYTES):
        await response.write(payload[start : start + _DRIP_BYTES])
        await asyncio.sleep(pause)
    return response


def main() -> None:
    """Serve the deterministic judge until killed."""
    parser = argparse.ArgumentParser(description="Scripted OpenAI-compatible server with a deterministic judge.")
    parser.add_argument("--port", type=int, default=0, help="0 takes a free port")
    parser.add_argument("--log", type=Path, default=None, help="append each request as a JSON line")
    parser.add_argument("--latency", type=float, default=0.0, help="seconds before each answer")
    parser.add_argument("--url-file", type=Path, default=None, help="write the base URL here when ready")
    options = parser.parse_args()
    server = ScriptedServer(judge, latency=options.latency, log=options.log, port=options.port).start()
    if options.url_file is not None:
        partial = options.url_file.with_name(options.url_file.name + ".tmp")
        partial.write_text(server.url, encoding="utf-8")
        os.replace(partial, options.url_file)
    sys.stdout.write(server.url + "\n")
    sys.stdout.flush()
    threading.Event().wait()


if __name__ == "__main__":
    main()
