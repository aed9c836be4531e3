"""Python programs that start from a process in which their libraries are imported already.

A run starts a process for Snakemake and one for each job, and each imports for one to two seconds before it does
anything. Here one process per test process imports once and forks a child for every program: a process of its own,
with the folder, environment and files that it would have had. Where the workflow or a variable that Python reads at its
start differs, another process imports and forks. Tests that kill processes start real ones (`Project.start`).
"""

from __future__ import annotations

import atexit
import gc
import importlib
import marshal
import os
import pkgutil
import runpy
import selectors
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_READ_AT_START = ("PYTHON", "LC_", "LANG", "TZ")
"""Beginnings of the names of variables that a forked process would not notice."""
_SIZE = 8
_IMPORTED = (
    "snakemake.cli",
    "snakemake.executors.local",
    "snakemake_executor_plugin_slurm",
    "snakemake.report.html_reporter",
    "snakemake.storage",
    "docutils.core",
    "dpath",
    "httpx_aiohttp",
    "matplotlib.backends.backend_agg",
    "matplotlib.backends.backend_pdf",
    "matplotlib.backends.backend_svg",
    "pandas.core.methods.to_dict",
    "pandas.io.formats.csvs",
    "pyarrow.dataset",
    "smart_open",
)
_IMPORTED_TO_TRAIN = ("transformers.models.llama.modeling_llama",)
_TRAINING = ("personalrm.train.", "personalrm.methods.reward.")
"""They import torch, which takes longer than all others; few programs need it."""
_SHIM = """#!{python} -IS
import marshal, os, socket, sys
if sys.argv[1:3] != ["-m", "personalrm"]:
    os.execv({python!r}, [{python!r}, *sys.argv[1:]])
asked = marshal.dumps((sys.argv[2:], os.getcwd(), dict(os.environ)))
with socket.socket(socket.AF_UNIX) as forker:
    forker.connect({address!r})
    socket.send_fds(forker, [len(asked).to_bytes({size}, "big")], [0, 1, 2])
    forker.sendall(asked)
    code = forker.recv(1)
sys.exit(code[0] if code else 137)
"""
"""`python` as jobs call it: `python -m personalrm …` is forked, anything else is the interpreter."""


@dataclass(frozen=True)
class _Forker:
    """A process that forks. Its folder has its socket and the `python` for jobs."""

    folder: Path
    process: subprocess.Popen[bytes]

    @classmethod
    def start(cls, variables: dict[str, str], trains: bool) -> _Forker:
        folder = Path(tempfile.mkdtemp(prefix="warm-"))
        address, shim = folder / "socket", folder / "python"
        shim.write_text(_SHIM.format(python=sys.executable, address=str(address), size=_SIZE), encoding="utf-8")
        shim.chmod(0o755)
        others = {name: value for name, value in os.environ.items() if not name.startswith(_READ_AT_START)}
        process = subprocess.Popen(
            [sys.executable, __file__, str(folder), *(["train"] if trains else [])],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**others, **variables},
        )
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        return cls(folder, process)

    def stop(self) -> None:
        """The end of its input ends it."""
        self.process.communicate()
        shutil.rmtree(self.folder, ignore_errors=True)


_forkers: dict[tuple[object, ...], _Forker] = {}


def _forker(workflow: Path, environment: dict[str, str], trains: bool) -> _Forker:
    """The process that has imported this state of the workflow with these variables; the first one of all is kept, and
    the last one."""
    # Equal seeds give equal runs of the tests.
    read = {name: value for name, value in environment.items() if name.startswith(_READ_AT_START)}
    variables = {"PYTHONHASHSEED": "7", **read}
    sources = [path for kind in ("py", "jinja") for path in workflow.rglob(f"*.{kind}")]
    state = frozenset((str(path), path.stat().st_mtime_ns) for path in sources)
    key = (state, frozenset(variables.items()), trains)
    if key not in _forkers:
        for other in list(_forkers)[1:]:
            _forkers.pop(other).stop()
        _forkers[key] = _Forker.start(variables, trains)
    return _forkers[key]


@atexit.register
def _stop_all() -> None:
    while _forkers:
        _forkers.popitem()[1].stop()


