"""Whether a server can be reached at all, by one TCP connection: before a run, and before a process's first call.

A wrong address is then one message within seconds. Without this, each call is tried `max_attempts` times, with waits
that are meant for a server that comes back.
"""

from __future__ import annotations

import asyncio
import socket
import time
from functools import partial
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from personalrm.core.addresses import LOCAL_HOSTS, address_problem
from personalrm.core.threads import beside
from personalrm.llm.limits.faults import ModelUnavailable
from personalrm.llm.types import Backend, Request, Response

TRIES, PAUSE_S = 2, 0.5
"""Connections that are tried, and the seconds between them."""
CONNECT_S = 10.0
"""Seconds after which a connection is given up, and not tried again."""

_reached: set[str] = set()
"""Addresses at which this process has found a server. From then on only `max_attempts` and `deadline_s` count."""


def connection_problem(base: str) -> str | None:
    """Why no connection to the server at `base` can be opened, and what to do; None where one can.

    Blocks for `PAUSE_S` where the first try fails. What goes through a proxy of the environment is not looked at.
    """
    if (problem := address_problem(base)) is not None:
        return problem
    parts = urlsplit(base.strip())
    host, port = parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)
    if _through_proxy(parts.scheme, host):
        return None
    for number in range(TRIES):
        if number:
            time.sleep(PAUSE_S)
        try:
            socket.create_connection((host, port), CONNECT_S).close()
        except TimeoutError:
            return f"{host}:{port} does not answer within {CONNECT_S:g} s; start the server, or correct the address"
        except (OSError, UnicodeError) as error:
            problem = _said(error, host, port)
        else:
            return None
    return problem


def _said(error: OSError | UnicodeError, host: str, port: int) -> str:
    if isinstance(error, ConnectionRefusedError):
        return f"no server listens at {host}:{port} (connection refused); start it, or correct the address"
    if isinstance(error, socket.gaierror | UnicodeError):
        why = getattr(error, "strerror", None) or "not a name of a host"
        return f"host {host!r} is not known ({why}); correct the address"
    return f"{host}:{port} cannot be reached ({error.strerror or error}); start the server, or correct the address"


def _through_proxy(scheme: str, host: str) -> bool:
    """Whether calls go through a proxy: the backends use none for a server on this machine."""
    if host in LOCAL_HOSTS:
        return False
    proxies = getproxies()
    return bool(proxies.get(scheme) or proxies.get("all")) and not proxy_bypass(host)


class FirstContact:
    """`Backend` that looks for its server before this process's first call to it.

    Args:
        backend: makes the calls.
        base: address of the server.
        called: what the address is called in messages, such as `model_url`.
    """

    def __init__(self, backend: Backend, base: str, called: str) -> None:
        self._backend = backend
        self._base = base
        self._called = called
        self._lock = asyncio.Lock()
        self._problem: str | None = None

    async def call(self, request: Request) -> Response:
        """Send `request` once. Raises ModelUnavailable where no server can be reached, else as the backend does."""
        if self._base not in _reached:
            # Calls that were begun together share one look, and its result.
            async with self._lock:
                if self._base not in _reached and self._problem is None:
                    self._problem = await beside(partial(connection_problem, self._base))
            if self._problem is not None:
                raise ModelUnavailable(f"{self._called}: {self._problem}")
            _reached.add(self._base)
        return await self._backend.call(request)

    async def aclose(self) -> None:
        """Release the backend's connections."""
        await self._backend.aclose()
