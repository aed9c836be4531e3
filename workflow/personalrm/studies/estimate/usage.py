"""What calls use and cost by stage and model: tokens of a text, sums of calls, list prices, and the table of them."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import NamedTuple

from tabulate import tabulate

from personalrm.llm import tokens
from personalrm.llm.backends.batch.batch_settings import BatchSettings
from personalrm.llm.backends.openai_format import wire_text
from personalrm.llm.open import list_price
from personalrm.llm.types import ModelSpec
from personalrm.studies.estimate.assumptions import Assumptions, Bound

STAGES = (
    *(
        "rate",
        "panel",
        "score_attributes",
        "baseline",
        "bootstrap",
        "search",
        "persona",
        "rebootstrap",
        "search_persona",
        "memory",
    ),
    *("judge", "transfer", "fidelity", "recovery", "axes", "tag", "theta"),
)
"""In the order of a run; other stages come after them. Profiles are counted by their steps, whose names are those of
`CallRef.stage`; `transfer` is `judge` with another model's profiles."""


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
    """Counts the `tokens` of a text; `how` names the tokenizer."""

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


HEADS = ("stage", "model", "calls", "least-most", "prompt", "in cache", "written", "list $", "cached $", "batch $")


@dataclass(frozen=True)
class Row:
    """One stage of one model, a model in all (`stage` "all"), or the run (`model` "all", too).

    Calls as expected, and the fewest and most; tokens and US dollars as expected: at list price, with the provider's
    prefix cache, and with batches where the stage allows it (which then go without the cache). None: no price is known.
    """

    stage: str
    model: str
    calls: int
    calls_least: int
    calls_most: int
    prompt_tokens: int
    cached_tokens: int
    generated_tokens: int
    usd_list: float | None
    usd_cached: float | None
    usd_batched: float | None


@dataclass(frozen=True)
class Estimate:
    """Rows, what they rest on, and notes for a reader."""

    rows: Sequence[Row]
    users: Mapping[str, str]
    tokenizers: Mapping[str, str]
    assumed: Assumptions
    notes: Sequence[str] = field(default=())

    def as_json(self) -> str:
        """All of it, as JSON."""
        values = asdict(self) | {"assumed": self.assumed.model_dump()}
        return json.dumps(values, indent=1, sort_keys=True) + "\n"

    def as_text(self) -> str:
        """A table, and the notes as lines."""
        sides = ["left" if head in ("stage", "model") else "right" for head in HEADS]
        cells = [HEADS, *map(_cells, self.rows)]
        shown = tabulate(cells, tablefmt="plain", colalign=sides, disable_numparse=True).splitlines()
        rule = "-" * len(shown[0])
        totals = next((place for place, row in enumerate(self.rows) if row.stage == "all"), len(self.rows))
        shown = [shown[0], rule, *shown[1 : totals + 1], rule, *shown[totals + 1 :]]
        assumed = ", ".join(f"{name} {value:g}" for name, value in self.assumed)
        known = [
            *(f"Users of {name}: {said}." for name, said in self.users.items()),
            *(f"Tokens of {name}: {said}." for name, said in self.tokenizers.items()),
            f"Assumed (--assume name=value changes it): {assumed}.",
        ]
        return "\n".join([*shown, "", *known, *self.notes]) + "\n"


@dataclass(frozen=True)
class Simulated:
    """What simulations of a run count.

    Attributes:
        tallies: calls and tokens for each bound.
        sampled: data set to how many were simulated, in words.
        batched: steps, other than the names of stages, whose questions are all known at their start, so that a batch
            API can take them.
        notes: what is not in it.
    """

    tallies: Mapping[Bound, Tally]
    sampled: Mapping[str, str]
    batched: frozenset[str] = frozenset()
    notes: Sequence[str] = ()


def rows_of(tallies: Mapping[Bound, Tally], prices: Mapping[str, Prices | None], batched: Collection[str]) -> list[Row]:
    """A row for each stage and model, then the models in all, then the run; `batched` are the stages that a batch API
    can take."""
    keys = sorted({key for tally in tallies.values() for key in tally})
    models = [name for name in prices if any(model == name for _, model in keys)]
    stages = dict.fromkeys((*STAGES, *(stage for stage, _ in keys)))
    groups = {(stage, name): [(stage, name)] for stage in stages for name in models if (stage, name) in keys}
    groups |= {("all", name): [key for key in keys if key[1] == name] for name in models}
    return [_row(*names, group, tallies, prices, batched) for names, group in (groups | {("all", "all"): keys}).items()]


def _row(
    stage: str,
    model: str,
    keys: Sequence[tuple[str, str]],
    tallies: Mapping[Bound, Tally],
    prices: Mapping[str, Prices | None],
    batched: Collection[str],
) -> Row:
    work = {bound: total(tally.get(key, Work()) for key in keys) for bound, tally in tallies.items()}
    calls = sorted(round(each.calls) for each in work.values())
    parts = [(each, tallies["expected"].get((each, name), Work()), prices[name]) for each, name in keys]
    known = [_dollars(part, price, batched=each in batched) for each, part, price in parts if price]
    usd = [sum(column) for column in zip((0, 0, 0), *known, strict=True)] if len(known) == len(parts) else [None] * 3
    tokens = map(round, work["expected"])
    return Row(stage, model, next(tokens), calls[0], calls[-1], *tokens, *usd)


def _dollars(work: Work, price: Prices, *, batched: bool) -> tuple[float, float, float]:
    """At list price, with the prefix cache, and in batches where the stage allows them."""
    listed, cached = price.listed(work), price.with_cache(work)
    return listed, cached, price.batch_share * listed if batched else cached


def _cells(row: Row) -> tuple[str, ...]:
    spread = f"{row.calls_least:,}-{row.calls_most:,}" if row.calls_least < row.calls_most else ""
    counts = (row.prompt_tokens, row.cached_tokens, row.generated_tokens)
    dollars = (row.usd_list, row.usd_cached, row.usd_batched)
    return (
        *(row.stage, row.model, f"{row.calls:,}", spread),
        *(f"{count:,}" for count in counts),
        *("?" if usd is None else f"{usd:,.2f}" for usd in dollars),
    )
