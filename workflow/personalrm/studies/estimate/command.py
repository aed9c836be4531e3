"""What a run will ask, cost and, on embedded models, how long it will take on this machine.

Calls and tokens are counted by a simulation of the run (`simulate.py`): the stages' own functions and prompts on the
real data, with fake models. The speed of embedded models is measured with two short calls.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from personalrm.llm.cache.store import ResponseStore
from personalrm.llm.open import RuntimeSettings, open_model
from personalrm.llm.types import LanguageModel, Message, ModelSpec, Request
from personalrm.studies.estimate.assumptions import read_assumptions
from personalrm.studies.estimate.rehearse import counters_of, estimate_of, read_data
from personalrm.studies.estimate.work import Tally, Work, total
from personalrm.studies.synthesizeme.config import Config
from personalrm.studies.synthesizeme.config_load import load_config


@dataclass(frozen=True)
class Speed:
    """Tokens a second, as measured."""

    prompt: float
    generated: float

    def seconds(self, work: Work) -> float:
        """Time for `work`; a call costs about 30 ms beside its tokens (ours, measured on the embedded server)."""
        return (work.prompt - work.cached) / self.prompt + work.generated / self.generated + 0.03 * work.calls


async def measure(model: LanguageModel) -> Speed:
    """Speed of a model: the second of two prompts (the first also starts the server), and a short generation."""
    text = "A gardener asked how often to water young trees in a dry summer, and two friends answered. " * 12
    for index in range(2):
        begun = time.monotonic()
        message = Message("user", f"{index} {time.time_ns()} {text}")
        response = await model.complete(Request((message,), max_tokens=1))
    prompt = (response.usage.tokens_in - response.usage.tokens_cached) / (time.monotonic() - begun)
    begun = time.monotonic()
    request = Request((Message("user", f"Tell a story. {time.time_ns()}"),), max_tokens=32)
    response = await model.complete(request)
    return Speed(prompt, max(response.usage.tokens_out, 1) / (time.monotonic() - begun))


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

    `users` of each data set stand for the others (None: as many as half a minute allows), `assume` changes what is
    taken for granted (`name=value`). Raises ConfigError and DataError.
    """
    config = load_config(config_file)
    made, work = estimate_of(config, read_data(config), counters_of(config), read_assumptions(assume), users)
    stored = _stored(config)
    notes = [*made.notes, *(_times(config, work, cores) if timed else [])]
    if stored:
        notes.append(f"{stored} answers are in the store already; those that are asked for again cost nothing.")
    made = replace(made, notes=notes)
    return made.as_json() if as_json else made.as_text()


def _times(config: Config, tally: Tally, cores: int) -> list[str]:
    """A line for each embedded model, and one for all."""
    lines, seconds = [], 0.0
    for name, entry in config.models.items():
        work = total(part for (_, model), part in tally.items() if model == name)
        if entry.backend != "embedded" or not work.calls:
            continue
        speed = asyncio.run(_measured(entry.spec(name), cores))
        took = speed.seconds(work)
        seconds += took
        rate = f"{speed.prompt:.0f} and {speed.generated:.0f} tokens a second measured"
        lines.append(f"{name}: {rate}: {took / 60:.0f} minutes.")
    if lines:
        lines.append(f"In all about {seconds / 60:.0f} minutes on {cores} cores, if nothing else runs on them.")
    return lines


async def _measured(spec: ModelSpec, cores: int) -> Speed:
    runtime = RuntimeSettings(Path(".snakemake/personalrm/servers").absolute(), cores)
    with ResponseStore(":memory:") as store:
        async with open_model(spec, store=store, runtime=runtime) as client:
            return await measure(client)


def _stored(config: Config) -> int:
    if not config.store.is_file():
        return 0
    identities = {spec.identity for spec in config.specs.values()}
    with ResponseStore(config.store, config.store_journal) as store:
        return sum(totals.calls for identity, totals in store.usage_totals().items() if identity in identities)
