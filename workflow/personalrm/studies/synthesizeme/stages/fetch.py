"""Stages `fetch` and `convert`: the files of a data set, from the Hugging Face hub, and as Parquet."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from personalrm.data.hub.hub import check_files, fetch_files, shared_source
from personalrm.data.hub.hub_parquet import convert_files
from personalrm.data.settings import parquet_of
from personalrm.run.stage import Stage, Wildcards

if TYPE_CHECKING:
    from personalrm.studies.synthesizeme.plan import Plan


def fetch_stage(plan: Plan, dataset: str) -> None:
    """Fetch all that the data sets of the config want of the revision that `dataset` is read from."""
    fetch_files(dataset, shared_source(plan.config.datasets, dataset), _say)


def convert_stage(plan: Plan, dataset: str) -> None:
    """Make Parquet files of what `fetch_stage` fetched, once more where a file is another one than before."""
    source = shared_source(plan.config.datasets, dataset)
    check_files(dataset, source)
    convert_files(dataset, source, _say)


def _say(text: str) -> None:
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


def _converted(plan: Plan, job: Wildcards) -> list[str]:
    """The Parquet files that are made of fetched ones; none where all are Parquet already."""
    paths = plan.fetches[job.dataset][:-1]
    return [str(parquet_of(Path(path))) for path in paths if not path.endswith(".parquet")]


FETCH: Stage[Plan] = Stage(
    name="fetch",
    output=lambda plan, job: plan.fetches[job.dataset],
    combinations=lambda plan: [Wildcards(dataset=name) for name in plan.fetches],
    work=fetch_stage,
)
CONVERT: Stage[Plan] = Stage(
    name="convert",
    output=_converted,
    combinations=lambda plan: [Wildcards(dataset=n) for n in plan.fetches if _converted(plan, Wildcards(dataset=n))],
    inputs=lambda plan, job: {"files": plan.fetches[job.dataset]},
    work=convert_stage,
)
