"""When to ask again after a failed call, and after how long."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from time import monotonic

from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type

from personalrm.core.errors import RateLimited, TransientError
from personalrm.llm.limits.adaptive_concurrency import AdaptiveConcurrency

BASE_WAIT_S = 1.0
LIMITED_WAIT_S, LIMITED_SHARE = 0.25, 0.05
"""The first wait after a 429 that states none: at most so many seconds, and at most this share of the time that an
answered call takes, so that a chain of calls is not slowed down by waits. `AdaptiveConcurrency` relieves the provider.
"""
LEAST_WAIT_S, MAX_WAIT_S = 0.002, 60.0
MIN_WAIT_S = 0.2

Sleep = Callable[[float], Awaitable[None]]
Clock = Callable[[], float]
OnRetry = Callable[[int, BaseException, float], None]


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

    def controller(
        self, on_retry: OnRetry, queued: Callable[[], float], concurrency: AdaptiveConcurrency
    ) -> AsyncRetrying:
        """A tenacity controller for one call; calls `on_retry(attempt, error, wait)` before each wait.

        The last failure is raised when the attempts are used up, or when the wait would pass the deadline.

        Args:
            on_retry: called before each wait.
            queued: seconds so far that the call waited for our own limits, which the deadline does not count.
            concurrency: how many calls in a row had no answer, and how long answered ones take: while other calls are
                answered, a 429 without a stated wait is no reason for a long one.
        """
        started = self.clock()
        failures = 0

        def wait(state: RetryCallState) -> float:
            error = _error(state)
            # The waits of failures grow with the failures: a storm of 429 before them makes them no longer.
            if isinstance(error, TransientError):
                return self._wait(error, failures + 1, BASE_WAIT_S)
            attempt = min(state.attempt_number, concurrency.unanswered) if self.jitter else state.attempt_number
            base = max(LEAST_WAIT_S, min(LIMITED_WAIT_S, LIMITED_SHARE * concurrency.call_s))
            return self._wait(error, attempt, base)

        def stop(state: RetryCallState) -> bool:
            nonlocal failures
            failures += isinstance(_error(state), TransientError)
            late = self.clock() - started - queued() + state.upcoming_sleep > self.deadline_s
            return failures >= self.max_attempts or late

        def before_sleep(state: RetryCallState) -> None:
            error = _error(state)
            if error is not None:
                on_retry(state.attempt_number, error, state.upcoming_sleep)

        return AsyncRetrying(
            sleep=self.sleep,
            wait=wait,
            stop=stop,
            before_sleep=before_sleep,
            retry=retry_if_exception_type((RateLimited, TransientError)),
            reraise=True,
        )

    def _wait(self, error: BaseException | None, attempt: int, base: float) -> float:
        """Seconds to wait: what the provider asked for and a little more, else `base`, doubled with each attempt.

        After a failure it is the longer of the two: `Retry-After: 1` from an overloaded server is no queue.
        """
        ceiling = min(MAX_WAIT_S, base * 2.0 ** min(max(attempt, 1) - 1, 16))
        backoff = self.rng.uniform(ceiling / 2 if self.jitter else ceiling, ceiling)
        asked = error.retry_after if isinstance(error, (RateLimited, TransientError)) else None
        if asked is None:
            return backoff
        # Never earlier than asked; the jitter keeps waiting calls from returning all at once.
        asked = max(asked, MIN_WAIT_S)
        asked += self.rng.uniform(0.0, min(1.0, 0.1 * asked) if self.jitter else 0.0)
        return asked if isinstance(error, RateLimited) else max(asked, backoff)


def _error(state: RetryCallState) -> BaseException | None:
    return state.outcome.exception() if state.outcome is not None else None
