"""Problems of a config that no single key shows: names that must exist elsewhere."""

from __future__ import annotations

import itertools

from personalrm.core.conditions import JSON
from personalrm.data.cross_validation import pools_of
from personalrm.data.settings import ProcessedDataset
from personalrm.methods.registry import METHODS, parse_method
from personalrm.methods.synthesizeme.theta import ThetaOptimiser
from personalrm.methods.synthesizeme.variants import parse_variant
from personalrm.studies.synthesizeme.config import Config


def cross_check(config: Config) -> list[str]:
    """Problems that no single key shows. Each begins with the path of the key."""
    checks = (_models, _learners, _thetas, _methods, _folders, _folds)
    return [problem for check in checks for problem in check(config)]


def _models(config: Config) -> list[str]:
    """Models that are named somewhere and described nowhere, or whose settings contradict each other."""
    problems = [
        f"{key}: no model {name!r} under 'models' (there are: {', '.join(config.models) or 'none'})"
        for key, names in (
            ("learn.models", config.learn.models),
            ("transfer.pairs", [name for pair in config.transfer_pairs for name in pair]),
            *config.analysis.named(),
            ("budget.models", list(config.budget.models)),
        )
        for name in dict.fromkeys(names)
        if name not in config.models
    ]
    problems += [
        f"models.{name}.verdicts: 'text' is not read from compact prompts, which end with the label; use prompts: "
        f"standard, or verdicts: [logprob_both]"
        for name, entry in config.models.items()
        if entry.prompts == "compact" and "text" in entry.verdicts
    ]
    return problems + [
        f"datasets.{entry.name}.filters: no model {name!r} under 'models'"
        for entry in config.datasets.values()
        for name in entry.filter_models
        if name not in config.models
    ]


def _learners(config: Config) -> list[str]:
    """Models whose profiles are asked for and that learn none."""
    problems = [
        f"{key}: {name!r} is not in learn.models, so it has no personas"
        for key, names in config.analysis.named()
        for name in names
        if key.endswith(".models") and name not in config.learn.models
    ]
    return problems + [
        f"transfer.pairs: {name!r} is not in learn.models, so it has no profiles to transfer"
        for name, _ in config.transfer_pairs
        if name not in config.learn.models
    ]


def _thetas(config: Config) -> list[str]:
    """Thetas that variants use and nobody describes; models and data sets that they name."""
    problems: list[str] = []
    for name in config.variants:
        theta = parse_variant(name).theta
        if theta is not None and theta not in config.thetas:
            there = ", ".join(config.thetas) or "none"
            problems.append(f"variants: {name!r}: no Theta {theta!r} under 'thetas' (there are: {there})")
    if JSON in config.thetas:
        problems.append(f"thetas.{JSON}: variants +{JSON} have personas as JSON, give the Theta another name")
    for name, entry in config.thetas.items():
        asked = entry.optimise or ThetaOptimiser()
        problems += [
            f"thetas.{name}.optimise.{key}: no model {model!r} under 'models'"
            for key, model in (("model", asked.model), ("proposer", asked.proposer))
            if model is not None and model not in config.models
        ]
        problems += [
            f"thetas.{name}.optimise.datasets: no data set {dataset!r} under 'datasets'"
            for dataset in asked.datasets or ()
            if dataset not in config.datasets
        ]
    return problems


def _methods(config: Config) -> list[str]:
    """Methods that do not go with what the models do."""
    problems: list[str] = []
    for spec in dict.fromkeys(config.transfer.methods):
        if config.transfer_pairs and (spec not in METHODS or METHODS[spec].needs != "profile"):
            problems.append(f"transfer.methods: {spec!r} is not a method that uses a profile")
    verdicts = [config.models[name].verdicts for name in config.judge_models if name in config.models]
    return problems + [
        f"methods: {spec!r} reads no log-probabilities, and no model that judges has verdicts 'text'"
        for spec in config.methods
        if parse_method(spec).method.text_only and verdicts and not any("text" in modes for modes in verdicts)
    ]


def _folds(config: Config) -> list[str]:
    """Data sets in folds whose results could not be pooled, or under no name of their own."""
    problems: list[str] = []
    pools = pools_of(config.datasets)
    for pool, folds in pools.items():
        entry = config.datasets[folds[0]]
        if pool in config.datasets:
            problems.append(f"datasets.{folds[0]}.split: give folds alone; 'fold' and the names are made of it")
        if isinstance(entry, ProcessedDataset) and entry.keep_splits:
            problems.append(f"datasets.{pool}.split.folds: the released parts are kept; set keep_splits: false")
    if pools and config.k != ["all"]:
        problems.append(f"k: data sets in folds ({', '.join(pools)}) are judged with all context pairs; give [all]")
    return problems


def _folders(config: Config) -> list[str]:
    """Names whose folders would be one, also on file systems that ignore case."""
    problems: list[str] = []
    for key, names in (("models", config.models), ("datasets", config.datasets)):
        folded: dict[str, str] = {}
        for name in names:
            if other := folded.get(name.casefold()):
                problems.append(f"{key}.{name}: differs from {other!r} by case only")
            folded[name.casefold()] = name
    apart = {name.casefold(): name for name in config.models}.values()
    for joined in ("-to-", "-by-"):
        pairs: dict[str, tuple[str, str]] = {}
        for learner, judge in itertools.product(apart, repeat=2):
            folder = f"{learner}{joined}{judge}"
            before = pairs.setdefault(folder.casefold(), (learner, judge))
            if before != (learner, judge):
                problems.append(
                    f"models.{max(learner, judge, key=len)}: {before[0]!r} with judge {before[1]!r} and "
                    f"{learner!r} with judge {judge!r} would share the folder {folder!r}; rename one of these models"
                )
    return problems
