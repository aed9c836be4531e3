"""Stages `baseline` and `judge`: verdicts on one shard's test pairs by all methods of one combination of models."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from personalrm.core.conditions import K, MethodId, VerdictMode
from personalrm.core.records import (
    BASELINE,
    CallRef,
    Fitted,
    JudgedUser,
    NoResult,
    PreferencePair,
    Profile,
    UserData,
    read_records,
    write_records,
)
from personalrm.judge.call_recorder import CallRecorder
from personalrm.judge.judge import Judge, JudgeSettings, fitted
from personalrm.judge.prompting import load_prompt
from personalrm.llm.types import LanguageModel
from personalrm.methods.base import Known, Method, NoPairs, NotApplicable
from personalrm.methods.registry import MethodUse, parse_method
from personalrm.methods.synthesizeme.profile import context_subset
from personalrm.run.stage import Files, Stage, Wildcards
from personalrm.studies.synthesizeme.config import Config
from personalrm.studies.synthesizeme.stages.fit import fitted_for, fitted_paths, read_fitted, settings_of
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


def _row(user: UserData, use: MethodUse, mode: VerdictMode, judge: str | None, known: Known) -> JudgedUser:
    profile = known.profile
    return JudgedUser(
        dataset=user.dataset,
        user_id=user.user_id,
        variant=profile.variant if profile else BASELINE,
        profile_model=profile.model if profile else None,
        judge_model=judge,
        method=str(MethodId.parse(use.spec)._replace(verdict=mode)),
        k=profile.k if profile else known.k,
        draw=profile.draw if profile else known.draw,
        status="ok",
        profile_lost=sum(profile.lost.get(stage, 0) for stage in use.method.stages) if profile else 0,
    )


def _state(user: UserData, use: MethodUse, mode: VerdictMode, known: Known) -> Any:  # noqa: ANN401 - the method's own
    """The method's state for a user, or why the user is not judged (`NoResult`): what cannot apply is said first."""
    method, profile = use.method, known.profile
    if method.text_only and mode != "text":
        return NoResult("not_applicable", f"{method.name} reads no log-probabilities (verdicts: text)")
    if known.absent is not None:
        return known.absent
    if profile is not None and profile.status != "ok":
        return NoResult(profile.status, profile.reason)
    state = method.adapt(known)
    if isinstance(state, NotApplicable):
        return state.result
    if not pairs_of(user, use):
        return NoResult("empty", user.excluded or "no test pairs")
    return state.result if isinstance(state, NoPairs) else state


async def judge_user(
    client: LanguageModel | None, user: UserData, use: MethodUse, settings: JudgeSettings, known: Known
) -> JudgedUser:
    """Verdicts of one method on one user's pairs, or why there are none. Methods that ask no model need no client."""
    row = _row(user, use, settings.mode, client.spec.name if client else None, known)
    state = _state(user, use, settings.mode, known)
    if isinstance(state, NoResult):
        return row.model_copy(update=state._asdict())
    pairs, judge, profile = pairs_of(user, use), use.method.judge, known.profile
    if not isinstance(judge, Judge):
        return row.model_copy(update={"verdicts": judge(state, pairs)})
    if client is None:
        raise ValueError(f"method {use.spec}: asks a model, and there is no client")
    whole = len(state.demonstrations)
    shown = fitted(state, pairs, settings, client.spec, judge.messages)
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


@dataclass(frozen=True)
class _Shard:
    """What the methods of a job are given of the users of its shard. `profiles` is None where they read none."""

    config: Config
    fitted: Mapping[str, Sequence[Fitted]]
    profiles: Mapping[str, Sequence[Profile]] | None = None

    def turns(self, method: Method[Any]) -> list[tuple[K | None, int]]:
        """(k, draw) of each row that a user has. A profile has a k of its own."""
        if self.profiles is None:
            return turns_of(self.config, method)
        return [(None, draw) for draw in range(max(map(len, self.profiles.values()), default=0))]

    def known(self, user: UserData, method: Method[Any], k: K | None, draw: int) -> Known:
        """What the method may see of a user."""
        pairs, seed = user.part("context"), self.config.seed
        row = fitted_for(self.fitted[method.reads], user) if method.reads else None
        return Known.of(
            user,
            pairs=pairs if k is None else context_subset(pairs, k, draw, seed),
            profile=None if self.profiles is None else self.profiles[user.user_id][draw],
            artefact=row.artefact if isinstance(row, Fitted) else None,
            absent=row if isinstance(row, NoResult) else None,
            k=k,
            draw=draw,
            seed=seed,
        )


