"""Stages `baseline` and `judge`: verdicts on one shard's test pairs by all methods of one combination of models."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

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
    Verdict,
    read_records,
    write_records,
)
from personalrm.judge.call_recorder import CallRecorder
from personalrm.judge.constitution import NAME
from personalrm.judge.judge import Judge, JudgeSettings, fitted, on_tie
from personalrm.judge.prompting import load_prompt
from personalrm.llm.types import LanguageModel
from personalrm.methods.base import Known, Method, NoPairs, NotApplicable
from personalrm.methods.registry import MethodUse, parse_method
from personalrm.methods.synthesizeme.profile import context_subset
from personalrm.run.stage import Files, Stage, Wildcards
from personalrm.studies.synthesizeme.config import Config
from personalrm.studies.synthesizeme.plan import Plan
from personalrm.studies.synthesizeme.stages.fit import fitted_for, fitted_paths, read_fitted
from personalrm.studies.synthesizeme.stages.runner import Job, evaluated_users, provider_errors
from personalrm.studies.synthesizeme.stages.settings import (
    asked_reads,
    common_reads,
    constitution_of,
    draws_for,
    judge_settings,
)
from personalrm.studies.synthesizeme.stages.taste_on import Judged, by_quality, not_taste, rating_files, thresholds


def judged_methods(config: Config, *, profile: str | None, judge: str | None) -> list[str]:
    """Config entries judged for a combination of models: those without a profile, or those with one."""
    need = "profile" if profile else "judge" if judge else "nothing"
    specs = [spec for spec in config.methods if parse_method(spec).method.needs == need]
    # Models that only judge may be restricted to some methods.
    allowed = config.transfer.methods if profile else config.transfer.baselines
    only_judges = profile != judge if profile else judge is not None and judge not in config.learn.models
    return [spec for spec in specs if spec in allowed] if only_judges and allowed is not None else specs


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
    """The method's state for a user, or why the user is not judged (`NoResult`): what cannot apply comes first."""
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
    client: LanguageModel | None,
    user: UserData,
    use: MethodUse,
    settings: JudgeSettings,
    known: Known,
    general: Collection[str] = (),
) -> JudgedUser:
    """Verdicts of one method on one user's pairs, or why there are none. Methods that call no model need no client.
    Pairs in `general` are no matter of taste (`taste_on.by_quality`)."""
    row = _row(user, use, settings.mode, client.spec.name if client else None, known)
    state = _state(user, use, settings.mode, known)
    if isinstance(state, NoResult):
        return row.model_copy(update=state._asdict())
    pairs, judge, profile = pairs_of(user, use), use.method.judge, known.profile
    if not isinstance(judge, Judge):
        return row.model_copy(update={"verdicts": _unasked(judge(state, pairs), pairs, use), **_owed(use, profile)})
    if client is None:
        raise ValueError(f"method {use.spec}: asks a model, and there is no client")
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
    return row.model_copy(update={**judged._asdict(), **_owed(use, profile, recorder.calls, asked)})


def _owed(
    use: MethodUse,
    profile: Profile | None,
    asked: Iterable[CallRef] = (),
    prompts: Mapping[str, str] = MappingProxyType({}),
) -> dict[str, Any]:
    """Calls and prompts (labels by name) that a row rests on: those `asked` by the judge, and those of its profile."""
    # A response belongs to the first stage that asked for it.
    calls = {ref.key: ref for ref in asked}
    calls |= {ref.key: ref for ref in (profile.calls if profile else ()) if ref.stage in use.method.stages}
    labels = (dict(profile.prompts) if profile else {}) | dict(prompts)
    return {"calls": tuple(calls[key] for key in sorted(calls)), "prompts": labels}


def _unasked(found: Sequence[Verdict], pairs: Sequence[PreferencePair], use: MethodUse) -> tuple[Verdict, ...]:
    """Verdicts of a function, which need not know of ties. Raises ValueError where they are not on these pairs."""
    ties = {pair.pair_id: pair.tie for pair in pairs}
    if {verdict.pair_id for verdict in found} != ties.keys():
        raise ValueError(f"method {use.spec}: its judge gave no verdict on some pair, or one on another pair")
    return tuple(on_tie(verdict) if ties[verdict.pair_id] else verdict for verdict in found)


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
        profile = None if self.profiles is None else self.profiles[user.user_id][draw]
        return known_of(self.config, user, method, self.fitted, k=k, draw=draw, profile=profile)


def known_of(
    config: Config,
    user: UserData,
    method: Method[Any],
    fitted: Mapping[str, Sequence[Fitted]],
    *,
    k: K | None = None,
    draw: int = 0,
    profile: Profile | None = None,
) -> Known:
    """What a method may see of a user; `fitted` are the artefacts of methods on the user's data set.

    A method that does not say that it learns sees no pair: it may be judged on all of them (`@all`).
    """
    seen = user if method.learns or method.needs == "profile" else user.model_copy(update={"pairs": ()})
    pairs, seed = seen.part("context"), config.seed
    row = fitted_for(fitted[method.reads], user) if method.reads else None
    return Known.of(
        seen,
        pairs=pairs if k is None else context_subset(pairs, k, draw, seed),
        profile=profile,
        artefact=row.artefact if isinstance(row, Fitted) else None,
        absent=row if isinstance(row, NoResult) else None,
        k=k,
        draw=draw,
        seed=seed,
    )


