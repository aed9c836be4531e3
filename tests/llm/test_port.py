"""The port: what is called, how often, after which waits, and what is stored."""

from __future__ import annotations

import asyncio
import logging
import random
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from personalrm.errors import (
    ConfigError,
    ContextOverflow,
    EmbeddedModelError,
    PermanentError,
    RateLimited,
    Refused,
    StoreError,
    TransientError,
)
from personalrm.llm.budget import Budget, BudgetExceeded
from personalrm.llm.faults import ModelUnavailable
from personalrm.llm.port import Port, PortEvent, estimate_tokens
from personalrm.llm.retry import RetryPolicy
from personalrm.llm.store import ResponseStore
from personalrm.llm.types import LanguageModel, Message, ModelSpec, Request, Response, Usage

SPEC = ModelSpec("tester", "openai", "m", snapshot="1", max_attempts=3, deadline_s=100.0, price_in=2.0, price_out=4.0)


@dataclass
class ScriptedBackend:
    """Raises the scripted errors in turn (None: answers), then answers for ever."""

    script: list[Exception | None] = field(default_factory=list)
    delay: float = 0.0
    calls: int = 0
    now: int = 0
    most: int = 0
    closed: int = 0

    async def call(self, request: Request) -> Response:
        self.calls += 1
        number = self.calls
        self.now += 1
        self.most = max(self.most, self.now)
        try:
            await asyncio.sleep(self.delay)
        finally:
            self.now -= 1
        error = self.script[number - 1] if number <= len(self.script) else None
        if error is not None:
            raise error
        return Response(f"answer {number}", "stop", Usage(1000, 500, 100))

    async def aclose(self) -> None:
        self.closed += 1


class FakeTime:
    """Time that passes only by sleeping."""

    def __init__(self) -> None:
        self.now = 50.0
        self.waits: list[float] = []

    async def sleep(self, seconds: float) -> None:
        self.waits.append(seconds)
        self.now += seconds
        await asyncio.sleep(0)

    def policy(self, spec: ModelSpec = SPEC) -> RetryPolicy:
        return RetryPolicy(spec.max_attempts, spec.deadline_s, self.sleep, lambda: self.now, random.Random(7))


@pytest.fixture
def store(tmp_path: Path) -> ResponseStore:
    return ResponseStore(tmp_path / "s.sqlite", run="r")


def request(text: str = "hello", max_tokens: int = 50) -> Request:
    return Request((Message("user", text),), max_tokens)


def test_an_answer_is_asked_once_and_then_read(store: ResponseStore) -> None:
    backend = ScriptedBackend()

    async def run() -> tuple[Response, Response, Port]:
        port: LanguageModel = Port(SPEC, backend, store)
        assert isinstance(port, Port)
        return await port.complete(request()), await port.complete(request()), port

    first, second, port = asyncio.run(run())
    assert first == second
    assert backend.calls == 1
    assert len(first.key) == 64
    assert first.cost_usd == pytest.approx(1000 * 2e-6 + 500 * 4e-6)
    assert (port.stats.calls, port.stats.hits, port.stats.tokens_in, port.stats.tokens_cached) == (1, 1, 1000, 100)
    assert port.stats.cost_usd == first.cost_usd
    assert store.paid_totals("r")["m@1"].calls == 1
    # Another port, of another name and URL but the same model, reads the same answer.
    other = ScriptedBackend()
    again = asyncio.run(Port(replace(SPEC, name="n", api_base="http://x"), other, store).complete(request()))
    assert again == first
    assert other.calls == 0


def test_equal_requests_in_flight_share_one_call(store: ResponseStore) -> None:
    backend = ScriptedBackend(delay=0.02)

    async def run() -> list[Response]:
        port = Port(SPEC, backend, store)
        answers = await asyncio.gather(*(port.complete(request(f"q{n % 3}")) for n in range(30)))
        assert port.stats.joined == 27
        return answers

    answers = asyncio.run(run())
    assert backend.calls == 3
    assert len({answer.text for answer in answers}) == 3


