"""Simulate a run on a sample of users: the jobs of all stages, with fake models that count calls and tokens."""

from __future__ import annotations

import asyncio
import json
import logging
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, get_args

from personalrm.core.errors import DataError
from personalrm.core.files import atomic_write_text, stable_hash
from personalrm.core.records import CallRef, Fitted, PreferencePair, Profile, UserData, read_records, write_records
from personalrm.core.tastes import TasteStatement, UserTaste
from personalrm.data.prepare import read_users
from personalrm.data.sources.reading import ReadReport
from personalrm.judge.judge import JudgeContext, judge_pairs
from personalrm.methods.registry import METHODS, MethodUse
from personalrm.methods.synthesizeme.bootstrap import bootstrap_pairs
from personalrm.methods.synthesizeme.context_subsets import N_PARTS
from personalrm.methods.synthesizeme.persona import induce_persona
from personalrm.methods.synthesizeme.profile import context_subset
from personalrm.methods.synthesizeme.theta import PersonaDemonstration, Theta
from personalrm.methods.synthesizeme.variants import CORRECTED, parse_variant
from personalrm.methods.taste import statements
from personalrm.run.stage import Stage, Wildcards
from personalrm.studies.estimate.assumptions import Assumptions, Bound
from personalrm.studies.estimate.fake_model import FakeJob, FakeModel
from personalrm.studies.estimate.usage import Counter, Simulated, Tally, Work, total
from personalrm.studies.runner import runtime_from_env
from personalrm.studies.study_config import NO_MODEL
from personalrm.studies.synthesizeme.config import Config
from personalrm.studies.synthesizeme.plan import Plan
from personalrm.studies.synthesizeme.stages.analysing import FIRST_DRAW
from personalrm.studies.synthesizeme.stages.filtering import filter_shard
from personalrm.studies.synthesizeme.stages.fit import fit_stage, training_sets
from personalrm.studies.synthesizeme.stages.learn import profile_settings
from personalrm.studies.synthesizeme.stages.runner import is_evaluated
from personalrm.studies.synthesizeme.stages.scoring import scoring_of
from personalrm.studies.synthesizeme.stages.seen import turns_of
from personalrm.studies.synthesizeme.stages.theta import learn_student, optimised_thetas, optimiser_of, train_users

OF_ALL_USERS = ("rate", "panel", "score_attributes")
"""Stages that ask about all users, whoever is evaluated."""
LEARNED = ("bootstrap", "profile")
"""Stages whose files are no results: where no method shows profiles and none is analysed, they are not made."""
INSTRUCTION_TOKENS = 150
PROPOSALS, PROPOSAL = 2, Work(1, 1500, 0, 200)
"""Calls of the proposer for each instruction, and their tokens: it is shown data and demonstrations (rough, ours)."""
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


def simulated(
    config: Config, counters: Mapping[str, Counter], assumed: Assumptions, users: int | None = None
) -> Simulated:
    """Calls and tokens of a run by simulations of it; `users` of each data set are simulated (None: enough)."""
    return simulate(config, read_data(config), counters, assumed, users)


def simulate(
    config: Config,
    data: Mapping[str, Sequence[UserData]],
    counters: Mapping[str, Counter],
    assumed: Assumptions,
    users: int | None = None,
) -> Simulated:
    """The same, of users that were read."""
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
    stand = {name: f"{people[name]}, of whom {count} were simulated" for name, count in sampled.items()}
    trained = ", ".join(config.reward_models)
    notes = [f"Not in it: features and training of the reward models ({trained}), which ask no model."]
    return Simulated(tallies, stand, frozenset({"memory", "transfer"}), notes if trained else ())


