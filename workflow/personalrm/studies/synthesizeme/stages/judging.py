"""Stages `baseline` and `judge`: verdicts on one shard's test pairs by all methods of one combination of models."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from personalrm.core.conditions import MethodId, VerdictMode
from personalrm.core.records import (
    BASELINE,
    CallRef,
    JudgedUser,
    NoResult,
    PreferencePair,
    Profile,
    UserData,
    read_records,
    write_records,
)
from personalrm.judge.call_recorder import CallRecorder
from personalrm.judge.judge import JudgeContext, JudgeSettings, fitted
from personalrm.judge.prompting import load_prompt
from personalrm.llm.types import LanguageModel
from personalrm.methods.registry import MethodUse, decide_without_model, parse_method, visible_part
from personalrm.run.stage import Files, Stage, Wildcards
from personalrm.studies.synthesizeme.config import Config
from personalrm.studies.synthesizeme.stages.runner import Job, each_user, evaluated_users, in_turn, refuse_outage
from personalrm.studies.synthesizeme.stages.settings import common_reads, draws_for, judge_settings, model_reads

if TYPE_CHECKING:
    from personalrm.studies.synthesizeme.plan import Plan


def _methods_that_need(config: Config, need: str) -> list[str]:
    """Entries of `methods` whose method needs `nothing`, a `judge` or a `profile`."""
    return [spec for spec in config.methods if parse_method(spec).method.needs == need]


def judged_methods(config: Config, *, profile: str | None, judge: str | None) -> list[str]:
    """Config entries judged for a combination of models: those without a profile, or those with one."""
    if profile is None:
        if judge is None:
            return _methods_that_need(config, "nothing")
        specs = _methods_that_need(config, "judge")
        allowed = config.transfer.baselines
        if judge not in config.learn.models and allowed is not None:
            specs = [spec for spec in specs if spec in allowed]
        return specs
    specs = _methods_that_need(config, "profile")
    return specs if profile == judge else [spec for spec in specs if spec in config.transfer.methods]


def pairs_of(user: UserData, use: MethodUse) -> Sequence[PreferencePair]:
    """The pairs on which a method is judged."""
    return user.pairs if use.all_pairs else user.part("test")


def _row(user: UserData, use: MethodUse, mode: VerdictMode, judge: str | None, profile: Profile | None) -> JudgedUser:
    return JudgedUser(
        dataset=user.dataset,
        user_id=user.user_id,
        variant=profile.variant if profile else BASELINE,
        profile_model=profile.model if profile else None,
        judge_model=judge,
        method=str(MethodId.parse(use.spec)._replace(verdict=mode)),
        k=profile.k if profile else None,
        draw=profile.draw if profile else 0,
        status="ok",
        profile_lost=sum(profile.lost.get(stage, 0) for stage in use.method.stages) if profile else 0,
    )


def judge_without_model(users: Sequence[UserData], out: Path, specs: Sequence[str], seed: int) -> None:
    """Write the rows of methods that need no model."""
    rows = []
    for user in users:
        for use in map(parse_method, specs):
            row = _row(user, use, "text", None, None)
            pairs = pairs_of(user, use)
            if not pairs:
                rows.append(row.model_copy(update={"status": "empty", "reason": user.excluded or "no test pairs"}))
                continue
            verdicts = tuple(v for pair in pairs for v in decide_without_model(use.method, pair, seed))
            rows.append(row.model_copy(update={"verdicts": verdicts}))
    write_records(out, rows)


def _shown(user: UserData, use: MethodUse, mode: VerdictMode, profile: Profile | None) -> JudgeContext | NoResult:
    """What the judge is shown of a user, or why the user is not judged. What cannot apply to a user is said first."""
    method = use.method
    if method.judge.text_only and mode != "text":
        return NoResult("not_applicable", f"{method.name} reads no log-probabilities (verdicts: text)")
    if profile is not None and profile.status != "ok":
        return NoResult(profile.status, profile.reason)
    shown = method.show(visible_part(user), profile)
    if shown is None and not method.learns:
        return NoResult("not_applicable", f"{method.name} has nothing to show of this user")
    if not pairs_of(user, use):
        return NoResult("empty", user.excluded or "no test pairs")
    return shown or NoResult("empty", "no context pairs")


async def judge_user(
    client: LanguageModel, user: UserData, use: MethodUse, settings: JudgeSettings, profile: Profile | None
) -> JudgedUser:
    """Verdicts of one method on one user's pairs, or why there are none."""
    row = _row(user, use, settings.mode, client.spec.name, profile)
    shown = _shown(user, use, settings.mode, profile)
    if isinstance(shown, NoResult):
        return row.model_copy(update=shown._asdict())
    pairs, judge = pairs_of(user, use), use.method.judge
    whole = len(shown.demonstrations)
    shown = fitted(shown, pairs, settings, client.spec, judge.messages)
    if len(shown.demonstrations) < whole:
        row = row.model_copy(update={"reason": f"{whole - len(shown.demonstrations)} of {whole} pairs did not fit"})
    recorder = CallRecorder(client, "judge")
    verdicts = await judge.pairs(recorder, pairs, shown, settings)
    learned = [ref for ref in profile.calls if ref.stage in use.method.stages] if profile else []
    prompts = dict(profile.prompts) if profile else {}
    for prompt in (settings.prompt, *map(load_prompt, use.method.prompts)):
        prompts[prompt.name] = prompt.label
    calls = _distinct([*learned, *recorder.calls])
    return row.model_copy(update={"verdicts": verdicts, "calls": calls, "prompts": prompts})


