"""When to ask again after a failed call, and after how long."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from time import monotonic

from personalrm.core.errors import RateLimited, TransientError
from personalrm.llm.limits.adaptive_concurrency import AdaptiveConcurrency

BASE_WAIT_S = 1.0
LIMITED_WAIT_S, LIMITED_SHARE = 0.25, 0.05
"""The first wait after a 429 that states none: at most so many seconds, and at most this share of the time that an
answered call takes, so that waits do not slow a chain of calls down. `AdaptiveConcurrency` relieves the provider.
"""
LEAST_WAIT_S, MAX_WAIT_S = 0.002, 60.0
MIN_WAIT_S = 0.2

Sleep = Callable[[float], Awaitable[None]]
Clock = Callable[[], float]


@dataclass(slots=True)
class RetryPolicy:
    """Limits and sources of time and chance. `sleep`, `clock` and `rng` are injected in tests.

    `max_attempts` bounds attempts that ended in a transient failure. A rate limit is a queue, not a failure:
    it is bounded by `deadline_s` alone (seconds from the first attempt on), so that a storm of 429 cannot use up
    the attempts. Without `jitter` calls that failed together come again together, as those of one batch should.
    """

    max_attempts: int
    deadline_s: float
    sleep: Sleep = asyncio.sleep
    clock: Clock = monotonic
    rng: random.Random = field(default_factory=random.Random)
    jitter: bool = True

    def wait(
        self, error: RateLimited | TransientError, attempt: int, failures: int, concurrency: AdaptiveConcurrency
    ) -> float:
        """Seconds to wait after an attempt: as long as the provider asked for and a little more, else a base that
        doubles with each attempt. After a failure it is the longer of the two: `Retry-After: 1` from an overloaded
        server is no queue.

        Args:
            error: how the attempt ended.
            attempt: the number of attempts of this call.
            failures: those of them that ended with a transient failure. Only these make its waits longer.
            concurrency: how many calls in a row had no answer, and how long answered ones take: while other calls are
                answered, a 429 without a stated wait is no reason for a long one.
        """
        base, count = BASE_WAIT_S, failures
        if isinstance(error, RateLimited):
            base = max(LEAST_WAIT_S, min(LIMITED_WAIT_S, LIMITED_SHARE * concurrency.call_s))
            count = min(attempt, concurrency.unanswered) if self.jitter else attempt
        ceiling = min(MAX_WAIT_S, base * 2.0 ** min(max(count, 1) - 1, 16))
        backoff = self.rng.uniform(ceiling / 2 if self.jitter else ceiling, ceiling)
        if error.retry_after is None:
            return backoff
        # Never earlier than asked; the jitter keeps waiting calls from returning all at once.
        asked = max(error.retry_after, MIN_WAIT_S)
        asked += self.rng.uniform(0.0, min(1.0, 0.1 * asked) if self.jitter else 0.0)
        return asked if isinstance(error, RateLimited) else max(asked, backoff)
