"""Stages `fidelity`, `recovery`, `axes` and `tag`: models read the personas that were learned."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from personalrm.core.concurrency import concurrently
from personalrm.core.errors import ConfigError
from personalrm.core.records import Profile, UserData, read_records, write_records
from personalrm.judge.call_recorder import CallRecorder, Listener
from personalrm.judge.judge import JudgeSettings
from personalrm.llm.types import LanguageModel
from personalrm.personas.axes import AxesQuestion, name_axes
from personalrm.personas.fidelity import FidelityQuestion, compare_personas, match_personas, others_of, statement_of
from personalrm.personas.records import AxisSet, Missing, TaggedPersona, UserFidelity, UserRecovery
from personalrm.personas.recovery import RecoveryQuestion, read_rubric, stated_facts
from personalrm.personas.settings import AxesSettings, FidelitySettings, ReadingSettings, RecoverySettings
from personalrm.personas.tags import TagQuestion, tag_axes, tag_sentences
from personalrm.run.stage import Files, Stage, Wildcards
from personalrm.studies.runner import provider_errors
from personalrm.studies.synthesizeme.config import Config
from personalrm.studies.synthesizeme.plan import Plan
from personalrm.studies.synthesizeme.stages.runner import Job, evaluated_users
from personalrm.studies.synthesizeme.stages.settings import asked_reads

FIRST_DRAW = 0


def fidelity_question(config: Config, judge: str) -> FidelityQuestion:
    """How `judge` is asked about fidelity: with the first of its verdict modes."""
    entry, settings = config.models[judge], config.analysis.fidelity or FidelitySettings()
    return FidelityQuestion(
        judge=JudgeSettings(style=entry.prompts, mode=entry.verdicts[0], max_tokens=settings.max_tokens),
        others=settings.others,
        matches=settings.matches,
        seed=config.seed,
    )


def recovery_question(config: Config, judge: str) -> RecoveryQuestion:
    """How `judge` is asked which facts a persona states."""
    settings, style = config.analysis.recovery or RecoverySettings(), config.models[judge].prompts
    return RecoveryQuestion(style=style, max_tokens=settings.max_tokens, others=settings.others, seed=config.seed)


def axes_question(config: Config) -> AxesQuestion:
    """How a model is asked for the axes of a data set."""
    settings = config.analysis.axes or AxesSettings()
    return AxesQuestion(
        style=config.models[_asked(config)].prompts,
        max_tokens=settings.max_tokens,
        max_personas=settings.max_personas,
        max_axes=settings.max_axes,
        seed=config.seed,
    )


def tag_question(config: Config) -> TagQuestion:
    """How a model is asked for a persona's place on the axes."""
    settings = config.analysis.axes or AxesSettings()
    return TagQuestion(style=config.models[_asked(config)].prompts, max_tokens=settings.max_tokens)


def _asked(config: Config) -> str:
    """The model that names axes and tags personas."""
    if config.axes_asked is None:
        raise ConfigError("analysis.axes.asked: no model to ask; name one, or have learn.models")
    return config.axes_asked


def personas_of(paths: Iterable[Path]) -> dict[str, str]:
    """Personas by user, of the first draw; users without one are left out."""
    profiles = (profile for path in paths for profile in read_records(path, Profile))
    return {p.user_id: p.persona for p in profiles if p.persona and p.draw == FIRST_DRAW}


async def fidelity_stage(
    job: Job, *, users: Path, profiles: Sequence[Path], out: Path, model: str, judge: str, variant: str
) -> None:
    """Write one `UserFidelity` per user of a shard. `profiles` are those of all shards: others come from them."""
    question, personas = fidelity_question(job.config, judge), personas_of(profiles)

    async def work(client: LanguageModel, user: UserData) -> UserFidelity:
        base = UserFidelity.of(user, variant=variant, model=model, judge=judge, k=job.config.largest_k)
        return await judge_fidelity(client, user, personas, base, question)

    await job.execute(FIDELITY, judge, [evaluated_users(users, job.config.evaluate_users)], work, out)