def turns_of(config: Config, method: Method[Any]) -> list[tuple[K | None, int]]:
    """(k, draw) of each row that a user has by a method that reads no profile."""
    return [(k, draw) for k in config.ks for draw in draws_for(config, k)] if method.by_k else [(None, 0)]


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
    fitted: Sequence[Path] = (),
    ratings: Sequence[Path] = (),
    judge: str = "",
    profiles: Path | None = None,
    model: str = "",
) -> None:
    """Write one `JudgedUser` for each user, method, verdict mode, k and draw.

    Without `judge` the methods that need no model are applied; without `profiles`, which `model` learned, those that
    read no profile. `fitted` are the files of what methods learned from other users, `ratings` those by which pairs are
    no matter of taste.
    """
    config = job.config
    uses = [parse_method(spec) for spec in judged_methods(config, profile=model or None, judge=judge or None)]
    people = evaluated_users(users, config.evaluate_users)
    general = not_taste(ratings, thresholds(config, people[0].dataset)) if people else frozenset()
    shard = _Shard(config, read_fitted(fitted), _profiles_of(profiles, people) if profiles else None)

    def tasks(use: MethodUse, settings: JudgeSettings, turn: tuple[K | None, int]) -> list[_Task]:
        return [_Task(user, use, settings, shard.known(user, use.method, *turn), general) for user in people]

    if not judge:
        found = [tasks(use, JudgeSettings(), turn) for use in uses for turn in shard.turns(use.method)]
        write_records(out, [await judge_user(None, *task) for of_user in zip(*found, strict=True) for task in of_user])
        return
    # One method at a time: the calls of one prefix stay together, so that prefix caches hit.
    groups = (
        tasks(use, mode, turn)
        for use in uses
        for mode in _modes(config, judge, use.method)
        for turn in shard.turns(use.method)
    )

    async def work(client: LanguageModel, task: _Task) -> JudgedUser:
        return await judge_user(client, *task)

    await job.execute(JUDGE if model else BASELINE_STAGE, judge, groups, work, out)


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
        if judged_methods(config, profile=model, judge=judge):
            yield Wildcards(dataset=dataset, variant=variant, model=model, judge=judge, k=k)


def _methods_of(plan: Plan, job: Wildcards) -> list[str]:
    return judged_methods(plan.config, profile=job.model or None, judge=job.judge or None)


def _inputs(plan: Plan, job: Wildcards) -> Files:
    fitted = fitted_paths(plan, job.dataset, _methods_of(plan, job))
    profiles = {"profiles": plan.path("profile", **job._replace(judge="")._asdict())} if job.model else {}
    ratings = {"ratings": files} if (files := rating_files(plan, job)) else {}
    return {"users": plan.users(job), "fitted": fitted, **ratings, **profiles}


def _reads(plan: Plan, job: Wildcards) -> dict[str, Any]:
    config, specs = plan.config, _methods_of(plan, job)
    methods = [parse_method(spec).method for spec in specs]
    values = {
        "methods": specs,
        "fitted": {method.name: dict(method.settings) for method in methods if method.settings},
        "draws": len(draws_for(config, job.k)) if job.model else 1,
        "turns": {method.name: turns_of(config, method) for method in methods if method.by_k},
    }
    if not job.judge:
        return common_reads(config) | values
    if rated := thresholds(config, job.dataset):
        values["taste_on"] = [rated.min_query, rated.min_responses]
    modes = list(dict.fromkeys(mode for method in methods for mode in _modes(config, job.judge, method)))
    own = [load_prompt(name) for method in methods for name in method.prompts]
    return asked_reads(config, job.judge, modes, [*(mode.prompt for mode in modes), *own]) | values


NO_MODEL: Stage[Plan] = Stage(
    name="no_model",
    output="verdicts/{dataset}/baseline/none/{shard}.jsonl",
    combinations=lambda plan: [
        job for dataset in plan.config.datasets if _methods_of(plan, job := Wildcards(dataset=dataset))
    ],
    inputs=_inputs,
    reads=_reads,
    work=judge_stage,
    account="judge",
)
BASELINE_STAGE: Stage[Plan] = Stage(
    name="baseline",
    output="verdicts/{dataset}/baseline/{judge}/{shard}.jsonl",
    combinations=lambda plan: [
        Wildcards(dataset=dataset, judge=judge)
        for dataset, judge in itertools.product(plan.config.datasets, plan.config.judge_models)
        if judged_methods(plan.config, profile=None, judge=judge)
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
