"""A proxy in front of an OpenAI-compatible server that keeps account of what both sides of a comparison send."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from dataclasses import dataclass
from types import TracebackType

import aiohttp
from aiohttp import web

from personalrm.core.files import canonical_json, stable_hash


@dataclass(frozen=True)
class Call:
    """One request: when it came (seconds of the clock), a hash of its body, whether it was answered, its tokens."""

    time: float
    body: str
    ok: bool
    tokens_in: int
    tokens_out: int


class CountingProxy:
    """Passes `POST /v1/chat/completions` on to the server at `upstream` (its base URL, ending in /v1).

    An embedded model's server is also brought into a state (`embedded.backend`): passed on, and no request of its own.
    """

    def __init__(self, upstream: str) -> None:
        self._passed: list[tuple[float, bytes, int, bytes]] = []
        self.url = ""
        self._upstream = upstream
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def between(self, begin: float, end: float) -> list[Call]:
        """Requests that came in this span of the clock."""
        return [_call(*passed) for passed in self._passed if begin <= passed[0] <= end]

    def __enter__(self) -> CountingProxy:
        self._thread.start()
        if not self._ready.wait(30):
            raise RuntimeError("the counting proxy did not start")
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(30)

    def _serve(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(self._listen())
        self._ready.set()
        self._loop.run_forever()
        self._loop.run_until_complete(self._close())
        self._loop.close()

    async def _listen(self) -> None:
        self._client = aiohttp.ClientSession(
            timeout=aiohttp.ClientTimeout(total=None), connector=aiohttp.TCPConnector(limit=0)
        )
        app = web.Application(client_max_size=64 << 20)
        app.router.add_post("/v1/chat/completions", self._chat)
        app.router.add_post("/slots/{slot}", self._slot)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1, handle_signals=False)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0, backlog=1024).start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}/v1"

    async def _close(self) -> None:
        await self._client.close()
        await self._runner.cleanup()

    async def _chat(self, request: web.Request) -> web.Response:
        came, body, kind = time.time(), await request.read(), {"Content-Type": "application/json"}
        async with self._client.post(f"{self._upstream}/chat/completions", data=body, headers=kind) as reply:
            answer = await reply.read()
            # Counted when all is over: what this proxy takes, both sides pay.
            if json.loads(body).get("max_tokens") != 0:
                self._passed.append((came, body, reply.status, answer))
            return web.Response(body=answer, status=reply.status, headers=kind)

    async def _slot(self, request: web.Request) -> web.Response:
        body, kind = await request.read(), {"Content-Type": "application/json"}
        url = f"{self._upstream.removesuffix('/v1')}{request.path_qs}"
        async with self._client.post(url, data=body, headers=kind) as reply:
            return web.Response(body=await reply.read(), status=reply.status, headers=kind)


def _call(came: float, body: bytes, status: int, answer: bytes) -> Call:
    usage = (json.loads(answer).get("usage") or {}) if status == 200 else {}
    tokens = int(usage.get("prompt_tokens", 0)), int(usage.get("completion_tokens", 0))
    return Call(came, stable_hash(canonical_json(json.loads(body))), status == 200, *tokens)
