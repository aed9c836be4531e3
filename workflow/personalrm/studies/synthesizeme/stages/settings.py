"""From the config to the settings of each stage, and to what makes a stage's results out of date.

A stage reads nothing of the config but these settings; `fingerprint` of the same objects is what Snakemake compares,
so an edit elsewhere in the config reruns nothing.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any, Literal, get_args

from personalrm.core.errors import ConfigError
from personalrm.core.files import canonical_json
from personalrm.core.records import ALL_PAIRS
from personalrm.data.filters.rate import PanelSettings, rating_prompts
from personalrm.judge.judge import JudgeSettings, VerdictMode
from personalrm.judge.prompting import load_prompt
from personalrm.methods.registry import MethodUse, parse_method
from personalrm.methods.synthesizeme.bootstrap import BootstrapSettings
from personalrm.methods.synthesizeme.context_subsets import N_PARTS
from personalrm.methods.synthesizeme.memory import MemorySettings
from personalrm.methods.synthesizeme.persona import PersonaSettings
from personalrm.methods.synthesizeme.profile import ProfileSettings, with_theta
from personalrm.methods.synthesizeme.search import SearchSettings
from personalrm.methods.synthesizeme.theta import read_theta
from personalrm.methods.synthesizeme.variants import CORRECTED, parse_variant
from personalrm.personas.axes import AxesQuestion
from personalrm.personas.fidelity import FidelityQuestion
from personalrm.personas.recovery import RecoveryQuestion
from personalrm.personas.settings import AxesSettings, FidelitySettings, RecoverySettings
from personalrm.personas.tags import TagQuestion
from personalrm.studies.synthesizeme.config import Config, ModelConfig

STAGE_VERSION = 2
"""Raised when the code of a paid stage changes what it would write."""


def judge_settings(model: ModelConfig, mode: VerdictMode) -> JudgeSettings:
    """How `model` judges with verdicts of `mode`."""
    return JudgeSettings(style=model.prompts, mode=mode, max_tokens=model.max_tokens)


def bootstrap_settings(config: Config, model: str, variant: str) -> BootstrapSettings:
    """Stage 1. A model learns with the first of its verdict modes."""
    entry, learn = config.models[model], config.learn.bootstrap
    return BootstrapSettings(
        judge=judge_settings(entry, entry.verdicts[0]),
        attempts=learn.attempts if parse_variant(variant).repairs.resampling else 1,
        temperature=learn.temperature,
        max_tokens=learn.max_tokens,
        salt=str(config.seed),
    )


def profile_settings(config: Config, model: str, variant: str) -> ProfileSettings:
    """Stages 1 to 3."""
    entry, learn, asked = config.models[model], config.learn, parse_variant(variant)
    repairs, most = asked.repairs, learn.search.max_bootstrapped_demos
    persona = PersonaSettings(
        style=entry.prompts,
        max_tokens=learn.persona.max_tokens,
        shortening=repairs.shortening,
        format=asked.persona_format,
        attempts=learn.persona.attempts if repairs.persona_check else 1,
        temperature=learn.bootstrap.temperature,
    )
    return ProfileSettings(
        bootstrap=bootstrap_settings(config, model, variant),
        persona=persona,
        search=SearchSettings(
            judge=judge_settings(entry, entry.verdicts[0]),
            seeds=learn.search.seeds,
            max_bootstrapped=None if most == "all" else most,
            max_labelled=learn.search.max_labeled_demos,
            stop_at_score=learn.search.stop_of(variant),
            salt=str(config.seed),
            parallel=learn.search.parallel_candidates,
            exhaustive=learn.search.exhaustive,
            strategy=learn.search.strategy,
            repairs=repairs,
        ),
        variant=variant,
        rebootstrap=learn.rebootstrap,
        seed=config.seed,
        memory=_memory_settings(config, entry),
    )


def learned_settings(config: Config, model: str, variant: str) -> ProfileSettings:
    """The same with the variant's Theta, as it is read from its file. Raises DataError as `read_theta` does."""
    program = config.theta_path(variant, model)
    theta = read_theta(program, parse_variant(variant).theta) if program else None
    return with_theta(profile_settings(config, model, variant), theta)


def _memory_settings(config: Config, entry: ModelConfig) -> MemorySettings | None:
    """Facts are extracted only where a method shows them."""
    shown = {*config.methods, *config.transfer.methods}
    return MemorySettings(style=entry.prompts, max_tokens=config.learn.memory.max_tokens) if "memory" in shown else None


def panel_settings(config: Config, dataset: str, model: str) -> PanelSettings:
    """How a member of the disagreement panel is asked: each order by itself, with reasons where it writes text."""
    entry, filters = config.models[model], config.datasets[dataset].filters
    mode: VerdictMode = "text" if entry.verdicts[0] == "text" else "logprob"
    longest = filters.disagreement.max_tokens if filters and filters.disagreement else entry.max_tokens
    return PanelSettings(style=entry.prompts, mode=mode, max_tokens=longest)


def filter_fingerprint(config: Config, dataset: str, stage: Literal["rate", "panel"], model: str) -> str:
    """What a filter's answers depend on beside the pairs. Thresholds are part of the panel's alone: they gate it."""
    filters = config.datasets[dataset].filters
    if filters is None:
        return ""
    values: dict[str, Any] = {"sample": filters.sample, "model": config.models[model].spec(model).identity}
    style, rated = config.models[model].prompts, filters.personalizable
    if stage == "rate":
        values["prompts"] = [prompt.sha for prompt in rating_prompts(style)]
        values["max_tokens"] = rated.max_tokens if rated else None
    else:
        settings = panel_settings(config, dataset, model)
        values |= {"judge": asdict(settings), "prompts": [settings.prompt.sha]}
        values["gate"] = [rated.min_query, rated.min_responses] if rated else None
    return canonical_json(values)


