"""The tables and figures of a run: which there are, and the files and settings that each is made from."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from personalrm.core.conditions import K
from personalrm.core.files import canonical_json
from personalrm.data.cross_validation import Pools, pooled_names, pools_of
from personalrm.methods.registry import METHODS, parse_method
from personalrm.results.figures.train_users_figure import Entry
from personalrm.run.stage import JobPattern
from personalrm.studies.run_results import REPORTED
from personalrm.studies.synthesizeme.config import Config
from personalrm.studies.synthesizeme.plan import Plan
from personalrm.studies.synthesizeme.results.benchmark_reported import limits_of, reported_set
from personalrm.studies.synthesizeme.results.reported_matching import (
    ThetaOrigin,
    answering_sets,
    how_sets_differ,
    identities,
    theta_origins,
)

PACKAGES = ("personalrm.results.tables", "personalrm.results.figures", "personalrm.studies.synthesizeme.results")
"""Where results are declared."""


@dataclass(frozen=True)
class ResultSettings:
    """What tables and figures read of the config, by the names of their parameters.

    - seed, n_resamples: of the bootstrap over users.
    - model_order: models in the order of the config.
    - datasets: data sets of the config, folds each; compared: with pools instead of their folds.
    - pools: data sets that were asked for in folds, each with its folds.
    - variants: of SynthesizeMe; largest_k: context pairs of the analysed personas.
    - evaluated: the config's `evaluate_users`.
    - reported_sets: data set to the reported set or release that it answers to, if any; answering_sets: to the paper's
      data set, for those that are some form of one, and differs: to what makes them another. limits: data set to what
      limits it in the config. identities: model to its id and snapshot. theta_origins: variant to where its Theta is
      from.
    - fidelity_others, recovery_others: how many other users' personas were read for a user.
    - filters_apply: data set to whether its filters remove anything; filters_sample: to how many pairs per user were
      asked about (None: all); pairs_to_stay: to the least number of pairs of a user that stays.
    - benchmarks, store: folder of Snakemake's benchmark files, and the store of responses. They are not inputs: both
      grow while the run goes on, and several runs may share a store.
    - jobs: how benchmark files of the stages are named.
    - fewer_users: entries of reward models that differ in the number of train users (and in methods) alone, by the
      names of their judges.
    - title_note: text under the title of a figure.
    """

    seed: int
    n_resamples: int
    model_order: list[str]
    datasets: list[str]
    compared: list[str]
    pools: Pools
    variants: list[str]
    largest_k: K
    evaluated: str
    reported_sets: Mapping[str, str | None]
    answering_sets: Mapping[str, str]
    limits: Mapping[str, str]
    differs: Mapping[str, Sequence[str]]
    identities: Mapping[str, Sequence[str]]
    theta_origins: Mapping[str, ThetaOrigin]
    fidelity_others: int
    recovery_others: int
    filters_apply: Mapping[str, bool]
    filters_sample: Mapping[str, int | None]
    pairs_to_stay: Mapping[str, int]
    benchmarks: Path
    store: Path
    jobs: Sequence[JobPattern]
    fewer_users: Mapping[str, Entry]
    title_note: str


def result_settings(plan: Plan) -> ResultSettings:
    """Settings of the run's tables and figures."""
    config = plan.config
    pools = pools_of(config.datasets)
    fidelity, recovery = config.analysis.fidelity, config.analysis.recovery
    filters = {name: entry.filters for name, entry in config.datasets.items() if entry.filters}
    return ResultSettings(
        seed=config.statistics.seed,
        n_resamples=config.statistics.resamples,
        model_order=list(config.models),
        datasets=list(config.datasets),
        compared=pooled_names(config.datasets, pools),
        pools=pools,
        variants=config.variants,
        largest_k=config.largest_k,
        evaluated=config.evaluate_users,
        reported_sets={name: reported_set(entry) for name, entry in config.datasets.items()},
        answering_sets=answering_sets(config),
        limits={name: limits_of(entry) for name, entry in config.datasets.items()},
        differs=how_sets_differ(config),
        identities=identities(config),
        theta_origins=theta_origins(config),
        fidelity_others=fidelity.others if fidelity else 0,
        recovery_others=recovery.others if recovery else 0,
        filters_apply={name: entry.apply for name, entry in filters.items()},
        filters_sample={name: entry.sample for name, entry in filters.items()},
        pairs_to_stay={name: config.datasets[name].pairs_to_stay for name in filters},
        benchmarks=Path(plan.run) / "benchmarks",
        store=Path(config.store),
        jobs=plan.job_patterns(),
        fewer_users=_fewer_users(config),
        title_note=f"run {config.run}",
    )


