"""What a run may spend: the call that would pass the budget is not made."""

from __future__ import annotations

import asyncio
import multiprocessing
import multiprocessing.synchronize
import re
import sqlite3
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import pytest
from support.ports import SPEC, ScriptedBackend, request

from personalrm.core.errors import BudgetExceeded, ConfigError, PermanentError
from personalrm.llm import tokens
from personalrm.llm.cache.store import ResponseStore
from personalrm.llm.client import ModelClient
from personalrm.llm.limits.budget import POLL_S, Budget, lift, passed
from personalrm.llm.types import Usage

# One call: estimate (2 + 8) x 2 + 50 x 4 = 220 millionths; it then costs 4000 millionths.
ASIDE, COST = 220e-6, 4000e-6


def reserved(store: ResponseStore) -> dict[str, object]:
    return store.peek("in flight in r")


async def spend(store: ResponseStore, usd: float, limit: float) -> None:
    async with Budget(store, SPEC, limit).paying(usd):
        pass


def test_the_call_that_would_pass_the_budget_is_not_made(store: ResponseStore) -> None:
    assert tokens.at_most(request("hello").messages) == 10
    backend = ScriptedBackend()
    tight = ModelClient(SPEC, backend, store, budget=Budget(store, SPEC, 2 * COST + ASIDE - 1e-6))

    async def run() -> None:
        for number in range(2):
            await tight.complete(request(f"hell{number}"))
        with pytest.raises(
            BudgetExceeded, match=r"^budget\.usd: \$0\.0080 of the \$0\.0082 for run r is spent.*tester.*Raise"
        ):
            await tight.complete(request("hell2"))
        # What is stored costs nothing, and another process may go on when the budget is raised.
        await tight.complete(request("hell1"))
        raised = ModelClient(SPEC, backend, store, budget=Budget(store, SPEC, 2 * COST + ASIDE))
        await raised.complete(request("hell2"))

    asyncio.run(run())
    assert backend.calls == 3
    assert reserved(store) == {}


def test_a_budget_holds_where_replies_have_no_token_counts(store: ResponseStore) -> None:
    backend = ScriptedBackend(usage=Usage())

    async def run() -> None:
        client = ModelClient(SPEC, backend, store, budget=Budget(store, SPEC, 4 * ASIDE))
        for number in range(99):
            await client.complete(request(f"hell{number}"))

    with pytest.raises(BudgetExceeded):
        asyncio.run(run())
    assert backend.calls < 40


def test_a_models_own_budget_counts_that_model_alone(store: ResponseStore) -> None:
    other = replace(SPEC, name="other", model="n")
    backend = ScriptedBackend()

    async def run() -> None:
        await ModelClient(SPEC, backend, store, budget=Budget(store, SPEC, None, COST)).complete(request("hello"))
        await ModelClient(other, backend, store, budget=Budget(store, other, None, ASIDE)).complete(request("hello"))
        with pytest.raises(BudgetExceeded, match=r"^budget\.models\.tester: \$0\.0040 of the \$0\.0040 for model test"):
            await ModelClient(SPEC, backend, store, budget=Budget(store, SPEC, 1.0, COST)).complete(request("hell0"))

    asyncio.run(run())
    assert backend.calls == 2


def test_calls_in_flight_together_cannot_pass_the_budget_and_are_waited_for(store: ResponseStore) -> None:
    """After a first call, which goes alone and costs 4000 millionths, three more could be paid."""
    backend = ScriptedBackend(delay=0.05)
    port = ModelClient(SPEC, backend, store, budget=Budget(store, SPEC, COST + 3 * ASIDE), max_concurrency=10)

    async def run() -> None:
        await port.complete(request("first"))
        # As the stages do: the first error cancels the others.
        async with asyncio.TaskGroup() as group:
            for number in range(9):
                group.create_task(port.complete(request(f"hell{number}")))

    with pytest.raises(ExceptionGroup) as caught:
        asyncio.run(run())
    assert caught.value.split(BudgetExceeded)[1] is None
    assert backend.calls == 4
    assert store.paid_totals("r")[SPEC.identity].calls == 4, "an answer that was being paid for was thrown away"
    assert reserved(store) == {}


