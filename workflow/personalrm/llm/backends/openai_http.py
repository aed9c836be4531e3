"""OpenAI-compatible endpoints on httpx: a backend, the connections, the key, and which failure a bad reply is."""

from __future__ import annotations

import asyncio
import os
import ssl
from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple

import httpx

from personalrm.core.addresses import LOCAL_HOSTS, proxy_problem, without_credentials
from personalrm.core.concurrency import within
from personalrm.core.credentials import clean_key, key_problem
from personalrm.core.errors import ModelCallError, TransientError
from personalrm.llm.backends.openai_format import parse_body, wire_body
from personalrm.llm.limits.faults import Failure, ModelUnavailable, scrub, to_error
from personalrm.llm.types import ModelSpec, Request, Response

DEFAULT_BASE = "https://api.openai.com/v1"

BaseUrl = Callable[[], Awaitable[str]]
"""Finds the server's base URL (…/v1), starting the server if need be."""


class OpenAIHttpBackend:
    """`Backend` for `POST {api_base}/chat/completions`; `Endpoint` explains `find_base`."""

    def __init__(self, spec: ModelSpec, find_base: BaseUrl | None = None) -> None:
        self._spec = spec
        self._endpoint = Endpoint(spec, find_base)

    async def call(self, request: Request) -> Response:
        """Send `request` once. Raises a `ModelCallError` that says which kind of failure it was."""
        reply = await self._endpoint.send("POST", "/chat/completions", json=wire_body(self._spec, request))
        return parse_body(self._endpoint.decoded(reply), request, reply.where, self._spec.api_key_env)

    async def aclose(self) -> None:
        """Close the connections. Safe to call twice."""
        await self._endpoint.aclose()


class Reply(NamedTuple):
    """An HTTP response, whatever its status, and the words that name model and endpoint in messages."""

    response: httpx.Response
    where: str


class Endpoint:
    """Sends requests to `spec.api_base`. Belongs to one event loop.

    Args:
        spec: `api_base`, `api_key_env`, `timeout_s` (for a whole request, so that a slow drip ends too).
        find_base: overrides `spec.api_base`; asked at the first call, so that a warm store starts no server,
            and again after a connection was lost, because a restarted server has another client.
    """

    def __init__(self, spec: ModelSpec, find_base: BaseUrl | None = None) -> None:
        self._spec = spec
        self._find_base = find_base
        self._client: httpx.AsyncClient | None = None
        self._retired: list[httpx.AsyncClient] = []
        self._lock = asyncio.Lock()

    async def send(self, method: str, path: str, *, timeout_s: float | None = None, **content: Any) -> Reply:  # noqa: ANN401
        """Send one request to `path` below the base; `content` is what httpx takes (`json`, `files`, `params` …).

        Raises a `ModelCallError` where no reply came.
        """
        key = api_key(self._spec)
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        client = await self._connect()
        where = f"model {self._spec.name} at {without_credentials(str(client.base_url).rstrip('/'))}"
        limit = timeout_s or self._spec.timeout_s
        try:
            async with within(limit):
                return Reply(await client.request(method, path, headers=headers, **content), where)
        except TimeoutError:
            failed: ModelCallError = TransientError(f"{where}: no answer within {limit:g} s")
        except _transport_errors() as error:
            failed = self._transport_error(error, where)
            # A connection that was kept and is gone comes as a ConnectTimeout.
            lost = isinstance(error, httpx.NetworkError | httpx.ConnectTimeout)
            if self._find_base is not None and lost and self._client is client:
                # Closed later: other calls may still be reading from it.
                self._retired.append(client)
                self._client = None
        # Raised outside the handlers: the library's own exceptions may quote what was sent.
        raise failed

    def decoded(self, reply: Reply) -> object:
        """The JSON of a reply. Raises the error that its status stands for, TransientError where there is no JSON."""
        self.check(reply)
        try:
            body = reply.response.json()
        except (ValueError, RecursionError):
            body = None
        if body is None:
            raise TransientError(f"{reply.where}: the body is not JSON ({len(reply.response.content)} bytes)")
        return body

    def check(self, reply: Reply) -> None:
        """Raise the error that the reply's status stands for, unless it is 200."""
        response = reply.response
        if response.status_code != 200:
            failure = Failure(response.status_code, response.text, response.headers)
            raise to_error(failure, reply.where, self._spec.api_key_env)

    async def aclose(self) -> None:
        """Close the connections. Safe to call twice."""
        clients, self._retired = [*self._retired, self._client], []
        self._client = None
        for client in filter(None, clients):
            await client.aclose()

    async def _connect(self) -> httpx.AsyncClient:
        """The connections to this endpoint, found at the first call."""
        async with self._lock:
            if self._client is None:
                base = await self._find_base() if self._find_base else self._spec.api_base or DEFAULT_BASE
                try:
                    url = httpx.URL(base)
                except httpx.InvalidURL as error:
                    raise ModelUnavailable(f"models.{self._spec.name}.api_base: {error}") from error
                if url.host not in LOCAL_HOSTS and (problem := proxy_problem()):
                    raise ModelUnavailable(f"model {self._spec.name}: {problem}")
                self._client = _client(url)
            return self._client

    def _transport_error(self, error: Exception, where: str) -> ModelCallError:
        if isinstance(error, httpx.UnsupportedProtocol | httpx.InvalidURL | httpx.LocalProtocolError):
            return ModelUnavailable(
                f"{where}: {scrub(str(error), self._spec.api_key_env)}. Check api_base and the key."
            )
        # If a reply is not HTTP, aiohttp's error shows the whole URL in addition to its message.
        detail = scrub(str(getattr(error, "message", error)), self._spec.api_key_env)
        return TransientError(f"{where}: {_error_name(error)} {detail}".rstrip())


