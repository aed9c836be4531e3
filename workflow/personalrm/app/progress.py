"""`personalrm run`: Snakemake with a line of progress on the terminal and its full output in a log file."""

from __future__ import annotations

import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple, TextIO

from personalrm.core.errors import OutputError

_JOB = re.compile(r"^(?:Job \d+|localrule \w+): (?P<what>\S.*)$")
_STEPS = re.compile(r"^(?P<done>\d+) of (?P<total>\d+) steps \(")
_TOTAL = re.compile(r"^total +(?P<total>\d+)$")
_PROBLEM = re.compile(r"error|exception|exiting because", re.IGNORECASE)
QUIET_S = 10.0
"""Where lines cannot be overwritten (no terminal) at most one is printed in so many seconds."""
PROBLEM_LINES = 60


class Step(NamedTuple):
    """How far a run is: finished and all jobs (0 where not yet known), and the message of the job begun last."""

    done: int
    total: int
    what: str


def steps_of(lines: Iterable[str]) -> Iterator[Step]:
    """How far the run is after each line of Snakemake's output that says so."""
    step = Step(0, 0, "planning the jobs")
    for line in lines:
        if found := _STEPS.match(line):
            step = Step(int(found["done"]), int(found["total"]), step.what)
        elif found := _TOTAL.match(line):
            step = step._replace(total=int(found["total"]))
        elif found := _JOB.match(line):
            step = step._replace(what=found["what"])
        else:
            continue
        yield step


def shown(step: Step, elapsed_s: float) -> str:
    """One line about a step: share, jobs, time so far, time left (from the mean time per job so far), what is done."""
    if not step.total:
        return f"{clock(elapsed_s)}  {step.what}"
    left = f", about {clock(elapsed_s / step.done * (step.total - step.done))} left" if step.done else ""
    share = 100 * step.done // step.total
    return f"{share:3d} %  {step.done} of {step.total} steps, {clock(elapsed_s)}{left}  {step.what}"


def clock(seconds: float) -> str:
    """Minutes and seconds."""
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"


def problems_in(lines: Sequence[str]) -> list[str]:
    """The lines from the first problem on, at most `PROBLEM_LINES`; the last lines where none names a problem."""
    first = next((n for n, line in enumerate(lines) if _PROBLEM.search(line)), max(0, len(lines) - 10))
    return list(lines[first : first + PROBLEM_LINES])


class _Terminal:
    """Writes progress: on a terminal one line that is overwritten, else a line now and then."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._overwrites = stream.isatty()
        self._begun = time.monotonic()
        self._last = -QUIET_S

    def show(self, step: Step) -> None:
        """Write one line about a step."""
        elapsed = time.monotonic() - self._begun
        text = shown(step, elapsed)
        if self._overwrites:
            # A line that breaks could not be overwritten.
            self.write(f"\r\x1b[2K{text[: shutil.get_terminal_size().columns - 1]}")
        elif elapsed - self._last >= QUIET_S or step.done == step.total:
            self._last = elapsed
            self.write(f"{text}\n")

    def write(self, text: str) -> None:
        """Write text. If the reader of the stream has ended (`| head -1`), the text is dropped, and the run goes on."""
        with suppress(OSError):
            self._stream.write(text)
            self._stream.flush()

    def end(self) -> float:
        """Remove the line; returns the seconds since the begin."""
        if self._overwrites:
            self.write("\r\x1b[2K")
        return time.monotonic() - self._begun


def require_cache() -> None:
    """Raise OutputError where Snakemake could not write its cache: it would end with a traceback."""
    from platformdirs import user_cache_path

    folder = user_cache_path("snakemake", "snakemake")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise OutputError(
            f"{folder}: {error.strerror}. Snakemake keeps a cache there; set XDG_CACHE_HOME to a folder that can be "
            "written, and run the same command again."
        ) from error


def run_snakemake(arguments: Sequence[str], log: Path, stream: TextIO) -> int:
    """Run Snakemake with `arguments`; returns its exit code.

    Its whole output goes to `log`, which the last line names. Where it fails, what it says of the problem is shown,
    too. Ctrl-C reaches Snakemake itself, which ends its jobs; SIGTERM is passed on to it. In both cases this waits for
    Snakemake and says what is kept. If the disk of `log` is full, lines of the log are lost.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    terminal, said, interrupted, lost = _Terminal(stream), list[str](), False, ""
    command = [sys.executable, "-m", "snakemake", *arguments]
    with (
        log.open("wb", buffering=0) as file,
        subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, encoding="utf-8", errors="replace"
        ) as process,
    ):
        assert process.stdout is not None

        def lines() -> Iterator[str]:
            nonlocal lost
            for line in process.stdout or ():
                try:
                    file.write(line.encode())
                except OSError as error:
                    lost = f" (not all of it: {error.strerror})"
                said.append(line.rstrip("\n"))
                yield said[-1]

        def end(*_: object) -> None:
            nonlocal interrupted
            interrupted = True
            process.terminate()

        before = signal.signal(signal.SIGTERM, end)
        while process.poll() is None:
            try:
                for step in steps_of(lines()):
                    terminal.show(step)
                process.wait()
            except KeyboardInterrupt:
                interrupted = True
        signal.signal(signal.SIGTERM, before)
    took, outcome = f"after {clock(terminal.end())}", "done"
    if process.returncode and interrupted:
        outcome, took = "stopped", f"{took}: finished jobs and all answers are kept, and the same command continues"
    elif process.returncode:
        terminal.write("\n".join(problems_in(said)) + "\n")
        outcome = f"failed (exit code {process.returncode})"
    terminal.write(f"{outcome} {took}; full output: {log}{lost}\n")
    return process.returncode
