"""What the Snakefile asks of the library: config, file names of the whole DAG, preflight, ownership of processes.

Nothing here imports Snakemake; it hands in plain values.
"""

from __future__ import annotations

import json
import os
import re
import socket
import sys
import threading
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import psutil

from personalrm.benchmark.ids import shard_names
from personalrm.benchmark.selection import select_user_ids
from personalrm.config import Config
from personalrm.config_load import load_config, write_resolved
from personalrm.errors import ConfigError
from personalrm.files import atomic_write_text, canonical_json, stable_hash
from personalrm.preflight import Needs, missing
from personalrm.records import ALL_PAIRS
from personalrm.settings import all_methods, fingerprint, judged_methods

__all__ = ["Plan", "all_methods", "fingerprint"]

STATE = Path(".snakemake/personalrm")
"""Folder of resolved configs, of the owner's mark and of embedded servers' states; beside Snakemake's own."""


def default_configfile(arguments: Iterable[str]) -> str:
    """Config file where none was given: that of the run whose result is asked for, if it was planned here before.

    So `snakemake results/<run>/figures/main.pdf` needs no `--configfile`. `arguments` are those of the command line.
    """
    for target in arguments:
        for parent in Path(target).parents:
            known = STATE / f"{parent.name}.json"
            if known.is_file() and Path(load_raw([known])["results"]) == parent.parent:
                return str(known)
    return "config/config.yaml"


def load_for_snakemake(configfiles: Sequence[str | Path], merged: Mapping[str, Any]) -> Config:
    """Typed config of the run: the files read again strictly, then what `--config` changed.

    Snakemake's own reading takes the last of two equal keys in silence; ours refuses.
    """
    paths = [Path(path) for path in configfiles]
    if not paths:
        raise ConfigError("no config file; give one with --configfile")
    from_files = load_raw(paths)
    overrides = {key: value for key, value in merged.items() if from_files.get(key) != value}
    return load_config(*paths, overrides=json.loads(json.dumps(overrides)))


def load_raw(paths: Sequence[Path]) -> dict[str, Any]:
    """Top-level keys of the config files as written, later files over earlier ones."""
    from personalrm.config_load import merge, read_yaml

    raw: dict[str, Any] = {}
    for path in paths:
        raw = merge(raw, read_yaml(path))
    return raw


def write_run_config(config: Config) -> str:
    """Write the resolved config where the jobs find it; return its path."""
    path = STATE / f"{config.run}.json"
    write_resolved(path, config)
    return str(path)


def either(names: Iterable[str]) -> str:
    """Regular expression of exactly these names; one that matches nothing where there are none."""
    return "|".join(re.escape(name) for name in sorted(names, key=len, reverse=True)) or "(?!)"


def read_k(text: str) -> int:
    """Value of the wildcard k."""
    return ALL_PAIRS if text == "all" else int(text)


def show_k(k: int) -> str:
    """The wildcard k of a value."""
    return "all" if k == ALL_PAIRS else str(k)


