"""Replies without token counts, or with counts that no text can have: estimated, marked, and the budget holds."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from support.ports import request
from support.scripted_server import Fault, ScriptedServer

from personalrm.core.errors import BudgetExceeded
from personalrm.llm.cache.store import ResponseStore
from personalrm.llm.client import REMARKS
from personalrm.llm.limits.budget import Budget
from personalrm.llm.open import RuntimeSettings, open_model
from personalrm.llm.types import ModelSpec, Response, Usage

SOUND = Usage(12, 3, 4)
USAGES: dict[str, tuple[Any, Usage]] = {
    "none": (None, Usage(10, 2, estimated=True)),
    "empty": ({}, Usage(10, 2, estimated=True)),
    "null": ({"prompt_tokens": None, "completion_tokens": None}, Usage(10, 2, estimated=True)),
    "negative": ({"prompt_tokens": -5, "completion_tokens": -1}, Usage(10, 2, estimated=True)),
    "10^30": ({"prompt_tokens": 10**30, "completion_tokens": 10**30}, Usage(10, 2, estimated=True)),
    "infinite": ({"prompt_tokens": float("inf"), "completion_tokens": float("nan")}, Usage(10, 2, estimated=True)),
    "millions": ({"prompt_tokens": 5_000_000, "completion_tokens": 3}, Usage(10, 3, estimated=True)),
    "written beyond the limit": ({"prompt_tokens": 12, "completion_tokens": 90_000}, Usage(12, 2, estimated=True)),
    "texts": ({"prompt_tokens": "12", "completion_tokens": "3"}, Usage(10, 2, estimated=True)),
    "other names": ({"input_tokens": 12, "output_tokens": 3}, Usage(12, 3)),
    "a list": ([12, 3], Usage(10, 2, estimated=True)),
    "more cached than sent": (
        {"prompt_tokens": 12, "completion_tokens": 3, "prompt_tokens_details": {"cached_tokens": 10**6}},
        Usage(12, 3, 12, estimated=True),
    ),
    "sound": ({"prompt_tokens": 12, "completion_tokens": 3, "prompt_tokens_details": {"cached_tokens": 4}}, SOUND),
}


def replying(usage: object) -> Fault:
    choice = {"message": {"role": "assistant", "content": "fine"}, "finish_reason": "stop"}
    body = {"model": "m", "choices": [choice]} | ({} if usage is None else {"usage": usage})
    return Fault("body", body=json.dumps(body))


async def ask_all(ask: Callable[[int], Awaitable[Response]]) -> None:
    for number in range(1, 9):
        await ask(number)


@pytest.mark.parametrize("name", USAGES)
def test_counts_that_make_no_sense_are_estimated_and_the_budget_holds(tmp_path: Path, name: str) -> None:
    usage, expected = USAGES[name]
    with ScriptedServer(faults=lambda *_: replying(usage)) as server, ResponseStore(tmp_path / "s", run="r") as store:
        spec = ModelSpec("m", "openai", "m", api_base=server.url, max_attempts=1, price_in=1e4, price_out=1e4)
        # Room for two calls: each may cost 0.6 dollars, and costs 0.12 to 0.15.
        budget = Budget(store, spec, 0.9)

        async def ask(number: int) -> Response:
            async with open_model(spec, store=store, runtime=RuntimeSettings(tmp_path, 1), budget=budget) as model:
                return await model.complete(request(f"q {number:02}", max_tokens=50))

        answer = asyncio.run(ask(0))
        assert answer.usage == expected
        assert store.get(answer.key) == answer
        with pytest.raises(BudgetExceeded, match=r"^budget\.usd"):
            asyncio.run(ask_all(ask))
        spent = store.paid_totals("r")[spec.identity]
        assert spent.cost_usd == pytest.approx(spent.calls * (expected.tokens_in + expected.tokens_out) / 100)
        assert spent.cost_usd <= 0.9
        remarks = store.peek(REMARKS).get(spec.identity, {})
    assert bool(remarks) == expected.estimated