def _distinct(refs: Sequence[CallRef]) -> tuple[CallRef, ...]:
    known: dict[str, CallRef] = {}
    for ref in refs:
        known.setdefault(ref.key, ref)
    return tuple(known[key] for key in sorted(known))


async def judge_stage(
    job: Job,
    *,
    users: Path,
    out: Path,
    judge: str = "",
    profiles: Path | None = None,
    model: str = "",
) -> None:
    """Write one `JudgedUser` for each user, method, verdict mode and draw.

    Without `judge` the methods that need no model are applied; without `profiles`, which `model` learned, those that
    read no profile.
    """
    specs = judged_methods(job.config, profile=model or None, judge=judge or None)
    people = evaluated_users(users, job.config.evaluate_users)
    if not judge:
        judge_without_model(people, out, specs, job.config.seed)
        return
    by_user: dict[str, list[Profile | None]] = {user.user_id: [] for user in people}
    if profiles is None:
        by_user = {user.user_id: [None] for user in people}
    else:
        for profile in read_records(profiles, Profile):
            by_user[profile.user_id].append(profile)
    entry, together = job.config.models[judge], job.sends_batches(judge)
    draws = range(max((len(profiles) for profiles in by_user.values()), default=0))
    async with job.model(judge, batches=True) as client:

        async def judge_all(use: MethodUse, settings: JudgeSettings, draw: int) -> list[JudgedUser]:
            async def work(user: UserData) -> JudgedUser:
                return await judge_user(client, user, use, settings, by_user[user.user_id][draw])

            what = f"judge {judge} {use.spec}.{settings.mode}"
            return await each_user(people, work, what, together=together)

        # One method at a time: the calls of one prefix stay together, so that prefix caches hit.
        turns = [
            partial(judge_all, use, judge_settings(entry, mode), draw)
            for use in map(parse_method, specs)
            for mode in entry.verdicts
            for draw in draws
        ]
        rows = await in_turn(turns, together=together)
    lost = (verdict.outcome == "provider_error" for row in rows for verdict in row.verdicts)
    refuse_outage(lost, "verdicts", job.config.max_failed_share)
    write_records(out, rows)


def _baselines(plan: Plan) -> Iterator[Wildcards]:
    for dataset in plan.config.datasets:
        for judge in plan.config.judge_models:
            if judged_methods(plan.config, profile=None, judge=judge):
                yield Wildcards(dataset=dataset, judge=judge)


def _judged(plan: Plan) -> Iterator[Wildcards]:
    """Own profiles at all k; those of transfer at the largest."""
    config = plan.config
    pairs = [(model, model, k) for model in config.learn.models for k in config.ks]
    pairs += [(model, judge, config.largest_k) for model, judge in config.transfer_pairs]
    for dataset in config.datasets:
        for variant in config.variants:
            for model, judge, k in pairs:
                if judged_methods(config, profile=model, judge=judge):
                    yield Wildcards(dataset=dataset, variant=variant, model=model, judge=judge, k=k)


def _judge_inputs(plan: Plan, job: Wildcards) -> Files:
    learned = job._replace(judge="")
    return {"users": plan.users(job), "profiles": plan.path("profile", **learned._asdict())}


def _reads(plan: Plan, job: Wildcards) -> dict[str, Any]:
    config, judge, model = plan.config, job.judge or None, job.model or None
    values = common_reads(config)
    values["methods"] = judged_methods(config, profile=model, judge=judge)
    values["draws"] = len(draws_for(config, job.k)) if model else 1
    if judge is None:
        return values
    entry = config.models[judge]
    modes = [judge_settings(entry, mode) for mode in entry.verdicts]
    own = {name for spec in values["methods"] for name in parse_method(spec).method.prompts}
    prompts = sorted({mode.prompt.sha for mode in modes} | {load_prompt(name).sha for name in own})
    return values | model_reads(config, judge) | {"judge": [asdict(mode) for mode in modes], "prompts": prompts}


def _lost(row: JudgedUser) -> int:
    return sum(verdict.outcome == "provider_error" for verdict in row.verdicts)


NO_MODEL: Stage[Plan] = Stage(
    name="no_model",
    output="verdicts/{dataset}/baseline/none/{shard}.jsonl",
    combinations=lambda plan: [
        Wildcards(dataset=dataset)
        for dataset in plan.config.datasets
        if judged_methods(plan.config, profile=None, judge=None)
    ],
    inputs=lambda plan, job: {"users": plan.users(job)},
    reads=_reads,
    work=judge_stage,
    account="judge",
)
BASELINE_STAGE: Stage[Plan] = Stage(
    name="baseline",
    output="verdicts/{dataset}/baseline/{judge}/{shard}.jsonl",
    combinations=_baselines,
    inputs=lambda plan, job: {"users": plan.users(job)},
    reads=_reads,
    work=judge_stage,
    asks="judge",
    batches=True,
    record=JudgedUser,
    lost=_lost,
    account="judge",
)
JUDGE: Stage[Plan] = Stage(
    name="judge",
    output="verdicts/{dataset}/{variant}/{model}-to-{judge}/k{k}/{shard}.jsonl",
    combinations=_judged,
    inputs=_judge_inputs,
    reads=_reads,
    work=judge_stage,
    asks="judge",
    batches=True,
    record=JudgedUser,
    lost=_lost,
)
