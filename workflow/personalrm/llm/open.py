"""Open the port to a configured model, whichever backend it has."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from personalrm.errors import ConfigError
from personalrm.llm.budget import Budget
from personalrm.llm.pace import Pace
from personalrm.llm.port import Port, Price
from personalrm.llm.refusals import Refusals
from personalrm.llm.store import ResponseStore
from personalrm.llm.types import Backend, ModelSpec

EMBEDDED_SLOTS = 4
"""Generations that the embedded server runs at once."""


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
) -> AsyncIterator[Port]:
    """A port to `spec`, closed at the end; the store stays open.

    Nothing is started, imported or connected before the first call that the store cannot answer. Raises
    ConfigError for an unknown backend.
    """
    backend, price = _backend(spec, runtime, embedded_url)
    if spec.backend == "embedded":
        # Short calls are all prompt processing, which fills the cores alone; slots do not share prefixes,
        # so one call after another finds the prefix that the last one left.
        port = Port(spec, backend, store, max_concurrency=EMBEDDED_SLOTS, short_concurrency=1, budget=budget)
    else:
        limited = spec.requests_per_minute or spec.tokens_per_minute
        pace = Pace(store.path, spec) if limited else None
        refusals = Refusals(store.path, spec)
        port = Port(spec, backend, store, budget=budget, price=price, pace=pace, refusals=refusals)
    try:
        yield port
    finally:
        await port.aclose()


def _backend(
    spec: ModelSpec, runtime: RuntimeSettings, embedded_url: EmbeddedUrl | None
) -> tuple[Backend, Price | None]:
    """The backend that the spec names, and its own price list where the spec has no prices."""
    if spec.backend == "litellm":
        from personalrm.llm.litellm_backend import LiteLLMBackend

        through = LiteLLMBackend(spec)
        priced = spec.price_in is not None and spec.price_out is not None
        return through, None if priced else through.list_price
    from personalrm.llm.openai_http import OpenAIHttpBackend

    if spec.backend == "openai":
        return OpenAIHttpBackend(spec), None
    if spec.backend == "embedded":
        find = embedded_url or _default_embedded_url(runtime)
        return OpenAIHttpBackend(spec, lambda: asyncio.to_thread(find, spec)), None
    raise ConfigError(f"models.{spec.name}.backend: {spec.backend!r} is none of embedded, openai, litellm")


def _default_embedded_url(runtime: RuntimeSettings) -> EmbeddedUrl:
    """Fetch the model's file if need be, and start or find its server."""

    def url(spec: ModelSpec) -> str:
        from personalrm.embedded.catalogue import get_entry
        from personalrm.embedded.fetch import ensure_model
        from personalrm.embedded.lifecycle import ensure_server, owner_from_env

        entry = get_entry(spec.model)
        path = ensure_model(entry, local_path=Path(spec.path) if spec.path else None, cache_dir=runtime.cache_dir)
        server = ensure_server(
            entry,
            path,
            runtime_dir=runtime.runtime_dir,
            owner=owner_from_env(),
            threads=runtime.cores,
            slots=EMBEDDED_SLOTS,
            context=min(spec.context_length, entry.context_length),
        )
        return f"{server.url}/v1"

    return url
