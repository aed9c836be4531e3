"""What a run may spend: the call that would pass the budget is not made."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest
from support.ports import SPEC, ScriptedBackend, request

from personalrm.errors import (
    ConfigError,
    PermanentError,
)
from personalrm.llm import tokens
from personalrm.llm.budget import Budget, BudgetExceeded
from personalrm.llm.port import Port
from personalrm.llm.store import ResponseStore


def test_the_call_that_would_pass_the_budget_is_not_made(store: ResponseStore) -> None:
    # One call: estimate (2 + 8) x 2 + 50 x 4 = 220 millionths; it then costs 4000 millionths.
    assert tokens.at_most(request("hello").messages) == 10
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
    """After a first call, which goes alone and costs 4000 millionths, three more could be paid."""
    backend = ScriptedBackend(delay=0.01)
    port = Port(SPEC, backend, store, budget=Budget(4000e-6 + 3 * 220e-6 + 1e-9), max_concurrency=10)

    async def run() -> list[object]:
        await port.complete(request("first"))
        calls = (port.complete(request(f"hell{n}")) for n in range(9))
        return list(await asyncio.gather(*calls, return_exceptions=True))

    results = asyncio.run(run())
    assert backend.calls == 4
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
