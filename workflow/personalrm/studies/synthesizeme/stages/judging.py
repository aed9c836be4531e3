"""Stages `baseline` and `judge`: verdicts on one shard's pairs by all methods that ask one combination of models."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from personalrm.core.conditions import K
from personalrm.core.records import (
    JudgedUser,
    NoResult,
    Profile,
    UserData,
    read_records,
)
from personalrm.judge.call_recorder import CallRecorder
from personalrm.judge.constitution import NAME
from personalrm.judge.judge import Judge, JudgeSettings, fitted
from personalrm.judge.prompting import load_prompt
from personalrm.llm.types import LanguageModel
from personalrm.methods.base import Known, Method, Needs
from personalrm.methods.registry import MethodUse, parse_method
from personalrm.run.stage import Files, Stage, Wildcards
from personalrm.studies.synthesizeme.config import Config
from personalrm.studies.synthesizeme.plan import Plan
from personalrm.studies.synthesizeme.stages.fit import fitted_paths, read_fitted
from personalrm.studies.synthesizeme.stages.runner import Job, evaluated_users, provider_errors
from personalrm.studies.synthesizeme.stages.seen import (
    empty_row,
    judged_methods,
    known_of,
    method_reads,
    owed,
    pairs_of,
    state_of,
    turns_of,
)
from personalrm.studies.synthesizeme.stages.settings import asked_reads, constitution_of, draws_for, judge_settings
from personalrm.studies.synthesizeme.stages.taste_on import Judged, by_quality, not_taste, rating_files, thresholds
from personalrm.studies.synthesizeme.stages.weighing import weigh_user


async def judge_user(
    client: LanguageModel,
    user: UserData,
    use: MethodUse,
    settings: JudgeSettings,
    known: Known,
    general: Collection[str] = (),
) -> JudgedUser:
    """Verdicts of one method on one user's pairs, or why there are none. Pairs in `general` are no matter of taste
    (`taste_on.by_quality`)."""
    if not isinstance(use.method.judge, Judge):
        return weigh_user(user, use, known, judge=client.spec.name)
    row = empty_row(user, use, settings.mode, client.spec.name, known)
    state = state_of(user, use, settings.mode, known)
    if isinstance(state, NoResult):
        return row.model_copy(update=state._asdict())
    pairs, judge, profile = pairs_of(user, use), use.method.judge, known.profile
    whole = len(state.demonstrations)
    shown = fitted(state, pairs, settings, client.spec, judge.messages)
    if len(shown.demonstrations) < whole:
        row = row.model_copy(update={"reason": f"{whole - len(shown.demonstrations)} of {whole} pairs did not fit"})
    recorder = CallRecorder(client, "judge")
    judged = Judged(await judge.pairs(recorder, pairs, shown, settings))
    if general and shown.known:
        judged = await by_quality(recorder, pairs, judged.verdicts, general, settings)
    asked = {prompt.name: prompt.label for prompt in [settings.prompt, *map(load_prompt, use.method.prompts)]}
    if settings.constitution and shown.known:
        asked[NAME] = settings.constitution.label
    return row.model_copy(update={**judged._asdict(), **owed(use, profile, recorder.calls, asked)})


class _Task(NamedTuple):
    """One row: a method that judges the pairs of a user."""

    user: UserData
    use: MethodUse
    settings: JudgeSettings
    known: Known
    general: frozenset[str]


async def judge_stage(
    job: Job,
    *,
    users: Path,
    out: Path,
    judge: str,
    fitted: Sequence[Path] = (),
    ratings: Sequence[Path] = (),
    profiles: Path | None = None,
    model: str = "",
) -> None:
    """Write one `JudgedUser` for each user, method, verdict mode, k and draw.

    Without `profiles`, which `model` learned, the methods are those that read no profile. `fitted` are the files of
    what methods learned from other users, `ratings` those by which pairs are no matter of taste.
    """
    config, needs = job.config, _needs_of(model)
    uses = [parse_method(spec) for spec in judged_methods(config, needs, profile=model, judge=judge)]
    people = evaluated_users(users, config.evaluate_users)
    learned, artefacts = _profiles_of(profiles, people) if profiles else None, read_fitted(fitted)
    general = not_taste(ratings, thresholds(config, people[0].dataset)) if people else frozenset()

    def turns(use: MethodUse) -> list[tuple[K | None, int]]:
        # A profile has a k of its own.
        drawn = max(map(len, learned.values()), default=0) if learned is not None else 0
        return turns_of(config, use) if learned is None else [(None, draw) for draw in range(drawn)]

    def task(user: UserData, use: MethodUse, settings: JudgeSettings, k: K | None, draw: int) -> _Task:
        profile = learned[user.user_id][draw] if learned is not None else None
        known = known_of(config, user, use.method, artefacts, k=k, draw=draw, profile=profile)
        return _Task(user, use, settings, known, general)

    # One method at a time: the calls of one prefix stay together, so that prefix caches hit.
    groups = (
        [task(user, use, mode, *turn) for user in people]
        for use in uses
        for mode in _modes(config, judge, use.method)
        for turn in turns(use)
    )

    async def work(client: LanguageModel, task: _Task) -> JudgedUser:
        return await judge_user(client, *task)

    await job.execute(JUDGE if model else BASELINE_STAGE, judge, groups, work, out)


def _needs_of(model: str) -> Needs:
    """What the methods of a job need that asks a judge: a profile, where `model` learned one."""
    return "profile" if model else "judge"


def _modes(config: Config, judge: str, method: Method[Any]) -> list[JudgeSettings]:
    """How `judge` judges by a method, for each of its verdict modes."""
    entry, rules = config.models[judge], constitution_of(config, guarded=method.guarded)
    return [judge_settings(entry, mode, rules) for mode in entry.verdicts]


def _profiles_of(path: Path, people: Sequence[UserData]) -> dict[str, list[Profile]]:
    """Profiles of each user, one per draw."""
    found: dict[str, list[Profile]] = {user.user_id: [] for user in people}
    for profile in read_records(path, Profile):
        found[profile.user_id].append(profile)
    return found


def _judged(plan: Plan) -> Iterator[Wildcards]:
    """Own profiles at all k; those of transfer at the largest."""
    config = plan.config
    pairs = [(model, model, k) for model in config.learn.models for k in config.ks]
    pairs += [(model, judge, config.largest_k) for model, judge in config.transfer_pairs]
    for dataset, variant, (model, judge, k) in itertools.product(config.datasets, config.variants, pairs):
        if judged_methods(config, "profile", profile=model, judge=judge):
            yield Wildcards(dataset=dataset, variant=variant, model=model, judge=judge, k=k)


def _asking(plan: Plan, job: Wildcards) -> list[str]:
    return judged_methods(plan.config, _needs_of(job.model), profile=job.model, judge=job.judge)


def _inputs(plan: Plan, job: Wildcards) -> Files:
    fitted = fitted_paths(plan, job.dataset, _asking(plan, job))
    profiles = {"profiles": plan.path("profile", **job._replace(judge="")._asdict())} if job.model else {}
    ratings = {"ratings": files} if (files := rating_files(plan, job)) else {}
    return {"users": plan.users(job), "fitted": fitted, **ratings, **profiles}


def _reads(plan: Plan, job: Wildcards) -> dict[str, Any]:
    config, specs = plan.config, _asking(plan, job)
    methods = [parse_method(spec).method for spec in specs]
    values = method_reads(plan, specs) | {"draws": len(draws_for(config, job.k)) if job.model else 1}
    if rated := thresholds(config, job.dataset):
        values["taste_on"] = [rated.min_query, rated.min_responses]
    modes = list(dict.fromkeys(mode for method in methods for mode in _modes(config, job.judge, method)))
    own = [load_prompt(name) for method in methods for name in method.prompts]
    return asked_reads(config, job.judge, modes, [*(mode.prompt for mode in modes), *own]) | values


BASELINE_STAGE: Stage[Plan] = Stage(
    name="baseline",
    output="verdicts/{dataset}/baseline/{judge}/{shard}.jsonl",
    combinations=lambda plan: [
        Wildcards(dataset=dataset, judge=judge)
        for dataset, judge in itertools.product(plan.config.datasets, plan.config.judge_models)
        if judged_methods(plan.config, "judge", judge=judge)
    ],
    inputs=_inputs,
    reads=_reads,
    work=judge_stage,
    asks="judge",
    batches=True,
    record=JudgedUser,
    lost=lambda row: provider_errors(row.verdicts),
    counted=lambda row: len(row.verdicts),
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
    lost=lambda row: provider_errors(row.verdicts),
    counted=lambda row: len(row.verdicts),
)
