"""Problems of a config that no single key shows: names that must exist elsewhere."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any

from personalrm.core.conditions import JSON
from personalrm.core.errors import ConfigError, DataError
from personalrm.data.cross_validation import pools_of
from personalrm.data.settings import ProcessedDataset
from personalrm.judge.constitution import AUTO, OFF, read_constitution
from personalrm.methods.base import Method
from personalrm.methods.registry import METHODS, parse_method
from personalrm.methods.synthesizeme.theta import ThetaOptimiser
from personalrm.methods.synthesizeme.variants import parse_variant
from personalrm.studies.reward_config import RewardModelConfig
from personalrm.studies.study_config import model_problems
from personalrm.studies.synthesizeme.config import Config


def problems_of(config: Config) -> list[str]:
    """Problems that no single key shows. Each begins with the path of the key."""
    return _unreadable(config) or cross_check(config)


def _unreadable(config: Config) -> list[str]:
    """Methods and variants that do not exist."""
    problems = []
    checked: Iterable[tuple[Callable[[str], object], list[str]]] = (
        (parse_method, config.methods),
        (parse_variant, config.variants),
    )
    for parse, names in checked:
        for name in names:
            try:
                parse(name)
            except ConfigError as error:
                problems.append(str(error))
    return problems


def cross_check(config: Config) -> list[str]:
    """Problems of names that can all be read."""
    named = (_names, _twice, _folders, _braces)
    checks = (
        *named,
        partial(model_problems, named={}),
        _attributes,
        _thetas,
        _methods,
        _folds,
        _constitution,
        _taste,
        _rewards,
        _train_only,
    )
    return [problem for check in checks for problem in check(config)]


def _names(config: Config) -> Iterator[str]:
    """Names of models and data sets that the config uses and does not describe, or models that learn nothing."""
    asked = [(f"thetas.{name}.optimise", entry.optimise or ThetaOptimiser()) for name, entry in config.thetas.items()]
    models = [
        ("learn.models", config.learn.models),
        ("transfer.pairs", [name for pair in config.transfer_pairs for name in pair]),
        *config.analysis.named(),
        ("attributes.models", (config.attributes and config.attributes.models) or []),
        *((f"{key}.model", [entry.model] if entry.model else []) for key, entry in asked),
        *((f"{key}.proposer", [entry.proposer] if entry.proposer else []) for key, entry in asked),
        *((f"datasets.{entry.name}.filters", entry.filter_models) for entry in config.datasets.values()),
    ]
    datasets = [(f"{key}.datasets", entry.datasets or []) for key, entry in asked]
    pools = pools_of(config.datasets)
    for name, one in config.reward_models.items():
        source = [one.train_on_dataset] if one.train_on_dataset and one.train_on_dataset not in pools else []
        datasets += [(f"reward_models.{name}.datasets", one.datasets or [])]
        datasets += [(f"reward_models.{name}.train_on_dataset", source)]
        if one.train_on_dataset in pools:
            yield (
                f"reward_models.{name}.train_on_dataset: {one.train_on_dataset!r} is in folds, each with weights of "
                "its own; describe it once more under another name, without split.folds, and give that name"
            )
    learners = [(key, names) for key, names in config.analysis.named() if key.endswith(".models")]
    learners.append(("transfer.pairs", [name for name, _ in config.transfer_pairs]))
    there = f"(there are: {', '.join(config.models) or 'none'})"
    for named, known, problem in (
        (models, config.models, f"no model {{!r}} under 'models' {there}"),
        (learners, config.learn.models, "{!r} is not in learn.models, so it has no personas or profiles"),
        (datasets, config.datasets, "no data set {!r} under 'datasets'"),
    ):
        for key, names in named:
            yield from (f"{key}: {problem.format(name)}" for name in dict.fromkeys(names) if name not in known)


def _braces(config: Config) -> Iterator[str]:
    """Paths of inputs and outputs that Snakemake would read as patterns."""
    paths = [("results", [config.results])]
    for name, entry in config.datasets.items():
        paths.append((f"datasets.{name}", [*entry.source_files(), *([entry.planted] if entry.planted else [])]))
    paths += [(f"reward_models.{name}.train_on", entry.pair_files) for name, entry in config.reward_models.items()]
    paths += [(f"thetas.{name}.path", [entry.path] if entry.path else []) for name, entry in config.thetas.items()]
    if config.attributes and config.attributes.bank:
        paths.append(("attributes.bank", [config.attributes.bank]))
    for key, named in paths:
        for path in named:
            if set("{}") & set(str(path)):
                yield f"{key}: {path}: Snakemake reads braces in a path as wildcards; rename it"


def _twice(config: Config) -> Iterator[str]:
    """Lists that name something twice, and so would judge the same twice."""
    lists: dict[str, Iterable[object]] = {
        "methods": config.methods,
        "variants": config.variants,
        "k": config.k,
        "learn.models": config.learn.models,
        "transfer.pairs": config.transfer_pairs,
        "transfer.methods": config.transfer.methods,
        "transfer.baselines": config.transfer.baselines or (),
        "attributes.models": (config.attributes and config.attributes.models) or (),
        **{f"models.{name}.verdicts": entry.verdicts for name, entry in config.models.items()},
    }
    for key, given in lists.items():
        yield from (f"{key}: {one!r} is given twice" for one, count in Counter(given).items() if count > 1)
    for pair in dict.fromkeys(config.transfer_pairs):
        if pair[0] == pair[1]:
            yield f"transfer.pairs: {pair!r} is no transfer; learn.models judge with their own profiles anyway"


def _attributes(config: Config) -> Iterator[str]:
    """Attributes that cannot be read, and scores that no model gives."""
    scoring = config.scoring
    if scoring is None:
        return
    try:
        scoring.selected()
    except DataError as error:
        yield from (f"attributes: {problem}" for problem in str(error).splitlines())
    if not config.scoring_models:
        yield "attributes.models: no model scores the pairs; name one here, or under learn.models"
    if silent := [name for name in config.learn.models if name not in config.scoring_models]:
        for spec in (spec for spec in config.methods if parse_method(spec).method.tastes):
            yield f"attributes.models: {spec!r} needs tastes by each of learn.models; add: {', '.join(silent)}"


def _thetas(config: Config) -> Iterator[str]:
    there = ", ".join(config.thetas) or "none"
    for name in config.variants:
        theta = parse_variant(name).theta
        if theta is not None and theta not in config.thetas:
            yield f"variants: {name!r}: no Theta {theta!r} under 'thetas' (there are: {there})"
    if JSON in config.thetas:
        yield f"thetas.{JSON}: variants +{JSON} have personas as JSON, give the Theta another name"


def _methods(config: Config) -> Iterator[str]:
    """Methods that do not go with what the models do."""
    for spec in dict.fromkeys(config.transfer.methods if config.transfer_pairs else ()):
        if spec not in METHODS or METHODS[spec].needs not in ("profile", "taste"):
            yield f"transfer.methods: {spec!r} is not a method that uses a profile or a measured taste"
    for spec in (spec for spec in config.methods if parse_method(spec).method.needs == "reward"):
        yield f"methods: {spec!r} is trained: name it in an entry of reward_models, under methods"
    for spec in dict.fromkeys(config.transfer.baselines or ()):
        if not _needs_no_profile(spec):
            yield f"transfer.baselines: {spec!r} is not a method without a profile"
    verdicts = [config.models[name].verdicts for name in config.judge_models if name in config.models]
    if verdicts and not any("text" in modes for modes in verdicts):
        for spec in config.methods:
            if parse_method(spec).method.text_only:
                yield f"methods: {spec!r} reads no log-probabilities, and no model that judges has verdicts 'text'"


def _needs_no_profile(spec: str) -> bool:
    try:
        return parse_method(spec).method.needs != "profile"
    except ConfigError:
        return False


def _folds(config: Config) -> Iterator[str]:
    """Data sets in folds whose results could not be pooled, or under no name of their own."""
    pools = pools_of(config.datasets)
    for pool, folds in pools.items():
        entry = config.datasets[folds[0]]
        if pool in config.datasets:
            yield f"datasets.{folds[0]}.split: give folds alone; 'fold' and the names are made of it"
        if isinstance(entry, ProcessedDataset) and entry.keep_splits:
            yield f"datasets.{pool}.split.folds: the released parts are kept; set keep_splits: false"
    if pools and config.k != ["all"]:
        yield f"k: data sets in folds ({', '.join(pools)}) are judged with all context pairs; give [all]"


def _constitution(config: Config) -> Iterator[str]:
    """Rules that cannot be read."""
    try:
        read_constitution(OFF if config.constitution == AUTO else config.constitution)
    except ConfigError as error:
        yield str(error)


def _taste(config: Config) -> Iterator[str]:
    """A choice of pairs by ratings where no pair is rated, or none that is rated low is kept."""
    filters = [entry.filters for entry in config.datasets.values() if entry.filters and entry.filters.personalizable]
    if config.taste_on == "personalizable" and all(each.apply for each in filters):
        why = "removes the pairs that it rates low; set apply: false" if filters else "is not set, so nothing is rated"
        yield f"taste_on: personalizable has no pair to set aside: filters.personalizable {why}, or give taste_on: all"
    elif config.taste_on == "personalizable":
        yield from _unstated(config)


def _unstated(config: Config) -> Iterator[str]:
    """Verdicts of `default` that methods which weigh ratings in words take for pairs that are no matter of taste, and
    that no model gives."""
    uses = [use for use in map(parse_method, config.methods) if use.method.needs == "scores"]
    known = [name for name in config.scoring_models if name in config.models]
    writing = [name for name in known if config.models[name].verdicts[0] == "text"]
    if not uses or not writing:
        return
    wanted = "default" if all(use.pairs == "test" for use in uses) else "default@all"
    named = {wanted, "default@all"} & {*config.methods}
    why = f"{uses[0].spec!r} takes the verdicts of 'default' on pairs that are no matter of taste (taste_on)"
    if not named:
        yield f"methods: {why}; add {wanted}, or give taste_on: all"
    allowed = config.transfer.baselines
    for name in (name for name in writing if named and name not in config.learn.models):
        if name not in config.judge_models or (allowed is not None and not named & {*allowed}):
            yield f"attributes.models: {why}, and {name!r} does not judge by it; add {name} to learn.models"


def _rewards(config: Config) -> Iterator[str]:
    """Reward models with hyper-parameters that their methods do not have, or without users to learn from."""
    for name, entry in config.reward_models.items():
        found = entry.hyper_problems() + entry.file_problems() + entry.train_users_problems()
        yield from (f"reward_models.{name}.{problem}" for problem in found)
        if entry.revision is not None and entry.base.count("/") != 1:
            yield f"reward_models.{name}.revision: base {entry.base!r} is no repository of the hub; remove it"
        yield from (f"reward_models.{name}.methods: {problem}" for problem in _shown(config, entry))
    for dataset, settings in config.datasets.items():
        most = min(settings.max_users or settings.user_split.min_users, len(settings.users or range(10**9)))
        if most < settings.user_split.min_users:
            yield from no_user_split(config, dataset)


def _train_only(config: Config) -> Iterator[str]:
    """Data sets that nobody learns from, or of whose users something would have to be learned first."""
    if not config.judged:
        yield "datasets: all are train_only, so that nobody is judged; describe one without it"
    for name, entry in config.reward_models.items():
        away = [dataset for dataset in entry.datasets or () if dataset not in config.judged]
        yield from (f"reward_models.{name}.datasets: {one!r} is train_only; remove one of both" for one in away)
    for dataset in config.datasets.keys() - set(config.judged):
        entries = config.trained_on(dataset)
        if not entries:
            yield f"datasets.{dataset}.train_only: no reward model has train_on_dataset: {dataset}; remove it"
        for name, entry in entries.items():
            told = [method for method in entry.tuned if METHODS[method].shows and METHODS[method].learns]
            yield from (
                f"reward_models.{name}.methods: {method!r} reads what is learned of the users of {dataset!r}, and this "
                f"data set is train_only; remove datasets.{dataset}.train_only"
                for method in told
            )


def _shown(config: Config, entry: RewardModelConfig) -> Iterator[str]:
    """Fine-tuned models that read what nothing in the run learns, or that have no pairs left to learn."""
    for method in map(METHODS.__getitem__, entry.tuned):
        if not (method.shows and method.learns):
            continue
        if METHODS[method.shows].needs == "profile" and not config.learn.models:
            yield f"{method.name!r} reads profiles, and learn.models names no model that learns them"
        if entry.regime == "unseen" and config.evaluate_users == "test":
            yield f"{method.name!r} is trained on what is said of train users; give evaluate_users: all"
        yield from _of_train_users(config, entry, method) if entry.regime == "unseen" else ()
        filtered = entry.train_on == "unfiltered" and any(each.filters for each in config.datasets.values())
        if entry.regime == "all-but-test" and config.largest_k == "all" and not filtered:
            yield (
                f"{method.name!r} must not learn the pairs that its text about the user was made from, and with regime "
                "all-but-test and k: all these are all pairs; give numbers alone under k, or regime: unseen"
            )


def _of_train_users(config: Config, entry: RewardModelConfig, method: Method[Any]) -> Iterator[str]:
    """Profiles that are themselves learned with the train users, so that these have none."""
    theta = config.thetas.get(parse_variant(config.variants[0]).theta or "")
    optimiser = theta.optimise if theta else None
    if optimiser is None or METHODS[method.shows].needs != "profile":
        return
    for dataset in optimiser.datasets or config.judged:
        if entry.datasets is None or dataset in entry.datasets:
            yield (
                f"{method.name!r} reads profiles of the variant {config.variants[0]!r}, and train users of {dataset!r} "
                "have none: its Theta is found on them; name another variant first, or give regime: all-but-test"
            )


def no_user_split(config: Config, dataset: str) -> Iterator[str]:
    """Problems of the reward models that need the user split of a data set, which has none."""
    for name, entry in config.trained_on(dataset).items():
        if entry.regime == "unseen":
            yield (
                f"reward_models.{name}.regime: 'unseen' learns from the train users of the user split, and data set "
                f"{dataset!r} has none (it takes {config.datasets[dataset].user_split.min_users} users); give "
                f"regime: all-but-test, lower datasets.{dataset}.user_split.min_users, or leave the data set out of "
                f"reward_models.{name}.datasets"
            )


def _folders(config: Config) -> Iterator[str]:
    """Names whose folders would be the same, also on file systems that ignore case."""
    named: dict[str, Iterable[str]] = {"models": config.models, "datasets": config.datasets}
    named["reward_models"] = config.reward_models
    for key, names in named.items():
        folded: dict[str, str] = {}
        for name in names:
            if (other := folded.setdefault(name.casefold(), name)) != name:
                yield f"{key}.{name}: differs from {other!r} by case only"
    apart = {name.casefold(): name for name in config.models}.values()
    for joined in ("-to-", "-by-"):
        pairs: dict[str, tuple[str, str]] = {}
        for learner, judge in itertools.product(apart, repeat=2):
            folder = f"{learner}{joined}{judge}"
            before = pairs.setdefault(folder.casefold(), (learner, judge))
            if before != (learner, judge):
                yield (
                    f"models.{max(learner, judge, key=len)}: {before[0]!r} with judge {before[1]!r} and "
                    f"{learner!r} with judge {judge!r} would share the folder {folder!r}; rename one of these models"
                )
