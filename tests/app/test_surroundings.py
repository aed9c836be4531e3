"""Commands in odd surroundings: closed and full streams, narrow terminals, files without rights, `kill`."""

from __future__ import annotations

import errno
import io
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from support.projects import MAIN_TABLE, Project, paid_project
from support.scripted_judge import judge
from support.scripted_server import ScriptedServer

from personalrm.app import jobs
from personalrm.app.cli import main
from personalrm.app.progress import Step, _Terminal, run_snakemake


def shell(line: str, **options: object) -> subprocess.CompletedProcess[str]:
    """What a line of a shell gives, in which `$0` is our command."""
    command = [
        "bash",
        "-o",
        "pipefail",
        "-c",
        line.replace("$0", f'env -u PYTHONUNBUFFERED "{sys.executable}" -m personalrm'),
    ]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120, **options)  # type: ignore[call-overload, no-any-return]


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (PermissionError(errno.EACCES, "Permission denied", "/a/b"), "/a/b: Permission denied. Make "),
        (FileNotFoundError(errno.ENOENT, "No such file or directory", "/a/b"), "/a/b: No such file or directory. Corr"),
        (OSError(errno.ENOSPC, "No space left on device"), "No space left on device. Free some space"),
        (OSError(errno.EMFILE, "Too many open files"), "Too many open files. Raise the limit"),
    ],
)
def test_a_failure_of_this_machine_is_one_line(
    error: OSError, said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fails(*_: object) -> None:
        raise ExceptionGroup("", [error, error])

    monkeypatch.setattr(jobs, "run_job", fails)
    assert main(["stage", "judge", "--config", "c.json", "--out", "a"]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"personalrm: {said}")


def test_a_failure_of_another_kind_is_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object) -> None:
        raise OSError("something else")

    monkeypatch.setattr(jobs, "run_job", fails)
    with pytest.raises(ExceptionGroup):
        main(["stage", "judge", "--config", "c.json", "--out", "a"])


@pytest.mark.parametrize("closed", [">&-", "<&- >&- 2>&-", "| true", "| head -1"])
def test_a_stream_that_nobody_reads_is_no_failure(closed: str) -> None:
    done = shell(f"$0 schema {closed}")
    # 1 is Typer's own choice where it finds no reader.
    assert done.returncode in ((0, 1) if closed.startswith("|") else (0,))
    assert done.stderr == ""


@pytest.mark.parametrize("command", ["keys", "--version"])
def test_a_full_disk_below_standard_output_is_one_line(command: str) -> None:
    done = shell(f"$0 {command} > /dev/full")
    assert (done.returncode, len(done.stderr.splitlines())) == (1, 1)
    assert "No space left on device" in done.stderr


class Tty(io.StringIO):
    """A terminal, to whoever asks."""

    def isatty(self) -> bool:
        return True


def test_the_line_of_progress_does_not_break_in_a_narrow_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "20")
    stream = Tty()
    _Terminal(stream).show(Step(1, 4, "Judging: profiles of m"))
    assert stream.getvalue() == "\r\x1b[2K 25 %  1 of 4 steps"[: len("\r\x1b[2K") + 19]


class Gone(io.StringIO):
    """A stream whose reader is gone."""

    def write(self, _: str) -> int:
        raise BrokenPipeError(errno.EPIPE, "Broken pipe")


def test_a_run_goes_on_without_a_reader_and_without_room_for_its_log() -> None:
    assert run_snakemake(["--version"], Path("/dev/null"), Gone()) == 0
    stream = io.StringIO()
    assert run_snakemake(["--version"], Path("/dev/full"), stream) == 0
    assert stream.getvalue().endswith("full output: /dev/full (not all of it: No space left on device)\n")


def test_kill_of_the_command_ends_the_run_which_goes_on(tmp_path: Path) -> None:
    """`kill` reaches the command alone, which passes it on: Snakemake lets its jobs come to their end."""
    with ScriptedServer(judge, latency=0.3) as server:
        project = paid_project(tmp_path / "work", server.url, users=1)
        project.write_config()
        command = [sys.executable, "-m", "personalrm", "run", "run.yaml", "--cores", "1", "--", "--until", "table_main"]
        with subprocess.Popen(
            command, cwd=project.folder, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as run:
            assert run.stderr is not None
            next(line for line in run.stderr if " steps, " in line)
            run.send_signal(signal.SIGTERM)
            _, rest = run.communicate(timeout=300)
        asked = server.count
        assert run.returncode > 0
        assert rest.splitlines()[-1].startswith("stopped after ")
        assert not (project.folder / MAIN_TABLE).exists()
        # No process is left that asks.
        assert not list((project.folder / ".snakemake/locks").glob("*.lock"))
        assert server.count == asked


def test_a_results_folder_that_is_a_broken_link_is_one_line(tmp_path: Path) -> None:
    project = Project(tmp_path / "work", {"run": "r", "datasets": {"d": {"path": "v"}}, "methods": ["longer"]})
    project.write_config()
    os.symlink(tmp_path / "absent", project.folder / "results")
    said = project.personalrm("run", "run.yaml", ok=False)
    (line,) = said.splitlines()
    assert "results: File exists. Move away the file or broken link" in line


def test_a_home_folder_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    """As in a container for a user of no name, whose home is `/`."""
    (tmp_path / "home").write_text("", encoding="utf-8")
    config = Path(__file__).parents[2] / "config/no_model.yaml"
    done = shell(f'cd "{tmp_path}" && HOME="$PWD/home" $0 run "{config}"', env=os.environ | {"XDG_CACHE_HOME": ""})
    (line,) = done.stderr.splitlines()
    assert done.returncode == 1
    assert line.startswith(f"personalrm: {tmp_path}/home/.cache/snakemake: Not a directory. ")
    assert "set XDG_CACHE_HOME to a folder that can be written" in line