def result_files(plan: Plan) -> dict[str, str | list[str]]:
    """Input files of the run's tables and figures, by the names of their parameters."""
    run, datasets = plan.run, plan.config.datasets
    return {
        "verdicts": f"{run}/data/verdicts.parquet",
        "calls": f"{run}/data/calls.parquet",
        "judged": plan.verdict_paths(),
        "users": [path for name in datasets for path in plan.shard_paths(name)],
        "funnels": [f"{run}/data/{name}/funnel.json" for name in datasets],
        "sensitivity": [f"{run}/data/{name}/filter_sensitivity.jsonl" for name in plan.filtered],
        "ratings": [path for name in plan.filtered for path in plan.rating_paths(name)],
        "panels": [path for name in plan.filtered for path in plan.panel_paths(name)],
        "attribute_scores": plan.paths("score_attributes"),
        "tastes": plan.paths("taste"),
        "training_cards": plan.paths("reward_model"),
        "profiles": plan.profile_paths(),
        "analysed_profiles": plan.analysed_profiles(),
        "fidelity": plan.paths("fidelity"),
        "recovery": plan.paths("recovery"),
        "axes": plan.paths("axes"),
        "tags": plan.paths("tag"),
        "reported_benchmark": str(REPORTED / "benchmark.csv"),
        "reported_numbers": str(REPORTED / "synthesizeme.csv"),
        "reported_missing": str(REPORTED / "not_recovered.csv"),
        "reported_models": str(REPORTED / "models.csv"),
    }


def conditions(plan: Plan) -> dict[str, bool]:
    """What a result may be declared to need (`Result.when`), and whether the run has it."""
    config = plan.config
    return {
        "": True,
        "default": _compares_with_default(config),
        "orders": _judges_each_order(config),
        "profiles": bool(plan.profile_paths()),
        "reported": bool(answering_sets(config)),
        "transfer": bool(config.transfer_pairs),
        "fidelity": config.analysis.fidelity is not None,
        "recovery": config.analysis.recovery is not None,
        "axes": bool(config.axes_models),
        "filters": bool(plan.filtered),
        "tastes": bool(plan.jobs("taste")),
        "reward_models": bool(plan.jobs("reward_model")),
        "train_users": bool(_fewer_users(config)),
        "taste_on": config.taste_on == "personalizable",
    }


def _fewer_users(config: Config) -> dict[str, Entry]:
    """As in `ResultSettings`."""
    alike: dict[str, list[str]] = {}
    for name, entry in config.reward_models.items():
        shared = entry.model_dump(mode="json", exclude={"train_users", "methods"})
        alike.setdefault(canonical_json(shared), []).append(name)
    found: dict[str, Entry] = {}
    for names in alike.values():
        numbers = {name: config.reward_models[name].train_users or math.inf for name in names}
        if len(set(numbers.values())) > 1:
            most = max(names, key=numbers.__getitem__)
            source = config.reward_models[most].train_on_dataset or ""
            found |= {config.reward_models[name].judge_name(name): Entry(most, name, source) for name in names}
    return found


def _compares_with_default(config: Config) -> bool:
    """Whether models judge as Default, and by another method."""
    names = {parse_method(spec).method.name for spec in config.methods}
    judged = {name for name in names if METHODS[name].needs not in ("nothing", "reward")}
    return "default" in judged and len(judged) > 1 and bool(config.judge_models)


def _judges_each_order(config: Config) -> bool:
    """Whether Default has verdicts on one order of showing."""
    named = any(parse_method(spec).method.name == "default" for spec in config.methods)
    return named and any({*config.models[name].verdicts} - {"logprob_both"} for name in config.judge_models)
