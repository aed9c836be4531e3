"""The plan of a run of this study."""

from __future__ import annotations

from collections.abc import Sequence

from personalrm.core.errors import ConfigError
from personalrm.data.sharding import shard_names
from personalrm.run.stage import Wildcards
from personalrm.studies.fspo import stages
from personalrm.studies.fspo.config import Config, PolicyConfig
from personalrm.studies.plan import StudyPlan


class Plan(StudyPlan[Config]):
    """All files of a run, known before any job (the DAG is static)."""

    def __init__(self, config: Config) -> None:
        super().__init__(config, stages.__name__, {"method": config.systems})

    def shards(self, dataset: str) -> Sequence[str]:
        """Names of the files that the answers and the labels of a domain lie in."""
        return shard_names(self.config.datasets[dataset].shards)

    def users(self, dataset: str) -> str:
        """File of the users of a domain before any model is asked."""
        return f"{self.run}/data/{dataset}/users.jsonl"

    def seeds(self, dataset: str) -> str:
        """File of the questions that a domain is given."""
        return f"{self.run}/data/{dataset}/seeds.jsonl"

    def answers(self, job: Wildcards, system: str) -> str:
        """File of the answers of a system to the questions of a job."""
        compare = self.config.compared
        if system in compare.given:
            return str(compare.given[system])
        stage = "generate_answers" if compare.policy else "write_answers"
        return self.path(stage, dataset=job.dataset, shard=job.shard, method=system)

    def policy(self, _job: object) -> PolicyConfig:
        """The policy of a job that answers with one. Raises ConfigError where there is none."""
        if (found := self.config.compared.policy) is None:
            raise ConfigError("compare.policy: is not given")
        return found

    def domains(self) -> list[Wildcards]:
        """One job per domain."""
        return [Wildcards(dataset=name) for name in self.config.datasets]
