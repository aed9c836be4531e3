"""What a run needs and lacks: data files, keys, servers, model files. Nothing is paid for."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Collection
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from personalrm.core.concurrency import concurrently
from personalrm.core.credentials import clean_environment, clean_key, key_problem, read_dotenv
from personalrm.core.errors import ConfigError, EmbeddedModelError, PersonalRMError, StoreError
from personalrm.core.extras import require_extra
from personalrm.core.hub import is_offline
from personalrm.data.settings import HubSource
from personalrm.studies.model_config import ModelConfig
from personalrm.studies.study import Needs, study_of
from personalrm.studies.study_config import StudyConfig

logger = logging.getLogger("personalrm.studies.preflight")
NETWORK_FILE_SYSTEMS = frozenset(
    {"9p", "afs", "beegfs", "ceph", "cifs", "glusterfs", "gpfs", "lustre", "nfs", "nfs4", "panfs", "smb3", "sshfs"}
)


def missing(config: StudyConfig, needs: Needs) -> list[str]:
    """All problems, each with its key and what to set. A connection to each server of one's own is tried, and closed;
    with `check_endpoints`, one real call per model is made."""
    load_environment()
    names = sorted(needs.models)
    problems = store_problems(config, file_system(config.store)) if names else []
    for name in sorted(needs.datasets):
        problems += _data_problems(config.datasets[name])
    problems += study_of(config.study).missing(config, needs)
    for name in names:
        problems += _model_problems(config, name)
    problems += _unreachable(config, names) if needs.here else []
    if config.check_endpoints and not problems:
        problems += asyncio.run(_try_endpoints(config, names))
    if not problems:
        _forget_refused_probes(config, names)
    return problems


def _forget_refused_probes(config: StudyConfig, names: list[str]) -> None:
    """Probe servers again that an earlier run found unfit; the jobs of one run share the result of a probe."""
    from personalrm.judge.label_probe import forget_refused
    from personalrm.llm.cache.store import ResponseStore

    readers = [name for name in names if config.models[name].reads_labels]
    if readers and Path(config.store).is_file():
        with ResponseStore(config.store, config.store_journal) as store:
            for name in readers:
                forget_refused(store, config.models[name].spec(name), config.models[name].prompts)


def file_system(path: Path) -> str:
    """Type of the file system that `path` lies on, or will lie on, as the system names it (`ext4`, `nfs4`, …)."""
    import psutil

    # Of two mounts on one folder the later hides the earlier.
    mounts = {Path(mount.mountpoint): str(mount.fstype) for mount in psutil.disk_partitions(all=True)}
    # Not `resolve`, which fails where links lead in a circle.
    real = Path(os.path.realpath(path))
    places = (real, *real.parents)
    return next((mounts[place] for place in places if place in mounts), "")


def store_problems(config: StudyConfig, kind: str) -> list[str]:
    """A disk without room; a write-ahead log on a network file system, for it needs memory that all processes share."""
    full = _full_store(Path(config.store))
    if config.store_journal != "wal" or kind.removeprefix("fuse.") not in NETWORK_FILE_SYSTEMS:
        return full
    return [
        *full,
        f"store_journal: {config.store} lies on a network file system ({kind}), where `wal` can lose answers; "
        "set store_journal: delete, or store: a path on a local disk if only this machine runs jobs",
    ]


def _full_store(path: Path) -> list[str]:
    """Why the store could take no answer. One that can only be read is found when a call is to be made: it may have all
    answers."""
    from personalrm.llm.cache.store_file import check_room, is_writable

    try:
        if not path.exists() or is_writable(path):
            check_room(Path(os.path.realpath(path)), probe=True)
    except StoreError as error:
        return [str(error)]
    return []


def _data_problems(entry: Any) -> list[str]:  # noqa: ANN401 - the settings of a data set of any study
    """Files that are not there; of the hub, what can be known without a request to it."""
    source: HubSource | None = entry.hub
    planted = getattr(entry, "planted", None)
    wanted = [("planted", planted)] if planted else []
    if source is None:
        # A data set that is made by models has no path.
        files = entry.source_files() or ([entry.path or Path()] if hasattr(entry, "path") else [])
        wanted = [*(("path", path) for path in files), *wanted]
    problems = [
        f"datasets.{entry.name}.{key}: no file {path}; put the data there, or correct the path"
        for key, path in wanted
        if not path.is_file()
    ]
    if source is None:
        return problems
    absent = [path.name for path in source.paths if not path.is_file()]
    if absent and is_offline():
        problems.insert(
            0,
            f"datasets.{entry.name}.hub: HF_HUB_OFFLINE is set, and {source.folder} lacks {', '.join(absent)}; "
            f"unset it, or put the files of {source.repo}, revision {source.revision}, there",
        )
    lacking = [path.name for path in entry.source_files() if path not in source.paths]
    named = f"datasets.{entry.name}.hub.files"
    return [*(f"{named}: lacks {name}, which source {entry.source} reads; add it" for name in lacking), *problems]


def lacking(extra: str, what: str) -> list[str]:
    """The problem that an extra is not installed, if it is not."""
    try:
        require_extra(extra, what)
    except ConfigError as error:
        return [str(error)]
    return []


def load_environment() -> None:
    """Read `.env` of the working directory, without overriding what the environment has, and clean the keys.

    Raises ConfigError for a file that is no text.
    """
    if Path(".env").is_file():
        from dotenv import load_dotenv

        load_dotenv(stream=read_dotenv(Path(".env")))
    clean_environment()


def _model_problems(config: StudyConfig, name: str) -> list[str]:
    """Keys, files, the embedded runtime, and the price of a model that has a budget."""
    from personalrm.llm.limits.budget import no_price
    from personalrm.llm.open import list_price

    entry = config.models[name]
    problems = [
        f"models.{name}.{key}: the environment variable {variable} is not set; export it or put it into .env"
        for key, variable in (("api_key_env", entry.api_key_env), ("api_base_env", entry.api_base_env))
        if variable and not clean_key(os.environ.get(variable, ""))
    ]
    if entry.api_key_env and (problem := key_problem(clean_key(os.environ.get(entry.api_key_env, "")))):
        problems.append(f"models.{name}.api_key_env: the key in {entry.api_key_env}: {problem}")
    if entry.tokenizer and not entry.tokenizer.is_file():
        problems.append(f"models.{name}.tokenizer: no file {entry.tokenizer}; put the model's tokenizer.json there")
    if entry.backend == "embedded":
        problems += _embedded_problems(name, entry)
    if config.budget.limits(name) and list_price(entry.spec(name))(1, 1) is None:
        problems.append(no_price(entry.spec(name)))
    return problems


def _embedded_problems(name: str, entry: ModelConfig) -> list[str]:
    from personalrm.llm.local.catalogue import get_entry

    problems = []
    if entry.path and not Path(entry.path).is_file():
        problems.append(f"models.{name}.path: no file {entry.path}; correct it, or leave it out to have it downloaded")
    try:
        get_entry(entry.model)
    except EmbeddedModelError as error:
        problems.append(f"models.{name}.model: {error}")
    for problem in lacking("embedded", f"models.{name}.backend"):
        problems.append(
            f"{problem}; where it has no build for this system, run any local server that speaks the OpenAI protocol "
            f"and set models.{name}.backend to openai with its api_base"
        )
    return problems


def _unreachable(config: StudyConfig, names: list[str]) -> list[str]:
    """Models whose server accepts no connection. A model with answers in the store is a warning instead: they may be
    all that the run needs, and a server that has answered may come back (`max_attempts`, `deadline_s`)."""
    from personalrm.llm.backends.reach import connection_problem
    from personalrm.llm.cache.store import ResponseStore

    specs = {name: config.models[name].spec(name) for name in names}
    bases = {name: spec.api_base for name, spec in specs.items() if spec.api_base and spec.backend != "embedded"}
    distinct = sorted(set(bases.values()))
    with ThreadPoolExecutor(max(1, len(distinct))) as threads:
        found = dict(zip(distinct, threads.map(connection_problem, distinct), strict=True))
    absent = {name: problem for name, base in bases.items() if (problem := found[base]) is not None}
    answered: Collection[str] = ()
    if absent and Path(config.store).is_file():
        with ResponseStore(config.store, config.store_journal) as store:
            answered = store.usage_totals().keys()
    problems = []
    for name, problem in absent.items():
        key = "api_base" if config.models[name].api_base else "api_base_env"
        if specs[name].identity in answered:
            logger.warning("models.%s.%s: %s; until then only stored answers can be used", name, key, problem)
        else:
            problems.append(f"models.{name}.{key}: {problem}")
    return problems


async def _try_endpoints(config: StudyConfig, names: list[str]) -> list[str]:
    """Make one short call per model, concurrently; the probe of `label_probe` where verdicts are log-probabilities."""
    results = await concurrently(*(_try_one(config, name) for name in names))
    return [problem for problem in results if problem]


async def _try_one(config: StudyConfig, name: str) -> str | None:
    from personalrm.judge.label_probe import UnreadableLabels, probe_labels
    from personalrm.llm.cache.store import ResponseStore
    from personalrm.llm.open import open_model
    from personalrm.llm.types import Message, Request
    from personalrm.studies.runner import runtime_from_env

    entry = config.models[name]
    spec = entry.spec(name)
    # With an instruction, as all requests of a run have one.
    asked = (Message("system", "You answer with one word."), Message("user", "Answer with the word yes."))
    request = Request(asked, max_tokens=4)
    store = ResponseStore(Path(":memory:"), run="preflight")
    try:
        async with open_model(spec, store=store, runtime=runtime_from_env()) as client:
            if entry.reads_labels:
                await probe_labels(client, entry.prompts)
            else:
                await client.complete(request)
    except UnreadableLabels as error:
        return str(error)
    except PersonalRMError as error:
        return f"models.{name}: the endpoint did not answer: {error}"
    finally:
        store.close()
    return None
