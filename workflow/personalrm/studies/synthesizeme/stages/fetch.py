"""Stage `fetch`: the files of a data set from the Hugging Face hub."""

from __future__ import annotations

import sys

from personalrm.data.hub import fetch_files, shared_source
from personalrm.run.stage import Stage, Wildcards
from personalrm.studies.synthesizeme.plan import Plan


def fetch_stage(plan: Plan, dataset: str) -> None:
    """Fetch all files that the config's data sets read from the revision that `dataset` is read from."""
    fetch_files(dataset, shared_source(plan.config.datasets, dataset), lambda line: sys.stderr.write(f"{line}\n"))


FETCH: Stage[Plan] = Stage(
    name="fetch",
    output=lambda plan, job: plan.fetches[job.dataset],
    combinations=lambda plan: [Wildcards(dataset=name) for name in plan.fetches],
    work=fetch_stage,
)
