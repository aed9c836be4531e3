"""What a run will ask, cost and, on embedded models, how long it will take on this machine.

Calls and tokens are counted by three simulations of the run (`simulate.py`), of what is expected and of the least and
the most: the stages' own functions and prompts on the real data, with fake models. The speed of embedded models is
measured with two short calls.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from personalrm.llm.cache.store import ResponseStore
from personalrm.llm.open import RuntimeSettings, open_model
from personalrm.llm.types import Message, ModelSpec, Request, Usage
from personalrm.studies.config_load import load_config
from personalrm.studies.estimate.assumptions import Assumptions, read_assumptions
from personalrm.studies.estimate.usage import Counter, Estimate, Tally, counter_of, prices_of, rows_of, total
from personalrm.studies.study import plan_of, study_of
from personalrm.studies.study_config import StudyConfig


def estimate_of(
    config: StudyConfig, counters: Mapping[str, Counter], assumed: Assumptions, users: int | None = None
) -> tuple[Estimate, Tally]:
    """The estimate, and the expected work by stage and model; `users` of each data set (or pairs, in studies without
    users) are simulated (None: enough)."""
    made = study_of(config.study).simulated(config, counters, assumed, users)
    prices = {
        name: prices_of(spec, assumed.cached_price, config.models[name].batch) for name, spec in config.specs.items()
    }
    asked = {model for _, model in made.tallies["expected"]}
    notes = [
        f"No price is known for {name}: add models.{name}.price_in and models.{name}.price_out."
        for name in prices
        if prices[name] is None and name in asked
    ]
    batched = {name for name, stage in plan_of(config).stages.items() if stage.batches}
    rows = rows_of(made.tallies, prices, batched | made.batched)
    tokenizers = {name: counter.how for name, counter in counters.items() if name in asked}
    return Estimate(rows, made.sampled, tokenizers, assumed, [*notes, *made.notes]), made.tallies["expected"]


def estimate(
    config_file: Path,
    cores: int,
    *,
    users: int | None = None,
    assume: Sequence[str] = (),
    as_json: bool = False,
    timed: bool = True,
) -> str:
    """The estimate as text, or as JSON. With `timed` the speed of embedded models is measured.

    `users` of each data set represent the others (None: as many as half a minute allows), `assume` changes
    assumptions (`name=value`). Raises ConfigError and DataError.
    """
    config: StudyConfig = load_config(config_file)
    counters = {name: counter_of(spec) for name, spec in config.specs.items()}
    made, work = estimate_of(config, counters, read_assumptions(assume), users)
    stored = _stored(config)
    notes = [*made.notes, *(_times(config, work, cores) if timed else [])]
    notes += study_of(config.study).training(config, timed)
    if stored:
        notes.append(f"{stored} answers are in the store already; those that are asked for again cost nothing.")
    made = replace(made, notes=notes)
    return made.as_json() if as_json else made.as_text()


def _times(config: StudyConfig, tally: Tally, cores: int) -> list[str]:
    """A line for each embedded model, and one for all."""
    lines, seconds = [], 0.0
    for name, entry in config.models.items():
        work = total(part for (_, model), part in tally.items() if model == name)
        if entry.backend != "embedded" or not work.calls:
            continue
        prompt, generated = asyncio.run(_speeds(entry.spec(name), cores))
        # A call takes about 30 ms in addition to its tokens (ours, measured on the embedded server).
        took = (work.prompt - work.cached) / prompt + work.generated / generated + 0.03 * work.calls
        seconds += took
        rate = f"{prompt:.0f} and {generated:.0f} tokens a second measured"
        lines.append(f"{name}: {rate}: {took / 60:.0f} minutes.")
    if lines:
        lines.append(f"In all about {seconds / 60:.0f} minutes on {cores} cores, if nothing else runs on them.")
    return lines


async def _speeds(spec: ModelSpec, cores: int) -> tuple[float, float]:
    """Tokens per second of a prompt and of generation, each of one call; a first prompt starts the server."""
    runtime = RuntimeSettings(Path(".snakemake/personalrm/servers").absolute(), cores)
    text = "A gardener asked how often to water young trees in a dry summer, and two friends answered. " * 12
    with ResponseStore(":memory:") as store:
        async with open_model(spec, store=store, runtime=runtime) as model:

            async def timed(text: str, max_tokens: int) -> tuple[Usage, float]:
                begun = time.monotonic()
                message = Message("user", f"{time.time_ns()} {text}")
                response = await model.complete(Request((message,), max_tokens=max_tokens))
                return response.usage, time.monotonic() - begun

            await timed(text, 1)
            asked, asked_s = await timed(text, 1)
            written, written_s = await timed("Tell a story.", 32)
    return (asked.tokens_in - asked.tokens_cached) / asked_s, max(written.tokens_out, 1) / written_s


def _stored(config: StudyConfig) -> int:
    if not config.store.is_file():
        return 0
    identities = {spec.identity for spec in config.specs.values()}
    with ResponseStore(config.store, config.store_journal) as store:
        return sum(totals.calls for identity, totals in store.usage_totals().items() if identity in identities)
