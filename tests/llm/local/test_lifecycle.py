"""The life of a model server: one for a run, gone with its owner, back after a crash. A real model."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from personalrm.core.errors import EmbeddedModelError
from personalrm.llm.local.catalogue import get_entry
from personalrm.llm.local.fetch import ensure_model
from personalrm.llm.local.owner import OWNER_ENV, Owner, is_alive, owner_from_env
from personalrm.llm.local.server import ServerHandle, _host, ensure_server, stop_servers

ENTRY = get_entry("smollm2-135m")
SLEEP = "import time; time.sleep(600)"
JOB = """
import sys; from pathlib import Path
from personalrm.llm.local.catalogue import get_entry
from personalrm.llm.local.server import ensure_server
from personalrm.llm.local.owner import owner_from_env, watch_owner
watch_owner()
server = ensure_server(get_entry("smollm2-135m"), Path(sys.argv[1]), runtime_dir=Path(sys.argv[2]),
    owner=owner_from_env(), threads=1, context=512, timeout_s=100)
print(server.url, server.pid, flush=True)
if sys.argv[3:]:
    import time; time.sleep(600)
"""


@pytest.fixture(scope="module")
def model() -> Path:
    return ensure_model(ENTRY, sources=("cache", "index"))


@pytest.fixture
def runtime(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path / "runtime"
    stop_servers(tmp_path / "runtime")


def start(model: Path, runtime: Path, owner: Owner, **options: int) -> ServerHandle:
    settings = {"threads": 1, "context": 512, **options}
    return ensure_server(ENTRY, model, runtime_dir=runtime, owner=owner, timeout_s=100, **settings)


def me() -> Owner:
    return Owner.of(os.getpid())


def within(seconds: float, true: Callable[[], bool]) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if true():
            return True
        time.sleep(0.05)
    return False


def gone(pid: int) -> bool:
    return not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


@pytest.fixture
def other() -> Iterator[subprocess.Popen[bytes]]:
    """A process that owns; killed but not reaped by the tests, as under a shell that does not wait."""
    process = subprocess.Popen([sys.executable, "-c", SLEEP])
    yield process
    process.kill()
    process.wait()


def test_owner_is_named_by_id_and_creation_time(other: subprocess.Popen[bytes]) -> None:
    owner = Owner.of(other.pid)
    assert Owner.parse(str(owner)) == owner
    assert Owner.parse(str(other.pid)) == owner
    assert owner.process() is not None
    ticks, _, boot = owner.created.partition("@")
    assert Owner(owner.pid, f"{int(ticks) - 1}@{boot}").process() is None
    assert Owner(owner.pid, f"{ticks}@another").process() is None
    for text in ("", "x", "y:1", "99999999"):
        with pytest.raises(EmbeddedModelError):
            Owner.parse(text)


def test_a_clock_that_is_set_leaves_owners_alive(
    other: subprocess.Popen[bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kernel then says that it booted at another time; here a day earlier."""
    owner, handle = Owner.of(other.pid), psutil.Process(other.pid)
    before = handle.create_time()
    lines = Path("/proc/stat").read_text(encoding="ascii").splitlines()
    (booted,) = [line for line in lines if line.startswith("btime")]
    (tmp_path / "stat").write_text(f"btime {int(booted.split()[1]) - 86400}\n", encoding="ascii")
    (tmp_path / str(other.pid)).symlink_to(f"/proc/{other.pid}")
    monkeypatch.setattr(psutil, "PROCFS_PATH", str(tmp_path))
    assert psutil.Process(other.pid).create_time() == pytest.approx(before - 86400)
    assert owner.process() is not None
    assert Owner.of(other.pid) == owner
    assert is_alive(handle)


def test_a_zombie_is_dead(other: subprocess.Popen[bytes]) -> None:
    owner = Owner.of(other.pid)
    handle = owner.process()
    assert handle is not None
    other.kill()
    assert within(5, lambda: owner.process() is None)
    assert not is_alive(handle)
    assert psutil.pid_exists(other.pid)


def test_owner_from_env(other: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(OWNER_ENV, raising=False)
    assert owner_from_env() == me()
    monkeypatch.setenv(OWNER_ENV, str(Owner.of(other.pid)))
    assert owner_from_env() == Owner.of(other.pid)
    monkeypatch.setenv(OWNER_ENV, f"{other.pid}:12345.0")
    assert owner_from_env() == me()


WATCHER = "from personalrm.llm.local.owner import watch_owner; watch_owner(); print('on', flush=True);" + SLEEP


def test_worker_ends_with_its_owner(other: subprocess.Popen[bytes]) -> None:
    environment = {**os.environ, OWNER_ENV: str(Owner.of(other.pid))}
    with subprocess.Popen([sys.executable, "-c", WATCHER], env=environment, stdout=subprocess.PIPE) as worker:
        assert worker.stdout is not None
        assert worker.stdout.readline() == b"on\n"
        time.sleep(1)
        assert worker.poll() is None
        other.kill()
        assert worker.wait(timeout=2) == 1


@pytest.mark.embedded
def test_four_jobs_share_one_server_that_dies_with_the_owner(
    model: Path, runtime: Path, other: subprocess.Popen[bytes]
) -> None:
    command = [sys.executable, "-c", JOB, str(model), str(runtime)]
    environment = {**os.environ, OWNER_ENV: str(Owner.of(other.pid))}
    jobs = [subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) for _ in range(4)]
    answers = {job.communicate(timeout=120)[0] for job in jobs}
    assert len(answers) == 1
    url, pid = answers.pop().split()
    # Outlives the jobs that started it, and answers.
    body = json.dumps({"messages": [{"role": "user", "content": "Hi"}], "max_tokens": 2, "logprobs": True})
    request = urllib.request.Request(f"{url}/v1/chat/completions", body.encode(), {"Content-Type": "application/json"})
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=60) as answer:
        choice = json.load(answer)["choices"][0]
    assert len(choice["logprobs"]["content"]) == 2
    assert psutil.Process(int(pid)).environ()["GOMP_SPINCOUNT"] == "1000"
    other.kill()
    assert within(10, lambda: gone(int(pid)))
    assert not list(runtime.glob("*.json"))


