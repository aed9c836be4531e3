"""The plan of a run of this study."""

from __future__ import annotations

from collections.abc import Sequence

from personalrm.core.persona_pairs import RELEASED
from personalrm.data.sharding import shard_names
from personalrm.run.stage import Wildcards
from personalrm.studies.plan import StudyPlan
from personalrm.studies.tailoring import stages
from personalrm.studies.tailoring.config import Config


class Plan(StudyPlan[Config]):
    """All files of a run, known before any job (the DAG is static)."""

    def __init__(self, config: Config) -> None:
        names = {"model": [*config.models, RELEASED, *config.infer.given], "system": config.systems}
        super().__init__(config, stages.__name__, {**names, "base": config.systems})

    def shards(self, dataset: str) -> Sequence[str]:
        """Names of the files that the pairs of a data set lie in."""
        return shard_names(self.config.datasets[dataset].shards)

    def pairs(self, job: Wildcards) -> str:
        """File of the pairs of a job."""
        return f"{self.run}/data/{job.dataset}/shards/{job.shard}.jsonl"

    def pair_files(self, dataset: str) -> list[str]:
        """Files of pairs, one per shard."""
        return [self.pairs(Wildcards(dataset=dataset, shard=shard)) for shard in self.shards(dataset)]

    def counts(self, dataset: str) -> str:
        """File of the counts of a data set."""
        return f"{self.run}/data/{dataset}/counts.json"

    def persona_files(self, job: Wildcards) -> dict[str, str | list[str]]:
        """Files with the pairs of a job and, but for released ones, with their personas."""
        files: dict[str, str | list[str]] = {"pairs": self.pairs(job)}
        if job.model in self.config.infer.given:
            files["given"] = [str(path) for path in sorted(self.config.infer.given[job.model].glob("*.jsonl"))]
        elif job.model != RELEASED:
            files["personas"] = self.path("infer_personas", dataset=job.dataset, model=job.model, shard=job.shard)
        return files

    def answers(self, job: Wildcards, system: str) -> str:
        """File of the answers of a system to the pairs of a job."""
        return self.path("given_answers", dataset=job.dataset, system=system, shard=job.shard)
