"""Connections to one endpoint, for many calls at once.

httpx looks at every connection of its pool whenever a call begins or ends: 21 ms of CPU a call with 200 in
flight. Small pools side by side keep that cost flat (`benchmarks/`).
"""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import httpx

CALLS_A_CLIENT = 8
_LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})


@dataclass(slots=True)
class _Slot:
    """One httpx client and its calls in flight."""

    client: httpx.AsyncClient
    calls: int = 0


class HttpClients:
    """As many httpx clients as the calls in flight ask for, all for one base URL. Belongs to one event loop."""

    def __init__(self, base: str, timeout_s: float) -> None:
        self.base = base.rstrip("/")
        self._timeout = httpx.Timeout(timeout_s)
        self._slots: list[_Slot] = []
        url = httpx.URL(self.base)
        # A proxy of the environment is not for a server on this machine.
        self._trust_env = url.host not in _LOOPBACK
        # Plain http has no certificates to check, and loading those of the machine takes its time.
        self._verify: ssl.SSLContext | bool = httpx.create_ssl_context() if url.scheme == "https" else False

    @contextmanager
    def client(self) -> Iterator[httpx.AsyncClient]:
        """A client with room for one more call; the first ones are preferred, so that connections are kept."""
        slot = next((slot for slot in self._slots if slot.calls < CALLS_A_CLIENT), None)
        if slot is None:
            slot = _Slot(
                httpx.AsyncClient(
                    timeout=self._timeout,
                    trust_env=self._trust_env,
                    verify=self._verify,
                    limits=httpx.Limits(max_connections=None),
                )
            )
            self._slots.append(slot)
        slot.calls += 1
        try:
            yield slot.client
        finally:
            slot.calls -= 1

    async def aclose(self) -> None:
        """Close all connections. Safe to call twice."""
        slots, self._slots = self._slots, []
        for slot in slots:
            await slot.client.aclose()