@pytest.mark.embedded
def test_server_is_reused_restarted_and_stopped(model: Path, runtime: Path) -> None:
    first = start(model, runtime, me())
    assert start(model, runtime, me()) == first
    os.kill(first.pid, signal.SIGKILL)
    assert within(5, lambda: gone(first.pid))
    second = start(model, runtime, me())
    assert second.pid != first.pid
    # Other settings: one of its own, and the first is not ended in mid-answer.
    third = start(model, runtime, me(), context=256)
    assert start(model, runtime, me()) == second
    assert stop_servers(runtime) == 2
    assert gone(second.pid)
    assert gone(third.pid)
    assert not list(runtime.glob("*.json"))
    assert stop_servers(runtime) == 0


@pytest.mark.embedded
def test_two_owners_do_not_disturb_each_other(model: Path, runtime: Path, other: subprocess.Popen[bytes]) -> None:
    mine, theirs = start(model, runtime, me()), start(model, runtime, Owner.of(other.pid))
    assert mine.pid != theirs.pid
    other.kill()
    assert within(10, lambda: gone(theirs.pid))
    assert start(model, runtime, me()) == mine
    os.kill(mine.pid, signal.SIGTERM)
    assert within(2, lambda: gone(mine.pid))


@pytest.mark.embedded
def test_server_lets_go_of_the_terminal(model: Path, runtime: Path) -> None:
    server = psutil.Process(start(model, runtime, me()).pid)
    files = {os.readlink(f"/proc/{server.pid}/fd/{number}") for number in (0, 1, 2)}
    assert files == {os.devnull, str(next(runtime.glob("*.log")))}
    assert os.getsid(server.pid) != os.getsid(0)


@pytest.mark.parametrize("content", [b"not a model", b"GGUF" + bytes(1000), None])
def test_failure_shows_the_log(tmp_path: Path, runtime: Path, content: bytes | None) -> None:
    path = tmp_path / "broken.gguf"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(EmbeddedModelError, match=r"smollm2-135m.*ended before it was ready[\s\S]*Error"):
        start(path, runtime, me())


def test_slow_start_is_given_up(tmp_path: Path, runtime: Path) -> None:
    fifo = tmp_path / "never.gguf"
    os.mkfifo(fifo)
    with pytest.raises(EmbeddedModelError, match="not ready within 3 s"):
        ensure_server(ENTRY, fifo, runtime_dir=runtime, owner=me(), threads=1, context=64, timeout_s=3)
    ours = [p for p in psutil.process_iter(["cmdline"]) if str(fifo) in (p.info["cmdline"] or [])]
    assert within(5, lambda: all(gone(process.pid) for process in ours))


@pytest.mark.embedded
@pytest.mark.parametrize("text", ["", "[]", '{"pid": "x", "created": 1, "url": "u"}'])
def test_a_state_file_without_sense_is_replaced(model: Path, runtime: Path, text: str) -> None:
    first = start(model, runtime, me())
    state = next(runtime.glob("*.json"))
    stop_servers(runtime)
    state.write_text(text, encoding="utf-8")
    second = start(model, runtime, me())
    assert second.pid != first.pid
    assert json.loads(state.read_text(encoding="utf-8"))["pid"] == second.pid


def test_a_server_whose_starter_lives_is_stopped_at_once(runtime: Path) -> None:
    """Ended, it stays as a zombie of the job that started it: nothing is left to wait for."""
    starts = f"import subprocess as s, sys; print(s.Popen([sys.executable, '-c', {SLEEP!r}]).pid, flush=True)"
    with subprocess.Popen([sys.executable, "-c", f"{starts}; {SLEEP}"], stdout=subprocess.PIPE, text=True) as job:
        assert job.stdout is not None
        server = Owner.of(int(job.stdout.readline()))
        runtime.mkdir()
        state = {"pid": server.pid, "created": server.created, "url": "http://127.0.0.1:9"}
        (runtime / f"tiny@{_host()}@0.json").write_text(json.dumps(state), encoding="utf-8")
        begun = time.monotonic()
        assert stop_servers(runtime) == 1
        assert time.monotonic() - begun < 2.5
        assert server.process() is None
        job.kill()


def test_nothing_to_stop_and_nothing_to_start(tmp_path: Path, runtime: Path) -> None:
    assert stop_servers(runtime) == 0
    with pytest.raises(EmbeddedModelError, match="at least 1"):
        start(tmp_path, runtime, me(), threads=0)


@pytest.mark.embedded
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_server_by_hand_sets_its_environment_and_ends_at_a_signal(
    model: Path, tmp_path: Path, number: signal.Signals
) -> None:
    state = tmp_path / "state.json"
    command = [sys.executable, "-m", "personalrm.llm.local.server", "--model", str(model), "--alias", "x"]
    command += ["--threads", "1", "--context", "256", "--owner", str(me())]
    environment = {name: value for name, value in os.environ.items() if name != "GOMP_SPINCOUNT"}
    with subprocess.Popen([*command, "--state", str(state)], env=environment, stderr=subprocess.DEVNULL) as server:
        assert within(60, state.exists)
        assert psutil.Process(server.pid).environ()["GOMP_SPINCOUNT"] == "1000"
        server.send_signal(number)
        assert server.wait(timeout=2) == -number
