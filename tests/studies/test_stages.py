"""Stages are declared once: paths and their inverse, and what each job is called with."""

from __future__ import annotations

import asyncio
import inspect
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from personalrm.app.jobs import run_job
from personalrm.core.errors import ConfigError, ModelCallError
from personalrm.core.records import Record, read_records
from personalrm.run.stage import Stage
from personalrm.studies.config_load import parse_config, write_resolved
from personalrm.studies.runner import runtime_from_env
from personalrm.studies.synthesizeme.plan import Plan
from personalrm.studies.synthesizeme.stages.runner import Job


@pytest.fixture
def plan() -> Plan:
    """A run with every stage, and with names of models that hold what stands between two of them in a path."""
    model = {"backend": "openai", "model": "x", "api_base": "http://x/v1"}
    filters = {"personalizable": {"model": "m"}, "disagreement": {"models": ["m", "m-to-j"]}}
    raw: dict[str, Any] = {
        "run": "r",
        "datasets": {"d": {"path": "votes.jsonl", "shards": 2, "filters": filters}},
        "models": dict.fromkeys(["m", "m-to-j", "j-by-m"], model),
        "learn": {"models": ["m", "m-to-j", "j-by-m"]},
        "transfer": {"pairs": "all", "methods": ["both"]},
        "variants": ["as_published", "corrected", "corrected+ours"],
        "thetas": {"ours": {"optimise": {}}},
        "methods": ["longer", "default", "both", "attributes", "measured_persona"],
        "k": [2, "all"],
        "attributes": {"models": ["m-to-j"]},
        "analysis": {"fidelity": {"judge": "j-by-m"}, "recovery": {}, "axes": {"disjoint": ["halves"]}},
    }
    return Plan(parse_config(raw))


def test_a_path_names_the_one_job_that_writes_it(plan: Plan) -> None:
    makers = plan.makers()
    assert {stage.name for stage, _ in makers.values()} >= {stage.name for stage in plan.stages.values() if stage.paid}
    for path, (stage, job) in makers.items():
        if isinstance(stage.output, str):
            assert plan.parse(path) == (stage, job)
    assert plan.parse("results/r/tables/main.csv") is None
    assert plan.parse("results/r/traces/d/corrected/nobody/s00.jsonl") is None


def test_inputs_stand_before_what_is_made_of_them(plan: Plan) -> None:
    made = plan.lineage()
    places = {path: place for place, path in enumerate(made)}
    assert all(places[source] < places[path] for path in made for source in made[path] if source in places)
    # No job reads what no job writes, but for files of the user.
    ours = {source for sources in made.values() for source in sources if source.startswith(plan.run)}
    assert ours <= made.keys()


def test_every_parameter_of_a_work_is_given(plan: Plan) -> None:
    for _, (stage, job) in plan.makers().items():
        given = plan.arguments(stage.name, job, job=None, out=None)
        inspect.signature(stage.work).bind(**given)


def test_a_paid_stage_says_what_reruns_it_and_what_a_lost_call_is(plan: Plan) -> None:
    for name, stage in plan.stages.items():
        if stage.paid:
            assert stage.reads, name
            # A lost call ends the job of these.
            assert (stage.record is None) == (name in ("axes", "theta")), name
            assert (stage.record is None) == (stage.lost is None), name


def test_what_is_no_job_of_the_run_is_named(plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_resolved(Path("run.json"), plan.config)
    traces = Path("results/r/traces/d/corrected/m/s00.jsonl")
    for name, out, dataset, said in (
        ("learn", traces, None, "learn: no stage; there are axes, baseline, bootstrap"),
        ("profile", traces, None, "no output of stage profile in this run"),
        ("bootstrap", Path("results/q/traces/d/corrected/m/s00.jsonl"), None, "no output of stage bootstrap"),
        ("prepare", None, "e", "datasets.e: no such data set; the config has d"),
        ("bootstrap", None, "d", "stage bootstrap writes one file"),
    ):
        with pytest.raises(ConfigError, match=re.escape(said)):
            run_job(Path("run.json"), name, out, dataset)


@pytest.mark.parametrize("changes", [{"seed": 9}, {"evaluate_users": "test"}])
@pytest.mark.parametrize("name", ["bootstrap", "profile", "no_model", "baseline", "judge"])
def test_learning_and_judging_are_done_again_with_another_seed_or_other_users(
    plan: Plan, name: str, changes: dict[str, object]
) -> None:
    other = Plan(plan.config.model_copy(update=changes))
    job = plan.jobs(name)[0]._asdict()
    assert plan.reads(name, **job) != other.reads(name, **job)
    assert plan.reads(name, **job) == Plan(plan.config).reads(name, **job)


@dataclass(frozen=True)
class NoModelJob(Job):
    """A job that opens no model."""

    @asynccontextmanager
    async def model(self, name: str, *, batches: bool = False) -> AsyncIterator[Any]:
        yield None


class Row(Record):
    failed: int


@pytest.mark.parametrize("batch", [None, {}])
def test_groups_follow_one_another_unless_their_calls_wait_in_batches(
    tmp_path: Path, plan: Plan, batch: dict[str, Any] | None
) -> None:
    raw = plan.config.model_dump(mode="json", exclude={"datasets"})
    raw |= {"datasets": {"d": {"path": "votes.jsonl"}}, "max_failed_share": 0.5}
    raw["models"]["m"] |= {"batch": batch}
    job = NoModelJob(parse_config(raw), runtime_from_env())
    stage: Stage[Plan] = Stage(
        name="toy",
        output="toy/{model}.jsonl",
        combinations=lambda plan: [],
        work=lambda: None,
        batches=True,
        lost=lambda row: row.failed,
        counted=lambda row: 1,
    )
    active, most = 0, 0

    async def work(_client: object, failed: int) -> Row:
        nonlocal active, most
        active, most = active + 1, max(most, active + 1)
        await asyncio.sleep(0.01)
        active -= 1
        return Row(failed=failed)

    asyncio.run(job.execute(stage, "m", [[0, 0, 0], [1, 1, 0]], work, tmp_path / "out"))
    assert most == (3 if batch is None else 6)
    assert [row.failed for row in read_records(tmp_path / "out", Row)] == [0, 0, 0, 1, 1, 0]
    with pytest.raises(ModelCallError, match="2 of 3 toy calls failed at the provider"):
        asyncio.run(job.execute(stage, "m", [[1, 1, 0]], work, tmp_path / "none"))
    assert not (tmp_path / "none").exists()