def test_a_shared_failure_reaches_all_and_the_next_request_asks_again(store: ResponseStore) -> None:
    backend = ScriptedBackend([PermanentError("bad"), None], delay=0.01)

    async def run() -> None:
        port = Port(SPEC, backend, store)
        results = await asyncio.gather(*(port.complete(request()) for _ in range(5)), return_exceptions=True)
        assert [type(result) for result in results] == [PermanentError] * 5
        assert (await port.complete(request())).text == "answer 2"

    asyncio.run(run())
    assert backend.calls == 2


def test_cancelling_one_of_two_leaves_the_other_its_answer(store: ResponseStore) -> None:
    backend = ScriptedBackend(delay=0.05)

    async def run() -> None:
        port = Port(SPEC, backend, store)
        one, two = (asyncio.create_task(port.complete(request())) for _ in range(2))
        await asyncio.sleep(0.01)
        one.cancel()
        assert (await two).text == "answer 1"
        three = asyncio.create_task(port.complete(request("other")))
        await asyncio.sleep(0.01)
        three.cancel()
        with pytest.raises(asyncio.CancelledError):
            await three
        await asyncio.sleep(0)
        # The last one who waited ended the call itself, and a new request starts a new one.
        assert backend.now == 0
        assert (await port.complete(request("other"))).text == "answer 3"

    asyncio.run(run())


def test_transient_failures_are_tried_again_with_growing_waits(store: ResponseStore) -> None:
    time, backend = FakeTime(), ScriptedBackend([TransientError("one"), TransientError("two")])
    events: list[PortEvent] = []
    port = Port(SPEC, backend, store, retry=time.policy(), on_event=events.append)
    assert asyncio.run(port.complete(request())).text == "answer 3"
    assert 0.5 <= time.waits[0] <= 1.0 <= time.waits[1] <= 2.0
    assert [(event.attempt, event.error, event.wait_s) for event in events] == [
        (1, "TransientError: one", time.waits[0]),
        (2, "TransientError: two", time.waits[1]),
    ]
    assert (port.stats.attempts, port.stats.calls, port.stats.failures) == (3, 1, 0)


def test_transient_failures_end_with_the_attempts_and_are_not_stored(store: ResponseStore) -> None:
    time, backend = FakeTime(), ScriptedBackend([TransientError(str(n)) for n in range(9)])
    port = Port(SPEC, backend, store, retry=time.policy())
    with pytest.raises(TransientError, match="2"):
        asyncio.run(port.complete(request()))
    assert backend.calls == 3
    assert len(time.waits) == 2
    assert port.stats.failures == 1
    assert store.usage_totals() == {}
    assert store.paid_totals("r") == {}


def test_waits_depend_on_the_given_generator_alone(tmp_path: Path) -> None:
    waits = []
    for name in ("a", "b"):
        time, backend = FakeTime(), ScriptedBackend([TransientError("x"), RateLimited("y"), RateLimited("z", 2.0)])
        with ResponseStore(tmp_path / name) as store:
            asyncio.run(Port(SPEC, backend, store, retry=time.policy()).complete(request()))
        waits.append(time.waits)
    assert waits[0] == waits[1]


def test_retry_after_is_obeyed_and_does_not_use_up_attempts(store: ResponseStore) -> None:
    limits: list[Exception | None] = [RateLimited("wait", retry_after=7.0)] * 8
    time, backend = FakeTime(), ScriptedBackend(limits)
    asyncio.run(Port(SPEC, backend, store, retry=time.policy()).complete(request()))
    assert backend.calls == 9
    assert all(7.0 <= wait <= 8.0 for wait in time.waits)


@pytest.mark.parametrize("error", [RateLimited("wait", retry_after=0.0), RateLimited("wait"), TransientError("x")])
def test_the_deadline_ends_everything(store: ResponseStore, error: Exception) -> None:
    time, backend = FakeTime(), ScriptedBackend([error] * 100_000)
    spec = replace(SPEC, max_attempts=100_000)
    with pytest.raises(type(error)):
        asyncio.run(Port(spec, backend, store, retry=time.policy(spec)).complete(request()))
    assert backend.calls > 3
    assert sum(time.waits) <= spec.deadline_s


