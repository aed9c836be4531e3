"""One embedded model behind llama.cpp's own HTTP server, as a process of its own.

`python -m personalrm.llm.local.server --model PATH --alias ID --threads N --slots S --context C
--owner PID[:created] --state FILE [--port P] [--log FILE] [--detach]`. It listens on the loopback port P (by
default a free one), writes the state file when it answers, and ends with its owner. SIGTERM and SIGINT end it at once
(default action: nothing in it is worth saving).
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import socket
import sys
import time
from collections.abc import Sequence
from http.client import HTTPConnection, HTTPException
from itertools import accumulate
from pathlib import Path
from typing import Protocol, cast
from urllib.parse import urlsplit

from personalrm.core.errors import EmbeddedModelError
from personalrm.core.files import atomic_write_text
from personalrm.llm.local.owner import Owner, when_gone

# With OpenMP's default spinning a busy machine generates 2 tokens a second instead of 32 (measured).
SPIN_ENV = {"GOMP_SPINCOUNT": "1000"}
_STATES_BYTES = 512 << 20
"""Saved states of prompts (`embedded.backend`) that a server keeps, the newest ones. One of SmolLM2 takes 23 KB a
token, of the 1.5B model 28 KB."""


def main(argv: Sequence[str] | None = None) -> int:
    """Serve until the owner is gone. Returns only on failure to start, or, with --detach, in the parent."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    args = _parse(arguments)
    if any(os.environ.get(name) is None for name in SPIN_ENV):
        # OpenMP reads it when the library is loaded, some platforms even before Python runs.
        os.environ.update(SPIN_ENV)
        os.execv(sys.executable, [sys.executable, "-m", "personalrm.llm.local.server", *arguments])
    if args.detach:
        # The launcher reaps this parent, so a server that dies leaves no zombie to whoever started it.
        child = os.fork()
        if child:
            sys.stdout.write(f"{child}\n")
            return 0
    if args.log is not None:
        _redirect(args.log)
    try:
        _serve(args)
    except (EmbeddedModelError, RuntimeError, ImportError, OSError) as error:
        sys.stderr.write(f"{type(error).__name__}: {error}\n")
        return 1
    return 0


def _parse(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m personalrm.llm.local.server", description=__doc__)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--alias", required=True)
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--slots", type=int, required=True)
    parser.add_argument("--context", type=int, required=True, help="tokens of each slot")
    parser.add_argument("--owner", required=True, help="pid[:created]")
    parser.add_argument("--state", type=Path, required=True)
    parser.add_argument("--port", type=int, default=0, help="0 takes a free port")
    parser.add_argument("--log", type=Path)
    parser.add_argument("--detach", action="store_true", help="print the server's pid and go to the background")
    args = parser.parse_args(argv)
    if args.detach and args.log is None:
        parser.error("--detach needs --log")
    return args


def _redirect(log: Path) -> None:
    """Let go of the terminal: input from nowhere, output to the log."""
    for path, flags, targets in (
        (os.devnull, os.O_RDONLY, (0,)),
        (str(log), os.O_WRONLY | os.O_CREAT | os.O_APPEND, (1, 2)),
    ):
        handle = os.open(path, flags, 0o666)
        for target in targets:
            os.dup2(handle, target)
        os.close(handle)


def _serve(args: argparse.Namespace) -> None:
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_DFL)
    owner = Owner.parse(args.owner)
    process = owner.process()
    if process is None:
        raise EmbeddedModelError(f"The owner, process {owner.pid}, is gone.")
    when_gone(process, lambda: _end(args.state))
    _read_ahead(args.model)
    sys.stderr.write(f"loading {args.model} with {args.threads} threads, {args.slots} slots\n")
    sys.stderr.flush()
    states = args.state.with_suffix(".states")
    shutil.rmtree(states, ignore_errors=True)
    states.mkdir(parents=True)
    server = _start(args, states)
    url = server.listening_address
    _wait_healthy(url)
    state = {
        **settings(owner, args.model, args.threads, args.slots, args.context),
        "alias": args.alias,
        "created": Owner.of(os.getpid()).created,
        "pid": os.getpid(),
        "url": url,
    }
    atomic_write_text(args.state, json.dumps(state, indent=1) + "\n")
    while True:
        time.sleep(1)
        keep_newest(states, _STATES_BYTES)


def settings(owner: Owner, model: Path, threads: int, slots: int, context: int) -> dict[str, object]:
    """What must agree before a running server is shared; a part of the state file."""
    return {
        "owner": str(owner),
        "host": socket.gethostname(),
        "model": str(model.resolve()),
        "threads": threads,
        "slots": slots,
        "context": context,
    }


def _end(state: Path) -> None:
    state.unlink(missing_ok=True)
    shutil.rmtree(state.with_suffix(".states"), ignore_errors=True)
    os._exit(0)


def keep_newest(folder: Path, most_bytes: int) -> None:
    """Remove the oldest files of `folder` until no more than `most_bytes` are left, but never the newest."""
    try:
        found = sorted(((entry.stat(), entry.path) for entry in os.scandir(folder)), key=lambda one: -one[0].st_mtime)
        sizes = accumulate(stat.st_size for stat, _ in found)
        for (_, path), size in list(zip(found, sizes, strict=True))[1:]:
            if size > most_bytes:
                os.unlink(path)
    except OSError:
        return  # somebody else tidied up; a state that is missing is made again


def _read_ahead(model: Path) -> None:
    """Bring the file into memory in Python, where the watching thread can still act.

    The library keeps Python's lock while it loads: on a slow disk an orphan would stay for minutes.
    """
    with model.open("rb") as stream:
        while stream.read(1 << 22):
            pass


class _Listening(Protocol):
    listening_address: str


def _start(args: argparse.Namespace, states: Path) -> _Listening:
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = str(args.model)
    params.model_alias = {args.alias}
    params.n_parallel = args.slots
    # A cache of its own for each slot: a long prompt cannot starve another.
    params.kv_unified = False
    params.n_ctx = args.context * args.slots
    # The server's own cache of prompts would decide what of a prompt is evaluated; `embedded.backend` does.
    params.cache_ram_mib = 0
    params.cache_idle_slots = False
    params.slot_save_path = f"{states}/"
    params.endpoint_slots = True
    params.cpuparams.n_threads = args.threads
    params.cpuparams_batch.n_threads = args.threads
    # Without it a prompt that is evaluated in two parts gave the same bits as in one (measured, 140 prompts of a
    # quickstart, SmolLM2); with it the time was the same.
    params.flash_attn_type = xllamacpp.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_DISABLED
    # Enough threads that a health request is answered while all slots and their queue are busy.
    params.n_threads_http = args.slots + 32
    params.endpoint_metrics = True
    params.port = args.port
    params.verbosity = 1
    return cast(_Listening, xllamacpp.Server(params))


def is_healthy(url: str, timeout_s: float) -> bool:
    """Whether the server at `url` answers its health request with 200. Never goes through a proxy."""
    parts = urlsplit(url)
    connection = HTTPConnection(parts.hostname or "", parts.port, timeout=timeout_s)
    try:
        connection.request("GET", "/health")
        return connection.getresponse().status == 200
    except (OSError, HTTPException):
        return False
    finally:
        connection.close()


def _wait_healthy(url: str) -> None:
    for _ in range(600):
        if is_healthy(url, 5.0):
            return
        time.sleep(0.1)
    raise EmbeddedModelError(f"The server at {url} loaded the model but does not answer.")


if __name__ == "__main__":
    sys.exit(main())
