"""Fault 9: a key in the environment and one in `.env`, debug logging, a failing provider that repeats the key."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from support.backends import CANARY
from support.projects import MAIN_TABLE, paid_project
from support.scripted_judge import judge
from support.scripted_server import Fault, ScriptedServer

IN_FILE = "dotenv/9876543210+fedcba"
DEBUG = {"LITELLM_LOG": "DEBUG", "OPENAI_LOG": "debug", "HTTPX_LOG_LEVEL": "debug"}
TURN_ON = """
import logging
logging.basicConfig(level=logging.DEBUG)
logging.root.setLevel(logging.DEBUG)
"""


def echo(number: int, body: dict[str, Any]) -> Fault | None:
    """A few answers, then errors of several kinds, each with the key in it."""
    key = IN_FILE if body["model"] == "tiny" else CANARY
    said = {"error": {"message": f"no: Authorization: Bearer {key}, key={key}", "type": key, "code": "x"}}
    faults = (None, Fault("status", 500, body=said), Fault("error_body", body=said), Fault("status", 400, body=said))
    return faults[number % 4] if number < 12 else Fault("status", 401, body=said)


@pytest.mark.parametrize("backend", ["openai", pytest.param("litellm", marks=pytest.mark.full)])
def test_a_key_is_in_no_file_of_the_run_and_in_no_line_that_it_prints(folder: Path, backend: str) -> None:
    with ScriptedServer(judge, faults=echo) as server:
        project = paid_project(folder, server.url, users=1, max_attempts=2)
        for name, variable in (("big", "CANARY_API_KEY"), ("tiny", "DOTENV_API_KEY")):
            project.config["models"][name] |= {"backend": backend, "api_key_env": variable}
        if backend == "litellm":
            for model in project.config["models"].values():
                model["model"] = f"openai/{model['model']}"
        project.config["learn"]["models"] = ["big", "tiny"]
        # Every Python process of the run logs all that any library says.
        (folder / "site").mkdir()
        (folder / "site" / "sitecustomize.py").write_text(TURN_ON, encoding="utf-8")
        (folder / ".env").write_text(f"DOTENV_API_KEY={IN_FILE}\n", encoding="utf-8")
        path = project.environment().get("PYTHONPATH", "")
        output = project.snakemake(
            MAIN_TABLE,
            "--verbose",
            ok=False,
            CANARY_API_KEY=CANARY,
            PYTHONPATH=f"{folder / 'site'}:{path}",
            **DEBUG,
        )
        sent = {headers.get("Authorization") for headers in server.headers}
    assert sent == {f"Bearer {CANARY}", f"Bearer {IN_FILE}"}
    assert "***" in output
    logs = "".join(path.read_text(encoding="utf-8", errors="replace") for path in (project.run / "logs").rglob("*.log"))
    assert "DEBUG" in logs
    # Our own files, Snakemake's, and the store; not the checkout, which is linked in.
    files = [path for path in folder.rglob("*") if path.is_file() and path.name != ".env"]
    assert any(".snakemake" in path.parts for path in files)
    for key in (CANARY, IN_FILE):
        assert key not in output
        assert [str(path) for path in files if key.encode() in path.read_bytes()] == []
        assert [str(path) for path in files if key.replace("/", "\\/").encode() in path.read_bytes()] == []