def api_key(spec: ModelSpec) -> str | None:
    """The provider's key from the environment variable that the config names; None where it names none.

    Raises ModelUnavailable if the variable is not set, or holds what no header can.
    """
    name = spec.api_key_env
    if name is None:
        return None
    value = clean_key(os.environ.get(name, ""))
    if not value:
        raise ModelUnavailable(
            f"models.{spec.name}.api_key_env: the environment variable {name} is not set. Set it to the "
            f"provider's key (in the environment or in .env)."
        )
    if (problem := key_problem(value)) is not None:
        raise ModelUnavailable(f"models.{spec.name}.api_key_env: the key in {name}: {problem}.")
    return value


def _client(url: httpx.URL) -> httpx.AsyncClient:
    """An httpx client for one base URL, its connections aiohttp's. Belongs to one event loop.

    httpx's own transport looks at every connection of its pool whenever a call begins or ends: 21 ms of CPU a call
    with 200 in flight, where aiohttp's takes 0.4 whatever their number (`benchmarks/client.py`).
    """
    # Imported with the first call: it costs as much as all else that a job imports.
    from httpx_aiohttp import HttpxAiohttpClient

    # Plain http has no certificates to check, and loading those of the machine takes its time.
    verify: ssl.SSLContext | bool = httpx.create_ssl_context() if url.scheme == "https" else False
    return HttpxAiohttpClient(
        base_url=url.copy_with(userinfo=b""),
        # `Endpoint.send` has the only timer.
        timeout=None,
        trust_env=url.host not in LOCAL_HOSTS,
        verify=verify,
        # aiohttp refuses credentials in the URL where a header has some, too.
        auth=(url.username, url.password) if url.userinfo else None,
        # To aiohttp, 0 is no limit, and the default is 100; `ModelClient` limits calls in flight.
        limits=httpx.Limits(max_connections=0),
    )


def _transport_errors() -> tuple[type[Exception], ...]:
    """What a request without a reply can end with: httpx's errors, and those that its adapter does not translate.

    To be asked for where one was raised: it imports aiohttp.
    """
    import aiohttp

    return httpx.HTTPError, httpx.InvalidURL, aiohttp.ClientError, OSError


def _error_name(error: Exception) -> str:
    """What a transport error is called: by aiohttp where it knows, for the adapter has one name for many."""
    import aiohttp

    return type(error.__cause__ if isinstance(error.__cause__, aiohttp.ClientError) else error).__name__
