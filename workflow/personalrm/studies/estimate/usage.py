"""What calls use, by stage and model: tokens of a text, sums of calls and tokens, and their list prices."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import NamedTuple

from personalrm.llm import tokens
from personalrm.llm.backends.batch.batch_settings import BatchSettings
from personalrm.llm.backends.openai_format import wire_text
from personalrm.llm.open import list_price
from personalrm.llm.types import ModelSpec
from personalrm.studies.synthesizeme.plan import declared_stages

STAGES = (
    *("rate", "panel", "baseline", "bootstrap", "search", "persona", "rebootstrap", "search_persona", "memory"),
    *("judge", "transfer", "fidelity", "recovery", "axes", "tag", "theta"),
)
"""In the order of a run; other stages come after them. Profiles are counted by their steps, whose names are those of
`CallRef.stage`; `transfer` is `judge` with another model's profiles."""
BATCHED = frozenset({"memory", "transfer", *(stage.name for stage in declared_stages() if stage.batches)})
"""Stages whose questions are all known at their start, so that a batch API can take them."""


class Work(NamedTuple):
    """Calls and their tokens; `cached` is the part of `prompt` that a prefix cache has seen."""

    calls: float = 0.0
    prompt: float = 0.0
    cached: float = 0.0
    generated: float = 0.0

    def plus(self, more: Work, times: float = 1.0) -> Work:
        """The sum, with `more` counted `times` over: one user represents several."""
        return Work(*(one + times * other for one, other in zip(self, more, strict=True)))


Tally = dict[tuple[str, str], Work]
"""By stage and model."""


def total(works: Iterable[Work]) -> Work:
    """The sum."""
    return functools.reduce(Work.plus, works, Work())


_TOKENS = 1000
"""Prices are read for this many: some providers charge more per token of very long prompts."""


@dataclass(frozen=True)
class Prices:
    """US dollars per token; batches cost the share `batch_share` of the list price."""

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
    """Prices of the config, else of litellm's list; None where neither has one. `cached_share` replaces a cached price
    that is in no list, `batch` has the model's own price of batches (default: half of the list's)."""
    price = list_price(spec)
    prompt, generated = price(_TOKENS, 0), price(0, _TOKENS)
    if prompt is None or generated is None:
        return None
    cached = prompt / _TOKENS * cached_share
    if spec.backend == "litellm" and spec.price_in is None:
        from personalrm.llm.backends.litellm_backend import litellm_model, load_litellm

        known, name = load_litellm().model_cost, litellm_model(spec.model)
        entry = known.get(name) or known.get(name.partition("/")[2]) or {}
        listed = entry.get("cache_read_input_token_cost")
        cached = cached if listed is None else float(listed)
    return Prices(prompt / _TOKENS, cached, generated / _TOKENS, (batch or BatchSettings()).price)


FRAME_TOKENS = 4
"""Of each message, in addition to its text; chat templates take 3 to 5."""
OTHER = "gpt-4"
"""The model whose tokenizer is used for others: those of Llama 3 and Qwen grew out of it and cut English alike."""
BYTES_A_TOKEN = 4.3
"""Of English in the bundled data, where no tokenizer can be had at all (ours)."""


class Counter(NamedTuple):
    """Counts the `tokens` of a text; `how` says by what."""

    tokens: Callable[[str], float]
    how: str


def counter_of(spec: ModelSpec) -> Counter:
    """How a model's tokens are counted. Nothing is fetched."""
    own = tokens.counter_of(spec)
    count = own or tokens.counter_of(ModelSpec(OTHER, "openai", OTHER))
    if count is None:
        return Counter(lambda text: len(text.encode("utf-8", "replace")) / BYTES_A_TOKEN, "estimated from bytes")

    @functools.lru_cache(maxsize=100_000)
    def counted(text: str) -> float:
        return count(wire_text(text))

    return Counter(counted, "its own tokenizer" if own else f"that of {OTHER}, for a tokenizer that is not at hand")
