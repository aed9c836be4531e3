"""Requests that a provider rejects (400) in unknown words: lost verdicts, and neither wrong ones nor an outage."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Container
from pathlib import Path

import pytest
from support.planted import planted_users
from support.scripted_server import Fault, ScriptedServer

from personalrm.core.errors import ModelCallError
from personalrm.core.records import JudgedUser, read_records, write_records
from personalrm.llm.open import RuntimeSettings
from personalrm.studies.config_load import parse_config
from personalrm.studies.synthesizeme.stages.judging import judge_stage
from personalrm.studies.synthesizeme.stages.runner import Job

USERS = planted_users({"a": "long", "b": "short"}, pairs=10)


def judge(folder: Path, url: str) -> list[JudgedUser]:
    """Rows of Default: six test pairs in both orders."""
    model = {"backend": "openai", "model": "m", "api_base": url, "max_attempts": 1, "max_concurrency": 1}
    data = {"d": {"path": "votes.jsonl"}}
    config = parse_config({"run": "x", "store": str(folder / "s.sqlite"), "datasets": data, "models": {"m": model}})
    write_records(folder / "users", USERS)
    job = Job(config, RuntimeSettings(folder / "servers", 1))
    asyncio.run(judge_stage(job, users=folder / "users", out=folder / "out", judge="m"))
    return list(read_records(folder / "out", JudgedUser))


def rejects(numbers: Container[int]) -> Callable[[int, object], Fault | None]:
    """A fault for the requests of these numbers, in order of arrival."""
    return lambda number, _: (
        Fault("status", 400, body={"error": {"message": "gremlins"}}) if number in numbers else None
    )


def test_a_rejected_request_is_a_lost_verdict_and_no_outage(tmp_path: Path) -> None:
    with ScriptedServer(lambda _: "Preference: First", faults=rejects({3, 7})) as server:
        rows = judge(tmp_path, server.url)
    outcomes = [verdict.outcome for row in rows for verdict in row.verdicts]
    assert len(outcomes) == 12
    assert outcomes.count("provider_error") == 2
    assert outcomes.count("refused") == 0


def test_failures_beside_rejected_requests_are_an_outage(tmp_path: Path) -> None:
    def faults(number: int, _: object) -> Fault | None:
        status = {3: 400, 7: 500}.get(number)
        return None if status is None else Fault("status", status)

    server = ScriptedServer(lambda _: "Preference: First", faults=faults)
    with server, pytest.raises(ModelCallError, match="2 of 12 baseline calls failed at the provider"):
        judge(tmp_path, server.url)
    assert not (tmp_path / "out").exists()


def test_where_the_first_requests_are_all_rejected_the_job_ends(tmp_path: Path) -> None:
    server = ScriptedServer(lambda _: "Preference: First", faults=rejects(range(12)))
    with server, pytest.raises(ExceptionGroup) as caught:
        judge(tmp_path, server.url)
    assert caught.group_contains(ModelCallError, match="gremlins.* So were 5 of 5 requests")
