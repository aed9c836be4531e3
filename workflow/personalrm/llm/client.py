"""Client for one model: store lookup, concurrency limit, lock between processes, budget, call with retries, store."""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections import Counter
from contextlib import AbstractAsyncContextManager, AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from typing import Any

from personalrm.core.errors import (
    ConfigError,
    ContextOverflow,
    EmbeddedModelError,
    FieldRefused,
    ModelCallError,
    OutOfTokens,
    RateLimited,
    RequestRejected,
    TransientError,
)
from personalrm.core.files import SLOW_S
from personalrm.llm import tokens
from personalrm.llm.cache.key import request_key
from personalrm.llm.cache.store import ResponseStore
from personalrm.llm.cache.store_locks import CallLocks
from personalrm.llm.counts import counts_of, remarks_on
from personalrm.llm.limits.adaptive_concurrency import AdaptiveConcurrency
from personalrm.llm.limits.budget import Budget, Price, no_price, spec_price
from personalrm.llm.limits.faults import ModelUnavailable
from personalrm.llm.limits.rate_limit import RateLimit
from personalrm.llm.limits.retry import RetryPolicy
from personalrm.llm.thinking import without_thinking
from personalrm.llm.types import Backend, ModelSpec, Request, Response, Usage

POLL_S, MAX_POLL_S = 0.05, 1.0
"""How often a request looks whether another process has ended the same call: at first, and after a while."""

FIRST_REJECTED, REJECTED, REJECTED_SHARE = 5, 20, 0.2
"""Rejected requests (400, 413, 422 in unknown words) that end a job: the first of it, or so many and this share of all.
Fewer are failures of their own (our choice)."""
REMARKS = "remarks"  # Under which the store keeps what is noteworthy of a server, by identity and kind.
GONE_CALLS = 10
"""Calls that all fail before the provider counts as gone; where fewer are left, each is tried as often as it may be."""

log = logging.getLogger("personalrm.llm")


@dataclass(slots=True)
class CallCounts:
    """Of one client. `joined`: requests that shared a call in flight, of any process; `attempts` includes retries;
    `rejected`: failures that concern one request alone (`RequestRejected`). `written` and `cut`: answers in words by
    `max_tokens` of their requests, stored ones too, and those of them that end there."""

    hits: int = 0
    joined: int = 0
    calls: int = 0
    attempts: int = 0
    failures: int = 0
    rejected: int = 0
    tokens_in: int = 0
    tokens_out: int = 0
    tokens_cached: int = 0
    cost_usd: float = 0.0
    written: Counter[int] = field(default_factory=Counter)
    cut: Counter[int] = field(default_factory=Counter)


@dataclass(slots=True)
class _Flight:
    """A call that is being made, and how many requests wait for it."""

    task: asyncio.Task[Response]
    waiting: int = 0


