"""Stages `describe_users` and `label_pairs`: descriptions of users, and labels by them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from personalrm.core.conditions import VerdictMode
from personalrm.core.records import read_records, write_records
from personalrm.core.synthetic import SeedUser, SyntheticPair, SyntheticUser, UserLabels
from personalrm.data.sharding import name_of_users_shard
from personalrm.judge.call_recorder import CallRecorder
from personalrm.llm.types import LanguageModel
from personalrm.personas.synthetic.describe import Bounds, Describing, conflicting, decided_labels, described
from personalrm.personas.synthetic.labels import Labelling, disagreements, label_pairs
from personalrm.personas.synthetic.pairs import allotted
from personalrm.run.stage import Stage, Wildcards
from personalrm.studies.fspo.config import Config
from personalrm.studies.fspo.plan import Plan
from personalrm.studies.fspo.stages.texts import PAIR
from personalrm.studies.runner import Job as StudyJob
from personalrm.studies.runner import each_user, flags
from personalrm.studies.settings import judge_settings, model_reads

Job = StudyJob[Config]


def labelling_of(config: Config) -> Labelling:
    """How pairs are labelled: in words, or by the label's log-probabilities, in each order."""
    entry = config.models[config.label.model]
    mode: VerdictMode = "text" if entry.verdicts[0] == "text" else "logprob"
    return Labelling(judge_settings(entry, mode), config.label.ties)


def describing_of(config: Config) -> Describing:
    """How descriptions are refined."""
    asked = config.describe
    return Describing(labelling_of(config), asked.facts, asked.margin, asked.temperature, asked.max_tokens, config.seed)


async def describe_stage(job: Job, *, users: Path, pairs: Path, out: Path, dataset: str) -> None:
    """Write one `SyntheticUser` for each user of a domain, by key.

    Users whose disagreement with another on the shared pairs is out of the bounds are made again, all at once, up to
    `describe.regenerate` times. Of two, the one whose traits alone decided stays, because no coin could fall otherwise;
    then the one who was made less often, then the one with the smaller key: neither names nor the number of workers
    decide.
    """
    domain, config = job.config.datasets[dataset], job.config
    seeds, known = list(read_records(users, SeedUser)), list(read_records(pairs, SyntheticPair))
    if not domain.refine:
        write_records(out, [SyntheticUser(**user.model_dump()) for user in seeds])
        return
    made: dict[str, SyntheticUser] = {}
    shared = {pair.pair_id for pair in known if pair.shared}
    bounds = Bounds(config.describe.least, config.describe.most, config.describe.least_pairs)
    async with job.model(config.label.model) as client:
        again: Sequence[SeedUser] = seeds
        for attempt in range(config.describe.regenerate + 1):
            work = partial(_described, client, config, known, attempt)
            rows = await each_user(again, work, f"{DESCRIBE.name} {dataset}")
            made |= {row.key: _after(made.get(row.key), row) for row in rows}
            conflicts = _conflicts(list(made.values()), shared, bounds)
            again = [user for user in seeds if user.key in conflicts and made[user.key].coins]
            if not again:
                break
    found = [made[user.key] for user in seeds]
    asked = sum(user.asked for user in found)
    job.refuse_outage(flags(sum(user.failed for user in found), asked), f"{DESCRIBE.name} calls")
    names = {user.key: user.user_id for user in seeds}
    write_records(
        out,
        [
            user.model_copy(update={"conflicts": tuple(sorted(names[key] for key in conflicts.get(user.key, ())))})
            for user in found
        ],
    )


def _after(earlier: SyntheticUser | None, user: SyntheticUser) -> SyntheticUser:
    """A user, with the calls that the earlier attempts rest on."""
    if earlier is None:
        return user
    calls = {ref.key: ref for ref in (*earlier.calls, *user.calls)}
    counts = {"asked": earlier.asked + user.asked, "failed": earlier.failed + user.failed}
    return user.model_copy(update={"calls": tuple(calls[key] for key in sorted(calls)), **counts})


