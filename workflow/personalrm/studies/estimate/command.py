"""What a run will ask, cost and, on embedded models, how long it will take on this machine.

Calls and tokens are counted by three simulations of the run (`simulate.py`), of what is expected and of the least and
the most: the stages' own functions and prompts on the real data, with fake models. The speed of embedded models is
measured with two short calls.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import get_args

from personalrm.core.errors import DataError
from personalrm.core.records import UserData
from personalrm.data.prepare import read_users
from personalrm.data.sources.reading import ReadReport
from personalrm.llm.cache.store import ResponseStore
from personalrm.llm.open import RuntimeSettings, open_model
from personalrm.llm.types import LanguageModel, Message, ModelSpec, Request
from personalrm.studies.estimate.assumptions import Assumptions, Bound, read_assumptions
from personalrm.studies.estimate.fake_model import FakeModel
from personalrm.studies.estimate.simulate import Simulation
from personalrm.studies.estimate.table import Estimate, rows_of
from personalrm.studies.estimate.usage import Counter, Tally, Work, counter_of, prices_of, total
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


def counters_of(config: Config) -> dict[str, Counter]:
    """How the tokens of each model are counted."""
    return {name: counter_of(spec) for name, spec in config.specs.items()}


def simulate_run(
    config: Config,
    data: Mapping[str, Sequence[UserData]],
    counters: Mapping[str, Counter],
    assumed: Assumptions,
    users: int,
    times: int,
    bound: Bound,
) -> tuple[Tally, dict[str, int]]:
    """Calls of a run by stage and model, and the number of users of each data set that stand for the others.

    At most `users` of each data set are simulated, each of them `times` times with other verdicts.
    """
    tally: Tally = {}
    sampled: dict[str, int] = {}

    async def run_once(salt: int) -> None:
        models = {
            name: FakeModel(spec, config.models[name].prompts, counters[name], assumed, str(salt))
            for name, spec in config.specs.items()
        }
        simulation = Simulation(config, models, bound, users, tally, 1 / times)
        await simulation.thetas([user for people in data.values() for user in people])
        sampled.update({name: await simulation.dataset(name, people) for name, people in data.items()})

    for salt in range(times):
        asyncio.run(run_once(salt))
    return tally, sampled


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
