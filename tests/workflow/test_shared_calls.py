"""Calls in flight are shared by the jobs of a run: `llm_calls` is what all of them together may have."""

from __future__ import annotations

from support.scripted_server import ScriptedServer

from .conftest import Project


def test_jobs_together_keep_within_llm_calls(project: Project, server: ScriptedServer) -> None:
    # A call takes longer than two jobs need to start one after the other.
    server.latency = 2.0
    project.config |= {"methods": ["default"], "learn": {"models": ["big"]}, "k": ["all"], "transfer": {"pairs": []}}
    project.config["models"] = {"big": {**project.config["models"]["big"], "max_concurrency": 2}}
    project.config["datasets"]["people"] |= {"shards": "per_user", "max_users": 4}
    verdicts = f"results/{project.config['run']}/data/verdicts.parquet"
    project.snakemake(verdicts, "--resources", "llm_calls=4", cores=8)
    # Four jobs of two calls: never more than two jobs at once, and two for as long as there are two.
    assert server.most_in_flight == 4
    # Four users, four test pairs each, both orders.
    assert server.count == 32
