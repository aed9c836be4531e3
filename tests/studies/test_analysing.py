"""Stages that read personas, against a server: what is kept of an answer, and an outage that must end the job."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
from support.batch_server import BatchServer
from support.batches import QUICK
from support.scripted_judge import Answer
from support.scripted_server import Fault, ScriptedServer

from personalrm.core.errors import ModelCallError
from personalrm.core.records import Profile, UserData, read_records, write_records
from personalrm.llm.open import RuntimeSettings
from personalrm.personas.records import Axis, AxisSet, TaggedPersona, UserFidelity
from personalrm.studies.config_load import parse_config
from personalrm.studies.synthesizeme.stages.analysing import axes_stage, fidelity_stage, tag_stage
from personalrm.studies.synthesizeme.stages.runner import Job

Stage = Callable[[Job, Path], Coroutine[Any, Any, None]]


def fidelity(job: Job, folder: Path) -> Coroutine[Any, Any, None]:
    return fidelity_stage(
        job,
        users=folder / "users",
        profiles=[folder / "profiles"],
        out=folder / "fidelity",
        model="m",
        judge="m",
        variant="corrected",
    )


def axes(job: Job, folder: Path) -> Coroutine[Any, Any, None]:
    return axes_stage(job, dataset="d", variant="corrected", profiles=[folder / "profiles"], out=folder / "axes")


def tag(job: Job, folder: Path) -> Coroutine[Any, Any, None]:
    return tag_stage(job, profiles=folder / "profiles", axes=folder / "named", out=folder / "tag")


def make(folder: Path, url: str, **model: object) -> Job:
    """Users a and b with persona and taste, c without a persona, and a server as their only model."""
    users = [UserData(dataset="d", user_id=user, planted_taste=f"likes {user}") for user in "abc"]
    profiles = [
        Profile(
            dataset="d",
            user_id=user,
            model="m",
            variant="corrected",
            k="all",
            draw=0,
            status="ok" if user != "c" else "failed",
            persona=f"Persona of {user}. Kind." if user != "c" else None,
        )
        for user in "abc"
    ]
    write_records(folder / "users", users)
    write_records(folder / "profiles", profiles)
    tone = AxisSet(
        dataset="d", variant="corrected", model="m", axes=(Axis(name="Tone", low="cold", high="warm"),), shown=2
    )
    write_records(folder / "named", [tone])
    config = parse_config(
        {
            "run": "x",
            "store": str(folder / "store.sqlite"),
            "datasets": {"d": {"path": "votes.jsonl"}},
            "models": {"m": {"backend": "openai", "model": "m", "api_base": url, "max_attempts": 1, **model}},
            "learn": {"models": ["m"]},
            "analysis": {"fidelity": {"matches": True}, "axes": {}},
        }
    )
    return Job(config, RuntimeSettings(folder / "servers", 1))


def answer(body: dict[str, Any]) -> Answer:
    asked = str(body["messages"][-1]["content"])
    if "Scales:" in asked:
        return Answer("1: high")
    if "Sentences:" in asked:
        return Answer("1: topic\n2: values")
    return Answer("- Warmth: cold ... warm" if "--- Description" in asked else "Answer: First")


@pytest.mark.parametrize("batch", [None, QUICK.model_dump()], ids=["plain", "batches"])
def test_each_stage_keeps_what_it_was_told(tmp_path: Path, batch: dict[str, object] | None) -> None:
    with BatchServer(answer) as server:
        job = make(tmp_path, server.url, batch=batch)
        for stage in (fidelity, axes, tag):
            asyncio.run(stage(job, tmp_path))
        judged = list(read_records(tmp_path / "fidelity", UserFidelity))
        assert [(row.user_id, row.missing, len(row.verdicts), len(row.matches)) for row in judged] == [
            ("a", None, 2, 4),
            ("b", None, 2, 4),
            ("c", "no persona", 0, 0),
        ]
        # A judge that always says First prefers each persona once.
        assert [verdict.outcome for verdict in judged[0].verdicts] == ["correct", "wrong"]
        assert (len(judged[0].calls), sorted(judged[0].prompts)) == (
            6,
            ["fidelity_standard", "match_standard", "statement"],
        )
        (named,) = read_records(tmp_path / "axes", AxisSet)
        assert ([axis.name for axis in named.axes], named.shown, len(named.calls)) == (["Warmth"], 2, 1)
        tagged = list(read_records(tmp_path / "tag", TaggedPersona))
        assert [(row.status, row.tags, row.kinds, row.asked) for row in tagged] == [
            ("ok", ("high",), ("topic", "values"), 2),
            ("ok", ("high",), ("topic", "values"), 2),
            ("empty", (), (), 0),
        ]
        # Fidelity in two rounds, tags in one; the axes are a single call.
        assert (len(server.batches), server.count) == ((3, 1) if batch else (0, 17))
        before = server.count + len(server.batches)
        asyncio.run(fidelity(job, tmp_path))
        assert server.count + len(server.batches) == before, "answers are paid for once"


@pytest.mark.parametrize("stage", [fidelity, axes, tag])
def test_an_outage_ends_the_job_and_writes_nothing(tmp_path: Path, stage: Stage) -> None:
    with ScriptedServer(answer, faults=lambda number, body: Fault("status", status=500)) as server:
        job = make(tmp_path, server.url)
        with pytest.raises((ModelCallError, ExceptionGroup)):
            asyncio.run(stage(job, tmp_path))
    assert not (tmp_path / stage.__name__).exists()  # type: ignore[attr-defined]
