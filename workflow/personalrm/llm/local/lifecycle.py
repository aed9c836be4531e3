"""One server for each model, shared by all jobs of a run, and ended with the run's owner.

Snakemake's `service()` would schedule a server in one group with all its consumers, so the jobs start it
themselves: the first takes a lock, starts it and waits until it answers; the others find its state file.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

import personalrm
from personalrm.core.errors import EmbeddedModelError
from personalrm.core.files import file_lock, stable_hash
from personalrm.llm.local.catalogue import CatalogueEntry
from personalrm.llm.local.owner import Owner
from personalrm.llm.local.server import SPIN_ENV, is_healthy

_HEALTH_S = 30.0
_TAIL_CHARS = 1500
_STARTED: list[subprocess.Popen[bytes]] = []
"""Servers that this process started. They outlive it; an object that is kept does not warn of that."""


@dataclass(frozen=True, slots=True)
class ServerHandle:
    """A server that is ready: `url` such as `http://127.0.0.1:40123`, and its process id."""

    url: str
    pid: int


def ensure_server(
    entry: CatalogueEntry,
    model_path: Path,
    *,
    runtime_dir: Path,
    owner: Owner,
    threads: int,
    context: int,
    timeout_s: float = 120.0,
) -> ServerHandle:
    """The run's server of this model with these settings, started if there is none that is alive and healthy.

    `context` is in tokens; `timeout_s` bounds the start. Any number of processes may call it at the same moment.
    Servers of other owners, or with other settings, are left alone: host, owner and settings are part of the names of
    lock, state and log, so that two jobs with different settings get two servers. `ensure_model` checks the file's
    SHA-256. Raises EmbeddedModelError with the tail of the server's log.
    """
    if min(threads, context) < 1:
        raise EmbeddedModelError(f"{entry.id}: threads and context must be at least 1.")
    settings = {"model": str(model_path.resolve()), "owner": str(owner), "threads": threads, "context": context}
    name = stable_hash(*map(str, settings.values()))[:16]
    state = runtime_dir / f"{entry.id}@{_host()}@{name}.json"
    with file_lock(state.with_suffix(".lock")):
        found = _read_state(state)
        if found is not None:
            server, url = found
            if server.process() is not None and is_healthy(url, _HEALTH_S):
                return ServerHandle(url, server.pid)
            _stop(server)
        state.unlink(missing_ok=True)
        options = [f"--{key}={value}" for key, value in {**settings, "alias": entry.id, "state": state}.items()]
        return _launch(entry.id, state, options, timeout_s)


def stop_servers(runtime_dir: Path) -> int:
    """End all servers of `runtime_dir` on this host (SIGTERM, after 3 s SIGKILL); how many were running."""
    stopped = 0
    for path in sorted(runtime_dir.glob(f"*@{_host()}@*.json")):
        found = _read_state(path)
        stopped += found is not None and _stop(found[0])
        path.unlink(missing_ok=True)
    # Also those of servers that were killed: no other process removes them.
    for folder in runtime_dir.glob(f"*@{_host()}@*.states"):
        shutil.rmtree(folder, ignore_errors=True)
    return stopped


def _host() -> str:
    return re.sub(r"[^A-Za-z0-9.-]", "-", socket.gethostname())[:80]


def _read_state(path: Path) -> tuple[Owner, str] | None:
    """The server's process and URL from its state file; None where that is missing or makes no sense."""
    try:
        state = json.loads(path.read_text(encoding="utf-8"))
        return Owner(int(state["pid"]), str(state["created"])), str(state["url"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _stop(server: Owner) -> bool:
    """End a server; whether it was running."""
    process = server.process()
    if process is None:
        return False
    # It may end in between, or be in an uninterruptible system call.
    with suppress(psutil.NoSuchProcess, psutil.TimeoutExpired):
        process.terminate()
        try:
            process.wait(3)
        except psutil.TimeoutExpired:
            process.kill()
            process.wait(3)
    return True


def _launch(model_id: str, state: Path, options: list[str], timeout_s: float) -> ServerHandle:
    """Start a server in a session of its own, with its output in a log, and wait until it is ready."""
    log = state.with_suffix(".log")
    # The library may have been imported from anywhere.
    paths = [str(Path(personalrm.__path__[0]).resolve().parent), os.environ.get("PYTHONPATH", "")]
    environment = {**os.environ, **SPIN_ENV, "PYTHONPATH": os.pathsep.join(filter(None, paths))}
    with log.open("ab") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "personalrm.llm.local.server", *options],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env=environment,
            start_new_session=True,
        )
    _STARTED.append(process)
    deadline = time.monotonic() + timeout_s
    what = f"was not ready within {timeout_s:g} s"
    while time.monotonic() < deadline:
        found = _read_state(state)
        if found is not None and found[0].pid == process.pid:
            return ServerHandle(found[1], process.pid)
        if process.poll() is not None:
            what = "ended before it was ready"
            break
        time.sleep(0.05)
    process.kill()
    tail = log.read_text(encoding="utf-8", errors="replace")[-_TAIL_CHARS:].strip()
    raise EmbeddedModelError(
        f"The server of embedded model {model_id!r} {what}. Its log ({log}) ends with:\n{tail or '(empty)'}"
    )
