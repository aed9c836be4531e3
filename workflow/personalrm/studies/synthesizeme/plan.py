"""The plan of a run: all its files, known before any job (the DAG is static)."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from personalrm.data.filters.filter_settings import RELEASED
from personalrm.data.filters.released_judgments import JUDGMENTS
from personalrm.data.prepare import select_user_ids
from personalrm.data.settings import ProcessedDataset
from personalrm.data.sharding import chosen_shards, shard_names
from personalrm.methods.registry import METHODS
from personalrm.methods.synthesizeme.variants import parse_variant
from personalrm.run.stage import Wildcards
from personalrm.studies.plan import StudyPlan
from personalrm.studies.synthesizeme import stages
from personalrm.studies.synthesizeme.config import Config


class Plan(StudyPlan[Config]):
    """All files of a run, known before any job (the DAG is static)."""

    def __init__(self, config: Config) -> None:
        names = {
            "variant": config.variants,
            "theta": config.thetas,
            "method": METHODS,
            "encoder": sorted({entry.encoder_id for entry in config.reward_models.values()}),
            "reward": config.reward_models,
            "seed": sorted({str(seed) for entry in config.reward_models.values() for seed in entry.seeds}),
        }
        super().__init__(config, stages.__name__, names)
        self._shards: dict[str, list[str]] = {}

    def shards(self, dataset: str) -> Sequence[str]:
        """Names of the files that the users of a data set lie in. May read the ids of its users."""
        if dataset not in self._shards:
            settings = self.config.datasets[dataset]
            if isinstance(settings.shards, int):
                self._shards[dataset] = shard_names(settings.shards)
            else:
                users = select_user_ids(settings)
                self._shards[dataset] = shard_names(chosen_shards(settings.shards, len(users)), users)
        return self._shards[dataset]

    def users(self, job: Wildcards) -> str:
        """File of the users of a job."""
        return f"{self.run}/data/{job.dataset}/shards/{job.shard}.jsonl"

    def unfiltered(self, job: Wildcards) -> str:
        """The same file before the filters."""
        return f"{self.prepared_folder(job.dataset)}/{job.shard}.jsonl"

    def shard_paths(self, dataset: str) -> list[str]:
        """Files of users, one per shard."""
        return [self.users(Wildcards(dataset=dataset, shard=shard)) for shard in self.shards(dataset)]

    def prepared_folder(self, dataset: str) -> str:
        """Where `prepare` writes: next to the shards, or apart where filters that ask models come after it."""
        root = f"{self.run}/data/{dataset}"
        return f"{root}/unfiltered" if self.config.datasets[dataset].filters else root

    def prepared_paths(self, dataset: str) -> list[str]:
        """Files of users as `prepare` writes them, one per shard."""
        job = Wildcards(dataset=dataset)
        made = self.unfiltered if self.config.datasets[dataset].filters else self.users
        return [made(job._replace(shard=shard)) for shard in self.shards(dataset)]

    @property
    def filtered(self) -> list[str]:
        """Data sets with filters that ask models."""
        return [name for name, entry in self.config.datasets.items() if entry.filters]

    def rater(self, dataset: str) -> str | None:
        """The model that rates a data set's pairs; None where nothing is rated."""
        filters = self.config.datasets[dataset].filters
        return filters.personalizable.model if filters and filters.personalizable else None

    def rating_paths(self, dataset: str) -> list[str]:
        """Files of ratings, one per shard; none where nothing is rated."""
        shards = self.shards(dataset) if self.rater(dataset) else []
        return [self.path("rate", dataset=dataset, shard=shard) for shard in shards]

    def panel_paths(self, dataset: str) -> list[str]:
        """Files of panel votes, one per member and shard."""
        jobs = itertools.product(self.config.datasets[dataset].panel, self.shards(dataset))
        return [self.path("panel", dataset=dataset, model=name, shard=shard) for name, shard in jobs]

    def judgment_files(self, dataset: str) -> list[str]:
        """The file of the judgments that a processed set comes with; none for other data sets."""
        is_processed = isinstance(self.config.datasets[dataset], ProcessedDataset)
        return [f"{self.prepared_folder(dataset)}/{JUDGMENTS}"] if is_processed else []

    def released_files(self, dataset: str) -> list[str]:
        """Files of ratings and of votes that are made of released judgments, and not by asking models."""
        rated = self.rater(dataset) == RELEASED
        voted = self.config.datasets[dataset].panel == [RELEASED]
        return (self.rating_paths(dataset) if rated else []) + (self.panel_paths(dataset) if voted else [])

    def theta_files(self, variant: str, model: str) -> list[str]:
        """The program file of a variant's Theta; none where it has none, or (as for data) it was given and is not
        there."""
        path = self.config.theta_path(variant, model)
        theta = parse_variant(variant).theta
        if path is None or theta is None:
            return []
        return [str(path)] if self.config.thetas[theta].optimise or path.is_file() else []

    def score_paths(self, dataset: str, model: str) -> list[str]:
        """Files of the scores that a model gave to the pairs of a data set, one per shard."""
        return [
            self.path("score_attributes", dataset=dataset, model=model, shard=shard) for shard in self.shards(dataset)
        ]

    def verdict_paths(self) -> list[str]:
        """All verdict files of the run."""
        kinds = ("no_model", "weigh", "baseline", "judge", "judge_taste", "score")
        return [path for name in self.config.datasets for kind in kinds for path in self.paths(kind, dataset=name)]

    def profile_paths(self) -> list[str]:
        """Profiles that are shown to judges."""
        return self.sources("judge", "profiles")

    def analysed_profiles(self) -> list[str]:
        """Files of profiles whose personas are analysed, each once."""
        read = [path for name in ("fidelity", "recovery", "tag") for path in self.sources(name, "profiles")]
        return [path for path in self.paths("profile") if path in set(read)]
