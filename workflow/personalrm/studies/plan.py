"""The plan of a run: what the plans of all studies share."""

from __future__ import annotations

import functools
import importlib
import pkgutil
import sys
from collections.abc import Iterable, Mapping
from typing import Any, Generic

from personalrm.data.hub import fetch_files, shared_source
from personalrm.data.settings import CHECKSUMS
from personalrm.run.stage import Stage, StagePlan, Wildcards
from personalrm.studies.study_config import NO_MODEL, C


@functools.cache
def declared_stages(package: str) -> tuple[Stage[Any], ...]:
    """All stages that the modules of a package declare, and that which fetches data."""
    path = importlib.import_module(package).__path__
    modules = [importlib.import_module(f"{package}.{name}") for _, name, _ in pkgutil.iter_modules(path)]
    found = {value.name: value for module in modules for value in vars(module).values() if isinstance(value, Stage)}
    return (FETCH, *found.values())


class StudyPlan(StagePlan, Generic[C]):
    """All files of a run, known before any job (the DAG is static).

    Args:
        config: of the run.
        stages: package whose modules declare the stages.
        names: the values that further fields of paths may have.
    """

    def __init__(self, config: C, stages: str, names: Mapping[str, Iterable[str]]) -> None:
        known = {"dataset": config.datasets, "model": [*config.models, NO_MODEL], "judge": config.models}
        super().__init__(str(config.results / config.run), declared_stages(stages), {**known, **names})
        self.config = config
        self.fetches = self._plan_fetches()

    def _plan_fetches(self) -> dict[str, list[str]]:
        """Files to fetch from the hub, with the record of their checksums, by data set.

        Data sets that share a folder are fetched as one, under the name of the first.
        """
        found: dict[str, list[str]] = {}
        for dataset in (name for name, entry in self.config.datasets.items() if entry.hub):
            source = shared_source(self.config.datasets, dataset)
            paths = [str(path) for path in [*source.paths, source.folder / CHECKSUMS]]
            if paths not in found.values():
                found[dataset] = paths
        return found


def fetch_stage(plan: StudyPlan[Any], dataset: str) -> None:
    """Fetch all files that the config's data sets read from the revision that `dataset` is read from."""
    fetch_files(dataset, shared_source(plan.config.datasets, dataset), lambda line: sys.stderr.write(f"{line}\n"))


FETCH: Stage[StudyPlan[Any]] = Stage(
    name="fetch",
    output=lambda plan, job: plan.fetches[job.dataset],
    combinations=lambda plan: [Wildcards(dataset=name) for name in plan.fetches],
    work=fetch_stage,
)
