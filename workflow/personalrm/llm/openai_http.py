"""Backend for any OpenAI-compatible endpoint, on httpx; also the way to the embedded model's server."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from typing import Any

import httpx

from personalrm.addresses import without_credentials
from personalrm.errors import ModelCallError, TransientError
from personalrm.llm.faults import Failure, ModelUnavailable, scrub, to_error
from personalrm.llm.http_clients import HttpClients
from personalrm.llm.types import ModelSpec, Request, Response
from personalrm.llm.wire import parse_body, wire_extras, wire_messages, wire_options

DEFAULT_BASE = "https://api.openai.com/v1"

BaseUrl = Callable[[], Awaitable[str]]
"""Finds the server's base URL (…/v1), starting the server if need be."""


class OpenAIHttpBackend:
    """`Backend` for `POST {api_base}/chat/completions`.

    Args:
        spec: `model` (a leading `openai/` is dropped, as litellm does), `api_base`, `api_key_env`, `timeout_s`
            (for the whole call, so that a slow drip ends too), `extra_body`.
        find_base: overrides `spec.api_base`; asked at the first call, so that a warm store starts no server,
            and again after a failed connection, because a restarted server has another port.
    """

    def __init__(self, spec: ModelSpec, find_base: BaseUrl | None = None) -> None:
        self._spec = spec
        self._find_base = find_base
        self._clients: HttpClients | None = None
        self._retired: list[HttpClients] = []
        self._model = spec.model.removeprefix("openai/")
        self._lock = asyncio.Lock()

    async def call(self, request: Request) -> Response:
        """Send `request` once. Raises a `ModelCallError` that says which kind of failure it was."""
        headers = self._headers()
        clients = await self._connected()
        where = f"model {self._spec.name} at {without_credentials(clients.base)}"
        url, body = f"{clients.base}/chat/completions", self._body(request)
        failed: ModelCallError | None = None
        reply: httpx.Response | None = None
        try:
            with clients.client() as client:
                async with asyncio.timeout(self._spec.timeout_s):
                    reply = await client.post(url, json=body, headers=headers)
        except TimeoutError:
            failed = TransientError(f"{where}: no answer within {self._spec.timeout_s:g} s")
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            failed = self._transport_error(error, where)
            if self._find_base is not None and isinstance(error, httpx.ConnectError) and self._clients is clients:
                # Closed later: other calls may still be reading from it.
                self._retired.append(clients)
                self._clients = None
        # Raised outside the handlers: the library's own exceptions may quote what was sent.
        if failed is not None:
            raise failed
        return self._parse(reply, request, where)

    async def aclose(self) -> None:
        """Close the connections. Safe to call twice."""
        retired, self._retired = self._retired, []
        current, self._clients = self._clients, None
        for clients in (*retired, *([current] if current else [])):
            await clients.aclose()

    async def _connected(self) -> HttpClients:
        """The clients of this endpoint, found at the first call."""
        async with self._lock:
            if self._clients is None:
                base = await self._find_base() if self._find_base else self._spec.api_base or DEFAULT_BASE
                try:
                    self._clients = HttpClients(base, self._spec.timeout_s)
                except httpx.InvalidURL as error:
                    raise ModelUnavailable(f"models.{self._spec.name}.api_base: {error}") from error
            return self._clients

    def _headers(self) -> dict[str, str]:
        name = self._spec.api_key_env
        if name is None:
            return {}
        value = os.environ.get(name, "").strip()
        if not value:
            raise ModelUnavailable(
                f"models.{self._spec.name}.api_key_env: the environment variable {name} is not set. Set it to the "
                f"provider's key (in the environment or in .env)."
            )
        return {"Authorization": f"Bearer {value}"}

    def _body(self, request: Request) -> dict[str, Any]:
        body = {"model": self._model, "messages": wire_messages(request), **wire_options(request)}
        if self._spec.backend == "embedded":
            body["cache_prompt"] = True
        return body | wire_extras(self._spec)

    def _transport_error(self, error: Exception, where: str) -> ModelCallError:
        if isinstance(error, httpx.UnsupportedProtocol | httpx.InvalidURL | httpx.LocalProtocolError):
            return ModelUnavailable(
                f"{where}: {scrub(str(error), self._spec.api_key_env)}. Check api_base and the key."
            )
        detail = scrub(str(error), self._spec.api_key_env)
        return TransientError(f"{where}: {type(error).__name__} {detail}".rstrip())

    def _parse(self, reply: httpx.Response | None, request: Request, where: str) -> Response:
        if reply is None:
            raise TransientError(f"{where}: no answer")
        if reply.status_code != 200:
            failure = Failure(reply.status_code, reply.text, reply.headers)
            raise to_error(failure, where, self._spec.api_key_env)
        try:
            body = reply.json()
        except ValueError:
            body = None
        if body is None:
            raise TransientError(f"{where}: the body is not JSON ({len(reply.content)} bytes)")
        return parse_body(body, request, where, self._spec.api_key_env)