def simulate_run(
    config: Config,
    data: Mapping[str, Sequence[UserData]],
    counters: Mapping[str, Counter],
    assumed: Assumptions,
    users: int,
    times: int,
    bound: Bound,
) -> tuple[Tally, dict[str, int]]:
    """Calls of a run by stage and model, and the number of users of each data set that represent the others.

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
        asked = [name for name in data if name in config.judged or config.datasets[name].filters]
        sampled.update({name: await simulation.dataset(name, data[name]) for name in asked})

    for salt in range(times):
        asyncio.run(run_once(salt))
    return tally, sampled


class SamplePlan(Plan):
    """The plan of one data set with a shard for each of some users, below `folder`."""

    def __init__(self, config: Config, dataset: str, users: Sequence[UserData], folder: Path) -> None:
        self.people = {f"u{number}": user for number, user in enumerate(users)}
        super().__init__(config.model_copy(update={"results": folder, "datasets": {dataset: config.datasets[dataset]}}))

    def shards(self, dataset: str) -> Sequence[str]:
        """One shard per user."""
        del dataset
        return list(self.people)


@dataclass
class Simulation:
    """Does the jobs of a run on some users, and counts the calls.

    Attributes:
        config: the run.
        models: a fake model for each of its models.
        bound: what adapts is as assumed, or as little or as much as can be.
        most: number of users of a data set that are simulated; they represent all of it.
        tally: calls and tokens are added to it.
        share: weight of each call: the same users may be simulated several times.
    """

    config: Config
    models: Mapping[str, FakeModel]
    bound: Bound
    most: int
    tally: Tally
    share: float

    def __post_init__(self) -> None:
        for model in self.models.values():
            model.vague = self.bound == "most"
            model.right = 1.0 if self.bound == "least" else model.right

    async def dataset(self, name: str, users: Sequence[UserData]) -> int:
        """Simulate the jobs of one data set on a sample of its users; returns how many were simulated."""
        people = [user for user in users if user.pairs]
        counted = [user for user in people if is_evaluated(user, self.config.evaluate_users)]
        sampled = sorted(counted, key=lambda user: stable_hash("rehearsal", user.dataset, user.user_id))[: self.most]
        if not sampled:
            return 0
        # Each job logs its progress.
        logging.getLogger("personalrm.studies.stages").setLevel(logging.WARNING)
        with tempfile.TemporaryDirectory(prefix="personalrm-estimate-") as folder:
            plan = SamplePlan(_bounded(self.config, self.bound), name, sampled, Path(folder))
            self._write_programs(plan.config)
            for path, user in zip(plan.prepared_paths(name), sampled, strict=True):
                write_records(Path(path), [user])
            for path in plan.released_files(name):
                write_records(Path(path), [])
            shards, everybody = set(plan.shard_paths(name)), Path(folder, "everybody.jsonl")
            write_records(everybody, people)
            made, needed = plan.makers(), _needed(plan)
            asked = {file for stage, job in made.values() if stage.paid for file in _fitted(plan, stage, job)}
            for path, (stage, job) in made.items():
                if stage.name == "fit" and path in asked and job.model == NO_MODEL:
                    # What prompts show may be learned from users who are not simulated.
                    fake = FakeJob(plan.config, runtime_from_env(), self.models)
                    fit_stage(fake, users=[everybody], out=Path(path), dataset=name, method=job.method)
                elif stage.name == "fit" and path in asked:
                    write_records(Path(path), _unfitted(job, people))
                elif stage.name == "taste":
                    write_records(Path(path), _assumed_tastes(plan, job))
                elif stage.name == "filter" and path in shards:
                    filter_shard(plan, self.config.datasets[name], Path(path).name)
                elif stage.paid and job.dataset and path in needed:
                    weight = (len(people) if stage.name in OF_ALL_USERS else len(counted)) / len(sampled)
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
        fake = FakeJob(plan.config, runtime_from_env(), self.models)
        await stage.work(**plan.arguments(name, job, job=fake, out=out, **more))
        profiles = list(read_records(out, Profile)) if name == "profile" else []
        label = "transfer" if name == "judge" and job.model != job.judge else name
        self._count(label, weight, [ref for profile in profiles for ref in profile.calls])
        if self.bound == "most" and profiles and plan.config.learn.rebootstrap and job.k not in N_PARTS:
            # All attempts that are possible with these personas.
            pairs = {user.user_id: user.part("context") for user in _users(plan, job)}
            for profile in profiles:
                if profile.persona:
                    mine = context_subset(pairs[profile.user_id], job.k, profile.draw, plan.config.seed)
                    await self._attempts(plan, job, mine, profile.persona)
            self._count("rebootstrap", weight)

    async def _attempts(
        self, plan: Plan, job: Wildcards, pairs: Sequence[PreferencePair], persona: str | None = None
    ) -> None:
        """Make as many attempts as are possible; equal requests count once."""
        model, settings = self.models[job.model], profile_settings(plan.config, job.model, job.variant).bootstrap
        assumed, model.right = model.right, 0.0
        await bootstrap_pairs(model, pairs, JudgeContext(persona=persona), settings)
        model.right = assumed

    def _count(self, stage: str, weight: float, refs: Iterable[CallRef] = ()) -> None:
        """Count the new calls under the stage that their reference names, else under `stage`."""
        owners = {ref.key: ref.stage for ref in refs}
        for name, model in self.models.items():
            for key, used in model.new_calls().items():
                self._add(owners.get(key, stage), name, used, weight)

    def _add(self, stage: str, model: str, used: Work, weight: float) -> None:
        self.tally[stage, model] = self.tally.get((stage, model), Work()).plus(used, weight * self.share)

    def _write_programs(self, config: Config) -> None:
        """Write a program file for each Theta that is still to be found: an instruction of usual length."""
        for name, model in optimised_thetas(config):
            instruction = self.models[model].written(INSTRUCTION_TOKENS, name)
            program = {"persona": {"signature": {"instructions": instruction}, "demos": []}}
            for variant in config.variants:
                path = config.theta_path(variant, model)
                if path and parse_variant(variant).theta == name:
                    atomic_write_text(path, json.dumps(program))

    async def thetas(self, users: Sequence[UserData]) -> None:
        """Make the calls that find the Thetas of the run on train users of `users`, all that there are.

        No combination of instruction and demonstrations is assumed to be tried twice.
        """
        for theta, name in optimised_thetas(self.config):
            optimiser, model = optimiser_of(self.config, theta), self.models[name]
            datasets = optimiser.datasets or self.config.judged
            chosen = train_users([user for user in users if user.dataset in datasets], optimiser.max_users)
            learned, shown = profile_settings(self.config, name, CORRECTED), tuple[PersonaDemonstration, ...]()
            for place, user in enumerate(chosen[: self.most]):
                model.set_user(user)
                student = await learn_student(model, user, learned)
                if not place:
                    # Half of the most demonstrations is their average; only their length counts. Backwards: personas of
                    # a fake model are alike, and one that copies a demonstration would be sampled again.
                    texts = (model.written(INSTRUCTION_TOKENS, f"demo {n}") for n in range(optimiser.max_demos // 2))
                    backwards = (" ".join(reversed(text.split())) for text in texts)
                    shown = tuple(PersonaDemonstration(student.judgements, text) for text in backwards)
                for trial in range(optimiser.num_trials + 1):
                    tried = Theta(theta, model.written(INSTRUCTION_TOKENS, f"{trial:04}"), shown)
                    induced = await induce_persona(model, student.judgements, replace(learned.persona, theta=tried))
                    known = JudgeContext(persona=induced.persona)
                    await judge_pairs(model, student.validation, known, learned.search.judge)
                self._count("theta", len(chosen) / min(self.most, len(chosen)))
            if chosen:
                self._add("theta", optimiser.proposer or name, PROPOSAL, PROPOSALS * (optimiser.num_candidates + 1))


def _bounded(config: Config, bound: Bound) -> Config:
    """The config with a search that ends as soon, or as late, as it can."""
    # The first candidate, once scored, ends the search.
    ends: dict[Bound, dict[str, object]] = {"least": {"stop_at_score": 0.0, "exhaustive": False}}
    ends |= {"most": {"exhaustive": True}, "expected": {}}
    search = config.learn.search.model_copy(update=ends[bound])
    return config.model_copy(update={"learn": config.learn.model_copy(update={"search": search})})


def _needed(plan: Plan) -> set[str]:
    """Files that a run makes: what is learned is made only for those that read it."""
    made, needed = plan.makers(), set[str]()
    for path, inputs in reversed(plan.lineage().items()):
        if path in needed or made[path][0].name not in LEARNED:
            needed |= {path, *inputs}
    return needed


def _fitted(plan: Plan, stage: Stage[Any], job: Wildcards) -> Sequence[str]:
    """Artefacts of methods that a job reads."""
    return plan.inputs(stage.name, **job._asdict()).get("fitted", [])


def _unfitted(job: Wildcards, people: Sequence[UserData]) -> Iterable[Fitted]:
    """Nothing is learned from the scores of fake models."""
    for left_out, _ in training_sets(people):
        yield Fitted(
            dataset=job.dataset,
            method=job.method,
            model=job.model,
            left_out=left_out,
            n_users=0,
            n_pairs=0,
            artefact=None,
        )


def _assumed_tastes(plan: Plan, job: Wildcards) -> Iterable[UserTaste]:
    """Tastes whose personas have as many statements as are shown at most: what fake models score says nothing."""
    bank = scoring_of(plan.config).selected().attributes[: statements.MOST]
    said = [
        TasteStatement(feature=one.id, text=one.more, strength="clearly", log_odds=1.0, posterior=1.0) for one in bank
    ]
    persona = statements.persona_text(said)
    named = {"dataset": job.dataset, "model": job.model, "status": "ok", "persona": persona}
    for user in _users(plan, job):
        for k, draw in turns_of(plan.config, MethodUse(METHODS["attributes"])):
            yield UserTaste.model_validate({**named, "user_id": user.user_id, "k": k, "draw": draw})


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
