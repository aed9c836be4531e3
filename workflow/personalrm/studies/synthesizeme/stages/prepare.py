"""Stage `prepare`: from votes to users, one file a shard."""

from __future__ import annotations

from pathlib import Path

from personalrm.data.prepare import prepare_dataset
from personalrm.studies.synthesizeme.config_load import read_resolved
from personalrm.studies.synthesizeme.plan import Plan


def prepare_stage(config_file: Path, dataset: str) -> None:
    """Write the users, the funnel and the data card of one data set."""
    config = read_resolved(config_file)
    plan = Plan(config)
    paths = {Path(path).stem: Path(path) for path in plan.prepared_paths(dataset)}
    prepare_dataset(config.datasets[dataset], Path(plan.prepared_folder(dataset)), paths)