class ModelClient:
    """Client for one model: answers from the store, or calls the model and stores the answer.

    A client belongs to one event loop. A call keeps its place (`max_concurrency`) while it waits for a retry, so that a
    failing provider gets less traffic, not more.

    Args:
        spec: the model; `max_attempts`, `deadline_s` and `context_length` are read from it.
        backend: how it is reached.
        store: where answers are kept.
        max_concurrency: calls at once, at most (default: the spec's).
        concurrency: how many calls are sent at once (default: what the provider accepts, up to `max_concurrency`).
        budget: None, or what may be spent; a model without a price then raises ConfigError at its first call.
        price: list price by token counts (default: from the spec's prices).
        price_share: the share of the list price that a call costs; answers keep the list price, accounts the cost.
        retry: waits and limits (default: from the spec).
        rate_limit: requests and tokens a minute; None for no limit.
        locks: locks on calls in flight, shared with other processes on this store; None for no locks.
        finishes: a call in flight that no request waits for any more is finished, because it is paid for.
    """

    def __init__(
        self,
        spec: ModelSpec,
        backend: Backend,
        store: ResponseStore,
        *,
        max_concurrency: int | None = None,
        concurrency: AdaptiveConcurrency | None = None,
        budget: Budget | None = None,
        price: Price | None = None,
        price_share: float = 1.0,
        retry: RetryPolicy | None = None,
        rate_limit: RateLimit | None = None,
        locks: CallLocks | None = None,
        finishes: bool = True,
    ) -> None:
        self.stats = CallCounts()
        self.spec = spec
        self._backend = backend
        self._store = store
        self._most = max_concurrency or spec.max_concurrency
        self._places = asyncio.Semaphore(self._most)
        self._concurrency = concurrency or AdaptiveConcurrency(spec.name, self._most)
        self._budget = budget
        self._price = price or (lambda tokens_in, tokens_out: spec_price(spec, tokens_in, tokens_out))
        self._price_share = price_share
        self._retry = retry or RetryPolicy(spec.max_attempts, spec.deadline_s)
        self._flights: dict[str, _Flight] = {}
        self._rate_limit = rate_limit
        self._locks = locks
        self._named: set[str] = set()
        self._noted: set[str] = set()
        self._failing: set[asyncio.Task[Any] | None] = set()
        self._answered_at = self._retry.clock()
        self._finishes = finishes
        self._sent: set[asyncio.Task[Any] | None] = set()
        self._abandoned: set[asyncio.Task[Response]] = set()
        self._closed: ModelUnavailable | EmbeddedModelError | None = None

    async def complete(self, request: Request) -> Response:
        """The stored answer to `request`, or a new one, which is stored before it is returned.

        The store keeps answers as they came; what is returned has its thinking in `reasoning` (`thinking.py`). Raises
        a `ModelCallError` when there is no answer (never stored), `BudgetExceeded`, `StoreError`, `ConfigError` (no
        price in a run with a budget) or, for embedded models, `EmbeddedModelError`.
        """
        key = request_key(self.spec.identity, request)
        stored = self._store.get(key)
        if stored is not None:
            self.stats.hits += 1
            return self._returned(request, stored)
        flight = self._flights.get(key)
        if flight is None:
            flight = self._flights[key] = _Flight(asyncio.create_task(self._answer(key, request)))
        else:
            self.stats.joined += 1
        return self._returned(request, await self._wait_for(key, flight))

    async def aclose(self, *, finish: bool = True) -> None:
        """Release the backend's connections. The store stays open: it belongs to the caller. Calls in flight that no
        request waits for any more are paid for: they are awaited and stored, unless `finish` is false, as after
        Ctrl-C.
        """
        left = {flight for flight in self._abandoned if not flight.done()}
        if left and finish:
            _, left = await asyncio.wait(left, timeout=self.spec.timeout_s)
        for flight in left:
            flight.cancel()
        await asyncio.gather(*self._abandoned, return_exceptions=True)
        await self._backend.aclose()
        if self._locks is not None:
            self._locks.close()

    def _returned(self, request: Request, response: Response) -> Response:
        """The answer as it is returned, and counted."""
        answer = without_thinking(response)
        if not request.top_logprobs:
            self.stats.written[request.max_tokens] += 1
            self.stats.cut[request.max_tokens] += answer.cut
        return answer

    async def _wait_for(self, key: str, flight: _Flight) -> Response:
        """Wait for a shared call. When the last request that waits for it is cancelled, the call is cancelled, too,
        unless it was sent: then it is finished, and its answer stored."""

        def land(_: object = None) -> None:
            if self._flights.get(key) is flight:
                del self._flights[key]

        flight.waiting += 1
        self._abandoned.discard(flight.task)
        try:
            return await asyncio.shield(flight.task)
        finally:
            flight.waiting -= 1
            if flight.waiting == 0:
                if self._finishes and flight.task in self._sent:
                    self._abandoned.add(flight.task)
                    flight.task.add_done_callback(land)
                else:
                    flight.task.cancel()
                    land()

    async def _answer(self, key: str, request: Request) -> Response:
        """Make the call; or, while another process makes the same one, wait for its answer. If it fails there, try."""
        least, window = tokens.overflow(request.messages, self.spec), self.spec.context_length
        if least is not None:
            raise ContextOverflow(
                f"model {self.spec.name}: a prompt of at least {least} tokens cannot fit {window} "
                f"(models.{self.spec.name}.context_length); it was not sent."
            )
        while True:
            async with self._places:
                self._check_open()
                with self._held(key) as mine:
                    # Locked before this look, so that no other process can store an answer between look and call.
                    stored = self._store.get(key) if mine and self._locks is not None else None
                    if mine and stored is None:
                        return await self._pay(key, request)
            # Without place, budget or lock, so that no process waits for a request that waits itself.
            stored = stored or await self._other_answer(key)
            if stored is not None:
                self.stats.joined += 1
                return stored

    async def _other_answer(self, key: str) -> Response | None:
        """The answer that another process has stored when it releases the lock on `key`; None if it stored none."""
        wait, until = POLL_S, self._retry.clock() + SLOW_S
        while True:
            await asyncio.sleep(wait)
            if self._retry.clock() > until and "waits" not in self._noted:
                self._noted.add("waits")
                log.warning("model %s: waiting for a call that another process makes; is it stopped?", self.spec.name)
            self._check_open()
            with self._held(key) as free:
                if free:
                    return self._store.get(key)
            wait = min(1.5 * wait, MAX_POLL_S)

    def _held(self, key: str) -> AbstractContextManager[bool]:
        """Hold the lock on the call of `key` until the end of the block; False if another process holds it."""
        return nullcontext(True) if self._locks is None else self._locks.held(key)

    async def _pay(self, key: str, request: Request) -> Response:
        """Make the call, with its upper price reserved in the budget until its answer is stored."""
        paying: AbstractAsyncContextManager[None] = nullcontext()
        if self._budget is not None:
            estimate = self._price(tokens.at_most(request.messages), request.max_tokens)
            if estimate is None:
                raise ConfigError(no_price(self.spec))
            paying = self._budget.paying(estimate * self._price_share)
        self._store.check_room(min(len(self._flights), self._most))
        async with paying:
            try:
                response = await self._ask(request)
            except ModelCallError:
                self.stats.failures += 1
                raise
            usage, stats = response.usage, self.stats
            cost = (response.cost_usd or 0.0) * self._price_share
            stats.calls += 1
            stats.tokens_in += usage.tokens_in
            stats.tokens_out += usage.tokens_out
            stats.tokens_cached += usage.tokens_cached
            stats.cost_usd += cost
            stored = self._store.put(key, self.spec.identity, response, paid_usd=cost)
            self._note_model(response.model)
            return stored

    def _note_model(self, named: str) -> None:
        """Warn where replies name another model than all before, in this process or another."""
        if not named or named in self._named:
            return
        self._named.add(named)
        with self._store.shared("answered as") as seen:
            before = seen.get(self.spec.identity, [])
            if before and named not in before:
                log.warning(
                    "model %s: the server now answers as %r, before as %s; results may rest on both. Give the config's "
                    "entry a dated model id, or a snapshot",
                    *(self.spec.name, named, ", ".join(map(repr, before))),
                )
            seen[self.spec.identity] = sorted({*before, named})

    async def _ask(self, request: Request) -> Response:
        """Call the backend until it answers, fails for good, or the limits of the policy are reached."""
        retry, queued, failures = self._retry, list[float](), 0
        begun = retry.clock()
        for attempt in itertools.count(1):
            try:
                response = await self._attempt(request, queued)
                break
            except (RateLimited, TransientError) as error:
                failures += isinstance(error, TransientError)
                wait = retry.wait(error, attempt, failures, self._concurrency)
                # Waiting for our own limits does not count for the deadline.
                late = retry.clock() - begun - sum(queued) + wait > retry.deadline_s
                if failures >= retry.max_attempts or late:
                    raise
                if asyncio.current_task() in self._abandoned:
                    # No request waits for another attempt.
                    raise asyncio.CancelledError from None
                log.warning(
                    "model %s: attempt %d failed (%s: %s); next in %.2f s",
                    *(self.spec.name, attempt, type(error).__name__, error, wait),
                )
            await retry.sleep(wait)
        used = response.usage.tokens_in + response.usage.tokens_out
        if self._rate_limit is not None and used:
            self._rate_limit.correct(used - _estimate(request))
        usage, cost = counts_of(request, response), response.cost_usd
        self._note_counts(request, response.usage, usage)
        cost = self._price(usage.tokens_in, usage.tokens_out) if cost is None else cost
        return replace(response, usage=usage, cost_usd=cost)

    async def _attempt(self, request: Request, queued: list[float]) -> Response:
        """Send once, when our own limits allow it; the seconds until then are added to `queued`."""
        begun = self._retry.clock()
        async with self._concurrency.place():
            pause = self._concurrency.pause if len(self._failing) >= GONE_CALLS else 0.0
            if pause:
                # Unlike the queues it counts for the deadline: it is the provider's.
                await self._retry.sleep(pause)
                begun += pause
            if self._rate_limit is not None:
                await self._rate_limit.take(_estimate(request))
            # Another call may have found that the model cannot be reached while this one waited.
            self._check_open()
            sent = self._retry.clock()
            queued.append(sent - begun)
            self.stats.attempts += 1
            task = asyncio.current_task()
            # From here on the provider is at work on the call, and will be paid for it.
            self._sent.add(task)
            try:
                response = await self._backend.call(request)
            except (ModelUnavailable, EmbeddedModelError) as error:
                raise self._close(error) from None
            except (RateLimited, TransientError) as error:
                raise self._in_vain(error) from None
            except RequestRejected as error:
                self.stats.rejected += 1
                answered = self.stats.calls + self.stats.hits
                asked = self.stats.rejected + answered
                first = 1 if isinstance(error, FieldRefused) else FIRST_REJECTED
                least = max(REJECTED, REJECTED_SHARE * asked) if answered else first
                if self.stats.rejected < least:
                    raise
                said = f"{error} So were {self.stats.rejected} of {asked} requests: look at the model's entry in the"
                raise self._close(ModelUnavailable(f"{said} config.")) from None
            except OutOfTokens:
                # A cut answer, which was paid for: stored, so that it is not paid for again.
                usage = Usage(tokens.at_most(request.messages), request.max_tokens)
                response = Response("", "length", usage)
            finally:
                self._sent.discard(task)
        self._failing.clear()
        self._answered_at = self._retry.clock()
        self._concurrency.took(self._answered_at - sent)
        return response

    def _note_counts(self, request: Request, given: Usage, kept: Usage) -> None:
        """Log what the counts of a reply say of the server, once, and keep it in the store for manifest and report."""
        for kind, text in remarks_on(self.spec, request, given, kept):
            if kind not in self._noted:
                self._noted.add(kind)
                log.warning("model %s: %s", self.spec.name, text)
                with self._store.shared(REMARKS) as remarks:
                    remarks.setdefault(self.spec.identity, {}).setdefault(kind, text)

    def _in_vain(self, error: RateLimited | TransientError) -> ModelCallError | EmbeddedModelError:
        """The error itself; or, where no call is answered any more, the error of all calls from now on."""
        self._failing.add(asyncio.current_task())
        concurrency, waited = self._concurrency, self._retry.clock() - self._answered_at
        gone = isinstance(error, TransientError) and concurrency.probes >= self._retry.max_attempts
        late = concurrency.probes > 0 and waited > self._retry.deadline_s
        if len(self._failing) < GONE_CALLS or not (gone or late):
            return error
        return self._close(
            ModelUnavailable(
                f"model {self.spec.name}: {concurrency.unanswered + 1} calls in a row failed, for {waited:.0f} s; the "
                f"last one: {error} All answers so far are kept; run the same command again later."
            )
        )

    def _check_open(self) -> None:
        """Fail with the same message, and without a call, once the model cannot be reached at all."""
        if self._closed is not None:
            raise type(self._closed)(str(self._closed)) from None

    def _close(self, error: ModelUnavailable | EmbeddedModelError) -> ModelUnavailable | EmbeddedModelError:
        """Make no further call. Returns the error of all calls from now on."""
        self._closed = self._closed or error
        return self._closed


def _estimate(request: Request) -> int:
    """Tokens of a call, before it is made: no fewer than it will use, as providers count them, too."""
    return tokens.at_most(request.messages) + request.max_tokens
