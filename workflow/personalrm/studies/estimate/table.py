"""An estimate as a table for people and as JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field

from tabulate import tabulate

from personalrm.studies.estimate.assumptions import Assumptions, Bound
from personalrm.studies.estimate.usage import BATCHED, STAGES, Prices, Tally, Work, total

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


def rows_of(tallies: Mapping[Bound, Tally], prices: Mapping[str, Prices | None]) -> list[Row]:
    """A row for each stage and model, then the models in all, then the run."""
    keys = sorted({key for tally in tallies.values() for key in tally})
    models = [name for name in prices if any(model == name for _, model in keys)]
    stages = dict.fromkeys((*STAGES, *(stage for stage, _ in keys)))
    groups = {(stage, name): [(stage, name)] for stage in stages for name in models if (stage, name) in keys}
    groups |= {("all", name): [key for key in keys if key[1] == name] for name in models}
    return [_row(*names, group, tallies, prices) for names, group in (groups | {("all", "all"): keys}).items()]


def _row(
    stage: str,
    model: str,
    keys: Sequence[tuple[str, str]],
    tallies: Mapping[Bound, Tally],
    prices: Mapping[str, Prices | None],
) -> Row:
    work = {bound: total(tally.get(key, Work()) for key in keys) for bound, tally in tallies.items()}
    calls = sorted(round(each.calls) for each in work.values())
    parts = [(each, tallies["expected"].get((each, name), Work()), prices[name]) for each, name in keys]
    known = [_dollars(each, part, price) for each, part, price in parts if price]
    usd = [sum(column) for column in zip((0, 0, 0), *known, strict=True)] if len(known) == len(parts) else [None] * 3
    tokens = map(round, work["expected"])
    return Row(stage, model, next(tokens), calls[0], calls[-1], *tokens, *usd)


def _dollars(stage: str, work: Work, price: Prices) -> tuple[float, float, float]:
    """At list price, with the prefix cache, and in batches where the stage allows them."""
    listed, cached = price.listed(work), price.with_cache(work)
    return listed, cached, price.batch_share * listed if stage in BATCHED else cached


def _cells(row: Row) -> tuple[str, ...]:
    spread = f"{row.calls_least:,}-{row.calls_most:,}" if row.calls_least < row.calls_most else ""
    counts = (row.prompt_tokens, row.cached_tokens, row.generated_tokens)
    dollars = (row.usd_list, row.usd_cached, row.usd_batched)
    return (
        *(row.stage, row.model, f"{row.calls:,}", spread),
        *(f"{count:,}" for count in counts),
        *("?" if usd is None else f"{usd:,.2f}" for usd in dollars),
    )
