"""Open the client to a configured model, whichever backend it has."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from personalrm.core.errors import ConfigError
from personalrm.core.extras import require_extra
from personalrm.core.threads import beside
from personalrm.llm.backends.batch.batch_settings import BatchSettings
from personalrm.llm.cache.store import ResponseStore
from personalrm.llm.cache.store_locks import CallLocks
from personalrm.llm.client import ModelClient
from personalrm.llm.limits.adaptive_concurrency import AdaptiveConcurrency, Unlimited
from personalrm.llm.limits.budget import Budget, Price, spec_price
from personalrm.llm.limits.rate_limit import RateLimit
from personalrm.llm.limits.retry import RetryPolicy
from personalrm.llm.types import Backend, ModelSpec


@dataclass(frozen=True, slots=True)
class RuntimeSettings:
    """Where this run keeps its servers' state, the cores it may use, and the model cache (None: the default)."""

    runtime_dir: Path
    cores: int
    cache_dir: Path | None = None


EmbeddedUrl = Callable[[ModelSpec], str]
"""Returns the base URL (…/v1) of the embedded model's server, started if it is not running. May block."""


@asynccontextmanager
async def open_model(
    spec: ModelSpec,
    *,
    store: ResponseStore,
    runtime: RuntimeSettings,
    budget: Budget | None = None,
    embedded_url: EmbeddedUrl | None = None,
    batch: BatchSettings | None = None,
    eager: bool = False,
    address: str | None = None,
) -> AsyncIterator[ModelClient]:
    """A client to `spec`, closed at the end; the store stays open. With `batch` its calls are sent as batches; else
    `eager` is as in `AdaptiveConcurrency`, but for an embedded model. With `address`, which is what messages call
    `api_base`, a server that this process has not reached is looked for once before the first call (`FirstContact`).

    Nothing is started, imported or connected before the first call that the store cannot answer. Raises
    ConfigError for an unknown backend.
    """
    client = (
        _batched(spec, batch, store, budget)
        if batch
        else _plain(spec, store, runtime, budget, embedded_url, eager, address)
    )
    finish = True
    try:
        yield client
    except asyncio.CancelledError:
        finish = False
        raise
    finally:
        await client.aclose(finish=finish)


def _batched(spec: ModelSpec, batch: BatchSettings, store: ResponseStore, budget: Budget | None) -> ModelClient:
    """A client whose calls wait together, as long as a batch may take; the limits of plain calls do not hold."""
    from personalrm.llm.backends.batch.batch import BatchBackend

    return ModelClient(
        spec,
        BatchBackend(spec, batch, store),
        store,
        max_concurrency=sys.maxsize,
        concurrency=Unlimited(spec.name),
        budget=budget,
        price_share=batch.price,
        retry=RetryPolicy(spec.max_attempts, batch.max_wait_h * 3600, jitter=False),
        # The journal keeps what was submitted.
        finishes=False,
    )


def _plain(
    spec: ModelSpec,
    store: ResponseStore,
    runtime: RuntimeSettings,
    budget: Budget | None,
    embedded_url: EmbeddedUrl | None,
    eager: bool,
    address: str | None,
) -> ModelClient:
    """A client that sends each call by itself."""
    backend, price = _backend(spec, runtime, embedded_url)
    if address and spec.api_base and spec.backend != "embedded":
        from personalrm.llm.backends.reach import FirstContact

        backend = FirstContact(backend, spec.api_base, address)
    locks = CallLocks(store.path)
    if spec.backend == "embedded":
        # One at a time, so that no call's numbers depend on another's. They cost nothing, and need no budget.
        return ModelClient(spec, backend, store, max_concurrency=1, locks=locks, finishes=False)
    limited = spec.requests_per_minute or spec.tokens_per_minute
    return ModelClient(
        spec,
        backend,
        store,
        concurrency=AdaptiveConcurrency(spec.name, spec.max_concurrency, eager=eager),
        budget=budget,
        price=price,
        rate_limit=RateLimit(store, spec) if limited else None,
        locks=locks,
    )


def list_price(spec: ModelSpec) -> Price:
    """List price by token counts; None where no price is known."""
    own = partial(spec_price, spec)
    if spec.backend == "embedded":
        return own
    return _backend(spec, RuntimeSettings(Path(), 1), None)[1] or own


def _backend(
    spec: ModelSpec, runtime: RuntimeSettings, embedded_url: EmbeddedUrl | None
) -> tuple[Backend, Price | None]:
    """The backend that the spec names, and its own price list where the spec has no prices."""
    if spec.backend == "litellm":
        from personalrm.llm.backends.litellm_backend import LiteLLMBackend

        through = LiteLLMBackend(spec)
        priced = spec.price_in is not None and spec.price_out is not None
        return through, None if priced else through.list_price
    from personalrm.llm.backends.openai_http import OpenAIHttpBackend

    if spec.backend == "openai":
        return OpenAIHttpBackend(spec), None
    if spec.backend == "embedded":
        from personalrm.llm.local.backend import EmbeddedBackend

        find = embedded_url or partial(_server_url, runtime)
        return EmbeddedBackend(spec, lambda: beside(partial(find, spec)), runtime.runtime_dir), None
    raise ConfigError(f"models.{spec.name}.backend: {spec.backend!r} is none of embedded, openai, litellm")


def _server_url(runtime: RuntimeSettings, spec: ModelSpec) -> str:
    """Fetch the model's file if need be, and start or find its server."""
    from personalrm.llm.local.catalogue import get_entry
    from personalrm.llm.local.fetch import ensure_model
    from personalrm.llm.local.owner import owner_from_env
    from personalrm.llm.local.server import ensure_server

    require_extra("embedded", f"embedded model {spec.model}")
    entry = get_entry(spec.model)
    path = ensure_model(entry, local_path=Path(spec.path) if spec.path else None, cache_dir=runtime.cache_dir)
    server = ensure_server(
        entry,
        path,
        runtime_dir=runtime.runtime_dir,
        owner=owner_from_env(),
        threads=runtime.cores,
        context=min(spec.context_length, entry.context_length),
    )
    return f"{server.url}/v1"
