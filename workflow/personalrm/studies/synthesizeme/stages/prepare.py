"""Stage `prepare`: from votes to users, one file per shard."""

from __future__ import annotations

from pathlib import Path

from personalrm.data.prepare import prepare_dataset
from personalrm.run.stage import Files, Stage, Wildcards
from personalrm.studies.synthesizeme.plan import Plan


def prepare_stage(plan: Plan, dataset: str) -> None:
    """Write the users, the funnel and the data card of one data set."""
    paths = {Path(path).stem: Path(path) for path in plan.prepared_paths(dataset)}
    prepare_dataset(plan.config.datasets[dataset], Path(plan.prepared_folder(dataset)), paths)


def _inputs(plan: Plan, job: Wildcards) -> Files:
    """Files of the hub, which rules fetch, and those local files that exist: a dry run needs no data, and before a real
    run the preflight names what is missing."""
    settings = plan.config.datasets[job.dataset]
    local = [settings.planted] if settings.planted else []
    if settings.hub is None:
        local = [*settings.source_files(), *local]
    fetched = settings.hub.paths if settings.hub else ()
    return {"votes": [*map(str, fetched), *(str(path) for path in local if path.is_file())]}


def _files(plan: Plan, job: Wildcards) -> list[str]:
    more = [f"{plan.prepared_folder(job.dataset)}/{name}" for name in ("funnel.json", "card.md")]
    return [*plan.prepared_paths(job.dataset), *more, *plan.judgment_files(job.dataset)]


PREPARE: Stage[Plan] = Stage(
    name="prepare",
    output=_files,
    combinations=lambda plan: [Wildcards(dataset=name) for name in plan.config.datasets],
    inputs=_inputs,
    reads=lambda plan, job: plan.config.datasets[job.dataset].model_dump(
        mode="json", exclude={"licence", "filters", "train_only"}
    ),
    work=prepare_stage,
)
