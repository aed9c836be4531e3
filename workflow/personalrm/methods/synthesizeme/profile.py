"""A user's profile: stages 1 to 3 in order (paper, section 3), for one k and one draw of context pairs."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from personalrm.core.concurrency import concurrently
from personalrm.core.conditions import K
from personalrm.core.errors import ModelCallError
from personalrm.core.files import stable_hash
from personalrm.core.records import (
    CallRef,
    NoResult,
    PreferencePair,
    Profile,
    Trace,
    UserData,
    UserTraces,
)
from personalrm.judge.call_recorder import CallRecorder
from personalrm.judge.constitution import NAME
from personalrm.judge.judge import JudgeContext, failure_outcome
from personalrm.llm.types import LanguageModel
from personalrm.methods.synthesizeme.bootstrap import BootstrapSettings, bootstrap_pairs, verified
from personalrm.methods.synthesizeme.context_subsets import N_PARTS, part_of, why_none
from personalrm.methods.synthesizeme.memory import MemorySettings, Remembered, remember
from personalrm.methods.synthesizeme.persona import PersonaSettings, induce_persona
from personalrm.methods.synthesizeme.search import SearchResult, SearchSettings, labelled, search, search_first
from personalrm.methods.synthesizeme.theta import Theta

PROFILE_STAGES = ("search", "persona", "rebootstrap", "search_persona", "memory")
"""Stages of one profile in the order they run, as named in `CallRef.stage`."""


@dataclass(frozen=True)
class ProfileSettings:
    """Settings of all three stages. `rebootstrap` samples traces anew with the persona known (paper, stage 3).
    With `memory` facts are extracted, too, for the baseline of that name."""

    bootstrap: BootstrapSettings
    persona: PersonaSettings
    search: SearchSettings
    rebootstrap: bool
    variant: str = "corrected"
    seed: int = 0
    memory: MemorySettings | None = None


def with_theta(settings: ProfileSettings, theta: Theta | None) -> ProfileSettings:
    """The same, with an optimised persona prompt; unchanged for None."""
    return replace(settings, persona=replace(settings.persona, theta=theta))


def context_subset(pairs: Sequence[PreferencePair], k: K, draw: int, seed: int) -> tuple[PreferencePair, ...]:
    """The first k context pairs of a seeded order, oldest first; all of them for k = "all".

    Subsets of one draw are nested: k = 3 contains the pairs of k = 1. For "halves" and "types", the part whose number
    is the draw.
    """
    if k in N_PARTS:
        return part_of(pairs, k, draw, seed)
    if isinstance(k, str):
        return tuple(pairs)
    drawn = sorted(pairs, key=lambda pair: stable_hash(str(seed), str(draw), pair.user_id, pair.pair_id))
    kept = {pair.pair_id for pair in drawn[:k]}
    return tuple(pair for pair in pairs if pair.pair_id in kept)


async def learn_profile(
    model: LanguageModel,
    user: UserData,
    traces: UserTraces,
    k: K,
    draw: int,
    settings: ProfileSettings,
    *,
    absent: NoResult | None = None,
) -> Profile:
    """Profile of one user. A failed call gives a profile with status `failed` and the reason; a user without context
    pairs one with status `empty`, and one of whom `absent` says why there is none has its status. Permanent errors of
    the provider are raised. From a part of the context (`context_subsets.py`) the persona alone is learned.
    """
    recorders = {stage: CallRecorder(model, stage) for stage in PROFILE_STAGES}
    base = Profile(
        dataset=user.dataset,
        user_id=user.user_id,
        model=model.spec.name,
        variant=settings.variant,
        k=k,
        draw=draw,
        status="ok",
        prompts=profile_prompts(settings),
    )
    pairs = context_subset(user.part("context"), k, draw, settings.seed)
    if absent is None and not pairs:
        absent = _without_pairs(user, k)
    if absent is not None:
        return base.model_copy(update=absent._asdict())
    try:
        learned = await _stages(recorders, user, pairs, traces, settings, persona_alone=k in N_PARTS)
    except ModelCallError as error:
        learned = {"status": "failed", "reason": f"{failure_outcome(error)}: {error}"}
    wanted = {pair.pair_id for pair in pairs}
    counts = {"bootstrap": traces.lost(wanted)} | {stage: recorders[stage].failed for stage in PROFILE_STAGES}
    lost = {stage: number for stage, number in counts.items() if number}
    events = list(learned.get("events", ()))
    if lost:
        events.append(f"{sum(lost.values())} calls failed at the provider")
    if isinstance(k, int) and len(pairs) < k:
        events.append(f"only {len(pairs)} context pairs for k = {k}")
    made = {"calls": _calls(wanted, traces, recorders), "lost": lost, "events": tuple(events)}
    return base.model_copy(update=learned | made)


def _without_pairs(user: UserData, k: K) -> NoResult:
    if k in N_PARTS and user.part("context") and not user.excluded:
        return NoResult("not_applicable", why_none(k))
    return NoResult("empty", user.excluded or "no context pairs")


def _calls(wanted: Collection[str], traces: UserTraces, recorders: Mapping[str, CallRecorder]) -> tuple[CallRef, ...]:
    """Responses that the profile rests on: those of the traces of the `wanted` pairs, then those of its stages.

    A response belongs to the first stage that asked for it.
    """
    used = {key for trace in traces.traces if trace.pair_id in wanted for key in trace.calls}
    calls = {ref.key: ref for ref in traces.calls if ref.key in used}
    for ref in itertools.chain.from_iterable(recorders[stage].calls for stage in PROFILE_STAGES):
        calls.setdefault(ref.key, ref)
    return tuple(calls[key] for key in sorted(calls))


async def _stages(
    models: Mapping[str, CallRecorder],
    user: UserData,
    pairs: Sequence[PreferencePair],
    traces: UserTraces,
    settings: ProfileSettings,
    *,
    persona_alone: bool,
) -> dict[str, Any]:
    wanted = {pair.pair_id for pair in pairs}
    first = {key: trace for key, trace in verified(traces.traces).items() if key in wanted}
    validation = user.part("validation")
    plain = await search(models["search"], pairs, first, validation, settings.search, allow_empty=False)
    judgements, fallback = plain.judgements, list[str]()
    if not judgements and settings.search.repairs.fallback:
        judgements = tuple(labelled(pair, settings.search.salt) for pair in pairs)
        fallback = ["no demonstration was found: the persona reads all labelled pairs"]
    induced = await induce_persona(models["persona"], judgements, settings.persona)
    events, traced = (*plain.events, *fallback, *induced.events), f"{len(first)} of {len(pairs)} pairs have a trace"
    learned: dict[str, Any] = {
        "persona": induced.persona,
        "persona_flaw": induced.flaw,
        "persona_pairs": tuple(judgement.pair.pair_id for judgement in judgements),
        "plain_demonstrations": plain.demonstrations,
        "search": {"plain": plain.candidates},
        "winners": {"plain": plain.seed},
        "events": (*events, traced),
    }
    if persona_alone:
        return learned
    final = await _search_persona(models, pairs, first, validation, settings, induced.persona)
    remembered = Remembered((), ())
    if settings.memory is not None:
        remembered = await remember(models["memory"], pairs, settings.memory)
    return learned | {
        "memory": remembered.facts,
        "demonstrations": final.demonstrations,
        "search": {**learned["search"], "with_persona": final.candidates},
        "winners": {**learned["winners"], "with_persona": final.seed},
        "events": (*events, *final.events, *remembered.events, traced),
    }


async def _search_persona(
    models: Mapping[str, CallRecorder],
    pairs: Sequence[PreferencePair],
    traces: Mapping[str, Trace],
    validation: Sequence[PreferencePair],
    settings: ProfileSettings,
    persona: str | None,
) -> SearchResult:
    """Stage 3. Traces are made anew only if the persona alone does not reach the stop score: it stands before all other
    candidates, so that nothing they hold could change the winner."""
    asked, how = models["search_persona"], settings.search
    if settings.rebootstrap and persona:
        speed, known = how.parallel > 1, JudgeContext(persona=persona)
        attempts = partial(bootstrap_pairs, models["rebootstrap"], pairs, known, side_by_side=speed)
        alone = search_first(asked, pairs, validation, how, persona=persona, allow_empty=True)
        if speed:
            once = replace(settings.bootstrap, attempts=1)
            found, _ = await concurrently(alone, attempts(once))
        else:
            found = await alone
        if found is not None:
            return found
        traces = verified(await attempts(settings.bootstrap))
    return await search(asked, pairs, traces, validation, how, persona=persona, allow_empty=True)


def profile_prompts(settings: ProfileSettings) -> dict[str, str]:
    """Prompts that a profile rests on, by name, with version and hash."""
    asked = (settings.bootstrap.judge, settings.persona, settings.search.judge, settings.memory)
    prompts = {one.prompt.name: one.prompt.label for one in asked if one is not None}
    if rules := settings.search.judge.constitution:
        prompts[NAME] = rules.label
    theta = settings.persona.theta
    return prompts | ({f"theta {theta.name}": theta.label} if theta else {})
