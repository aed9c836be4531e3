"""The plan of a run of this study."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from personalrm.core.persona_pairs import RELEASED
from personalrm.data.sharding import shard_names
from personalrm.personas.tailored import TRAIN_TYPES
from personalrm.run.stage import Wildcards
from personalrm.studies.plan import StudyPlan
from personalrm.studies.tailoring import stages
from personalrm.studies.tailoring.config import Config
from personalrm.studies.tailoring.tailor_config import PolicyConfig


class Plan(StudyPlan[Config]):
    """All files of a run, known before any job (the DAG is static)."""

    def __init__(self, config: Config) -> None:
        names: dict[str, Iterable[str]] = {"model": [*config.models, RELEASED, *config.infer.given]}
        names |= {"system": config.systems, "base": config.systems}
        names |= {"reward": config.tailor.policies, "method": TRAIN_TYPES}
        super().__init__(config, stages.__name__, names)

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
        entry = self.config.tailor.systems.get(system)
        stage = "given_answers" if entry is None else "ask_answers" if entry.model else "generate_answers"
        return self.path(stage, dataset=job.dataset, system=system, shard=job.shard)

    def policy(self, job: Any) -> PolicyConfig:  # noqa: ANN401 - of ours, or of Snakemake
        """The policy of a job that trains one (`reward`) or answers with one (`system`)."""
        tailor = self.config.tailor
        name = getattr(job, "reward", "") or str(tailor.systems[job.system].policy)
        return tailor.policies[name]