def run_warm(
    arguments: list[str],
    folder: Path,
    environment: dict[str, str],
    workflow: Path,
    timeout_s: float,
    *,
    trains: bool = False,
) -> tuple[int, str]:
    """Exit status and output of `python -m` with these arguments, as of `subprocess.run`; 137 where it was killed.

    `workflow` is the one that the environment's programs import; with `trains`, they find torch imported.
    """
    asked = marshal.dumps((arguments, str(folder), environment))
    with tempfile.TemporaryFile() as output, socket.socket(socket.AF_UNIX) as forker, open(os.devnull, "rb") as nothing:
        forker.settimeout(timeout_s)
        forker.connect(str(_forker(workflow, environment, trains).folder / "socket"))
        files = [nothing.fileno(), output.fileno(), output.fileno()]
        socket.send_fds(forker, [len(asked).to_bytes(_SIZE, "big")], files)
        forker.sendall(asked)
        code = forker.recv(1)
        output.seek(0)
        return (code[0] if code else 137), output.read().decode()


def _serve(folder: Path) -> None:
    """Fork a child for each connection until the standard input ends."""
    with socket.socket(socket.AF_UNIX) as listening, selectors.DefaultSelector() as selector:
        listening.bind(str(folder / "socket"))
        listening.listen(64)
        selector.register(listening, selectors.EVENT_READ)
        selector.register(0, selectors.EVENT_READ)
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        while True:
            ready = {key.fd for key, _ in selector.select(timeout=1)}
            _reap()
            if 0 in ready:
                return
            if listening.fileno() not in ready:
                continue
            connection, _ = listening.accept()
            if os.fork() == 0:
                try:
                    selector.close()
                    listening.close()
                    _become(connection, folder)
                finally:
                    os._exit(1)
            connection.close()


def _import_all(*, trains: bool) -> None:
    """Import what programs import, the library whole. Its objects are left out of garbage collection: each collection
    of a child would go through them all, and copy their pages."""
    for name in (*_IMPORTED, *(_IMPORTED_TO_TRAIN if trains else ())):
        importlib.import_module(name)
    library = importlib.import_module("personalrm")
    for module in pkgutil.walk_packages(library.__path__, "personalrm."):
        if (trains or not module.name.startswith(_TRAINING)) and not module.name.endswith(".__main__"):
            importlib.import_module(module.name)
    gc.collect()
    gc.freeze()


def _reap() -> None:
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        return


def _become(connection: socket.socket, folder: Path) -> None:
    """Be the program that is asked for, tell how it ended, and end."""
    header, files, _, _ = socket.recv_fds(connection, _SIZE, 3)
    with connection.makefile("rb") as stream:
        arguments, place, environment = marshal.loads(stream.read(int.from_bytes(header, "big")))
    threading.Thread(target=_end_with, args=(connection,), daemon=True).start()
    for number, file in enumerate(files):
        os.dup2(file, number)
        os.close(file)
    os.chdir(place)
    os.environ.clear()
    os.environ.update(environment)
    sys.path.insert(0, place)
    if arguments[0] == "snakemake":
        # Its folder is put first in PATH for the jobs.
        sys.executable = str(folder / "python")
    code = _status_of(arguments)
    atexit._run_exitfuncs()
    for written in (sys.stdout, sys.stderr):
        written.flush()
    connection.send(bytes([code]))
    os._exit(code)


def _end_with(connection: socket.socket) -> None:
    """End this process when the one that asked for it is gone."""
    connection.recv(1)
    os._exit(1)


def _status_of(arguments: list[str]) -> int:
    module, *sys.argv[1:] = arguments
    ended: Any = 0
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    except SystemExit as end:
        ended = end.code
    except Exception:  # noqa: BLE001 (its traceback and status tell)
        traceback.print_exc()
        ended = 1
    if isinstance(ended, str):
        sys.stderr.write(f"{ended}\n")
    return ended if isinstance(ended, int) else int(ended is not None)


if __name__ == "__main__":
    # The modules beside this one are of tests.
    del sys.path[0]
    _import_all(trains="train" in sys.argv[2:])
    _serve(Path(sys.argv[1]))
