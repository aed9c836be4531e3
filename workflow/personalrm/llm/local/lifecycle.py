"""One server for each model, shared by all jobs of a run, and gone with the run's owner.

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
from dataclasses import dataclass
from pathlib import Path

import psutil

import personalrm
from personalrm.core.errors import EmbeddedModelError
from personalrm.core.files import canonical_json, file_lock, stable_hash
from personalrm.llm.local.catalogue import CatalogueEntry
from personalrm.llm.local.owner import Owner, is_alive, owner_from_env, watch_owner
from personalrm.llm.local.server import SPIN_ENV, is_healthy, settings

__all__ = ["Owner", "ServerHandle", "ensure_server", "owner_from_env", "stop_servers", "watch_owner"]

_HEALTH_S = 30.0
_TAIL_CHARS = 1500


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
    slots: int,
    context: int,
    timeout_s: float = 120.0,
) -> ServerHandle:
    """The run's server of this model with these settings, started if there is none that is alive and healthy.

    `context` is in tokens for each slot; `timeout_s` bounds the start. Any number of processes may call it at
    the same moment. Servers of other owners, or with other settings, are left alone. The file's SHA-256 is
    the affair of `ensure_model`. Raises EmbeddedModelError with the tail of the server's log.
    """
    if min(threads, slots, context) < 1:
        raise EmbeddedModelError(f"{entry.id}: threads, slots and context must be at least 1.")
    wanted = settings(owner, model_path, threads, slots, context)
    files = _Files.of(runtime_dir, entry.id, wanted)
    with file_lock(files.lock):
        state = _read_state(files.state)
        if state is not None:
            if _works(state):
                return ServerHandle(str(state["url"]), _server_of(state).pid)
            _stop(state)
        files.state.unlink(missing_ok=True)
        return _launch(entry, model_path, files, wanted, timeout_s)


def stop_servers(runtime_dir: Path) -> int:
    """End all servers of `runtime_dir` on this host (SIGTERM, after 3 s SIGKILL); how many were running."""
    stopped = 0
    for path in sorted(runtime_dir.glob(f"*@{_host()}@*.json")):
        state = _read_state(path)
        stopped += _stop(state) if state is not None else 0
        path.unlink(missing_ok=True)
    # Also those of servers that were killed: nobody else removes them.
    for folder in runtime_dir.glob(f"*@{_host()}@*.states"):
        shutil.rmtree(folder, ignore_errors=True)
    return stopped


@dataclass(frozen=True, slots=True)
class _Files:
    """Where one server keeps its lock, state and log.

    Host, owner and settings are part of the names: a folder may serve several hosts and runs, and two jobs
    that want other settings get two servers instead of ending each other's in mid-answer.
    """

    lock: Path
    state: Path
    log: Path

    @classmethod
    def of(cls, runtime_dir: Path, model_id: str, wanted: State) -> _Files:
        stem = runtime_dir / f"{model_id}@{_host()}@{stable_hash(canonical_json(wanted))[:16]}"
        return cls(*(stem.with_name(f"{stem.name}.{kind}") for kind in ("lock", "json", "log")))


def _host() -> str:
    return re.sub(r"[^A-Za-z0-9.-]", "-", socket.gethostname())[:80]


State = dict[str, object]


def _read_state(path: Path) -> State | None:
    """The state file's content; None where it is missing or makes no sense (written whole, so not ours)."""
    try:
        state = json.loads(path.read_text(encoding="utf-8"))
        _server_of(state)
        return {**state, "url": str(state["url"])}
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _server_of(state: State) -> Owner:
    return Owner(int(str(state["pid"])), str(state["created"]))


def _works(state: State) -> bool:
    return _server_of(state).process() is not None and is_healthy(str(state["url"]), _HEALTH_S)


def _stop(state: State) -> int:
    """End a server; 1 if it was running."""
    process = _server_of(state).process()
    if process is None:
        return 0
    try:
        process.terminate()
        try:
            process.wait(3)
        except psutil.TimeoutExpired:
            process.kill()
            process.wait(3)
    except (psutil.NoSuchProcess, psutil.TimeoutExpired):
        pass  # gone in between, or in the hands of the kernel
    return 1


def _launch(entry: CatalogueEntry, model_path: Path, files: _Files, wanted: State, timeout_s: float) -> ServerHandle:
    command = [sys.executable, "-m", "personalrm.llm.local.server", "--detach", "--alias", entry.id]
    command += ["--model", str(model_path), "--state", str(files.state), "--log", str(files.log)]
    for key in ("owner", "threads", "slots", "context"):
        command += [f"--{key}", str(wanted[key])]
    try:
        launched = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            env=_environment(),
            start_new_session=True,
            check=True,
        )
        process = psutil.Process(int(launched.stdout))
    except subprocess.CalledProcessError as error:
        said = f"could not be launched (exit status {error.returncode}) {error.stderr[-_TAIL_CHARS:]}".rstrip()
        raise _failure(entry, files, said) from error
    except subprocess.TimeoutExpired as error:
        raise _failure(entry, files, f"was not launched within {timeout_s:g} s") from error
    except (psutil.NoSuchProcess, ValueError) as error:
        raise _failure(entry, files, "ended at once") from error
    return _wait_ready(entry, files, process, timeout_s)


def _environment() -> dict[str, str]:
    """Ours, with OpenMP's setting, and with the library found wherever it was imported from."""
    home = str(Path(personalrm.__path__[0]).resolve().parent)
    paths = [home, *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**os.environ, **SPIN_ENV, "PYTHONPATH": os.pathsep.join(paths)}


def _wait_ready(entry: CatalogueEntry, files: _Files, process: psutil.Process, timeout_s: float) -> ServerHandle:
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        state = _read_state(files.state)
        if state is not None and state["pid"] == process.pid:
            return ServerHandle(str(state["url"]), process.pid)
        if not is_alive(process):
            raise _failure(entry, files, "ended before it was ready")
        time.sleep(0.05)
    process.kill()
    raise _failure(entry, files, f"was not ready within {timeout_s:g} s")


def _failure(entry: CatalogueEntry, files: _Files, what: str) -> EmbeddedModelError:
    try:
        tail = files.log.read_text(encoding="utf-8", errors="replace")[-_TAIL_CHARS:].strip()
    except OSError:
        tail = ""
    return EmbeddedModelError(
        f"The server of embedded model {entry.id!r} {what}. Its log ({files.log}) ends with:\n{tail or '(empty)'}"
    )