def test_a_wait_past_the_deadline_is_not_begun(store: ResponseStore) -> None:
    time, backend = FakeTime(), ScriptedBackend([RateLimited("tomorrow", retry_after=86_400.0)])
    with pytest.raises(RateLimited, match="tomorrow"):
        asyncio.run(Port(SPEC, backend, store, retry=time.policy()).complete(request()))
    assert time.waits == []


@pytest.mark.parametrize("error", [PermanentError("no"), ContextOverflow("long"), Refused("never")])
def test_other_failures_stop_at_once_and_close_nothing(store: ResponseStore, error: Exception) -> None:
    time, backend = FakeTime(), ScriptedBackend([error])
    port = Port(SPEC, backend, store, retry=time.policy())

    async def run() -> None:
        with pytest.raises(type(error)):
            await port.complete(request())
        assert (await port.complete(request())).text == "answer 2"

    asyncio.run(run())
    assert time.waits == []


@pytest.mark.parametrize("kind", [ModelUnavailable, EmbeddedModelError])
def test_a_closed_door_ends_later_calls_with_the_same_message_without_a_call(
    store: ResponseStore, kind: type[ModelUnavailable | EmbeddedModelError]
) -> None:
    backend = ScriptedBackend([None, *[kind("401: check KEY")] * 50], delay=0.01)
    port = Port(SPEC, backend, store, max_concurrency=4)

    async def run() -> list[object]:
        kept = await port.complete(request("kept"))
        results = await asyncio.gather(*(port.complete(request(str(n))) for n in range(40)), return_exceptions=True)
        assert await port.complete(request("kept")) == kept
        return list(results)

    results = asyncio.run(run())
    assert {(type(result), str(result)) for result in results} == {(kind, "401: check KEY")}
    assert backend.calls <= 1 + 4


def test_a_call_that_waits_for_its_retry_is_not_made_once_the_door_is_closed(store: ResponseStore) -> None:
    backend = ScriptedBackend([TransientError("first"), ModelUnavailable("403: closed")])
    port = Port(SPEC, backend, store)

    async def closing_sleep(seconds: float) -> None:
        if backend.calls == 1:
            with pytest.raises(ModelUnavailable):
                await port.complete(request("another"))

    port._retry.sleep = closing_sleep
    with pytest.raises(ModelUnavailable, match="403: closed"):
        asyncio.run(port.complete(request()))
    assert backend.calls == 2


def test_concurrency_is_bounded_and_used(store: ResponseStore) -> None:
    backend = ScriptedBackend(delay=0.01)

    async def run() -> None:
        port = Port(SPEC, backend, store, max_concurrency=5)
        await asyncio.gather(*(port.complete(request(str(n))) for n in range(40)))

    asyncio.run(run())
    assert backend.most == 5


@pytest.mark.parametrize(("max_tokens", "most"), [(1, 1), (8, 1), (9, 4)])
def test_short_calls_have_a_limit_of_their_own(store: ResponseStore, max_tokens: int, most: int) -> None:
    backend = ScriptedBackend(delay=0.01)

    async def run() -> None:
        port = Port(SPEC, backend, store, max_concurrency=4, short_concurrency=1)
        await asyncio.gather(*(port.complete(request(str(n), max_tokens)) for n in range(8)))

    asyncio.run(run())
    assert backend.most == most


def test_short_and_long_calls_together_keep_within_the_limit(store: ResponseStore) -> None:
    backend = ScriptedBackend(delay=0.01)

    async def run() -> None:
        port = Port(SPEC, backend, store, max_concurrency=4, short_concurrency=1)
        await asyncio.gather(*(port.complete(request(str(n), 1 + 49 * (n % 2))) for n in range(16)))

    asyncio.run(run())
    assert backend.most == 4


def test_a_prompt_that_cannot_fit_is_not_sent(store: ResponseStore) -> None:
    backend = ScriptedBackend()
    port = Port(replace(SPEC, context_length=100), backend, store)
    with pytest.raises(ContextOverflow, match=r"601 bytes.*models\.tester\.context_length"):
        asyncio.run(port.complete(request("x" * 601)))
    assert backend.calls == 0
    assert asyncio.run(Port(replace(SPEC, context_length=100), backend, store).complete(request("x" * 600))).text


