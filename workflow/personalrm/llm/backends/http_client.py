"""The connections to one endpoint, for many calls at once."""

from __future__ import annotations

import ssl
from typing import NamedTuple

import httpx

_LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})


class Connected(NamedTuple):
    """A base URL, without credentials and last slash, and the client that keeps the connections to it."""

    base: str
    client: httpx.AsyncClient


def connect(base: str, timeout_s: float) -> Connected:
    """An httpx client for one base URL, its connections aiohttp's. Belongs to one event loop.

    httpx's own transport looks at every connection of its pool whenever a call begins or ends: 21 ms of CPU a call
    with 200 in flight, where aiohttp's takes 0.4 whatever their number (`benchmarks/client.py`).
    Raises httpx.InvalidURL.
    """
    # Imported with the first call: it costs as much as all else that a job imports.
    from httpx_aiohttp import HttpxAiohttpClient

    url = httpx.URL(base)
    # Plain http has no certificates to check, and loading those of the machine takes its time.
    verify: ssl.SSLContext | bool = httpx.create_ssl_context() if url.scheme == "https" else False
    bare = url.copy_with(userinfo=b"")
    client = HttpxAiohttpClient(
        timeout=httpx.Timeout(timeout_s),
        # A proxy of the environment is not for a server on this machine.
        trust_env=url.host not in _LOOPBACK,
        verify=verify,
        # aiohttp refuses a URL that holds credentials beside a header that does.
        auth=(url.username, url.password) if url.userinfo else None,
        # To aiohttp, 0 is no limit, and none given is 100: the client has places, and counts them.
        limits=httpx.Limits(max_connections=0),
    )
    return Connected(str(bare).rstrip("/"), client)


def transport_errors() -> tuple[type[Exception], ...]:
    """What a request can end with where no reply came: httpx's errors, and those that it is not told in its own.

    To be asked for where one was raised: it imports aiohttp.
    """
    import aiohttp

    return httpx.HTTPError, httpx.InvalidURL, aiohttp.ClientError, OSError


def error_name(error: Exception) -> str:
    """What a transport error is called: by aiohttp where it knows, for the adapter has one name for many."""
    import aiohttp

    return type(error.__cause__ if isinstance(error.__cause__, aiohttp.ClientError) else error).__name__
