"""The plan of a run: all its files, known before any job, because the DAG is static."""

from __future__ import annotations

import itertools
from pathlib import Path

from personalrm.core.errors import ConfigError
from personalrm.core.files import canonical_json
from personalrm.core.records import K_NAMES
from personalrm.data.filters.filter_settings import RELEASED
from personalrm.data.filters.released_judgments import JUDGMENTS
from personalrm.data.hub.hub import CHECKSUMS, hub_of, hub_paths, shared_source
from personalrm.data.selection import select_user_ids
from personalrm.data.settings import ProcessedDataset, parquet_of
from personalrm.data.sharding import chosen_shards, shard_names
from personalrm.methods.synthesizeme.variants import parse_variant
from personalrm.studies.synthesizeme.config import Config
from personalrm.studies.synthesizeme.stages.settings import judged_methods


def read_k(text: str) -> int:
    """Value of the wildcard k."""
    named = {name: k for k, name in K_NAMES.items()}
    return named[text] if text in named else int(text)


def show_k(k: int) -> str:
    """The wildcard k of a value."""
    return K_NAMES.get(k, str(k))


def optimised_thetas(config: Config) -> list[tuple[str, str]]:
    """(Theta, model) of each Theta that a run finds itself."""
    used = {theta for variant in config.variants if (theta := parse_variant(variant).theta)}
    models = {
        name: [optimiser.model] if optimiser.model else config.learn.models
        for name, entry in config.thetas.items()
        if name in used and (optimiser := entry.optimise)
    }
    return [(name, model) for name in sorted(models) for model in models[name]]