async def _described(
    client: LanguageModel, config: Config, pairs: Sequence[SyntheticPair], attempt: int, user: SeedUser
) -> SyntheticUser:
    recorder, describing = CallRecorder(client, DESCRIBE.name), describing_of(config)
    mine = allotted(user, pairs, config.datasets[user.dataset].pairs.own, config.seed)
    found = await described(recorder, user, mine, describing, attempt)
    return found.model_copy(
        update={
            "asked": recorder.asked,
            "failed": recorder.failed,
            "calls": recorder.calls,
            "prompts": {prompt.name: prompt.label for prompt in describing.prompts},
        }
    )


def _conflicts(users: Sequence[SyntheticUser], shared: set[str], bounds: Bounds) -> dict[str, tuple[str, ...]]:
    """Keys of users who are to be made again, with the keys of those that they conflict with."""
    order = sorted(users, key=lambda user: (bool(user.coins), user.attempts, user.key))
    labels = {user.key: decided_labels(one for one in user.after if one.pair_id in shared) for user in order}
    return conflicting(list(labels), disagreements(labels), bounds)


async def label_stage(job: Job, *, users: Path, pairs: Path, out: Path, dataset: str, shard: str) -> None:
    """Write one `UserLabels` for each user of a shard."""
    domain, model = job.config.datasets[dataset], job.config.label.model
    labelling, known = labelling_of(job.config), list(read_records(pairs, SyntheticPair))
    mine = [
        user for user in read_records(users, SyntheticUser) if name_of_users_shard(user.key, domain.shards) == shard
    ]

    async def work(client: LanguageModel, user: SyntheticUser) -> UserLabels:
        recorder = CallRecorder(client, LABEL.name)
        own = allotted(user, known, domain.pairs.own, job.config.seed)
        return UserLabels(
            dataset=dataset,
            user_id=user.user_id,
            part=user.part,
            model=model,
            labels=await label_pairs(recorder, own, user.description, labelling),
            calls=recorder.calls,
            prompts={prompt.name: prompt.label for prompt in labelling.prompts},
        )

    await job.execute(LABEL, model, [mine], work, out)


def _describe_reads(plan: Plan, job: Wildcards) -> Mapping[str, Any]:
    config, domain = plan.config, plan.config.datasets[job.dataset]
    if not domain.refine:
        return {"refine": False}
    describing, asked = describing_of(config), config.describe
    bounds = [asked.regenerate, asked.least, asked.most, asked.least_pairs]
    more = {"bounds": bounds, "own": domain.pairs.own}
    return model_reads(config, config.label.model, describing, describing.prompts) | more


def _label_reads(plan: Plan, job: Wildcards) -> Mapping[str, Any]:
    domain, labelling = plan.config.datasets[job.dataset], labelling_of(plan.config)
    more = {"own": domain.pairs.own, "shards": domain.shards}
    return model_reads(plan.config, plan.config.label.model, labelling, labelling.prompts) | more


DESCRIBE: Stage[Plan] = Stage(
    name="describe_users",
    output="users/{dataset}.jsonl",
    combinations=Plan.domains,
    inputs=lambda plan, job: {
        "users": plan.users(job.dataset),
        "pairs": plan.path(PAIR.name, dataset=job.dataset),
    },
    reads=_describe_reads,
    work=describe_stage,
    asks=lambda plan, _job: [plan.config.label.model],
    record=SyntheticUser,
    lost=lambda row: row.failed,
    counted=lambda row: row.asked,
)
LABEL: Stage[Plan] = Stage(
    name="label_pairs",
    output="labels/{dataset}/{shard}.jsonl",
    combinations=Plan.domains,
    inputs=lambda plan, job: {
        "users": plan.path(DESCRIBE.name, dataset=job.dataset),
        "pairs": plan.path(PAIR.name, dataset=job.dataset),
    },
    reads=_label_reads,
    work=label_stage,
    asks=lambda plan, _job: [plan.config.label.model],
    batches=True,
    record=UserLabels,
    lost=lambda row: sum(label.lost for label in row.labels),
    counted=lambda row: sum(len(label.verdicts) for label in row.labels),
)
