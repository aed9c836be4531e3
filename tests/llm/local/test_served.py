"""A model server of one's own without Slurm: started, checked, asked and stopped, as on a GPU node.

The embedded server stands in for vLLM: it speaks the same protocol and answers the same health request.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from support.backends import ask, request
from support.projects import ROOT

from personalrm.llm.backends.openai_http import OpenAIHttpBackend
from personalrm.llm.local.catalogue import get_entry
from personalrm.llm.local.fetch import ensure_model
from personalrm.llm.types import ModelSpec

pytestmark = pytest.mark.embedded

MODEL = "smollm2-135m"
SCRIPT = ROOT / "examples" / "serve_on_slurm.sh"
ANSWERS_WITHIN_S = 240.0


def started(folder: Path, command: str) -> subprocess.Popen[bytes]:
    """`serve` of the script, as the profile says that it is started; the server listens on the loopback alone."""
    environment = {**os.environ, "SERVER_HOST": "127.0.0.1"}
    folder.mkdir()
    with (folder / "log").open("wb") as log:
        return subprocess.Popen(
            [SCRIPT, "serve", folder, "sh", "-c", command], env=environment, stdout=log, stderr=subprocess.STDOUT
        )


def health(folder: Path) -> str | None:
    """The base URL while the server answers."""
    done = subprocess.run([SCRIPT, "health", folder], capture_output=True, text=True, timeout=60, check=False)
    return done.stdout.strip() if done.returncode == 0 else None


@pytest.fixture
def server(tmp_path: Path) -> Iterator[tuple[Path, subprocess.Popen[bytes]]]:
    model = ensure_model(get_entry(MODEL), sources=("cache", "index"))
    # It ends with its owner: the script, which is the shell's parent.
    command = f"exec {sys.executable} -m personalrm.llm.local.server --model {model} --alias {MODEL} --port {{port}}"
    command += f" --threads 2 --context 512 --owner $PPID --state {tmp_path}/state.json"
    process = started(tmp_path / "server", command)
    yield tmp_path / "server", process
    process.kill()
    process.wait()


def test_a_server_is_checked_asked_and_stopped(server: tuple[Path, subprocess.Popen[bytes]]) -> None:
    folder, process = server
    until = time.monotonic() + ANSWERS_WITHIN_S
    while (url := health(folder)) is None:
        assert process.poll() is None, (folder / "log").read_text(encoding="utf-8")
        assert time.monotonic() < until
        time.sleep(0.5)
    spec = ModelSpec("m", "openai", MODEL, api_base=url, timeout_s=120)
    assert ask(OpenAIHttpBackend, spec, request("Say yes.", max_tokens=4)).usage.tokens_out > 0

    process.terminate()
    assert process.wait(60) != 0
    assert health(folder) is None
    assert not (folder / "url").exists()
    while True:
        try:
            httpx.get(f"{url}/models", timeout=5, trust_env=False)
        except httpx.HTTPError:
            break
        assert time.monotonic() < until
        time.sleep(0.2)


def test_a_server_that_ends_before_it_answers_ends_the_script(tmp_path: Path) -> None:
    process = started(tmp_path / "server", "echo no such model >&2; exit 3")
    assert process.wait(60) == 1
    assert health(tmp_path / "server") is None
    assert "no such model" in (tmp_path / "server" / "log").read_text(encoding="utf-8")