class Plan:
    """All files of a run, known before any job (the DAG is static)."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self.run = str(config.results / config.run)
        self._fetches = self._plan_fetches()
        self._shards = {name: self._shard_names(name) for name in config.datasets}

    def _shard_names(self, dataset: str) -> list[str]:
        settings = self.config.datasets[dataset]
        if isinstance(settings.shards, int):
            return shard_names(settings.shards)
        users = select_user_ids(settings)
        return shard_names(chosen_shards(settings.shards, len(users)), users)

    def sources(self, dataset: str) -> list[str]:
        """Files that a data set is read from: those of the hub as Parquet, which rules make, and local ones as far as
        they are there: a dry run needs no data, and before a real one the preflight names what is missing."""
        settings = self.config.datasets[dataset]
        local = [settings.planted] if settings.planted else []
        if hub_of(settings) is None:
            local = [*settings.source_files(), *local]
        fetched = [str(parquet_of(Path(path))) for path in self.hub_files(dataset)]
        return fetched + [str(path) for path in local if path.is_file()]

    def hub_files(self, dataset: str) -> list[str]:
        """Files of a data set that come from the hub; none where it lies in local files."""
        source = hub_of(self.config.datasets[dataset])
        return [] if source is None else [str(path) for path in hub_paths(source)]

    def fetches(self) -> dict[str, list[str]]:
        """What is to be fetched from the hub: the files and the record of their checksums, by data set.

        Data sets that share a folder are fetched as one, under the name of the first.
        """
        return self._fetches

    def conversions(self) -> dict[str, list[str]]:
        """Files that are made of fetched ones, by data set as in `fetches`; none where all are Parquet already."""
        made = {
            dataset: [str(parquet_of(Path(path))) for path in paths[:-1] if not path.endswith(".parquet")]
            for dataset, paths in self._fetches.items()
        }
        return {dataset: paths for dataset, paths in made.items() if paths}

    def _plan_fetches(self) -> dict[str, list[str]]:
        found: dict[str, list[str]] = {}
        for dataset, settings in self.config.datasets.items():
            if hub_of(settings) is None:
                continue
            source = shared_source(self.config.datasets, dataset)
            paths = [str(path) for path in [*hub_paths(source), source.folder / CHECKSUMS]]
            if paths not in found.values():
                found[dataset] = paths
        return found

    def shard_paths(self, dataset: str) -> list[str]:
        """Files of users, one a shard."""
        return [f"{self.run}/data/{dataset}/shards/{shard}.jsonl" for shard in self._shards[dataset]]

    def prepared_folder(self, dataset: str) -> str:
        """Where `prepare` writes: beside the shards, or apart where filters that ask models come after it."""
        root = f"{self.run}/data/{dataset}"
        return f"{root}/unfiltered" if self.config.datasets[dataset].filters else root

    def prepared_paths(self, dataset: str) -> list[str]:
        """Files of users as `prepare` writes them, one a shard."""
        if self.config.datasets[dataset].filters is None:
            return self.shard_paths(dataset)
        return [f"{self.prepared_folder(dataset)}/{shard}.jsonl" for shard in self._shards[dataset]]

    def rating_paths(self, dataset: str) -> list[str]:
        """Files of ratings, one a shard; none where nothing is rated."""
        filters = self.config.datasets[dataset].filters
        shards = self._shards[dataset] if filters and filters.personalizable else []
        return [f"{self.run}/data/{dataset}/ratings/{shard}.jsonl" for shard in shards]

    def panel_paths(self, dataset: str) -> list[str]:
        """Files of panel votes, one a member and shard."""
        panel = self.config.datasets[dataset].panel
        return [
            f"{self.run}/data/{dataset}/panel/{name}/{shard}.jsonl" for name in panel for shard in self._shards[dataset]
        ]

    def judgment_files(self, dataset: str) -> list[str]:
        """The file of the judgments that a processed set comes with; none for other data sets."""
        is_processed = isinstance(self.config.datasets[dataset], ProcessedDataset)
        return [f"{self.prepared_folder(dataset)}/{JUDGMENTS}"] if is_processed else []

    def released_files(self, dataset: str) -> list[str]:
        """Files of ratings and of votes that are made of released judgments, and not by asking models."""
        filters = self.config.datasets[dataset].filters
        if filters is None:
            return []
        rated = filters.personalizable is not None and filters.personalizable.model == RELEASED
        voted = self.config.datasets[dataset].panel == [RELEASED]
        return (self.rating_paths(dataset) if rated else []) + (self.panel_paths(dataset) if voted else [])

    @property
    def filtered(self) -> list[str]:
        """Data sets with filters that ask models."""
        return [name for name, entry in self.config.datasets.items() if entry.filters]

    def rater(self, dataset: str) -> str:
        """The model that rates a data set's pairs."""
        filters = self.config.datasets[dataset].filters
        if filters is None or filters.personalizable is None:
            raise ConfigError(f"datasets.{dataset}.filters.personalizable: not set, but its ratings are asked for")
        return filters.personalizable.model

    def ratings_before_panel(self, dataset: str, shard: str) -> list[str]:
        """The ratings that gate the panel on a shard: none where nothing is rated."""
        return [path for path in self.rating_paths(dataset) if path.endswith(f"/{shard}.jsonl")]

    def filter_settings(self, dataset: str) -> str:
        """What the filters' outcome depends on beside ratings and votes."""
        entry = self.config.datasets[dataset]
        return canonical_json(entry.model_dump(mode="json", include={"filters", "min_pairs", "split"}))

    def dataset_fingerprint(self, dataset: str) -> str:
        """What the users of a data set depend on beside its files."""
        return canonical_json(self.config.datasets[dataset].model_dump(mode="json", exclude={"licence", "filters"}))

    def theta_files(self, variant: str, model: str) -> list[str]:
        """The program file of a variant's Theta; none where it has none, or (as for data) it was given and is not
        there."""
        path = self.config.theta_path(variant, model)
        theta = parse_variant(variant).theta
        if path is None or theta is None:
            return []
        return [str(path)] if self.config.thetas[theta].optimise or path.is_file() else []

    def optimised_thetas(self) -> list[tuple[str, str]]:
        """(Theta, model) of each Theta that the run finds itself."""
        return optimised_thetas(self.config)

    def theta_models(self, theta: str, model: str) -> list[str]:
        """Models that finding a Theta asks."""
        optimiser = self.config.thetas[theta].optimise
        return list(dict.fromkeys([model, (optimiser and optimiser.proposer) or model]))

    def theta_users(self, theta: str) -> list[str]:
        """Files with the users that a Theta is found on."""
        optimiser = self.config.thetas[theta].optimise
        names = (optimiser.datasets if optimiser else None) or list(self.config.datasets)
        return [path for name in names for path in self.shard_paths(name)]

    def profiles_of(self, dataset: str, variant: str, model: str, k: int) -> list[str]:
        """Profiles of one model and k, one file a shard."""
        return [self._profiles(dataset, variant, model, k, shard) for shard in self._shards[dataset]]

    def _profiles(self, dataset: str, variant: str, model: str, k: int, shard: str) -> str:
        return f"{self.run}/profiles/{dataset}/{variant}/{model}/k{show_k(k)}/{shard}.jsonl"

    def fidelity_paths(self) -> list[str]:
        """Judgements of persona fidelity; none where the config has none."""
        return self._read_personas("fidelity", self.config.fidelity_pairs)

    def recovery_paths(self) -> list[str]:
        """Planted facts that personas state; none where the config has none."""
        return self._read_personas("recovery", self.config.recovery_pairs)

    def _read_personas(self, stage: str, pairs: list[tuple[str, str]]) -> list[str]:
        return [
            f"{self.run}/analysis/{stage}/{dataset}/{variant}/{profile}-by-{judge}/{shard}.jsonl"
            for dataset in self.config.datasets
            for variant in self.config.variants
            for profile, judge in pairs
            for shard in self._shards[dataset]
        ]

    def personas_for_axes(self, dataset: str, variant: str) -> list[str]:
        """Profiles whose personas name the axes of a data set: of all models that are read, at the largest k."""
        config = self.config
        return [p for m in config.axes_models for p in self.profiles_of(dataset, variant, m, config.largest_k)]

    def axes_paths(self) -> list[str]:
        """Axes, one file a data set and variant; none where the config has none."""
        if not self.config.axes_models:
            return []
        return [f"{self.run}/analysis/axes/{d}/{v}.jsonl" for d in self.config.datasets for v in self.config.variants]

    def tag_paths(self) -> list[str]:
        """Tagged personas: beside each file of profiles that is read."""
        config = self.config
        return [
            path.replace(f"{self.run}/profiles/", f"{self.run}/analysis/tags/", 1)
            for dataset in config.datasets
            for variant in config.variants
            for model in config.axes_models
            for k in config.axes_ks
            for path in self.profiles_of(dataset, variant, model, k)
        ]

    def analysed_profiles(self) -> list[str]:
        """Files of profiles whose personas are analysed, each once."""
        config = self.config
        wanted = [(model, config.largest_k) for model, _ in (*config.fidelity_pairs, *config.recovery_pairs)]
        wanted += [(model, k) for model in config.axes_models for k in config.axes_ks]
        return [
            path
            for dataset in config.datasets
            for variant in config.variants
            for model, k in dict.fromkeys(wanted)
            for path in self.profiles_of(dataset, variant, model, k)
        ]

    def verdict_paths(self) -> list[str]:
        """All verdict files of the run."""
        return [path for dataset in self.config.datasets for path in self._verdicts(dataset)]

    def profile_paths(self) -> list[str]:
        """All files of profiles of the run."""
        config = self.config
        return [
            f"{self.run}/profiles/{dataset}/{variant}/{model}/k{show_k(k)}/{shard}.jsonl"
            for dataset in config.datasets
            for variant in config.variants
            for model in config.learn.models
            for k in config.ks
            for shard in self._shards[dataset]
            if judged_methods(config, profile=model, judge=model)
        ]

    def _verdicts(self, dataset: str) -> list[str]:
        config, root = self.config, f"{self.run}/verdicts/{dataset}"
        folders = [f"{root}/baseline/none"] if judged_methods(config, profile=None, judge=None) else []
        folders += [
            f"{root}/baseline/{judge}"
            for judge in config.judge_models
            if judged_methods(config, profile=None, judge=judge)
        ]
        for variant in config.variants:
            folders += [
                f"{root}/{variant}/{profile}-to-{judge}/k{show_k(k)}"
                for profile, judge, k in self._combinations()
                if judged_methods(config, profile=profile, judge=judge)
            ]
        return [f"{folder}/{shard}.jsonl" for folder in folders for shard in self._shards[dataset]]

    def lineage(self) -> dict[str, list[str]]:
        """Every file that may hold answers of models, or follows from such, to the run's files that it is made from;
        inputs stand before what is made from them.

        Scores, tables, figures and pages are not in it: they follow from all of these.
        """
        made: dict[str, list[str]] = {}
        for dataset in self.filtered:
            ratings, votes = self.rating_paths(dataset), self.panel_paths(dataset)
            made |= {path: [] for path in ratings}
            made |= {path: self.ratings_before_panel(dataset, Path(path).stem) for path in votes}
            more = [
                f"{self.run}/data/{dataset}/{name}" for name in ("funnel.json", "card.md", "filter_sensitivity.jsonl")
            ]
            made |= {path: [*ratings, *votes] for path in (*self.shard_paths(dataset), *more)}
        for theta, model in self.optimised_thetas():
            made[f"{self.run}/thetas/{theta}/{model}.json"] = self.theta_users(theta)
        for dataset in self.config.datasets:
            for path in self.shard_paths(dataset):
                made |= self._shard_lineage(dataset, Path(path).stem, path)
        return made | self._analysis_lineage()

    def _shard_lineage(self, dataset: str, shard: str, users: str) -> dict[str, list[str]]:
        """Traces, profiles and verdicts of one shard."""
        config, root = self.config, f"{self.run}/verdicts/{dataset}"
        made = {f"{root}/baseline/{judge}/{shard}.jsonl": [users] for judge in ("none", *config.judge_models)}
        readers = (*config.fidelity_pairs, *config.recovery_pairs)
        models = dict.fromkeys((*config.learn.models, *(model for model, _ in readers), *config.axes_models))
        for variant in config.variants:
            for model in models:
                traces = f"{self.run}/traces/{dataset}/{variant}/{model}/{shard}.jsonl"
                made[traces] = [users]
                for k in dict.fromkeys((*config.ks, *config.axes_ks)):
                    profile = self._profiles(dataset, variant, model, k, shard)
                    made[profile] = [users, traces, *self.theta_files(variant, model)]
            for model, judge, k in self._combinations():
                path = f"{root}/{variant}/{model}-to-{judge}/k{show_k(k)}/{shard}.jsonl"
                made[path] = [users, self._profiles(dataset, variant, model, k, shard)]
        return made

    def _analysis_lineage(self) -> dict[str, list[str]]:
        """What models say of personas: another user's may come from any shard."""
        config, made = self.config, dict[str, list[str]]()
        for dataset, variant in itertools.product(config.datasets, config.variants):
            for stage, pairs in (("fidelity", config.fidelity_pairs), ("recovery", config.recovery_pairs)):
                for model, judge in pairs:
                    folder = f"{self.run}/analysis/{stage}/{dataset}/{variant}/{model}-by-{judge}"
                    personas = self.profiles_of(dataset, variant, model, config.largest_k)
                    made |= {f"{folder}/{Path(users).name}": [users, *personas] for users in self.shard_paths(dataset)}
            axes = f"{self.run}/analysis/axes/{dataset}/{variant}.jsonl"
            made[axes] = self.personas_for_axes(dataset, variant)
            for model, k in itertools.product(config.axes_models, config.axes_ks):
                for path in self.profiles_of(dataset, variant, model, k):
                    made[path.replace(f"{self.run}/profiles/", f"{self.run}/analysis/tags/", 1)] = [path, axes]
        return made

    def _combinations(self) -> list[tuple[str, str, int]]:
        config = self.config
        own = [(model, model, k) for model in config.learn.models for k in config.ks]
        return own + [(profile, judge, config.largest_k) for profile, judge in config.transfer_pairs]
