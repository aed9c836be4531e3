"""Requests and tokens a minute of one model, kept by all jobs of one machine together.

A virtual schedule (the generic cell rate algorithm, ITU-T I.371) in the response store: when the next request is due,
and when the tokens so far are worked off. aiolimiter and its like serve one process, and costs that are known
beforehand; pyrate-limiter has a bucket for several processes, but cannot correct a cost that was estimated.
"""

from __future__ import annotations

import asyncio
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
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
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


@dataclass(slots=True)
class _Schedule:
    """Times of the machine's clock at which the next request is due, and the tokens sent before are worked off."""

    requests: float = 0.0
    tokens: float = 0.0


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
            with self._shared() as (_, schedule):
                schedule.tokens += tokens * self._token_s

    def _book(self, tokens: int) -> float:
        """Count a call as sent at the first moment that both limits allow; returns the seconds until then."""
        with self._shared() as (now, schedule):
            due = max(now, schedule.requests, schedule.tokens)
            schedule.requests = max(schedule.requests, due - BURST_S) + self._request_s
            schedule.tokens = max(schedule.tokens, due - BURST_S) + tokens * self._token_s
        return due - now

    @contextmanager
    def _shared(self) -> Iterator[tuple[float, _Schedule]]:
        """The time and the schedule, which is kept as it is left. A schedule of another clock counts as none."""
        with self._store.shared("limits a minute") as kept:
            now = self._clock()
            schedule = _Schedule(*kept.get(self._name, ()))
            if max(schedule.requests, schedule.tokens) - now > STALE_S:
                schedule = _Schedule()
            yield now, schedule
            kept[self._name] = [schedule.requests, schedule.tokens]