async def judge_fidelity(
    client: LanguageModel, user: UserData, personas: Mapping[str, str], base: UserFidelity, question: FidelityQuestion
) -> UserFidelity:
    """`base` with the verdicts on one user's persona, or with what is missing to have any."""
    stated = statement_of(user)
    drawn = others_of(user.user_id, personas, question.others, question.seed)
    absent: dict[Missing, bool] = {
        "no statement": stated is None,
        "no persona": user.user_id not in personas,
        "no other persona": not drawn,
    }
    missing = next((name for name, is_missing in absent.items() if is_missing), None)
    if stated is None or missing:
        return base.model_copy(update={"statement": stated and stated.kind, "missing": missing})
    recorder = CallRecorder(client, "fidelity")
    own, others = personas[user.user_id], {other: personas[other] for other in drawn}
    verdicts = await compare_personas(recorder, stated.text, own, others, question)
    matches = await match_personas(recorder, stated.text, {user.user_id: own, **others}, question)
    found = {"statement": stated.kind, "verdicts": verdicts, "matches": matches}
    prompts = {prompt.name: prompt.label for prompt in question.prompts}
    return base.model_copy(update={**found, "calls": recorder.calls, "prompts": prompts})


async def recovery_stage(
    job: Job, *, users: Path, profiles: Sequence[Path], rubric: Path, out: Path, model: str, judge: str, variant: str
) -> None:
    """Write one `UserRecovery` per user of a shard. `profiles` are those of all shards: others come from them."""
    question, facts, personas = recovery_question(job.config, judge), read_rubric(rubric), personas_of(profiles)

    async def work(client: LanguageModel, user: UserData) -> UserRecovery:
        base = UserRecovery.of(user, variant=variant, model=model, judge=judge, k=job.config.largest_k)
        base = base.model_copy(update={"facts": facts.get(user.user_id, ())})
        return await judge_recovery(client, personas, base, question)

    await job.execute(RECOVERY, judge, [evaluated_users(users, job.config.evaluate_users)], work, out)


async def judge_recovery(
    client: LanguageModel, personas: Mapping[str, str], base: UserRecovery, question: RecoveryQuestion
) -> UserRecovery:
    """`base` with what the user's own persona and others' are said to state, or with what is missing to ask."""
    if not base.facts or base.user_id not in personas:
        return base.model_copy(update={"missing": "no persona" if base.facts else "no facts"})
    listener = Listener(client, "recovery")
    read = (base.user_id, *others_of(base.user_id, personas, question.others, question.seed))
    stated = {whose: await stated_facts(listener, personas[whose], base.facts, question) for whose in read}
    prompts = {question.prompt.name: question.prompt.label}
    return base.model_copy(update={"stated": stated, "prompts": prompts, **_made(listener)})


def _made(listener: Listener) -> dict[str, Any]:
    """The calls that an answer rests on."""
    return {"asked": listener.asked, "failed": listener.failed, "calls": listener.calls}


async def axes_stage(job: Job, *, dataset: str, variant: str, profiles: Sequence[Path], out: Path) -> None:
    """Write the one `AxisSet` of a data set, named from personas of all models that are read."""
    model, question = _asked(job.config), axes_question(job.config)
    learned = [profile for path in profiles for profile in read_records(path, Profile)]
    async with job.model(model) as client:
        recorder = CallRecorder(client, "axes")
        named = await name_axes(recorder, learned, question)
    row = AxisSet(
        dataset=dataset,
        variant=variant,
        model=model,
        axes=named.axes,
        shown=named.shown,
        events=named.events,
        calls=recorder.calls,
        prompts={question.prompt.name: question.prompt.label},
    )
    write_records(out, [row])


async def tag_profile(client: LanguageModel, profile: Profile, known: AxisSet, question: TagQuestion) -> TaggedPersona:
    """Tags of the persona of one profile on the axes, and what its sentences are about."""
    base = TaggedPersona(
        dataset=profile.dataset,
        user_id=profile.user_id,
        variant=profile.variant,
        profile_model=profile.model,
        model=client.spec.name,
        k=profile.k,
        draw=profile.draw,
        status="ok" if profile.persona else "empty",
    )
    if not profile.persona:
        return base
    listener = Listener(client, "tag")
    tags, kinds = await concurrently(
        tag_axes(listener, profile.persona, known.axes, question),
        tag_sentences(listener, profile.persona, question),
    )
    prompts = {prompt.name: prompt.label for prompt in question.prompts}
    return base.model_copy(update={"tags": tags, "kinds": kinds, "prompts": prompts, **_made(listener)})


async def tag_stage(job: Job, *, profiles: Path, axes: Path, out: Path) -> None:
    """Write one `TaggedPersona` for each profile of one shard."""
    question = tag_question(job.config)
    (known,) = read_records(axes, AxisSet)

    async def work(client: LanguageModel, profile: Profile) -> TaggedPersona:
        return await tag_profile(client, profile, known, question)

    await job.execute(TAG, _asked(job.config), [list(read_records(profiles, Profile))], work, out)


