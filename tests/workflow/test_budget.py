"""A run that comes to the end of its budget, and goes on when the budget is raised."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

from support.scripted_judge import judge
from support.scripted_server import ScriptedServer

from personalrm.llm.cache.store import ResponseStore

from .conftest import Project, quickstart_votes, small_config, write_votes

TABLE = "results/small/tables/main.csv"


def make(folder: Path, server: ScriptedServer) -> Project:
    config = small_config(server.url, draws=1, transfer={}, k=["all"])
    config["learn"]["models"] = ["big"]
    config["models"]["big"] |= {"price_in": 1.0, "price_out": 2.0}
    project = Project(folder, config)
    write_votes(project.folder / "votes.jsonl", quickstart_votes())
    return project


def spent(project: Project) -> float:
    with ResponseStore(project.folder / "store" / "responses.sqlite") as store:
        return sum(totals.cost_usd for totals in store.paid_totals("small").values())


def test_a_run_ends_at_its_budget_and_goes_on_when_it_is_raised(tmp_path: Path) -> None:
    with ScriptedServer(judge) as server:
        whole = make(tmp_path / "whole", server)
        whole.snakemake(TABLE)
        cost = spent(whole)
    with ScriptedServer(judge, latency=0.02) as server:
        project = make(tmp_path / "work", server)
        project.config["budget"] = {"usd": cost / 2}
        said = project.snakemake(TABLE, ok=False)
        refused = [line for line in said.splitlines() if line.startswith("personalrm: ")]
        # In the logs of all jobs that had to ask, of Snakemake's retries, and after all of them, the same words.
        assert "Trying to restart job" in said
        assert len(set(refused)) == 1
        assert "budget.usd: $" in refused[0]
        assert "Raise budget.usd and run the same command again" in refused[0]
        assert said.index("Exiting because a job execution failed") < said.rindex(refused[0])
        assert cost / 2 - 0.01 < spent(project) <= cost / 2
        # What needs no money was made.
        assert len(list((project.run / "verdicts/people/baseline/none").glob("*.jsonl"))) == 1
        project.config["budget"] = {"usd": 2 * cost, "models": {"big": 2 * cost}}
        project.snakemake(TABLE)
        asked = Counter(json.dumps(body, sort_keys=True) for body in server.requests)
        assert set(asked.values()) == {1}
        assert project.tables() == whole.tables()
        # The budget is in no fingerprint: another one reruns nothing.
        project.config["budget"] = {"usd": 3 * cost}
        assert "Nothing to be done" in project.snakemake(TABLE)


def test_a_model_without_a_price_is_refused_before_any_job(tmp_path: Path) -> None:
    with ScriptedServer(judge) as server:
        project = make(tmp_path / "work", server)
        del project.config["models"]["big"]["price_out"]
        project.config["budget"] = {"models": {"big": 1.0}}
        said = project.snakemake(TABLE, ok=False)
        assert "models.big.price_in: the run has a budget, but no price is known for big. Add" in said
        assert server.count == 0
        assert not (project.run / "data").exists()
        project.config["budget"] = {"models": {"absent": 1.0}}
        assert "budget.models: no model 'absent' under 'models'" in project.snakemake("-n", ok=False)
