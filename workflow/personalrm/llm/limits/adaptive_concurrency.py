"""How many calls may be in flight: more while it goes well, fewer when the provider says that it is too much."""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from personalrm.core.errors import ModelCallError, RateLimited
from personalrm.llm.limits.faults import ModelUnavailable

START = 8
"""Calls at once after the first one was answered (our choice)."""

log = logging.getLogger("personalrm.llm")


class AdaptiveConcurrency:
    """Places for calls in flight, by additive increase and multiplicative decrease (as TCP does, RFC 5681).

    The first call goes alone: if the provider refuses it for good, the others are not sent. Whatever else comes of it,
    `START` places are open then, one more with each answer until the first 429. That halves them, and from then on it
    takes as many answers as there are places to add one. Never fewer than 1 or more than `most`; a 429 to a call that
    was sent before the last halving does not halve again. What is answered does not depend on any of it, only when.
    A provider whose 429 have nothing to do with our load (a storm) is asked a few calls at once.

    Where someone waits for a few calls, and refused ones do no harm, `eager` opens all places from the first call on.

    Attributes:
        limit: places now.

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
        self._places = self.limit
        self._free = asyncio.Semaphore(self.limit)

    @asynccontextmanager
    async def place(self) -> AsyncIterator[None]:
        """A place in flight for one attempt; how it ends decides on the number of places."""
        await self._free.acquire()
        cuts = self._cuts
        try:
            yield
            self._answered()
        except RateLimited:
            self._limited(cuts)
            raise
        except ModelUnavailable:
            raise
        except ModelCallError:
            self._begin()
            raise
        finally:
            self._leave()

    def _begin(self) -> bool:
        """Whether this was the first call that the provider let in; it opens the other places."""
        first, self._begun = not self._begun, True
        if first:
            self.limit = min(START, self._most)
        return first

    def _answered(self) -> None:
        # Where places stay free, nothing was learned of what the provider bears.
        if self._begin() or self.limit == self._most or not self._free.locked():
            return
        self._answers += 1
        if not self._cuts or self._answers >= self.limit:
            self._answers = 0
            self.limit += 1
            # A line for each doubling is enough, and one for the end.
            if self.limit == self._most or self.limit & (self.limit - 1) == 0:
                log.info("model %s: up to %d calls at once", self._name, self.limit)

    def _limited(self, cuts: int) -> None:
        self._begin()
        if cuts == self._cuts:
            self._cuts += 1
            self._answers = 0
            before, self.limit = self.limit, max(1, self.limit // 2)
            log.info("model %s: 429, from %d to %d calls at once", self._name, before, self.limit)

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