def personas_at_largest_k(plan: Plan, job: Wildcards) -> list[str]:
    """Profiles of a model from all shards: another user's persona may come from any."""
    largest = job._replace(judge="", k=plan.config.largest_k)
    return [plan.path("profile", **largest._replace(shard=shard)._asdict()) for shard in plan.shards(job.dataset)]


def _sets(plan: Plan) -> list[Wildcards]:
    return Wildcards.every(dataset=plan.config.judged, variant=plan.config.variants)


def _readings(plan: Plan, settings: ReadingSettings | None) -> list[Wildcards]:
    """Jobs of an analysis in which judges read the personas of models."""
    pairs = settings.pairs(plan.config.learn.models) if settings else []
    return [job._replace(model=model, judge=judge) for job in _sets(plan) for model, judge in pairs]


def _recovery_inputs(plan: Plan, job: Wildcards) -> Files:
    rubric = (plan.config.analysis.recovery or RecoverySettings()).rubric
    return {"users": plan.users(job), "profiles": personas_at_largest_k(plan, job), "rubric": str(rubric)}


def _axes_inputs(plan: Plan, job: Wildcards) -> Files:
    models = plan.config.axes_models
    return {"profiles": [p for model in models for p in personas_at_largest_k(plan, job._replace(model=model))]}


def _tag_inputs(plan: Plan, job: Wildcards) -> Files:
    axes = plan.path("axes", dataset=job.dataset, variant=job.variant)
    return {"profiles": plan.path("profile", **job._asdict()), "axes": axes}


def _reads(
    plan: Plan, model: str, question: FidelityQuestion | RecoveryQuestion | AxesQuestion | TagQuestion
) -> dict[str, Any]:
    """What the answers to a question about personas depend on; `model` is asked."""
    prompts = [question.prompt] if isinstance(question, RecoveryQuestion | AxesQuestion) else question.prompts
    return asked_reads(plan.config, model, question, prompts) | {"k": plan.config.largest_k}


FIDELITY: Stage[Plan] = Stage(
    name="fidelity",
    output="analysis/fidelity/{dataset}/{variant}/{model}-by-{judge}/{shard}.jsonl",
    combinations=lambda plan: _readings(plan, plan.config.analysis.fidelity),
    inputs=lambda plan, job: {"users": plan.users(job), "profiles": personas_at_largest_k(plan, job)},
    reads=lambda plan, job: _reads(plan, job.judge, fidelity_question(plan.config, job.judge)),
    work=fidelity_stage,
    asks="judge",
    batches=True,
    record=UserFidelity,
    lost=lambda row: provider_errors((*row.verdicts, *row.matches)),
    counted=lambda row: len(row.verdicts) + len(row.matches),
)
RECOVERY: Stage[Plan] = Stage(
    name="recovery",
    output="analysis/recovery/{dataset}/{variant}/{model}-by-{judge}/{shard}.jsonl",
    combinations=lambda plan: _readings(plan, plan.config.analysis.recovery),
    inputs=_recovery_inputs,
    reads=lambda plan, job: _reads(plan, job.judge, recovery_question(plan.config, job.judge)),
    work=recovery_stage,
    asks="judge",
    record=UserRecovery,
    lost=lambda row: row.failed,
    counted=lambda row: row.asked,
)
AXES: Stage[Plan] = Stage(
    name="axes",
    output="analysis/axes/{dataset}/{variant}.jsonl",
    combinations=lambda plan: _sets(plan) if plan.config.axes_models else [],
    inputs=_axes_inputs,
    reads=lambda plan, _job: _reads(plan, _asked(plan.config), axes_question(plan.config)),
    work=axes_stage,
    asks=lambda plan, _job: [_asked(plan.config)],
)
TAG: Stage[Plan] = Stage(
    name="tag",
    output="analysis/tags/{dataset}/{variant}/{model}/k{k}/{shard}.jsonl",
    combinations=lambda plan: [
        job._replace(model=model, k=k)
        for job in _sets(plan)
        for model, k in itertools.product(plan.config.axes_models, plan.config.axes_ks)
    ],
    inputs=_tag_inputs,
    reads=lambda plan, _job: _reads(plan, _asked(plan.config), tag_question(plan.config)),
    work=tag_stage,
    asks=lambda plan, _job: [_asked(plan.config)],
    batches=True,
    record=TaggedPersona,
    lost=lambda row: row.failed,
    counted=lambda row: row.asked,
)
