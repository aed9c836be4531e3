"""Functions for the Snakefile: config, plan, preflight, ownership of processes, and a clean end of the run.

Nothing here imports Snakemake; the Snakefile passes plain values.
"""

from __future__ import annotations

import json
import os
import socket
import sys
import threading
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

from personalrm.core.errors import ConfigError, EmbeddedModelError, StoreError
from personalrm.core.files import atomic_write_text, canonical_json
from personalrm.data.prepare import refuse_no_user
from personalrm.data.settings import LocalDataset
from personalrm.llm.limits.budget import lift, passed
from personalrm.llm.local.owner import OWNER_ENV, Owner
from personalrm.studies.config_load import config_hash, load_config, merged_yaml, write_resolved
from personalrm.studies.plan import StudyPlan
from personalrm.studies.preflight import load_environment, missing
from personalrm.studies.run_results import RunResults, all_results
from personalrm.studies.study import DEFAULT, Needs, plan_of, study_of
from personalrm.studies.study_config import StudyConfig

__all__ = ["RunResults", "config_hash", "study_of"]

STATE = Path(".snakemake/personalrm")
"""Folder of resolved configs, of the owner's mark and of embedded servers' states, inside Snakemake's own folder."""

OWNER_MARK = "owner"
"""File of `STATE` that names the holder of Snakemake's lock. Files of runs end in `.json`."""


def default_configfile(arguments: Iterable[str]) -> str:
    """Config file where none was given: that of the run whose result is a target, if this run was planned here before.

    So `snakemake results/<run>/figures/main.pdf` needs no `--configfile`. `arguments` are those of the command line.
    """
    for target in arguments:
        for parent in Path(target).parents:
            known = STATE / f"{parent.name}.json"
            if known.is_file() and Path(merged_yaml([known])["results"]) == parent.parent:
                return str(known)
    return "config/config.yaml"


def check_folder(checkout: str | Path) -> None:
    """Raise ConfigError for a checkout in a folder whose name Snakemake would read as a pattern."""
    if set("{}") & set(str(checkout)):
        raise ConfigError(f"{checkout}: Snakemake reads braces in the path of the workflow as wildcards; move it")


def load_for_snakemake(configfiles: Sequence[str | Path], merged: Mapping[str, Any]) -> StudyConfig:
    """Typed config of the run: the files read again strictly, then what `--config` changed.

    Snakemake silently takes the last of two equal keys; this reading refuses them.
    """
    # Endpoints that variables hold are part of what stages read.
    load_environment()
    paths = [Path(path) for path in configfiles]
    if not paths:
        raise ConfigError("no config file; give one with --configfile")
    from_files = merged_yaml(paths)
    overrides = {key: value for key, value in merged.items() if from_files.get(key) != value}
    loaded: StudyConfig = load_config(*paths, overrides=json.loads(json.dumps(overrides)))
    return loaded


def write_run_config(config: StudyConfig) -> str:
    """Write the resolved config to the path where jobs read it; returns the path."""
    path = STATE / f"{config.run}.json"
    write_resolved(path, config)
    return str(path)


def plan_run(config: StudyConfig) -> StudyPlan[Any]:
    """The plan of the run. Raises ConfigError for data sets whose users have to be known before, and are not, and for
    files of votes in which no user has enough pairs."""
    plan: StudyPlan[Any] = plan_of(config)
    for dataset, entry in config.datasets.items():
        plan.shards(dataset)
        if isinstance(entry, LocalDataset) and entry.path.is_file():
            refuse_no_user(entry)
    return plan


class PlannedJob(Protocol):
    """The part of a job of the DAG that the preflight reads."""

    @property
    def output(self) -> Sequence[str]:
        """Paths of the files that it writes."""
        ...

    @property
    def params(self) -> object:
        """Has an attribute for each named parameter."""
        ...