def test_a_call_waits_for_money_that_calls_in_flight_give_back(store: ResponseStore) -> None:
    """There is room for two at a time, but for all nine as they turn out to be: 20 millionths each."""
    backend = ScriptedBackend(delay=0.05, usage=Usage(10, 0, 0))
    port = ModelClient(SPEC, backend, store, budget=Budget(store, SPEC, 3 * ASIDE), max_concurrency=10)

    async def run() -> None:
        await asyncio.gather(*(port.complete(request(f"hell{number}")) for number in range(9)))

    asyncio.run(run())
    assert (backend.calls, backend.most) == (9, 2)
    assert reserved(store) == {}


def test_after_a_call_that_did_not_fit_no_job_makes_a_smaller_one(store: ResponseStore) -> None:
    with pytest.raises(BudgetExceeded) as first:
        asyncio.run(spend(store, 2.0, 1.0))
    for usd in (2.0, 0.1, 0.0):
        with pytest.raises(BudgetExceeded, match=f"^{re.escape(str(first.value))}$"):
            asyncio.run(spend(store, usd, 1.0))
    assert passed(store.path, "r") == [str(first.value)]
    assert passed(store.path, "another run") == []
    # Another limit, or another start of the run.
    asyncio.run(spend(store, 0.1, 0.9))
    lift(store.path, "r")
    asyncio.run(spend(store, 0.1, 1.0))
    assert passed(store.path, "r") == []


def test_a_damaged_mark_is_none(store: ResponseStore) -> None:
    with pytest.raises(BudgetExceeded):
        asyncio.run(spend(store, 2.0, 1.0))
    with sqlite3.connect(store.path) as raw:
        assert raw.execute("UPDATE shared SET value = '{' WHERE kind = 'budget passed in r'").rowcount == 1
    raw.close()
    asyncio.run(spend(store, 0.1, 1.0))


def _hold(path: Path, ready: multiprocessing.synchronize.Event, release: multiprocessing.synchronize.Event) -> None:
    store = ResponseStore(path, run="r")

    async def run() -> None:
        async with Budget(store, SPEC, 10 * ASIDE).paying(9 * ASIDE):
            ready.set()
            release.wait(60)

    asyncio.run(run())


def test_processes_share_a_budget_and_a_dead_ones_reservation_is_dropped(store: ResponseStore) -> None:
    context = multiprocessing.get_context("spawn")
    ready, release = context.Event(), context.Event()
    other = context.Process(target=_hold, args=(store.path, ready, release))
    other.start()
    assert ready.wait(60)

    async def run() -> None:
        waiting = asyncio.create_task(spend(store, 2 * ASIDE, 10 * ASIDE))
        done, _ = await asyncio.wait([waiting], timeout=3 * POLL_S)
        assert not done
        other.kill()
        other.join()
        await waiting

    asyncio.run(run())


def test_a_line_of_another_machine_counts_until_it_is_stale(store: ResponseStore) -> None:
    asyncio.run(spend(store, 0.0, 1.0))
    for until, fits in ((4e9, False), (1.0, True)):
        line = {"usd": {SPEC.identity: 9 * ASIDE}, "until": until}
        with store.shared("in flight in r") as ledger:
            ledger["elsewhere|1:1.0"] = line
        with nullcontext() if fits else pytest.raises(TimeoutError):
            asyncio.run(asyncio.wait_for(spend(store, 2 * ASIDE, 10 * ASIDE), 3 * POLL_S))


def test_a_failed_call_gives_its_reservation_back(store: ResponseStore) -> None:
    port = ModelClient(SPEC, ScriptedBackend([PermanentError("no")]), store, budget=Budget(store, SPEC, ASIDE))
    with pytest.raises(PermanentError):
        asyncio.run(port.complete(request()))
    assert reserved(store) == {}
    asyncio.run(spend(store, ASIDE, ASIDE))


def test_no_known_price_in_a_run_with_a_budget_names_the_line_to_add(store: ResponseStore) -> None:
    backend = ScriptedBackend()
    unpriced = replace(SPEC, price_in=None)
    with pytest.raises(ConfigError, match=r"^models\.tester\.price_in: "):
        asyncio.run(ModelClient(unpriced, backend, store, budget=Budget(store, unpriced, 5.0)).complete(request()))
    assert backend.calls == 0
    assert asyncio.run(ModelClient(unpriced, backend, store).complete(request())).cost_usd is None


def test_embedded_models_cost_nothing(store: ResponseStore) -> None:
    spec = replace(SPEC, backend="embedded", price_in=None, price_out=None)
    budget = Budget(store, spec, 0.0)
    assert asyncio.run(ModelClient(spec, ScriptedBackend(), store, budget=budget).complete(request())).cost_usd == 0.0