def turns_of(config: Config, method: Method[Any]) -> list[tuple[K | None, int]]:
    """(k, draw) of each row that a user has by a method that reads no profile."""
    if not method.by_k:
        return [(None, 0)]
    return [(k, draw) for k in config.ks for draw in draws_for(config, k)]


async def judge_stage(
    job: Job,
    *,
    users: Path,
    out: Path,
    fitted: Sequence[Path] = (),
    judge: str = "",
    profiles: Path | None = None,
    model: str = "",
) -> None:
    """Write one `JudgedUser` for each user, method, verdict mode, k and draw.

    Without `judge` the methods that need no model are applied; without `profiles`, which `model` learned, those that
    read no profile. `fitted` are the files of what methods learned from other users.
    """
    config = job.config
    uses = [parse_method(spec) for spec in judged_methods(config, profile=model or None, judge=judge or None)]
    people = evaluated_users(users, config.evaluate_users)
    shard = _Shard(config, read_fitted(fitted), _profiles_of(profiles, people) if profiles else None)
    if not judge:
        given = [(user, use, turn) for user in people for use in uses for turn in shard.turns(use.method)]
        known = ((user, use, shard.known(user, use.method, *turn)) for user, use, turn in given)
        write_records(out, [await judge_user(None, user, use, JudgeSettings(), held) for user, use, held in known])
        return
    entry, together = config.models[judge], job.sends_batches(judge)
    async with job.model(judge, batches=True) as client:

        async def judge_all(use: MethodUse, settings: JudgeSettings, turn: tuple[K | None, int]) -> list[JudgedUser]:
            async def work(user: UserData) -> JudgedUser:
                return await judge_user(client, user, use, settings, shard.known(user, use.method, *turn))

            what = f"judge {judge} {use.spec}.{settings.mode}"
            return await each_user(people, work, what, together=together)

        # One method at a time: the calls of one prefix stay together, so that prefix caches hit.
        turns = [
            partial(judge_all, use, judge_settings(entry, mode), turn)
            for use in uses
            for mode in entry.verdicts
            for turn in shard.turns(use.method)
        ]
        rows = await in_turn(turns, together=together)
    lost = (verdict.outcome == "provider_error" for row in rows for verdict in row.verdicts)
    refuse_outage(lost, "verdicts", config.max_failed_share)
    write_records(out, rows)


def _profiles_of(path: Path, people: Sequence[UserData]) -> dict[str, list[Profile]]:
    """Profiles of each user, one per draw."""
    found: dict[str, list[Profile]] = {user.user_id: [] for user in people}
    for profile in read_records(path, Profile):
        found[profile.user_id].append(profile)
    return found


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


def _methods_of(plan: Plan, job: Wildcards) -> list[str]:
    return judged_methods(plan.config, profile=job.model or None, judge=job.judge or None)


def _inputs(plan: Plan, job: Wildcards) -> Files:
    found: dict[str, str | list[str]] = {"users": plan.users(job)}
    found["fitted"] = fitted_paths(plan, job.dataset, _methods_of(plan, job))
    return found | ({"profiles": plan.path("profile", **job._replace(judge="")._asdict())} if job.model else {})


def _reads(plan: Plan, job: Wildcards) -> dict[str, Any]:
    config, specs = plan.config, _methods_of(plan, job)
    values = common_reads(config) | {"methods": specs, "fitted": settings_of(specs)}
    values["draws"] = len(draws_for(config, job.k)) if job.model else 1
    by_k = [method for method in (parse_method(spec).method for spec in specs) if method.by_k]
    values["turns"] = {method.name: turns_of(config, method) for method in by_k}
    if not job.judge:
        return values
    entry = config.models[job.judge]
    modes = [judge_settings(entry, mode) for mode in entry.verdicts]
    own = {name for spec in specs for name in parse_method(spec).method.prompts}
    prompts = sorted({mode.prompt.sha for mode in modes} | {load_prompt(name).sha for name in own})
    return values | model_reads(config, job.judge) | {"judge": [asdict(mode) for mode in modes], "prompts": prompts}


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
    inputs=_inputs,
    reads=_reads,
    work=judge_stage,
    account="judge",
)
BASELINE_STAGE: Stage[Plan] = Stage(
    name="baseline",
    output="verdicts/{dataset}/baseline/{judge}/{shard}.jsonl",
    combinations=_baselines,
    inputs=_inputs,
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
    inputs=_inputs,
    reads=_reads,
    work=judge_stage,
    asks="judge",
    batches=True,
    record=JudgedUser,
    lost=_lost,
)
