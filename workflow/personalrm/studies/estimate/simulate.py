"""Simulate a run on a sample of users: the jobs of all stages, with fake models that count what is asked."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from personalrm.core.files import stable_hash
from personalrm.core.records import CallRef, PreferencePair, Profile, UserData, read_records, write_records
from personalrm.judge.judge import JudgeContext
from personalrm.llm.types import LanguageModel
from personalrm.methods.synthesizeme.bootstrap import bootstrap_pairs
from personalrm.methods.synthesizeme.context_subsets import N_PARTS
from personalrm.methods.synthesizeme.profile import context_subset
from personalrm.run.stage import Wildcards
from personalrm.studies.estimate.assumptions import Bound
from personalrm.studies.estimate.fake_model import FakeModel
from personalrm.studies.estimate.thetas import find_theta, write_programs
from personalrm.studies.estimate.usage import Tally, Work
from personalrm.studies.synthesizeme.config import Config
from personalrm.studies.synthesizeme.plan import Plan
from personalrm.studies.synthesizeme.stages.analysing import FIRST_DRAW
from personalrm.studies.synthesizeme.stages.filtering import filter_shard
from personalrm.studies.synthesizeme.stages.learn import profile_settings
from personalrm.studies.synthesizeme.stages.runner import Job, is_evaluated, runtime_from_env
from personalrm.studies.synthesizeme.stages.theta import optimised_thetas

BEFORE_FILTERS = ("rate", "panel")
"""Stages that ask about all users, whoever is evaluated."""


def sample_users(users: Sequence[UserData], most: int) -> list[UserData]:
    """At most so many users, by a stable hash."""
    return sorted(users, key=lambda user: stable_hash("rehearsal", user.dataset, user.user_id))[:most]


@dataclass(frozen=True)
class FakeJob(Job):
    """A job whose models are fake."""

    models: Mapping[str, FakeModel]

    @asynccontextmanager
    async def model(self, name: str, *, batches: bool = False) -> AsyncIterator[LanguageModel]:
        """The fake model of this name."""
        del batches
        yield self.models[name]


class SamplePlan(Plan):
    """The plan of one data set with a shard for each of some users, below `folder`."""

    def __init__(self, config: Config, dataset: str, users: Sequence[UserData], folder: Path) -> None:
        self.people = {f"u{number}": user for number, user in enumerate(users)}
        super().__init__(config.model_copy(update={"results": folder, "datasets": {dataset: config.datasets[dataset]}}))

    def shards(self, dataset: str) -> Sequence[str]:
        """One shard per user."""
        del dataset
        return list(self.people)


class Simulation:
    """Does the jobs of a run on some users, and counts the calls.

    Args:
        config: the run.
        models: a fake model for each of its models.
        bound: what adapts is as assumed, or as little or as much as can be.
        most: number of users of a data set that are simulated; they represent all of it.
        tally: calls and tokens are added to it.
        share: weight of each call: the same users may be simulated several times.
    """

    def __init__(
        self, config: Config, models: Mapping[str, FakeModel], bound: Bound, most: int, tally: Tally, share: float = 1.0
    ) -> None:
        self.config, self.models, self.bound, self.most = config, models, bound, most
        self.tally, self.share = tally, share
        for model in models.values():
            model.vague = bound == "most"
            if bound == "least":
                model.right = 1.0

    async def dataset(self, name: str, users: Sequence[UserData]) -> int:
        """Simulate the jobs of one data set on a sample of its users; returns how many were simulated."""
        people = [user for user in users if user.pairs]
        counted = [user for user in people if is_evaluated(user, self.config.evaluate_users)]
        sampled = sample_users(counted, self.most)
        if not sampled:
            return 0
        # Each job logs its progress.
        logging.getLogger("personalrm.studies.synthesizeme.stages").setLevel(logging.WARNING)
        with tempfile.TemporaryDirectory(prefix="personalrm-estimate-") as folder:
            plan = SamplePlan(_bounded(self.config, self.bound), name, sampled, Path(folder))
            write_programs(plan.config, self.models)
            for path, user in zip(plan.prepared_paths(name), sampled, strict=True):
                write_records(Path(path), [user])
            for path in plan.released_files(name):
                write_records(Path(path), [])
            shards = set(plan.shard_paths(name))
            for path, (stage, job) in plan.makers().items():
                if stage.name == "filter" and path in shards:
                    filter_shard(plan, self.config.datasets[name], Path(path).name)
                elif stage.paid and job.dataset:
                    weight = (len(people) if stage.name in BEFORE_FILTERS else len(counted)) / len(sampled)
                    await self._job(plan, stage.name, job, Path(path), weight)
        return len(sampled)

    async def _job(self, plan: SamplePlan, name: str, job: Wildcards, out: Path, weight: float) -> None:
        """Do one job. Users may have votes on the same pairs, so that fake models know one user at a time."""
        stage, more = plan.stages[name], dict[str, Any]()
        if job.shard:
            for model in plan.models(name, **job._asdict()):
                self.models[model].set_user(plan.people[job.shard])
        else:
            # One job for all users.
            more["profiles"] = _multiplied(plan.inputs(name, **job._asdict())["profiles"], weight, out)
            weight = 1.0
        if self.bound == "most" and name == "bootstrap":
            for user in _users(plan, job):
                await self._attempts(plan, job, user.part("context"))
        runtime = runtime_from_env()
        await stage.work(**plan.arguments(name, job, job=FakeJob(plan.config, runtime, self.models), out=out, **more))
        refs = [ref for row in read_records(out, Profile) for ref in row.calls] if name == "profile" else []
        label = "transfer" if name == "judge" and job.model != job.judge else name
        self.count(label, weight, refs)
        if self.bound == "most" and name == "profile" and plan.config.learn.rebootstrap and job.k not in N_PARTS:
            await self._rebootstrap(plan, job, out, weight)

    async def thetas(self, users: Sequence[UserData]) -> None:
        """Find the Thetas that the run finds itself, on `users`, all that there are."""
        for theta, name in optimised_thetas(self.config):
            optimiser = self.config.thetas[theta].optimise
            count = partial(self.count, "theta")
            asked = await find_theta(self.config, theta, self.models[name], users, self.most, count)
            proposer = (optimiser and optimiser.proposer) or name
            for used, times in asked:
                self.tally.setdefault(("theta", proposer), Work()).add(used, times * self.share)

    def count(self, stage: str, weight: float, refs: Iterable[CallRef] = ()) -> None:
        """Count the new calls under the stage that their reference names, else under `stage`."""
        owners = {ref.key: ref.stage for ref in refs}
        for name, model in self.models.items():
            for key, used in model.new_calls().items():
                self.tally.setdefault((owners.get(key, stage), name), Work()).add(used, weight * self.share)

    async def _rebootstrap(self, plan: Plan, job: Wildcards, out: Path, weight: float) -> None:
        """Make all attempts that are possible with the personas of a file of profiles."""
        pairs = {user.user_id: user.part("context") for user in _users(plan, job)}
        for profile in read_records(out, Profile):
            if profile.persona:
                mine = context_subset(pairs[profile.user_id], job.k, profile.draw, plan.config.seed)
                await self._attempts(plan, job, mine, profile.persona)
        self.count("rebootstrap", weight)

    async def _attempts(
        self, plan: Plan, job: Wildcards, pairs: Sequence[PreferencePair], persona: str | None = None
    ) -> None:
        """Make as many attempts as are possible; equal requests count once."""
        model, settings = self.models[job.model], profile_settings(plan.config, job.model, job.variant).bootstrap
        assumed, model.right = model.right, 0.0
        await bootstrap_pairs(model, pairs, JudgeContext(persona=persona), settings)
        model.right = assumed


def _bounded(config: Config, bound: Bound) -> Config:
    """The config with a search that ends as soon, or as late, as it can."""
    search = config.learn.search
    if bound == "least":
        # The first candidate, once scored, ends the search.
        search = search.model_copy(update={"stop_at_score": 0.0, "exhaustive": False})
    elif bound == "most":
        search = search.model_copy(update={"exhaustive": True})
    return config.model_copy(update={"learn": config.learn.model_copy(update={"search": search})})


def _users(plan: Plan, job: Wildcards) -> Iterable[UserData]:
    return read_records(Path(plan.users(job)), UserData)


def _multiplied(profiles: str | list[str], weight: float, out: Path) -> list[Path]:
    """One file with the personas of all files under other names, as many as there will be: `weight` for each file."""
    files = [profiles] if isinstance(profiles, str) else profiles
    rows = [row for path in files for row in read_records(Path(path), Profile) if row.draw == FIRST_DRAW]
    wanted = round(weight * len(files))
    named = [
        row.model_copy(update={"user_id": f"{row.user_id} {number}"})
        for row in rows
        for number in range(-(-wanted // len(rows)))
    ]
    write_records(out.with_suffix(".profiles"), named[:wanted])
    return [out.with_suffix(".profiles")]
