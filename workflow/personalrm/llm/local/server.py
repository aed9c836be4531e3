"""One llama.cpp server for each embedded model, shared by all jobs of a run, and ended with the run's owner.

Snakemake's `service()` would schedule a server in one group with all its consumers, so the jobs start it
themselves: the first takes a lock, starts it and waits until it answers; the others find its state file.

`python -m personalrm.llm.local.server --model PATH --alias ID --threads N --context C --owner PID[:created]
--state FILE [--port P]` is the server. It listens on the loopback port P (by default a free one), writes the state file
when it answers, and ends with its owner. SIGTERM and SIGINT end it at once (default action: nothing in it is worth
saving).
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any

import httpx
import psutil

import personalrm
from personalrm.core.errors import EmbeddedModelError
from personalrm.core.files import atomic_write_text, file_lock, stable_hash
from personalrm.llm.local.catalogue import CatalogueEntry
from personalrm.llm.local.owner import Owner, is_alive, when_gone

# With OpenMP's default spinning a busy machine generates 2 tokens a second instead of 32 (measured).
SPIN_ENV = {"GOMP_SPINCOUNT": "1000"}
_STATES_BYTES = 512 << 20
"""Saved states of prompts (`local/backend.py`) that a server keeps, the newest ones. One of SmolLM2 takes 23 KB per
token, of the 1.5B model 28 KB."""
_READY_S = 60.0
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
    # Not `process.wait`: it takes a zombie, which the job that started the server leaves, for one that runs.
    with suppress(psutil.NoSuchProcess):
        for end in (process.terminate, process.kill):
            end()
            deadline = time.monotonic() + 3
            while is_alive(process) and time.monotonic() < deadline:
                time.sleep(0.02)
            if not is_alive(process):
                break
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


def main() -> int:
    """Serve until the owner is gone. Returns the exit status if the server cannot start."""
    parser = argparse.ArgumentParser(prog="python -m personalrm.llm.local.server", description=__doc__)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--alias", required=True)
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--context", type=int, required=True, help="tokens")
    parser.add_argument("--owner", required=True, help="pid[:created]")
    parser.add_argument("--state", type=Path, required=True)
    parser.add_argument("--port", type=int, default=0, help="0 takes a free port")
    args = parser.parse_args()
    if not SPIN_ENV.keys() <= os.environ.keys():
        # OpenMP reads it when the library is loaded, some platforms even before Python runs.
        os.execve(
            sys.executable,
            [sys.executable, "-m", "personalrm.llm.local.server", *sys.argv[1:]],
            {**os.environ, **SPIN_ENV},
        )
    try:
        _serve(args)
    except (EmbeddedModelError, RuntimeError, ImportError, OSError) as error:
        sys.stderr.write(f"{type(error).__name__}: {error}\n")
    return 1


def _serve(args: argparse.Namespace) -> None:
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_DFL)
    owner = Owner.parse(args.owner)
    process = owner.process()
    if process is None:
        raise EmbeddedModelError(f"The owner, process {owner.pid}, is gone.")
    states = args.state.with_suffix(".states")

    def end() -> None:
        args.state.unlink(missing_ok=True)
        shutil.rmtree(states, ignore_errors=True)
        os._exit(0)

    when_gone(process, end)
    sys.stderr.write(f"loading {args.model} with {args.threads} threads\n")
    sys.stderr.flush()
    # Read in Python, where the watching thread can still act: the library keeps Python's lock while it loads, and on a
    # slow disk a server without an owner would stay for minutes.
    with args.model.open("rb") as stream:
        while stream.read(1 << 22):
            pass
    shutil.rmtree(states, ignore_errors=True)
    states.mkdir(parents=True)
    server = _start(args, states)
    url, deadline = server.listening_address, time.monotonic() + _READY_S
    while not is_healthy(url, 5.0):
        if time.monotonic() > deadline:
            raise EmbeddedModelError(f"The server at {url} loaded the model but does not answer.")
        time.sleep(0.1)
    state = {"alias": args.alias, "created": Owner.of(os.getpid()).created, "pid": os.getpid(), "url": url}
    atomic_write_text(args.state, json.dumps(state, indent=1) + "\n")
    while True:
        time.sleep(1)
        keep_newest(states, _STATES_BYTES)


def keep_newest(folder: Path, most_bytes: int) -> None:
    """Remove the oldest files of `folder` until no more than `most_bytes` are left, but never the newest."""
    # A state that another process removes in between is made again.
    with suppress(OSError):
        found = sorted(((entry.stat(), entry.path) for entry in os.scandir(folder)), key=lambda one: -one[0].st_mtime)
        sizes = accumulate(stat.st_size for stat, _ in found)
        for (_, path), size in list(zip(found, sizes, strict=True))[1:]:
            if size > most_bytes:
                os.unlink(path)


def _start(args: argparse.Namespace, states: Path) -> Any:  # noqa: ANN401  (an untyped library, imported late)
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = str(args.model)
    params.model_alias = {args.alias}
    params.n_parallel = 1
    params.kv_unified = False
    params.n_ctx = args.context
    # The server's own cache of prompts would decide what of a prompt is evaluated; `local/backend.py` does.
    params.cache_ram_mib = 0
    params.cache_idle_slots = False
    params.slot_save_path = f"{states}/"
    params.endpoint_slots = True
    params.cpuparams.n_threads = args.threads
    params.cpuparams_batch.n_threads = args.threads
    # Without it a prompt that is evaluated in two parts gave the same bits as in one (measured, 140 prompts of a
    # quickstart, SmolLM2); with it the time was the same.
    params.flash_attn_type = xllamacpp.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_DISABLED
    # Enough threads that a health request is answered while the slot and its queue are busy.
    params.n_threads_http = 33
    params.endpoint_metrics = True
    params.port = args.port
    params.verbosity = 1
    return xllamacpp.Server(params)


def is_healthy(url: str, timeout_s: float) -> bool:
    """Whether the server at `url` answers its health request with 200. Never goes through a proxy."""
    try:
        return httpx.get(f"{url}/health", timeout=timeout_s, trust_env=False).status_code == 200
    except httpx.HTTPError:
        return False


if __name__ == "__main__":
    sys.exit(main())
