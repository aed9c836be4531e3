"""Ports that send batches, with waits of a test's length."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing
from typing import Any

from personalrm.llm.backends.batch.batch import JOURNAL
from personalrm.llm.backends.batch.batch_settings import BatchSettings
from personalrm.llm.cache.store import ResponseStore
from personalrm.llm.client import CallCounts
from personalrm.llm.open import RuntimeSettings, open_model
from personalrm.llm.types import Message, ModelSpec, Request, Response
from support.scripted_server import ScriptedServer

QUICK = BatchSettings(gather_s=0.05, poll_s=0.02, max_poll_s=0.1, settle_s=0.3)


def asked(count: int, what: str = "question") -> list[Request]:
    return [Request((Message("user", f"{what} {number} Zoë\u2028"),), 50) for number in range(count)]


def spec_for(server: ScriptedServer, **options: Any) -> ModelSpec:  # noqa: ANN401
    given = {"api_base": server.url, "timeout_s": 10.0, "price_in": 2.0, "price_out": 4.0, **options}
    return ModelSpec("tester", "openai", "openai/m", **given)


def complete(
    spec: ModelSpec, store: ResponseStore, requests: list[Request], batch: BatchSettings | None = QUICK
) -> tuple[list[Response | BaseException], CallCounts]:
    """Answers and failures of all requests at once, through a port of its own."""

    async def run() -> tuple[list[Response | BaseException], CallCounts]:
        runtime = RuntimeSettings(store.path.parent / "runtime", cores=2)
        async with open_model(spec, store=store, runtime=runtime, batch=batch) as port:
            found = await asyncio.gather(*map(port.complete, requests), return_exceptions=True)
            return list(found), port.stats

    return asyncio.run(run())


def journals(store: ResponseStore) -> list[str]:
    """The journals of open batches in `store`."""
    query = "SELECT DISTINCT kind FROM shared WHERE kind LIKE ? ORDER BY kind"
    with closing(sqlite3.connect(store.path)) as raw:
        return [kind for (kind,) in raw.execute(query, (f"{JOURNAL}%",))]


def records(store: ResponseStore) -> list[dict[str, Any]]:
    """What the journals of open batches in `store` hold."""
    return [record for journal in journals(store) for record in store.peek(journal).values()]
