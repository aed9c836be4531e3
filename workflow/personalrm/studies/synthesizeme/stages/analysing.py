"""Stages `fidelity`, `axes` and `tag`: models read the personas that were learned."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from personalrm.core.errors import ConfigError
from personalrm.core.records import Profile, UserData, read_records, write_records
from personalrm.judge.call_recorder import CallRecorder, Listener
from personalrm.judge.judge import JudgeSettings
from personalrm.llm.types import LanguageModel
from personalrm.personas.axes import AxesQuestion, name_axes
from personalrm.personas.fidelity import FidelityQuestion, compare_personas, match_personas, others_of, statement_of
from personalrm.personas.records import AxisSet, Missing, TaggedPersona, UserFidelity
from personalrm.personas.settings import AxesSettings, FidelitySettings
from personalrm.personas.tags import TagQuestion, tag_axes, tag_sentences
from personalrm.run.stage import Files, Stage, Wildcards
from personalrm.studies.synthesizeme.config import Config
from personalrm.studies.synthesizeme.stages.runner import Job, each_user, evaluated_users, refuse_outage
from personalrm.studies.synthesizeme.stages.settings import STAGE_VERSION

if TYPE_CHECKING:
    from personalrm.studies.synthesizeme.plan import Plan

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


def axes_question(config: Config, model: str) -> AxesQuestion:
    """How `model` is asked for the axes of a data set."""
    settings = config.analysis.axes or AxesSettings()
    return AxesQuestion(
        style=config.models[model].prompts,
        max_tokens=settings.max_tokens,
        max_personas=settings.max_personas,
        max_axes=settings.max_axes,
        seed=config.seed,
    )


def tag_question(config: Config, model: str) -> TagQuestion:
    """How `model` is asked where a persona stands."""
    settings = config.analysis.axes or AxesSettings()
    return TagQuestion(style=config.models[model].prompts, max_tokens=settings.max_tokens)


def personas_of(paths: Iterable[Path]) -> dict[str, str]:
    """Personas by user, of the first draw; users without one are left out."""
    profiles = (profile for path in paths for profile in read_records(path, Profile))
    return {p.user_id: p.persona for p in profiles if p.persona and p.draw == FIRST_DRAW}


async def fidelity_stage(
    job: Job, *, users: Path, profiles: Sequence[Path], out: Path, model: str, judge: str, variant: str
) -> None:
    """Write one `UserFidelity` a user of one shard. `profiles` are those of all shards: others come from them."""
    question = fidelity_question(job.config, judge)
    personas = personas_of(profiles)
    people = evaluated_users(users, job.config.evaluate_users)
    async with job.model(judge, batches=True) as client:

        async def work(user: UserData) -> UserFidelity:
            base = UserFidelity.of(user, variant=variant, model=model, judge=judge, k=job.config.largest_k)
            return await judge_fidelity(client, user, personas, base, question)

        rows = await each_user(people, work, f"fidelity {model}", together=job.sends_batches(judge))
    lost = (verdict.outcome == "provider_error" for row in rows for verdict in (*row.verdicts, *row.matches))
    refuse_outage(lost, "verdicts on personas", job.config.max_failed_share)
    write_records(out, rows)


async def judge_fidelity(
    client: LanguageModel, user: UserData, personas: Mapping[str, str], base: UserFidelity, question: FidelityQuestion
) -> UserFidelity:
    """`base` with the verdicts on one user's persona, or with what is missing to have any."""
    stated = statement_of(user)
    drawn = others_of(user.user_id, personas, question.others, question.seed)
    missing: dict[Missing, bool] = {
        "no statement": stated is None,
        "no persona": user.user_id not in personas,
        "no other persona": not drawn,
    }
    kind = stated.kind if stated else None
    if stated is None or any(missing.values()):
        reason = next(name for name, is_missing in missing.items() if is_missing)
        return base.model_copy(update={"statement": kind, "missing": reason})
    recorder = CallRecorder(client, "fidelity")
    own, others = personas[user.user_id], {other: personas[other] for other in drawn}
    verdicts = await compare_personas(recorder, stated.text, own, others, question)
    matches = await match_personas(recorder, stated.text, {user.user_id: own, **others}, question)
    return base.model_copy(
        update={
            "statement": kind,
            "verdicts": verdicts,
            "matches": matches,
            "calls": recorder.calls,
            "prompts": {prompt.name: prompt.label for prompt in question.prompts},
        }
    )


async def axes_stage(job: Job, *, dataset: str, variant: str, profiles: Sequence[Path], out: Path) -> None:
    """Write the one `AxisSet` of a data set, named from personas of all models that are read."""
    model = _asked(job.config)
    question = axes_question(job.config, model)
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
    """Where the persona of one profile stands on the axes, and what its sentences are about."""
    listener = Listener(client, "tag")
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
    tags, kinds = await asyncio.gather(
        tag_axes(listener, profile.persona, known.axes, question),
        tag_sentences(listener, profile.persona, question),
    )
    return base.model_copy(
        update={
            "tags": tags,
            "kinds": kinds,
            "asked": listener.asked,
            "failed": listener.failed,
            "calls": listener.calls,
            "prompts": {prompt.name: prompt.label for prompt in question.prompts},
        }
    )


