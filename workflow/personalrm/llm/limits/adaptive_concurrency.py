"""How many calls may be in flight: more while it goes well, fewer when the provider says that it is too much."""

from __future__ import annotations

import asyncio
import logging
import math
import sys
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from personalrm.core.errors import ModelCallError, RateLimited, TransientError
from personalrm.llm.limits.faults import ModelUnavailable

START = 8
"""Calls at once after the first one was answered (our choice, as are the numbers below)."""
VAIN = 12
"""Failures in a row after which one call at a time is sent."""
MAX_PAUSE_S = 60.0
RECENT = 0.1
"""Weight of the latest call in how long answered calls take."""
EVIDENCE = 10
"""Calls that say how often a number of places is refused."""
NOISE, LEAST_REFUSED, MOST_REFUSED = 0.25, 0.25, 0.7
"""Shares of 429 among the last calls: how much more is more, and between which a part of the calls is refused."""

log = logging.getLogger("personalrm.llm")


class AdaptiveConcurrency:
    """Limit on calls in flight, by additive increase and multiplicative decrease (as in TCP, RFC 5681).

    The first call is sent alone: if the provider refuses it for good, no other call is sent. After any other result
    the limit is `START`, and each answer adds one until the first 429. A 429 halves the limit; from then on one is
    added after as many answers as the limit. The limit is at most `most`, and at least `START` while between
    `LEAST_REFUSED` and `MOST_REFUSED` of the calls get a 429. A 429 to a call that was sent before the last halving
    does not halve again. The limit decides when a call is answered, never the answer.

    If a part of the calls gets a 429 at a low limit, the load need not be the reason: the limit grows again, and only
    a larger part than that (by `NOISE`) halves it.

    If no call is answered any more (`VAIN` failures in a row, or twice as many 429s), one call at a time is sent to
    find out whether the provider is back, with growing pauses (`pause`).

    `eager` allows all calls from the first one on, for interactive use with few calls.

    Attributes:
        limit: places now.
        unanswered: calls in a row that ended with a failure or 429.
        probes: calls of these that were sent to find out whether the provider is back.
        call_s: seconds that answered calls take, recent ones most; infinite before the first one.

    Args:
        name: the model's, for the log.
        most: places at most.
        eager: all of them are open at once.
    """

    def __init__(self, name: str, most: int, *, eager: bool = False) -> None:
        self.limit = most if eager else 1
        self._name = name
        self._most = most
        self._begun = eager
        self._cuts = 0
        self._answers = 0
        self._failures = self._stuck = 0
        self._since_cut = self._answered_since = 0
        self._recent: deque[bool] = deque(maxlen=2 * EVIDENCE)
        self._base = 0.0
        self.unanswered = 0
        self.probes = 0
        self.call_s = math.inf
        self._places = self.limit
        self._free = asyncio.Semaphore(self.limit)

    def took(self, seconds: float) -> None:
        """Note how long an answered call took."""
        self.call_s = seconds if math.isinf(self.call_s) else self.call_s + RECENT * (seconds - self.call_s)

    @property
    def probing(self) -> bool:
        """Whether one call at a time finds out if the provider is back."""
        return self._failures >= VAIN or self._stuck >= 2 * VAIN

    @property
    def pause(self) -> float:
        """Seconds to wait before the next call is sent."""
        return min(MAX_PAUSE_S, 2.0**self.probes) if self.probing else 0.0

    @asynccontextmanager
    async def place(self) -> AsyncIterator[None]:
        """A place in flight for one attempt; how it ends decides on the number of places."""
        await self._free.acquire()
        cuts, probe = self._cuts, self.probing
        try:
            yield
            self._alive()
            self._answered(cuts)
        except RateLimited:
            self._stuck += cuts == self._cuts
            self._in_vain(probe)
            self._limited(cuts)
            raise
        except ModelUnavailable:
            raise
        except TransientError:
            self._failures += 1
            self._in_vain(probe)
            self._begin()
            raise
        except ModelCallError:
            # A reply, though no answer.
            self._alive()
            self._begin()
            raise
        finally:
            self._leave()

    def _begin(self) -> bool:
        """Whether this was the first call that the provider let in; it opens the other places."""
        first, self._begun = not self._begun, True
        if first and not self.probing:
            self.limit = min(START, self._most)
        return first

    def _in_vain(self, probe: bool) -> None:
        self.unanswered += 1
        self.probes += probe
        if self.probing and self.limit > 1:
            log.warning("model %s: %d calls in a row failed; one at a time from now on", self._name, self.unanswered)
            self.limit = 1

    def _alive(self) -> None:
        """The provider replied: whatever was in vain before is over."""
        if self.probing:
            log.info("model %s: the provider answers again", self._name)
            self.limit = min(START, self._most)
        self._failures = self._stuck = self.unanswered = self.probes = 0

    def _answered(self, cuts: int) -> None:
        self._count(cuts, limited=False)
        # Where places stay free, nothing was learned of what the provider bears.
        if self._begin() or self.limit == self._most or not self._free.locked():
            return
        self._answers += 1
        if not self._cuts or self._base or self._answers >= self.limit:
            self._answers = 0
            self.limit += 1
            # A line for each doubling is enough, and one for the end.
            if self.limit == self._most or self.limit & (self.limit - 1) == 0:
                log.info("model %s: up to %d calls at once", self._name, self.limit)

    def _limited(self, cuts: int) -> None:
        self._count(cuts, limited=True)
        self._begin()
        if cuts != self._cuts or self.probing:
            return
        if self._cuts and self._answered_since and self._since_cut < EVIDENCE:
            return
        share = sum(self._recent) / len(self._recent)
        if self._base and share <= self._base + NOISE:
            return
        partly = len(self._recent) >= EVIDENCE and LEAST_REFUSED <= share <= MOST_REFUSED
        if partly and self.limit <= 2 * START:
            self._base = share
            log.info("model %s: %.0f %% of the calls get 429, with %d at once", self._name, 100 * share, self.limit)
            return
        least = min(START, self._most) if partly else 1
        before, self.limit = self.limit, max(min(least, self.limit), self.limit // 2)
        self._cuts += 1
        self._base = 0.0
        self._answers = self._since_cut = self._answered_since = 0
        if before != self.limit:
            log.info("model %s: 429, from %d to %d calls at once", self._name, before, self.limit)

    def _count(self, cuts: int, *, limited: bool) -> None:
        """Note how a call ended that was sent with as many places as there are now."""
        if cuts == self._cuts:
            self._recent.append(limited)
            self._since_cut += 1
            self._answered_since += not limited

    def _leave(self) -> None:
        """Hand the place on, together with those that were added; or take it away if there are too many."""
        self._places -= 1
        while self._places < self.limit:
            self._places += 1
            self._free.release()


class Unlimited(AdaptiveConcurrency):
    """A place for every call at once: of those that wait for batches, none bears on the provider."""

    def __init__(self, name: str) -> None:
        super().__init__(name, sys.maxsize)

    @asynccontextmanager
    async def place(self) -> AsyncIterator[None]:
        """A place, at once."""
        yield