def theta_fingerprint(config: Config, theta: str, model: str) -> str:
    """What a Theta depends on beside the users' file."""
    optimiser = config.thetas[theta].optimise
    learned = json.loads(fingerprint(config, "profile", model=model, variant=CORRECTED))
    return canonical_json({"optimiser": optimiser and optimiser.model_dump(mode="json"), "learned": learned})


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
    settings = config.analysis.recovery or RecoverySettings()
    style = config.models[judge].prompts
    return RecoveryQuestion(style=style, max_tokens=settings.max_tokens, others=settings.others, seed=config.seed)


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


def analysis_fingerprint(config: Config, stage: Literal["fidelity", "recovery", "axes", "tag"], model: str) -> str:
    """What an analysis of personas depends on beside its input files; `model` is the one that is asked."""
    values: dict[str, Any] = {"version": STAGE_VERSION, "model": config.models[model].spec(model).identity}
    if stage == "fidelity":
        asked = fidelity_question(config, model)
        values |= {"question": asdict(asked), "prompts": [prompt.sha for prompt in asked.prompts]}
        values |= {"k": config.largest_k, "users": config.evaluate_users}
    elif stage == "recovery":
        looked = recovery_question(config, model)
        values |= {"question": asdict(looked), "prompts": [looked.prompt.sha]}
        values |= {"k": config.largest_k, "users": config.evaluate_users}
    elif stage == "axes":
        named = axes_question(config, model)
        values |= {"question": asdict(named), "prompts": [named.prompt.sha]}
    else:
        tagged = tag_question(config, model)
        values |= {"question": asdict(tagged), "prompts": [prompt.sha for prompt in tagged.prompts]}
    return canonical_json(values)


def draws_for(config: Config, k: int) -> range:
    """Draws of context pairs at k; all pairs can be drawn in one way only, and disjoint parts are a draw each."""
    return range(1 if k == ALL_PAIRS else N_PARTS.get(k, config.draws))


def method_id(spec: str, mode: VerdictMode) -> str:
    """Id of a method in the tables: how verdicts are read is part of it unless it is `text`."""
    return spec if mode == "text" else f"{spec}.{mode}"


def read_method_id(identity: str) -> tuple[MethodUse, VerdictMode]:
    """The method and the kind of verdict that `method_id` made an id of. Raises ConfigError for any other text."""
    spec, _, suffix = identity.partition(".")
    mode = next((mode for mode in get_args(VerdictMode) if method_id(spec, mode) == identity), None)
    if mode is None:
        raise ConfigError(f"method {identity!r}: {suffix!r} is no kind of verdict; known: {get_args(VerdictMode)}")
    return parse_method(spec), mode


def judged_methods(config: Config, *, profile: str | None, judge: str | None) -> list[str]:
    """Config entries judged for a combination of models: those without a profile, or those with one."""
    if profile is None:
        if judge is None:
            return config.methods_that_need("nothing")
        specs = config.methods_that_need("judge")
        allowed = config.transfer.baselines
        if judge not in config.learn.models and allowed is not None:
            specs = [spec for spec in specs if spec in allowed]
        return specs
    specs = config.methods_that_need("profile")
    return specs if profile == judge else [spec for spec in specs if spec in config.transfer.methods]


Stage = Literal["bootstrap", "profile", "baseline", "judge"]


def fingerprint(
    config: Config,
    stage: Stage,
    *,
    model: str | None = None,
    profile: str | None = None,
    variant: str = "",
    k: int | None = None,
) -> str:
    """Canonical JSON of all that a paid stage's rows depend on, beside its input files."""
    values: dict[str, Any] = {"version": STAGE_VERSION, "seed": config.seed, "users": config.evaluate_users}
    if stage == "bootstrap" and model is not None:
        settings = bootstrap_settings(config, model, variant)
        values |= {"settings": asdict(settings), "prompts": [settings.judge.prompt.sha]}
    elif stage == "profile" and model is not None:
        learned = profile_settings(config, model, variant)
        prompts = [learned.search.judge.prompt.sha, learned.persona.prompt.sha]
        prompts += [learned.memory.prompt.sha] if learned.memory else []
        values |= {"settings": asdict(learned), "prompts": prompts, "draws": len(draws_for(config, k or 0))}
    else:
        values["methods"] = judged_methods(config, profile=profile, judge=model)
        values["draws"] = len(draws_for(config, k or 0)) if profile else 1
    if model is not None:
        entry = config.models[model]
        values["model"] = entry.spec(model).identity
        # What is shown is cut to fit.
        values["window"] = [entry.context_length, str(entry.tokenizer or "")]
        if stage in ("baseline", "judge"):
            modes = [judge_settings(entry, mode) for mode in entry.verdicts]
            values["judge"] = [asdict(mode) for mode in modes]
            own = {name for spec in values["methods"] for name in parse_method(spec).method.prompts}
            values["prompts"] = sorted({mode.prompt.sha for mode in modes} | {load_prompt(name).sha for name in own})
    return canonical_json(values)
