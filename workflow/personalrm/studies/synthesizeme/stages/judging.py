"""Stages `baseline`, `judge`, `judge_taste`: verdicts on one shard by all methods that ask a combination of models."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Collection, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

from personalrm.core.conditions import K
from personalrm.core.records import (
    JudgedUser,
    NoResult,
    Profile,
    UserData,
    read_all,
    read_records,
)
from personalrm.core.tastes import UserTaste
from personalrm.judge.call_recorder import CallRecorder
from personalrm.judge.constitution import NAME
from personalrm.judge.judge import Judge, JudgeSettings, fitted
from personalrm.judge.prompting import load_prompt
from personalrm.llm.types import LanguageModel
from personalrm.methods.base import Known, Method
from personalrm.methods.registry import MethodUse, parse_method
from personalrm.run.stage import Files, Stage, Wildcards
from personalrm.studies.runner import provider_errors
from personalrm.studies.settings import judge_settings
from personalrm.studies.synthesizeme.config import Config
from personalrm.studies.synthesizeme.plan import Plan
from personalrm.studies.synthesizeme.stages.fit import fitted_paths, read_fitted
from personalrm.studies.synthesizeme.stages.runner import Job, evaluated_users
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
from personalrm.studies.synthesizeme.stages.settings import asked_reads, constitution_of, draws_for
from personalrm.studies.synthesizeme.stages.taste_on import (
    Judged,
    by_quality,
    not_taste,
    rating_files,
    taste_on_reads,
    thresholds,
)
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
    pairs, judge = pairs_of(user, use), use.method.judge
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
    return row.model_copy(update={**judged._asdict(), **owed(use, known, recorder.calls, asked)})


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
    tastes: Sequence[Path] = (),
    profiles: Path | None = None,
    model: str = "",
    variant: str = "",
) -> None:
    """Write one `JudgedUser` for each user, method, verdict mode, k and draw.

    The methods are those that need a profile where `variant` is given, else those that need a taste where `model` is,
    else those that need neither. `profiles` and `tastes` are what `model` learned, `fitted` the files of what methods
    learned from other users, `ratings` those by which pairs are no matter of taste.
    """
    config, needs = job.config, _needs_of(Wildcards(variant=variant, model=model))
    uses = [parse_method(spec) for spec in judged_methods(config, needs, profile=model, judge=judge)]
    people = evaluated_users(users, config.evaluate_users)
    artefacts = read_fitted(fitted)
    learned, measured = _profiles_of(profiles, people) if profiles else None, _tastes_of(tastes)
    general = not_taste(ratings, thresholds(config, people[0].dataset)) if people else frozenset()

    def turns(use: MethodUse) -> list[tuple[K | None, int]]:
        # A profile has a k of its own.
        drawn = max(map(len, learned.values()), default=0) if learned is not None else 0
        return turns_of(config, use) if learned is None else [(None, draw) for draw in range(drawn)]

    def task(user: UserData, use: MethodUse, settings: JudgeSettings, k: K | None, draw: int) -> _Task:
        profile = learned[user.user_id][draw] if learned is not None else None
        k_taste = profile.k if profile else k
        taste = measured[user.user_id, k_taste, draw] if use.method.shows_taste else None
        known = known_of(config, user, use.method, artefacts, k=k, draw=draw, profile=profile, taste=taste)
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

    stage = {"judge": BASELINE_STAGE, "profile": JUDGE, "taste": JUDGE_TASTE}[needs]
    await job.execute(stage, judge, groups, work, out)


def _needs_of(job: Wildcards) -> Literal["judge", "profile", "taste"]:
    """What the methods of a job need that asks a judge: something that `model` learned, in a variant if it is a
    profile."""
    return "profile" if job.variant else "taste" if job.model else "judge"


def _tastes_of(paths: Iterable[Path]) -> dict[tuple[str, K | None, int], UserTaste]:
    """Tastes by user, k and draw."""
    return {(row.user_id, row.k, row.draw): row for row in read_all(paths, UserTaste)}


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
    for dataset, variant, (model, judge, k) in itertools.product(config.judged, config.variants, pairs):
        if judged_methods(config, "profile", profile=model, judge=judge):
            yield Wildcards(dataset=dataset, variant=variant, model=model, judge=judge, k=k)


def _judged_tastes(plan: Plan) -> Iterator[Wildcards]:
    """Tastes of each model that scores, shown to itself and, in transfer, to others."""
    config = plan.config
    pairs = [(model, model) for model in config.scoring_models]
    pairs += [pair for pair in config.transfer_pairs if pair[0] in config.scoring_models]
    for dataset, (model, judge) in itertools.product(config.judged, pairs):
        if judged_methods(config, "taste", profile=model, judge=judge):
            yield Wildcards(dataset=dataset, model=model, judge=judge)


def _asking(plan: Plan, job: Wildcards) -> list[str]:
    return judged_methods(plan.config, _needs_of(job), profile=job.model, judge=job.judge)


def _inputs(plan: Plan, job: Wildcards) -> Files:
    specs = _asking(plan, job)
    read: dict[str, str | list[str]] = {
        "users": plan.users(job),
        "fitted": fitted_paths(plan, job.dataset, specs, job.model),
    }
    if files := rating_files(plan, job):
        read["ratings"] = files
    if job.variant:
        read["profiles"] = plan.path("profile", **job._replace(judge="")._asdict())
    if any(parse_method(spec).method.shows_taste for spec in specs):
        read["tastes"] = [plan.path("taste", dataset=job.dataset, model=job.model, shard=job.shard)]
    return read


def _reads(plan: Plan, job: Wildcards) -> dict[str, Any]:
    config, specs = plan.config, _asking(plan, job)
    methods = [parse_method(spec).method for spec in specs]
    values = method_reads(plan, specs) | {"draws": len(draws_for(config, job.k)) if job.variant else 1}
    values |= taste_on_reads(plan, job)
    modes = list(dict.fromkeys(mode for method in methods for mode in _modes(config, job.judge, method)))
    own = [load_prompt(name) for method in methods for name in method.prompts]
    return asked_reads(config, job.judge, modes, [*(mode.prompt for mode in modes), *own]) | values


_judges = functools.partial(
    Stage[Plan],
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
BASELINE_STAGE = _judges(
    name="baseline",
    output="verdicts/{dataset}/baseline/{judge}/{shard}.jsonl",
    combinations=lambda plan: [
        Wildcards(dataset=dataset, judge=judge)
        for dataset, judge in itertools.product(plan.config.judged, plan.config.judge_models)
        if judged_methods(plan.config, "judge", judge=judge)
    ],
)
JUDGE = _judges(
    name="judge",
    output="verdicts/{dataset}/{variant}/{model}-to-{judge}/k{k}/{shard}.jsonl",
    combinations=_judged,
)
JUDGE_TASTE = _judges(
    name="judge_taste",
    output="verdicts/{dataset}/measured/{model}-to-{judge}/{shard}.jsonl",
    combinations=_judged_tastes,
)