def test_the_call_that_would_pass_the_budget_is_not_made(store: ResponseStore) -> None:
    # One call: estimate (2 + 8) x 2 + 50 x 4 = 220 millionths; it then costs 4000 millionths.
    assert estimate_tokens(request("hello")) == 10
    backend = ScriptedBackend()
    budget = Budget(0.00821, spent=0.0)
    port = Port(SPEC, backend, store, budget=budget)

    async def run() -> None:
        for number in range(2):
            await port.complete(request(f"hell{number}"))
        assert budget.spent == pytest.approx(0.008)
        with pytest.raises(BudgetExceeded, match=r"\$0\.0080 of \$0\.0082 is spent.*tester.*Raise the budget"):
            await port.complete(request("hell2"))
        budget.limit_usd = 0.00823
        await port.complete(request("hell2"))

    asyncio.run(run())
    assert backend.calls == 3
    assert budget.reserved == 0.0


def test_calls_in_flight_together_cannot_pass_the_budget(store: ResponseStore) -> None:
    backend = ScriptedBackend(delay=0.01)
    port = Port(SPEC, backend, store, budget=Budget(3 * 220e-6 + 1e-9), max_concurrency=10)

    async def run() -> list[object]:
        calls = (port.complete(request(f"hell{n}")) for n in range(9))
        return list(await asyncio.gather(*calls, return_exceptions=True))

    results = asyncio.run(run())
    assert backend.calls == 3
    assert sum(isinstance(result, BudgetExceeded) for result in results) == 6


def test_a_failed_call_gives_its_reservation_back(store: ResponseStore) -> None:
    budget = Budget(1.0)
    port = Port(SPEC, ScriptedBackend([PermanentError("no")]), store, budget=budget)
    with pytest.raises(PermanentError):
        asyncio.run(port.complete(request()))
    assert (budget.spent, budget.reserved) == (0.0, 0.0)


def test_no_known_price_in_a_run_with_a_budget_names_the_line_to_add(store: ResponseStore) -> None:
    backend = ScriptedBackend()
    unpriced = replace(SPEC, price_in=None)
    with pytest.raises(ConfigError, match=r"^models\.tester\.price_in: "):
        asyncio.run(Port(unpriced, backend, store, budget=Budget(5.0)).complete(request()))
    assert backend.calls == 0
    assert asyncio.run(Port(unpriced, backend, store, budget=Budget(None)).complete(request())).cost_usd is None


def test_embedded_models_cost_nothing(store: ResponseStore) -> None:
    spec = replace(SPEC, backend="embedded", price_in=None, price_out=None)
    assert asyncio.run(Port(spec, ScriptedBackend(), store, budget=Budget(0.0)).complete(request())).cost_usd == 0.0


def test_a_store_that_cannot_be_written_is_an_error_not_an_answer(store: ResponseStore) -> None:
    port = Port(SPEC, ScriptedBackend(), store)
    store._file.run(lambda connection: connection.execute("PRAGMA query_only = ON").fetchall())
    with pytest.raises(StoreError, match="cannot be written"):
        asyncio.run(port.complete(request()))


def test_retries_are_logged(store: ResponseStore, caplog: pytest.LogCaptureFixture) -> None:
    port = Port(SPEC, ScriptedBackend([TransientError("reset by peer")]), store, retry=FakeTime().policy())
    with caplog.at_level(logging.WARNING, "personalrm.llm"):
        asyncio.run(port.complete(request()))
    assert "model tester: attempt 1 failed (TransientError: reset by peer); next in" in caplog.text


@pytest.mark.parametrize("close", [1, 2])
def test_closing_closes_the_backend_and_not_the_store(store: ResponseStore, close: int) -> None:
    backend = ScriptedBackend()
    port = Port(SPEC, backend, store)

    async def run() -> None:
        for _ in range(close):
            await port.aclose()

    asyncio.run(run())
    assert backend.closed == close
    assert store.get("x" * 64) is None
