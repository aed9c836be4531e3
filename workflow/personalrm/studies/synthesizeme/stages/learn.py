"""Stages `bootstrap` and `profile`: what one model learns about the users of one shard."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from personalrm.core.concurrency import concurrently
from personalrm.core.conditions import K
from personalrm.core.errors import ModelCallError
from personalrm.core.records import (
    NoResult,
    PreferencePair,
    Profile,
    UserData,
    UserTraces,
    read_records,
    write_records,
)
from personalrm.judge.call_recorder import CallRecorder
from personalrm.judge.judge import JudgeContext, failure_outcome
from personalrm.llm.types import LanguageModel
from personalrm.methods.synthesizeme.bootstrap import BootstrapSettings, bootstrap_pairs
from personalrm.methods.synthesizeme.context_subsets import N_PARTS
from personalrm.methods.synthesizeme.memory import MemorySettings, remember
from personalrm.methods.synthesizeme.persona import PersonaSettings
from personalrm.methods.synthesizeme.profile import ProfileSettings, context_subset, learn_profile
from personalrm.methods.synthesizeme.search import SearchSettings
from personalrm.methods.synthesizeme.theta import Theta, read_theta
from personalrm.methods.synthesizeme.variants import parse_variant
from personalrm.run.stage import Files, Stage, Wildcards
from personalrm.studies.runner import each_user, flags, provider_errors
from personalrm.studies.settings import judge_settings
from personalrm.studies.synthesizeme.config import Config
from personalrm.studies.synthesizeme.plan import Plan
from personalrm.studies.synthesizeme.stages.runner import Job, evaluated_users
from personalrm.studies.synthesizeme.stages.settings import asked_reads, constitution_of, draws_for


def bootstrap_settings(config: Config, model: str, variant: str) -> BootstrapSettings:
    """Stage 1. A model learns with the first of its verdict modes."""
    entry, learn = config.models[model], config.learn.bootstrap
    return BootstrapSettings(
        judge=judge_settings(entry, entry.verdicts[0], constitution_of(config, guarded=False)),
        attempts=learn.attempts if parse_variant(variant).repairs.resampling else 1,
        temperature=learn.temperature,
        max_tokens=learn.max_tokens,
        salt=str(config.seed),
    )


def profile_settings(config: Config, model: str, variant: str) -> ProfileSettings:
    """Stages 1 to 3."""
    entry, learn, asked = config.models[model], config.learn, parse_variant(variant)
    repairs, most = asked.repairs, learn.search.max_bootstrapped_demos
    # Facts are extracted only where a method shows them.
    remembers = "memory" in {*config.methods, *config.transfer.methods}
    return ProfileSettings(
        bootstrap=bootstrap_settings(config, model, variant),
        persona=PersonaSettings(
            style=entry.prompts,
            max_tokens=learn.persona.max_tokens,
            shortening=repairs.shortening,
            format=asked.persona_format,
            attempts=learn.persona.attempts if repairs.persona_check else 1,
            temperature=learn.bootstrap.temperature,
        ),
        search=SearchSettings(
            judge=judge_settings(entry, entry.verdicts[0], constitution_of(config, guarded=False)),
            seeds=learn.search.seeds,
            max_bootstrapped=None if most == "all" else most,
            max_labelled=learn.search.max_labeled_demos,
            stop_at_score=learn.search.stop_of(variant),
            salt=str(config.seed),
            parallel=learn.search.parallel_candidates,
            exhaustive=learn.search.exhaustive,
            repairs=repairs,
        ),
        variant=variant,
        rebootstrap=learn.rebootstrap,
        seed=config.seed,
        memory=MemorySettings(style=entry.prompts, max_tokens=learn.memory.max_tokens) if remembers else None,
    )


def learned_settings(config: Config, model: str, variant: str) -> ProfileSettings:
    """The same with the variant's Theta, as it is read from its file. Raises DataError as `read_theta` does."""
    program = config.theta_path(variant, model)
    theta = read_theta(program, parse_variant(variant).theta) if program else None
    settings = profile_settings(config, model, variant)
    return replace(settings, persona=replace(settings.persona, theta=theta))


async def bootstrap_stage(job: Job, *, users: Path, out: Path, model: str, variant: str) -> None:
    """Write one `UserTraces` per user: attempts at all context pairs, whatever k will be."""
    settings = bootstrap_settings(job.config, model, variant)

    async def work(client: LanguageModel, user: UserData) -> UserTraces:
        return await learn_traces(client, user, variant, settings)

    await job.execute(BOOTSTRAP, model, [evaluated_users(users, job.config.evaluate_users)], work, out)


async def learn_traces(
    client: LanguageModel, user: UserData, variant: str, settings: BootstrapSettings, *, side_by_side: bool = False
) -> UserTraces:
    """Attempts at all context pairs of one user. `side_by_side` as in `bootstrap.bootstrap_pair`."""
    recorder = CallRecorder(client, "bootstrap")
    pairs = user.part("context")
    traces = await bootstrap_pairs(recorder, pairs, JudgeContext(), settings, side_by_side=side_by_side)
    return UserTraces(
        dataset=user.dataset,
        user_id=user.user_id,
        model=client.spec.name,
        variant=variant,
        status="ok" if pairs else "empty",
        reason=None if pairs else user.excluded or "no context pairs",
        traces=traces,
        calls=recorder.calls,
        prompts={settings.judge.prompt.name: settings.judge.prompt.label},
    )


