"""`personalrm stage`: one job of a stage, from the name of its output."""

from __future__ import annotations

import asyncio
import inspect
from pathlib import Path
from typing import Any

from personalrm.core.errors import ConfigError
from personalrm.llm.local.owner import watch_owner
from personalrm.run.stage import Wildcards
from personalrm.studies.plan import StudyPlan
from personalrm.studies.preflight import load_environment
from personalrm.studies.runner import Job, sole_writer
from personalrm.studies.study import plan_of


def run_job(config_file: Path, name: str, out: Path | None, dataset: str | None) -> None:
    """Do the job of stage `name` that writes `out`, or that of a data set for stages of several files.

    Raises ConfigError where the run has no such stage or job.
    """
    load_environment()
    job = Job.from_file(config_file)
    plan = plan_of(job.config)
    if name not in plan.stages:
        raise ConfigError(f"{name}: no stage; there are {', '.join(sorted(plan.stages))}")
    wildcards = _wildcards(plan, name, out, dataset)
    arguments = plan.arguments(name, wildcards, job=job, out=out)
    work = plan.stages[name].work
    if out is None or not inspect.iscoroutinefunction(work):
        work(**arguments)
        return
    watch_owner()
    with sole_writer(out):
        asyncio.run(work(**arguments))


def _wildcards(plan: StudyPlan[Any], name: str, out: Path | None, dataset: str | None) -> Wildcards:
    if out is None:
        if isinstance(plan.stages[name].output, str):
            raise ConfigError(f"stage {name} writes one file for each of its jobs; name it with --out")
        if dataset not in plan.config.datasets:
            raise ConfigError(f"datasets.{dataset}: no such data set; the config has {', '.join(plan.config.datasets)}")
        return Wildcards(dataset=dataset or "")
    found = plan.parse(str(out))
    if found is None or found[0].name != name:
        raise ConfigError(f"{out}: no output of stage {name} in this run ({plan.run})")
    return found[1]
