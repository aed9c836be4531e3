"""Which methods judge which pairs, what each of them may see of a user, and the row that its verdicts stand in."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from personalrm.core.conditions import K, MethodId, VerdictMode
from personalrm.core.records import BASELINE, CallRef, Fitted, JudgedUser, NoResult, PreferencePair, Profile, UserData
from personalrm.core.tastes import UserTaste
from personalrm.methods.base import Known, Method, Needs, NoPairs, NotApplicable
from personalrm.methods.registry import MethodUse, parse_method
from personalrm.methods.synthesizeme.profile import context_subset
from personalrm.studies.synthesizeme.config import Config
from personalrm.studies.synthesizeme.plan import Plan
from personalrm.studies.synthesizeme.stages.fit import fitted_for
from personalrm.studies.synthesizeme.stages.settings import draws_for


def judged_methods(config: Config, needs: Needs, *, profile: str = "", judge: str = "") -> list[str]:
    """Config entries judged for a combination of models, of methods with these `needs`."""
    specs = [spec for spec in config.methods if parse_method(spec).method.needs == needs]
    if needs in ("nothing", "scores"):
        return specs
    # Models that only judge may be restricted to some methods.
    allowed = config.transfer.methods if profile else config.transfer.baselines
    only_judges = profile != judge if profile else judge not in config.learn.models
    return [spec for spec in specs if spec in allowed] if only_judges and allowed is not None else specs


def pairs_of(user: UserData, use: MethodUse) -> Sequence[PreferencePair]:
    """The pairs on which a method is judged."""
    return user.part("test") if use.pairs == "test" else user.pairs


def known_of(
    config: Config,
    user: UserData,
    method: Method[Any],
    fitted: Mapping[str, Sequence[Fitted]],
    *,
    k: K | None = None,
    draw: int = 0,
    profile: Profile | None = None,
    taste: UserTaste | None = None,
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
        taste=taste,
        artefact=row.artefact if isinstance(row, Fitted) else None,
        absent=row if isinstance(row, NoResult) else None,
        k=k,
        draw=draw,
        seed=seed,
    )


def turns_of(config: Config, use: MethodUse) -> list[tuple[K | None, int]]:
    """(k, draw) of each row that a user has by a method that reads no profile."""
    if not use.method.by_k:
        return [(None, 0)]
    ks: Sequence[K] = ["all"] if use.pairs == "loo" else config.ks
    return [(k, draw) for k in ks for draw in draws_for(config, k)]


def state_of(user: UserData, use: MethodUse, mode: VerdictMode, known: Known) -> Any:  # noqa: ANN401 - the method's own
    """The method's state for a user, or why the user is not judged (`NoResult`): what cannot apply comes first."""
    method, profile = use.method, known.profile
    if method.text_only and mode != "text":
        return NoResult("not_applicable", f"{method.name} reads no log-probabilities (verdicts: text)")
    if known.absent is not None:
        return known.absent
    for learned in (profile, known.taste):
        if learned is not None and learned.status != "ok":
            return NoResult(learned.status, learned.reason)
    state = method.adapt(known)
    if isinstance(state, NotApplicable):
        return state.result
    if not pairs_of(user, use):
        return NoResult("empty", user.excluded or "no test pairs")
    return state.result if isinstance(state, NoPairs) else state


def empty_row(user: UserData, use: MethodUse, mode: VerdictMode, judge: str | None, known: Known) -> JudgedUser:
    """The row of a method on a user, without verdicts. `judge` is the model that they come from."""
    profile, learned = known.profile, known.profile or known.taste
    return JudgedUser(
        dataset=user.dataset,
        user_id=user.user_id,
        variant=profile.variant if profile else BASELINE,
        profile_model=learned.model if learned else None,
        judge_model=judge,
        method=str(MethodId.parse(use.spec)._replace(verdict=mode)),
        k=profile.k if profile else known.k,
        draw=profile.draw if profile else known.draw,
        status="ok",
        profile_lost=sum(profile.lost.get(stage, 0) for stage in use.method.stages) if profile else 0,
    )


def owed(
    use: MethodUse, known: Known, asked: Iterable[CallRef] = (), prompts: Mapping[str, str] = MappingProxyType({})
) -> dict[str, Any]:
    """Calls and prompts (labels by name) that a row rests on: those `asked` by the judge, and those of the profile and
    the taste that it was shown."""
    profile, taste = known.profile, known.taste
    # A response belongs to the first stage that asked for it.
    calls = {ref.key: ref for ref in asked}
    calls |= {ref.key: ref for ref in (profile.calls if profile else ()) if ref.stage in use.method.stages}
    calls |= {ref.key: ref for ref in (taste.calls if taste else ())}
    labels = (dict(profile.prompts) if profile else {}) | (dict(taste.prompts) if taste else {}) | dict(prompts)
    return {"calls": tuple(calls[key] for key in sorted(calls)), "prompts": labels}


def method_reads(plan: Plan, specs: Sequence[str]) -> dict[str, Any]:
    """What the rows of methods depend on: their entries in the config, settings, k and draws."""
    config, uses = plan.config, [parse_method(spec) for spec in specs]
    return {
        "methods": specs,
        "fitted": {use.method.name: dict(use.method.settings) for use in uses if use.method.settings},
        "turns": {use.spec: turns_of(config, use) for use in uses if use.method.by_k},
    }