def used_by_theta(config: Config, variant: str, user: UserData, theta: Theta | None) -> NoResult | None:
    """Why a user has no row in a variant: its Theta was found on users of the same data set, or holds judgements of
    this user. None where there is a row. `theta` is the variant's, as read from its file."""
    name = parse_variant(variant).theta
    if name is None:
        return None
    optimiser = config.thetas[name].optimise
    if optimiser is not None and user.dataset in (optimiser.datasets or config.judged):
        if user.user_split is None:
            return NoResult("not_applicable", f"{user.dataset} has no user split to keep Theta's users apart")
        if user.user_split == "train":
            return NoResult("empty", f"Theta {name} was found on the train users")
    if theta is not None and theta.holds(user.pairs):
        return NoResult("not_applicable", f"judgements of this user stand in the file of Theta {name}")
    return None


async def profile_stage(job: Job, *, users: Path, traces: Path, out: Path, model: str, variant: str, k: K) -> None:
    """Write one `Profile` per user and draw: persona and demonstrations learned from k context pairs."""
    settings = learned_settings(job.config, model, variant)
    known = {row.user_id: row for row in read_records(traces, UserTraces)}
    people = evaluated_users(users, job.config.evaluate_users)
    absent = {user.user_id: used_by_theta(job.config, variant, user, settings.persona.theta) for user in people}
    draws, rows = draws_for(job.config, k), list[Profile]()
    if settings.memory is not None and k not in N_PARTS and job.sends_batches(model):
        learners = [user.part("context") for user in people if absent[user.user_id] is None]
        shown = [context_subset(pairs, k, draw, settings.seed) for draw in draws for pairs in learners]
        async with job.model(model, batches=True) as client:
            await concurrently(*(_remember_ahead(client, pairs, settings.memory) for pairs in shown if pairs))
    async with job.model(model) as client:
        counted = CallRecorder(client, "profile")
        for draw in draws:

            async def work(user: UserData, draw: int = draw) -> Profile:
                name = user.user_id
                return await learn_profile(counted, user, known[name], k, draw, settings, absent=absent[name])

            rows += await each_user(people, work, f"profile {model} k={k} draw={draw}")
    # A refusal, or an input that does not fit, is an outcome of its user, and would be the same in the next attempt.
    lost = [row for row in rows if row.status == "failed" and (row.reason or "").startswith("provider_error")]
    learned = sum(row.status in ("ok", "failed") for row in rows)
    job.refuse_outage(flags(len(lost), learned), "profiles", lost[0].reason if lost else None)
    # A search that lost verdicts to the provider may have another winner.
    job.refuse_outage(counted.lost(), "calls")
    write_records(out, rows)


async def _remember_ahead(client: LanguageModel, pairs: Sequence[PreferencePair], memory: MemorySettings) -> None:
    """Ask for facts in a batch, so that `learn_profile` finds them in the store; it asks again where the call failed.

    Raises errors that concern the whole job.
    """
    try:
        await remember(client, pairs, memory)
    except ModelCallError as error:
        failure_outcome(error)


def _learners(plan: Plan) -> list[Wildcards]:
    config = plan.config
    return Wildcards.every(dataset=config.judged, variant=config.variants, model=config.learn.models)


def _bootstrap_reads(plan: Plan, job: Wildcards) -> dict[str, Any]:
    settings = bootstrap_settings(plan.config, job.model, job.variant)
    return asked_reads(plan.config, job.model, settings, [settings.judge.prompt])


def profile_reads(plan: Plan, job: Wildcards) -> dict[str, Any]:
    """Settings that a profile depends on."""
    learned = profile_settings(plan.config, job.model, job.variant)
    prompts = [
        learned.search.judge.prompt,
        learned.persona.prompt,
        *([learned.memory.prompt] if learned.memory else []),
    ]
    return asked_reads(plan.config, job.model, learned, prompts) | {"draws": len(draws_for(plan.config, job.k))}


def _profiles(plan: Plan) -> Iterator[Wildcards]:
    """Of each learner at the k of the run, and at those of the analyses."""
    for job in _learners(plan):
        for k in dict.fromkeys((*plan.config.ks, *plan.config.axes_ks)):
            yield job._replace(k=k)


def _profile_inputs(plan: Plan, job: Wildcards) -> Files:
    names = {"dataset": job.dataset, "variant": job.variant, "model": job.model, "shard": job.shard}
    traces, theta = plan.path("bootstrap", **names), plan.theta_files(job.variant, job.model)
    return {"users": plan.users(job), "traces": traces, "theta": theta}


BOOTSTRAP: Stage[Plan] = Stage(
    name="bootstrap",
    output="traces/{dataset}/{variant}/{model}/{shard}.jsonl",
    place="bootstrap/{dataset}/{variant}/{model}/{shard}",
    combinations=_learners,
    inputs=lambda plan, job: {"users": plan.users(job)},
    reads=_bootstrap_reads,
    work=bootstrap_stage,
    asks="model",
    record=UserTraces,
    lost=lambda row: provider_errors(row.traces),
    counted=lambda row: len(row.traces),
)
PROFILE: Stage[Plan] = Stage(
    name="profile",
    output="profiles/{dataset}/{variant}/{model}/k{k}/{shard}.jsonl",
    combinations=_profiles,
    inputs=_profile_inputs,
    reads=profile_reads,
    work=profile_stage,
    asks="model",
    record=Profile,
    lost=lambda row: sum(row.lost.values()),
)