async def tag_stage(job: Job, *, profiles: Path, axes: Path, out: Path) -> None:
    """Write one `TaggedPersona` for each profile of one shard."""
    model = _asked(job.config)
    question = tag_question(job.config, model)
    (known,) = read_records(axes, AxisSet)
    async with job.model(model, batches=True) as client:

        async def work(profile: Profile) -> TaggedPersona:
            return await tag_profile(client, profile, known, question)

        learned = list(read_records(profiles, Profile))
        rows = await each_user(learned, work, f"tag {model}", together=job.sends_batches(model))
    lost = (number < row.failed for row in rows for number in range(row.asked))
    refuse_outage(lost, "calls about personas", job.config.max_failed_share)
    write_records(out, rows)


def _asked(config: Config) -> str:
    if config.axes_asked is None:
        raise ConfigError("analysis.axes.asked: no model to ask; name one, or have learn.models")
    return config.axes_asked


def personas_at_largest_k(plan: Plan, job: Wildcards) -> list[str]:
    """Profiles of a model from all shards: another user's persona may come from any."""
    largest = job._replace(judge="", k=plan.config.largest_k)
    return [plan.path("profile", **largest._replace(shard=shard)._asdict()) for shard in plan.shards(job.dataset)]


def readings(plan: Plan, pairs: Sequence[tuple[str, str]]) -> Iterator[Wildcards]:
    """Jobs of an analysis in which judges read the personas of models: `pairs` are (profile model, judge)."""
    for dataset, variant in itertools.product(plan.config.datasets, plan.config.variants):
        for model, judge in pairs:
            yield Wildcards(dataset=dataset, variant=variant, model=model, judge=judge)


def _fidelity_jobs(plan: Plan) -> Iterator[Wildcards]:
    fidelity = plan.config.analysis.fidelity
    return readings(plan, fidelity.pairs(plan.config.learn.models) if fidelity else [])


def _fidelity_reads(plan: Plan, job: Wildcards) -> dict[str, Any]:
    question = fidelity_question(plan.config, job.judge)
    prompts = [prompt.sha for prompt in question.prompts]
    return analysis_reads(plan.config, job.judge, question, prompts) | {
        "k": plan.config.largest_k,
        "users": plan.config.evaluate_users,
    }


def analysis_reads(config: Config, model: str, question: Any, prompts: Sequence[str]) -> dict[str, Any]:  # noqa: ANN401
    """What the answers to a question (a dataclass) about personas depend on; `model` is the one that is asked."""
    identity = config.models[model].spec(model).identity
    return {"version": STAGE_VERSION, "model": identity, "question": asdict(question), "prompts": list(prompts)}


def _axes_jobs(plan: Plan) -> list[Wildcards]:
    if not plan.config.axes_models:
        return []
    named = itertools.product(plan.config.datasets, plan.config.variants)
    return [Wildcards(dataset=dataset, variant=variant) for dataset, variant in named]


def _axes_inputs(plan: Plan, job: Wildcards) -> Files:
    models = plan.config.axes_models
    return {"profiles": [p for model in models for p in personas_at_largest_k(plan, job._replace(model=model))]}


def _axes_reads(plan: Plan, _job: Wildcards) -> dict[str, Any]:
    question = axes_question(plan.config, _asked(plan.config))
    return analysis_reads(plan.config, _asked(plan.config), question, [question.prompt.sha])


def _tag_jobs(plan: Plan) -> Iterator[Wildcards]:
    config = plan.config
    for dataset, variant in itertools.product(config.datasets, config.variants):
        for model, k in itertools.product(config.axes_models, config.axes_ks):
            yield Wildcards(dataset=dataset, variant=variant, model=model, k=k)


def _tag_inputs(plan: Plan, job: Wildcards) -> Files:
    axes = plan.path("axes", dataset=job.dataset, variant=job.variant)
    return {"profiles": plan.path("profile", **job._asdict()), "axes": axes}


def _tag_reads(plan: Plan, _job: Wildcards) -> dict[str, Any]:
    question = tag_question(plan.config, _asked(plan.config))
    return analysis_reads(plan.config, _asked(plan.config), question, [prompt.sha for prompt in question.prompts])


FIDELITY: Stage[Plan] = Stage(
    name="fidelity",
    output="analysis/fidelity/{dataset}/{variant}/{model}-by-{judge}/{shard}.jsonl",
    combinations=_fidelity_jobs,
    inputs=lambda plan, job: {"users": plan.users(job), "profiles": personas_at_largest_k(plan, job)},
    reads=_fidelity_reads,
    work=fidelity_stage,
    asks="judge",
    batches=True,
    record=UserFidelity,
    lost=lambda row: sum(verdict.outcome == "provider_error" for verdict in (*row.verdicts, *row.matches)),
)
AXES: Stage[Plan] = Stage(
    name="axes",
    output="analysis/axes/{dataset}/{variant}.jsonl",
    combinations=_axes_jobs,
    inputs=_axes_inputs,
    reads=_axes_reads,
    work=axes_stage,
    asks=lambda plan, _job: [_asked(plan.config)],
)
TAG: Stage[Plan] = Stage(
    name="tag",
    output="analysis/tags/{dataset}/{variant}/{model}/k{k}/{shard}.jsonl",
    combinations=_tag_jobs,
    inputs=_tag_inputs,
    reads=_tag_reads,
    work=tag_stage,
    asks=lambda plan, _job: [_asked(plan.config)],
    batches=True,
    record=TaggedPersona,
    lost=lambda row: row.failed,
)