class Plan:
    """All files of a run, known before any job (the DAG is static)."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self.run = str(config.results / config.run)
        self._shards = {name: self._shard_names(name) for name in config.datasets}

    def _shard_names(self, dataset: str) -> list[str]:
        settings = self.config.datasets[dataset]
        users = select_user_ids(settings.path, settings) if settings.shards == "per_user" else None
        return shard_names(settings.shards, users)

    def sources(self, dataset: str) -> list[str]:
        """Files that a data set is read from, as far as they are there: a dry run needs no data, and before a real one
        the preflight names what is missing."""
        settings = self.config.datasets[dataset]
        return [str(path) for path in (settings.path, settings.planted) if path is not None and path.is_file()]

    def shard_paths(self, dataset: str) -> list[str]:
        """Files of users, one a shard."""
        return [f"{self.run}/data/{dataset}/shards/{shard}.jsonl" for shard in self._shards[dataset]]

    def dataset_fingerprint(self, dataset: str) -> str:
        """What the users of a data set depend on beside its files."""
        return canonical_json(self.config.datasets[dataset].model_dump(mode="json", exclude={"licence"}))

    def verdict_paths(self) -> list[str]:
        """All verdict files of the run."""
        return [path for dataset in self.config.datasets for path in self._verdicts(dataset)]

    def _verdicts(self, dataset: str) -> list[str]:
        config, root = self.config, f"{self.run}/verdicts/{dataset}"
        folders = [f"{root}/baseline/none"] if judged_methods(config, profile=None, judge=None) else []
        folders += [
            f"{root}/baseline/{judge}"
            for judge in config.judge_models
            if judged_methods(config, profile=None, judge=judge)
        ]
        for variant in config.variants:
            folders += [
                f"{root}/{variant}/{profile}-to-{judge}/k{show_k(k)}"
                for profile, judge, k in self._combinations()
                if judged_methods(config, profile=profile, judge=judge)
            ]
        return [f"{folder}/{shard}.jsonl" for folder in folders for shard in self._shards[dataset]]

    def _combinations(self) -> list[tuple[str, str, int]]:
        config = self.config
        own = [(model, model, k) for model in config.learn.models for k in config.ks]
        return own + [(profile, judge, config.largest_k) for profile, judge in config.transfer_pairs]


class PlannedJob(Protocol):
    """A job of the DAG, as far as the preflight looks at it."""

    @property
    def wildcards(self) -> object:
        """Has an attribute for each wildcard."""
        ...

    @property
    def params(self) -> object:
        """Has an attribute for each named parameter."""
        ...


def preflight(config: Config, jobs: Iterable[PlannedJob]) -> None:
    """Check what the jobs that are about to run need. Raises ConfigError with *all* that is missing.

    Makes no call unless `check_endpoints` is set.
    """
    needs = Needs()
    for job in jobs:
        for wildcard in ("model", "judge"):
            name = getattr(job.wildcards, wildcard, None)
            if name in config.models:
                needs.models.add(name)
        dataset = getattr(job.params, "dataset", None)
        if dataset in config.datasets:
            needs.datasets.add(dataset)
    problems = missing(config, needs)
    if problems:
        listed = "\n".join(f"  - {problem}" for problem in problems)
        raise ConfigError(
            f"{len(problems)} thing(s) missing for this run; no job was started:\n{listed}\n"
            "Without keys or data, try the quickstart: make quickstart"
        )


def owner_name() -> str:
    """This process as `pid:create_time`."""
    return f"{os.getpid()}:{psutil.Process().create_time()}"


def export_paths(checkout: str | Path) -> None:
    """Let `python -m personalrm` in a job mean this interpreter, and this checkout's library.

    Snakemake may have been started by its path, without its environment being active.
    """
    for name, entry in (("PATH", Path(sys.executable).parent), ("PYTHONPATH", Path(checkout) / "workflow")):
        known = [part for part in os.environ.get(name, "").split(os.pathsep) if part]
        if str(entry) not in known[:1]:
            os.environ[name] = os.pathsep.join([str(entry), *known])


def export_environment(cores: int) -> None:
    """Tell the jobs who owns them, how many cores there are, and where embedded servers keep their state."""
    os.environ["PERSONALRM_OWNER"] = owner_name()
    os.environ["PERSONALRM_CORES"] = str(cores)
    os.environ["PERSONALRM_RUNTIME"] = str(runtime_dir())


def runtime_dir() -> Path:
    """Folder of the embedded servers of this working directory; short, because lock files live in it."""
    return (STATE / "servers").absolute()


def mark_owner() -> None:
    """Note which process holds Snakemake's lock from now on."""
    mark = {"host": socket.gethostname(), "owner": owner_name(), "python": sys.version.split()[0]}
    atomic_write_text(STATE / "owner.json", canonical_json(mark))


def clear_stale_lock() -> None:
    """Remove Snakemake's lock files if the run that held them was killed, so that the same command can go on.

    Only when our own mark says that the holder ran on this host and is dead; otherwise Snakemake's message stands.
    """
    locks = list(Path(".snakemake/locks").glob("*.lock"))
    mark = STATE / "owner.json"
    if not locks or not mark.is_file():
        return
    try:
        holder = json.loads(mark.read_text(encoding="utf-8"))
        pid, created = holder["owner"].split(":")
    except (ValueError, KeyError):
        return
    if holder.get("host") == socket.gethostname() and not _alive(int(pid), float(created)):
        for lock in locks:
            lock.unlink(missing_ok=True)


def _alive(pid: int, created: float) -> bool:
    try:
        process = psutil.Process(pid)
        return abs(process.create_time() - created) < 1 and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def end_run() -> None:
    """End the embedded servers of this working directory, and let the process exit at once.

    Snakemake 9.27 arms a timer each scheduling round, for as long as `max-jobs-per-timespan` says (a minute in our
    profile), and would wait for the last of them before it exits.
    """
    for thread in threading.enumerate():
        if isinstance(thread, threading.Timer):
            thread.cancel()
    if list(runtime_dir().glob("*.json")):
        from personalrm.embedded.lifecycle import stop_servers

        stop_servers(runtime_dir())


def config_hash(config: Config) -> str:
    """Hash of the resolved config."""
    return stable_hash(canonical_json(config.model_dump(mode="json")))
