"""Requests and tokens a minute of one model, kept by all jobs of one machine together.

A virtual schedule (the generic cell rate algorithm, ITU-T I.371) in the response store: when the next request is due,
and when the tokens so far are worked off. aiolimiter and its like serve one process, and costs that are known
beforehand; pyrate-limiter has a bucket for several processes, but cannot correct a cost that was estimated.
"""

from __future__ import annotations

import asyncio
import platform
from pathlib import Path
from time import monotonic

from personalrm.core.files import stable_hash
from personalrm.llm.cache.store import ResponseStore
from personalrm.llm.limits.retry import Clock, Sleep
from personalrm.llm.types import ModelSpec

WINDOW_S = 60.0
BURST_S = 1.0
"""Unused time that may be made up for at once: what a second allows (our choice; it evens out late wake-ups)."""
STALE_S = 3600.0
"""A schedule that is full for longer is from a clock that started anew."""
_KIND = "limits a minute"
"""By model and machine: times of its clock at which the next request is due, and the tokens so far are worked off."""
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


class RateLimit:
    """When the next call of a model may be sent.

    Guarantees, in any window of 60 s over all jobs of this machine on one store: at most `requests_per_minute`
    requests; at most `tokens_per_minute` tokens and those of one call, and what the calls in flight at its start were
    estimated too high by. A job waits for one turn at a time, so jobs take turns call by call, however many calls each
    has waiting. On several machines each keeps the limit for itself.

    Args:
        store: the response store.
        spec: the model; its limits, its id and its endpoint.
        clock: seconds, the same for all processes of the machine.
        sleep: how to wait.
    """

    def __init__(
        self, store: ResponseStore, spec: ModelSpec, *, clock: Clock = monotonic, sleep: Sleep = asyncio.sleep
    ) -> None:
        # A second of burst and 59 at this rate would be more than a minute's worth; so the rate is that much slower.
        minute = WINDOW_S + BURST_S
        self._request_s = minute / spec.requests_per_minute if spec.requests_per_minute else 0.0
        self._token_s = minute / spec.tokens_per_minute if spec.tokens_per_minute else 0.0
        machine = _BOOT_ID.read_text(encoding="ascii") if _BOOT_ID.is_file() else platform.node()
        self._store = store
        self._name = stable_hash(spec.model, spec.api_base or "", machine)[:16]
        self._clock = clock
        self._sleep = sleep
        self._turn = asyncio.Lock()

    async def take(self, tokens: int) -> None:
        """Wait until a call of about `tokens` tokens may be sent, and count it."""
        async with self._turn:
            wait = self._book(tokens)
            if wait > 0:
                await self._sleep(wait)

    def correct(self, tokens: int) -> None:
        """Count `tokens` more for a call than were estimated; fewer, if negative."""
        if self._token_s and tokens:
            with self._store.shared(_KIND) as kept:
                if self._name in kept:
                    kept[self._name][1] += tokens * self._token_s

    def _book(self, tokens: int) -> float:
        """Count a call as sent at the first moment that both limits allow; returns the seconds until then."""
        with self._store.shared(_KIND) as kept:
            now = self._clock()
            due: list[float] = kept.get(self._name, [0.0, 0.0])
            if max(due) - now > STALE_S:
                due = [0.0, 0.0]
            sent = max(now, *due)
            steps = (self._request_s, tokens * self._token_s)
            kept[self._name] = [max(one, sent - BURST_S) + step for one, step in zip(due, steps, strict=True)]
        return sent - now
