"""From a config and its data to an estimate: three rehearsals, of what is expected and of the least and most."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import get_args

from personalrm.core.errors import DataError
from personalrm.core.records import UserData
from personalrm.data.hub.hub import hub_of, hub_paths
from personalrm.data.prepare import read_users
from personalrm.data.settings import parquet_of
from personalrm.data.sources.reading import ReadReport
from personalrm.studies.estimate.assumptions import Assumptions, Bound
from personalrm.studies.estimate.counting import Counter, counter_of
from personalrm.studies.estimate.fake_model import FakeModel
from personalrm.studies.estimate.prices import prices_of
from personalrm.studies.estimate.simulate import Simulation
from personalrm.studies.estimate.table import Estimate, rows_of
from personalrm.studies.estimate.work import Tally, total
from personalrm.studies.synthesizeme.config import Config

CALLS, USERS, PASSAGES = 40_000, 4, 24
"""A rehearsal takes as many users of each data set as make about so many calls (some 30 s), but no fewer than `USERS`;
where these are few, each passes again with other verdicts, up to `PASSAGES` in all."""

Counters = Mapping[str, Counter]


def read_data(config: Config) -> dict[str, list[UserData]]:
    """Users of all data sets, from their sources. Raises DataError for bad data and for data that are not there."""
    for name, settings in config.datasets.items():
        source = hub_of(settings)
        files = [] if source is None else [parquet_of(path) for path in hub_paths(source)]
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


def rehearse(
    config: Config,
    data: Mapping[str, Sequence[UserData]],
    counters: Counters,
    assumed: Assumptions,
    users: int,
    times: int,
    bound: Bound,
) -> tuple[Tally, dict[str, int]]:
    """What a run asks, by stage and model, and how many users of each data set stand for the others.

    At most `users` of each data set pass, each of them `times` over with other verdicts.
    """
    tally: Tally = {}
    sampled: dict[str, int] = {}

    async def pass_through(salt: int) -> None:
        models = {
            name: FakeModel(spec, config.models[name].prompts, counters[name], assumed, str(salt))
            for name, spec in config.specs.items()
        }
        passage = Simulation(config, models, bound, users, tally, 1 / times)
        await passage.thetas([user for people in data.values() for user in people])
        sampled.update({name: await passage.dataset(name, people) for name, people in data.items()})

    for salt in range(times):
        asyncio.run(pass_through(salt))
    return tally, sampled


def estimate_of(
    config: Config,
    data: Mapping[str, Sequence[UserData]],
    counters: Counters,
    assumed: Assumptions,
    users: int | None = None,
) -> tuple[Estimate, Tally]:
    """The estimate, and the expected work by stage and model; `users` of each data set are rehearsed (None: enough)."""
    whole = total(rehearse(config, data, counters, assumed, 1, 1, "expected")[0].values()).calls
    people = {name: sum(bool(user.pairs) for user in mine) for name, mine in data.items()}
    if users is None:
        users = max(USERS, round(CALLS / max(whole, 1) * max(people.values())))
    fewest = max(1, min(users, *people.values()))
    times = max(1, min(-(-PASSAGES // fewest), int(CALLS / max(whole, 1))))
    tallies: dict[Bound, Tally] = {}
    sampled: dict[str, int] = {}
    for bound in get_args(Bound):
        again = times if bound == "expected" else 1
        tallies[bound], sampled = rehearse(config, data, counters, assumed, users, again, bound)
    prices = {
        name: prices_of(spec, assumed.cached_price, config.models[name].batch) for name, spec in config.specs.items()
    }
    asked = {model for _, model in tallies["expected"]}
    notes = [
        f"No price is known for {name}: add models.{name}.price_in and models.{name}.price_out."
        for name in prices
        if prices[name] is None and name in asked
    ]
    stand = {name: f"{people[name]}, of whom {count} were rehearsed" for name, count in sampled.items()}
    tokenizers = {name: counter.how for name, counter in counters.items() if name in asked}
    return Estimate(rows_of(tallies, prices), stand, tokenizers, assumed, notes), tallies["expected"]
