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
from typing import get_args

from personalrm.core.errors import DataError
from personalrm.core.records import UserData
from personalrm.data.prepare import read_users
from personalrm.data.sources.reading import ReadReport
from personalrm.llm.cache.store import ResponseStore
from personalrm.llm.open import RuntimeSettings, open_model
from personalrm.llm.types import Message, ModelSpec, Request, Usage
from personalrm.studies.estimate.assumptions import Assumptions, Bound, read_assumptions
from personalrm.studies.estimate.simulate import simulate_run
from personalrm.studies.estimate.training import training_notes
from personalrm.studies.estimate.usage import Counter, Estimate, Tally, counter_of, prices_of, rows_of, total
from personalrm.studies.synthesizeme.config import Config
from personalrm.studies.synthesizeme.config_load import load_config

CALLS, USERS, RUNS = 40_000, 4, 24
"""A simulation takes as many users of each data set as make about `CALLS` calls (some 30 s), but no fewer than `USERS`;
where these are few, it is repeated with other verdicts, up to `RUNS` runs of a user in all."""


def read_data(config: Config) -> dict[str, list[UserData]]:
    """Users of all data sets, from their sources. Raises DataError for bad data and for data that are not there."""
    for name, settings in config.datasets.items():
        source = settings.hub
        files = [] if source is None else source.paths
        absent = [str(path) for path in files if not path.is_file()]
        if absent:
            raise DataError(
                f"datasets.{name}.hub: not there yet: {', '.join(absent)}; run snakemake with the same "
                f"--configfile and the target prepare_{name}, which costs nothing"
            )
    return {name: read_users(settings, ReadReport()).users for name, settings in config.datasets.items()}


def estimate_of(
    config: Config,
    data: Mapping[str, Sequence[UserData]],
    counters: Mapping[str, Counter],
    assumed: Assumptions,
    users: int | None = None,
) -> tuple[Estimate, Tally]:
    """The estimate, and the expected work by stage and model; `users` of each data set are simulated (None: enough)."""
    whole = total(simulate_run(config, data, counters, assumed, 1, 1, "expected")[0].values()).calls
    people = {name: sum(bool(user.pairs) for user in mine) for name, mine in data.items()}
    if users is None:
        users = max(USERS, round(CALLS / max(whole, 1) * max(people.values())))
    fewest = max(1, min(users, *people.values()))
    times = max(1, min(-(-RUNS // fewest), int(CALLS / max(whole, 1))))
    tallies: dict[Bound, Tally] = {}
    sampled: dict[str, int] = {}
    for bound in get_args(Bound):
        again = times if bound == "expected" else 1
        tallies[bound], sampled = simulate_run(config, data, counters, assumed, users, again, bound)
    prices = {
        name: prices_of(spec, assumed.cached_price, config.models[name].batch) for name, spec in config.specs.items()
    }
    asked = {model for _, model in tallies["expected"]}
    notes = [
        f"No price is known for {name}: add models.{name}.price_in and models.{name}.price_out."
        for name in prices
        if prices[name] is None and name in asked
    ]
    stand = {name: f"{people[name]}, of whom {count} were simulated" for name, count in sampled.items()}
    tokenizers = {name: counter.how for name, counter in counters.items() if name in asked}
    return Estimate(rows_of(tallies, prices), stand, tokenizers, assumed, notes), tallies["expected"]


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
    config = load_config(config_file)
    data = read_data(config)
    made, work = estimate_of(
        config,
        data,
        {name: counter_of(spec) for name, spec in config.specs.items()},
        read_assumptions(assume),
        users,
    )
    stored = _stored(config)
    notes = [*made.notes, *(_times(config, work, cores) if timed else [])]
    notes += training_notes(config, data, timed=timed)
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


def _stored(config: Config) -> int:
    if not config.store.is_file():
        return 0
    identities = {spec.identity for spec in config.specs.values()}
    with ResponseStore(config.store, config.store_journal) as store:
        return sum(totals.calls for identity, totals in store.usage_totals().items() if identity in identities)