def preflight(plan: StudyPlan[Any], jobs: Iterable[PlannedJob], *, here: bool) -> None:
    """Check what the planned jobs need, without a call unless `check_endpoints` is set. `here`: they run on this
    machine.

    Raises ConfigError that lists everything that is missing.
    """
    needs, config = Needs(here=here), plan.config
    for job in jobs:
        stage, wildcards = next(filter(None, (plan.parse(str(path)) for path in job.output)), (None, None))
        if stage and wildcards:
            asked = plan.models(stage.name, **wildcards._asdict())
            needs.models.update(name for name in asked if name in config.models)
            needs.stages.add(stage.name)
        dataset = str(getattr(job.params, "dataset", ""))
        if dataset in config.datasets:
            needs.datasets.add(dataset)
    problems = missing(config, needs)
    if problems:
        listed = "\n".join(f"  - {problem}" for problem in problems)
        raise ConfigError(
            f"{len(problems)} thing(s) missing for this run; no job was started:\n{listed}\n"
            "Without keys or data, try the quickstart: make quickstart"
        )


def export_paths(checkout: str | Path) -> None:
    """Put this interpreter and this checkout's library first in PATH and PYTHONPATH, for `personalrm` in jobs.

    Snakemake may have been started by its path, without its environment being active.
    """
    for name, entry in (("PATH", Path(sys.executable).parent), ("PYTHONPATH", Path(checkout) / "workflow")):
        known = [part for part in os.environ.get(name, "").split(os.pathsep) if part]
        if str(entry) not in known[:1]:
            os.environ[name] = os.pathsep.join([str(entry), *known])


def export_environment(cores: int, run_config: str) -> None:
    """Set the variables that jobs read: the owner process, the cores, the folder of embedded servers' states, and the
    path of the run's config (for rules whose outputs all runs share: their parameters must not depend on it)."""
    os.environ[OWNER_ENV] = str(Owner.of(os.getpid()))
    os.environ["PERSONALRM_CORES"] = str(cores)
    os.environ["PERSONALRM_RUN_CONFIG"] = run_config
    os.environ["PERSONALRM_RUNTIME"] = str(runtime_dir())


def runtime_dir() -> Path:
    """Folder of the embedded servers of this working directory; short, because lock files live in it."""
    return (STATE / "servers").absolute()


def clear_stale_lock() -> None:
    """Remove Snakemake's lock files if the run that held them was killed, so that the same command can go on.

    Only when our own mark says that the holder ran on this host and is dead; otherwise Snakemake's message stands.
    """
    locks = list(Path(".snakemake/locks").glob("*.lock"))
    mark = STATE / OWNER_MARK
    if not locks or not mark.is_file():
        return
    try:
        holder = json.loads(mark.read_text(encoding="utf-8"))
        owner, host = Owner.parse(holder["owner"]), holder["host"]
    except (ValueError, KeyError, EmbeddedModelError):
        return
    if host == socket.gethostname() and owner.process() is None:
        for lock in locks:
            lock.unlink(missing_ok=True)


def begin_run(config: StudyConfig) -> None:
    """Note which process holds Snakemake's lock from now on, and let its jobs use the rest of the budget again."""
    mark = {"host": socket.gethostname(), "owner": str(Owner.of(os.getpid()))}
    atomic_write_text(STATE / OWNER_MARK, canonical_json(mark))
    lift(config.store, config.run, config.store_journal)


def say_budget(config: StudyConfig) -> None:
    """Print once, at the end, which budget the run has used up; the logs of its jobs repeat it."""
    with suppress(StoreError):  # a store that cannot be read has ended the run, with a message of its own
        for message in passed(config.store, config.run, config.store_journal):
            sys.stderr.write(f"personalrm: {message}\n")


def end_run() -> None:
    """End the embedded servers of this working directory, and let the process exit at once.

    Snakemake 9.27 arms a timer each scheduling round, for as long as `max-jobs-per-timespan` says (a minute in our
    profile), and would wait for the last of them before it exits.
    """
    for thread in threading.enumerate():
        if isinstance(thread, threading.Timer):
            thread.cancel()
    if list(runtime_dir().glob("*.json")):
        from personalrm.llm.local.server import stop_servers

        stop_servers(runtime_dir())


def captions(study: str = DEFAULT) -> dict[str, str]:
    """Captions of all tables and figures that the workflow can make, by their rule, whether or not a run makes them."""
    return {result.rule: result.caption for result in all_results(study)}
