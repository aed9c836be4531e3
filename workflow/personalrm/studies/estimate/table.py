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
    keys = {key for tally in tallies.values() for key in tally}
    models = [name for name in prices if any(model == name for _, model in keys)]
    stages = dict.fromkeys((*STAGES, *sorted(stage for stage, _ in keys)))
    ordered = [(stage, model) for stage in stages for model in models if (stage, model) in keys]
    rows = [_row(stage, model, {(stage, model)}, tallies, prices) for stage, model in ordered]
    rows += [_row("all", name, {key for key in keys if key[1] == name}, tallies, prices) for name in models]
    return [*rows, _row("all", "all", keys, tallies, prices)]


def _row(
    stage: str,
    model: str,
    keys: set[tuple[str, str]],
    tallies: Mapping[Bound, Tally],
    prices: Mapping[str, Prices | None],
) -> Row:
    work = {bound: total(tally[key] for key in keys if key in tally) for bound, tally in tallies.items()}
    expected = tallies["expected"]
    parts = [(key[0], expected.get(key, Work()), prices[key[1]]) for key in sorted(keys)]
    known = [(each, part, price) for each, part, price in parts if price is not None]
    complete = len(known) == len(parts)
    calls = sorted(round(each.calls) for each in work.values())
    return Row(
        stage=stage,
        model=model,
        calls=round(work["expected"].calls),
        calls_least=calls[0],
        calls_most=calls[-1],
        prompt_tokens=round(work["expected"].prompt),
        cached_tokens=round(work["expected"].cached),
        generated_tokens=round(work["expected"].generated),
        usd_list=sum(price.listed(part) for _, part, price in known) if complete else None,
        usd_cached=sum(price.with_cache(part) for _, part, price in known) if complete else None,
        usd_batched=sum(_batched(*each) for each in known) if complete else None,
    )


def _batched(stage: str, work: Work, price: Prices) -> float:
    return price.batch_share * price.listed(work) if stage in BATCHED else price.with_cache(work)


def _cells(row: Row) -> tuple[str, ...]:
    spread = f"{row.calls_least:,}-{row.calls_most:,}" if row.calls_least < row.calls_most else ""
    counts = (row.prompt_tokens, row.cached_tokens, row.generated_tokens)
    dollars = (row.usd_list, row.usd_cached, row.usd_batched)
    return (
        *(row.stage, row.model, f"{row.calls:,}", spread),
        *(f"{count:,}" for count in counts),
        *("?" if usd is None else f"{usd:,.2f}" for usd in dollars),
    )
