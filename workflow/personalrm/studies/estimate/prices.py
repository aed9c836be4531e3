"""List prices of a model: of a prompt token, of one that the provider's prefix cache holds, of a generated one."""

from __future__ import annotations

from dataclasses import dataclass

from personalrm.llm.backends.batch.batch_settings import BatchSettings
from personalrm.llm.open import list_price
from personalrm.llm.types import ModelSpec
from personalrm.studies.estimate.work import Work

_TOKENS = 1000
"""Prices are read for so many: some providers ask more for a token of very long prompts."""


@dataclass(frozen=True)
class Prices:
    """US dollars a token; of the list price batches cost `batch_share`."""

    prompt: float
    cached: float
    generated: float
    batch_share: float = BatchSettings().price

    def listed(self, work: Work) -> float:
        """Dollars at list price, as the workflow's results state costs."""
        return work.prompt * self.prompt + work.generated * self.generated

    def with_cache(self, work: Work) -> float:
        """Dollars if the provider's cache holds every prefix that was sent before."""
        return self.listed(work) - work.cached * (self.prompt - self.cached)


def prices_of(spec: ModelSpec, cached_share: float, batch: BatchSettings | None = None) -> Prices | None:
    """Prices of the config, else of litellm's list; None where neither has one. `cached_share` stands in for a cached
    price that is in no list, `batch` has the model's own price of batches (default: half of the list's)."""
    price = list_price(spec)
    prompt, generated = price(_TOKENS, 0), price(0, _TOKENS)
    if prompt is None or generated is None:
        return None
    cached = _listed_cached(spec)
    read = prompt / _TOKENS * cached_share if cached is None else cached
    return Prices(prompt / _TOKENS, read, generated / _TOKENS, (batch or BatchSettings()).price)


def _listed_cached(spec: ModelSpec) -> float | None:
    if spec.backend != "litellm" or spec.price_in is not None:
        return None
    from personalrm.llm.backends.litellm_backend import litellm_model, load_litellm

    known = load_litellm().model_cost
    name = litellm_model(spec.model)
    entry = known.get(name) or known.get(name.partition("/")[2]) or {}
    price = entry.get("cache_read_input_token_cost")
    return None if price is None else float(price)
