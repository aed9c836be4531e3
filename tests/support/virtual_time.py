"""An event loop whose waits take no time: what depends on latency is then computed, not measured."""

from __future__ import annotations

import asyncio
import selectors


class VirtualTime(asyncio.SelectorEventLoop):
    """`time()` counts the seconds that were waited for. For coroutines that use no sockets and no threads."""

    def __init__(self) -> None:
        self._now = 0.0
        super().__init__(_Selector(self))

    def time(self) -> float:
        return self._now

    def pass_by(self, seconds: float | None) -> None:
        self._now += seconds or 0.0


class _Selector(selectors.SelectSelector):
    """Passes over a wait instead of waiting."""

    def __init__(self, loop: VirtualTime) -> None:
        super().__init__()
        self._loop = loop

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        self._loop.pass_by(timeout)
        return super().select(0)
