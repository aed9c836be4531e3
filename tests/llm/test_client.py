"""The port: what is called, how often, after which waits, and what is stored."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import replace
from pathlib import Path

import pytest
from support.ports import SPEC, FakeTime, ScriptedBackend, request

from personalrm.core.errors import (
    ContextOverflow,
    EmbeddedModelError,
    OutOfTokens,
    PermanentError,
    RateLimited,
    Refused,
    RequestRejected,
    StoreError,
    TransientError,
)
from personalrm.llm.cache.store import ResponseStore
from personalrm.llm.client import ModelClient
from personalrm.llm.limits.adaptive_concurrency import AdaptiveConcurrency
from personalrm.llm.limits.faults import ModelUnavailable
from personalrm.llm.types import LanguageModel, Request, Response


def test_an_answer_is_asked_once_and_then_read(store: ResponseStore) -> None:
    backend = ScriptedBackend()

    async def run() -> tuple[Response, Response, ModelClient]:
        port: LanguageModel = ModelClient(SPEC, backend, store)
        assert isinstance(port, ModelClient)
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
    again = asyncio.run(ModelClient(replace(SPEC, name="n"), other, store).complete(request()))
    assert again == first
    assert other.calls == 0


def test_equal_requests_in_flight_share_one_call(store: ResponseStore) -> None:
    backend = ScriptedBackend(delay=0.02)

    async def run() -> list[Response]:
        port = ModelClient(SPEC, backend, store)
        answers = await asyncio.gather(*(port.complete(request(f"q{n % 3}")) for n in range(30)))
        assert port.stats.joined == 27
        return answers

    answers = asyncio.run(run())
    assert backend.calls == 3
    assert len({answer.text for answer in answers}) == 3


def test_a_shared_failure_reaches_all_and_the_next_request_asks_again(store: ResponseStore) -> None:
    backend = ScriptedBackend([PermanentError("bad"), None], delay=0.01)

    async def run() -> None:
        port = ModelClient(SPEC, backend, store)
        results = await asyncio.gather(*(port.complete(request()) for _ in range(5)), return_exceptions=True)
        assert [type(result) for result in results] == [PermanentError] * 5
        assert (await port.complete(request())).text == "answer 2"

    asyncio.run(run())
    assert backend.calls == 2


def test_cancelling_one_of_two_leaves_the_other_its_answer(store: ResponseStore) -> None:
    backend = ScriptedBackend(delay=0.5)

    async def run() -> None:
        port = ModelClient(SPEC, backend, store)
        one, two = (asyncio.create_task(port.complete(request())) for _ in range(2))
        await asyncio.sleep(0.01)
        one.cancel()
        assert (await two).text == "answer 1"
        three = asyncio.create_task(port.complete(request("other")))
        await asyncio.sleep(0.01)
        three.cancel()
        with pytest.raises(asyncio.CancelledError):
            await three
        # It is paid for: it goes on, who asks again joins it, and its answer is stored.
        assert backend.now == 1
        assert (await port.complete(request("other"))).text == "answer 2"
        assert store.paid_totals("r")["m@1"].calls == 2

    asyncio.run(run())


@pytest.mark.parametrize("ends", [ModelUnavailable("401"), StoreError("disk full"), TransientError("gone")])
def test_calls_in_flight_are_stored_before_a_job_ends(store: ResponseStore, ends: Exception) -> None:
    """20 calls, the seventh of which ends the job while the others are under way."""

    class EndsEarly(ScriptedBackend):
        async def call(self, request: Request) -> Response:
            if self.calls == 6:
                self.calls += 1
                raise ends
            return await super().call(request)

    backend = EndsEarly(delay=0.05)

    async def run() -> None:
        concurrency = AdaptiveConcurrency("m", 20, eager=True)
        spec = replace(SPEC, max_attempts=1)
        port = ModelClient(spec, backend, store, max_concurrency=20, concurrency=concurrency)
        try:
            async with asyncio.TaskGroup() as group:
                for number in range(20):
                    group.create_task(port.complete(request(f"q{number}")))
        finally:
            await port.aclose()

    with pytest.raises(ExceptionGroup):
        asyncio.run(run())
    # Those that were sent before it; a closed door lets no other in.
    assert store.paid_totals("r")["m@1"].calls == backend.calls - 1 >= 6


def test_ctrl_c_waits_for_no_call_in_flight(store: ResponseStore) -> None:
    backend = ScriptedBackend(delay=60)

    async def run() -> None:
        port = ModelClient(SPEC, backend, store)
        try:
            await port.complete(request())
        finally:
            await port.aclose(finish=False)

    async def interrupted() -> None:
        task = asyncio.create_task(run())
        await asyncio.sleep(0.05)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asyncio.wait_for(asyncio.shield(task), 5)

    asyncio.run(interrupted())
    assert backend.now == 0


def test_an_abandoned_call_that_fails_is_not_tried_again(store: ResponseStore) -> None:
    backend = ScriptedBackend([TransientError("one")] * 9, delay=0.05)

    async def run() -> None:
        port = ModelClient(SPEC, backend, store)
        task = asyncio.create_task(port.complete(request()))
        await asyncio.sleep(0.01)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await port.aclose()

    asyncio.run(run())
    assert backend.calls == 1


def test_one_rejected_request_is_its_own_failure_and_a_run_of_them_ends_the_job(store: ResponseStore) -> None:
    spec = replace(SPEC, max_attempts=1)

    async def outcomes(script: list[Exception | None], count: int) -> list[str]:
        port = ModelClient(spec, ScriptedBackend(script), store, max_concurrency=1)
        asked = (port.complete(request(f"{len(script)} {number}")) for number in range(count))
        found = await asyncio.gather(*asked, return_exceptions=True)
        return [type(one).__name__ for one in found]

    odd = RequestRejected("HTTP 400: gremlins")
    assert asyncio.run(outcomes([None, odd, None], 4)).count("RequestRejected") == 1
    # Nothing but rejections: the fifth ends the job, with the provider's words.
    assert asyncio.run(outcomes([odd] * 9, 9)) == ["RequestRejected"] * 4 + ["ModelUnavailable"] * 5
    # Some of many are their own failures; a fifth of all are not.
    assert (
        asyncio.run(outcomes([None, odd, None, None, None, None, None, None, None, None] * 10, 100)).count(
            "RequestRejected"
        )
        == 10
    )
    assert "ModelUnavailable" in asyncio.run(outcomes([None, odd, None] * 40, 120))


def test_thinking_until_the_limit_is_a_cut_answer_that_is_stored(store: ResponseStore) -> None:
    backend = ScriptedBackend([OutOfTokens("HTTP 400: output limit")])

    async def run() -> None:
        port = ModelClient(SPEC, backend, store)
        for _ in range(2):
            answer = await port.complete(request())
            assert (answer.text, answer.finish_reason, answer.usage.tokens_out) == ("", "length", 50)

    asyncio.run(run())
    assert backend.calls == 1


def test_transient_failures_are_tried_again_with_growing_waits(
    store: ResponseStore, caplog: pytest.LogCaptureFixture
) -> None:
    time, backend = FakeTime(), ScriptedBackend([TransientError("one"), TransientError("two")])
    port = ModelClient(SPEC, backend, store, retry=time.policy())
    assert asyncio.run(port.complete(request())).text == "answer 3"
    assert 0.5 <= time.waits[0] <= 1.0 <= time.waits[1] <= 2.0
    assert [record.getMessage() for record in caplog.records] == [
        f"model tester: attempt 1 failed (TransientError: one); next in {time.waits[0]:.2f} s",
        f"model tester: attempt 2 failed (TransientError: two); next in {time.waits[1]:.2f} s",
    ]
    assert (port.stats.attempts, port.stats.calls, port.stats.failures) == (3, 1, 0)


def test_transient_failures_end_with_the_attempts_and_are_not_stored(store: ResponseStore) -> None:
    time, backend = FakeTime(), ScriptedBackend([TransientError(str(n)) for n in range(9)])
    port = ModelClient(SPEC, backend, store, retry=time.policy())
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
            asyncio.run(ModelClient(SPEC, backend, store, retry=time.policy()).complete(request()))
        waits.append(time.waits)
    assert waits[0] == waits[1]


def test_limits_before_a_failure_do_not_lengthen_its_wait(store: ResponseStore) -> None:
    time, backend = FakeTime(), ScriptedBackend([*[RateLimited("wait")] * 8, TransientError("one")])
    asyncio.run(ModelClient(SPEC, backend, store, retry=time.policy()).complete(request()))
    assert 0.5 <= time.waits[-1] <= 1.0


def test_retry_after_is_obeyed_and_does_not_use_up_attempts(store: ResponseStore) -> None:
    limits: list[Exception | None] = [RateLimited("wait", retry_after=7.0)] * 8
    time, backend = FakeTime(), ScriptedBackend(limits)
    asyncio.run(ModelClient(SPEC, backend, store, retry=time.policy()).complete(request()))
    assert backend.calls == 9
    assert all(7.0 <= wait <= 8.0 for wait in time.waits)


@pytest.mark.parametrize("error", [RateLimited("wait", retry_after=0.0), RateLimited("wait"), TransientError("x")])
def test_the_deadline_ends_everything(store: ResponseStore, error: Exception) -> None:
    time, backend = FakeTime(), ScriptedBackend([error] * 100_000)
    spec = replace(SPEC, max_attempts=100_000)
    with pytest.raises(type(error)):
        asyncio.run(ModelClient(spec, backend, store, retry=time.policy(spec)).complete(request()))
    assert backend.calls > 3
    assert sum(time.waits) <= spec.deadline_s


def test_a_wait_past_the_deadline_is_not_begun(store: ResponseStore) -> None:
    time, backend = FakeTime(), ScriptedBackend([RateLimited("tomorrow", retry_after=86_400.0)])
    with pytest.raises(RateLimited, match="tomorrow"):
        asyncio.run(ModelClient(SPEC, backend, store, retry=time.policy()).complete(request()))
    assert time.waits == []


@pytest.mark.parametrize("error", [PermanentError("no"), ContextOverflow("long"), Refused("never")])
def test_other_failures_stop_at_once_and_close_nothing(store: ResponseStore, error: Exception) -> None:
    time, backend = FakeTime(), ScriptedBackend([error])
    port = ModelClient(SPEC, backend, store, retry=time.policy())

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
    port = ModelClient(SPEC, backend, store, max_concurrency=4)

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
    port = ModelClient(SPEC, backend, store)

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
        port = ModelClient(SPEC, backend, store, max_concurrency=5)
        await asyncio.gather(*(port.complete(request(str(n))) for n in range(40)))

    asyncio.run(run())
    assert backend.most == 5


def test_a_prompt_that_cannot_fit_is_not_sent(store: ResponseStore) -> None:
    backend = ScriptedBackend()
    port = ModelClient(replace(SPEC, context_length=100), backend, store)
    with pytest.raises(ContextOverflow, match=r"at least 101 tokens cannot fit 100 .models\.tester\.context_length"):
        asyncio.run(port.complete(request("x" * 601)))
    assert backend.calls == 0
    assert asyncio.run(ModelClient(replace(SPEC, context_length=100), backend, store).complete(request("x" * 600))).text


def test_a_store_that_cannot_be_written_is_an_error_not_an_answer(store: ResponseStore) -> None:
    port = ModelClient(SPEC, ScriptedBackend(), store)
    store._query("PRAGMA query_only = ON")
    with pytest.raises(StoreError, match="cannot be written"):
        asyncio.run(port.complete(request()))


def test_retries_are_logged(store: ResponseStore, caplog: pytest.LogCaptureFixture) -> None:
    port = ModelClient(SPEC, ScriptedBackend([TransientError("reset by peer")]), store, retry=FakeTime().policy())
    with caplog.at_level(logging.WARNING, "personalrm.llm"):
        asyncio.run(port.complete(request()))
    assert "model tester: attempt 1 failed (TransientError: reset by peer); next in" in caplog.text


@pytest.mark.parametrize("close", [1, 2])
def test_closing_closes_the_backend_and_not_the_store(store: ResponseStore, close: int) -> None:
    backend = ScriptedBackend()
    port = ModelClient(SPEC, backend, store)

    async def run() -> None:
        for _ in range(close):
            await port.aclose()

    asyncio.run(run())
    assert backend.closed == close
    assert store.get("x" * 64) is None
