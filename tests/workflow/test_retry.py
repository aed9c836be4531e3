"""`personalrm retry` after a storm that lost calls within `max_failed_share`: the next run makes up for them, and only
for them."""

from __future__ import annotations

import json
import zlib
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from support.packed import data_in
from support.projects import ROOT, paid_project
from support.scripted_judge import judge
from support.scripted_server import Fault, ScriptedServer

from personalrm.core.records import Profile, UserData, read_records
from personalrm.studies.config_load import read_resolved
from personalrm.studies.synthesizeme.plan import Plan

from .conftest import Project
from .test_filters import filtered, make, member

TARGETS = tuple(
    f"results/small/{name}"
    for name in (
        "tables/main.csv",
        "tables/fidelity.csv",
        "tables/axes.csv",
        "transcripts.html",
    )
)

FILTERED = ("results/small/tables/main.csv", "results/small/tables/filter_sensitivity.csv")


def project_at(folder: Path, url: str) -> Project:
    """One model, two users in shards of their own, personas judged and tagged."""
    project = paid_project(folder, url, users=2, max_attempts=1)
    project.config["datasets"]["people"]["shards"] = "per_user"
    project.config |= {"max_failed_share": 0.4, "analysis": {"fidelity": {}, "axes": {}}}
    project.config["methods"] = ["default", "demos", "both"]
    return project


def body_key(body: dict[str, Any]) -> str:
    return json.dumps(body, sort_keys=True)


class Storm:
    """Loses one request in nine, by content, the first time that it is made."""

    def __init__(self) -> None:
        self.lost: Counter[str] = Counter()

    def __call__(self, number: int, body: dict[str, Any]) -> Fault | None:
        key = body_key(body)
        prose = "named" in key and "axes" in key
        if zlib.crc32(key.encode()) % 9 or prose or key in self.lost:
            return None
        self.lost[key] += 1
        return Fault("status", 503)


def retry(project: Project, *arguments: str) -> str:
    return project.personalrm("retry", *arguments)


def test_after_a_storm_the_lost_calls_are_made_up_for_and_no_other(tmp_path: Path) -> None:
    with ScriptedServer(judge) as server:
        calm = project_at(tmp_path / "calm", server.url)
        calm.snakemake(*TARGETS, cores=1)
        asked = Counter(map(body_key, server.requests))
    storm = Storm()
    with ScriptedServer(judge, faults=storm) as server:
        project = project_at(tmp_path / "storm", server.url)
        project.snakemake(*TARGETS, cores=1)
        answered = Counter(map(body_key, server.requests)) - storm.lost
        port = server.port
    assert storm.lost
    spoilt = project.tables()
    assert spoilt != calm.tables()
    profiles = [row for path in (project.run / "profiles").rglob("*.jsonl") for row in read_records(path, Profile)]
    assert any(profile.lost for profile in profiles)
    shown = (project.run / "tables" / "main.md").read_text(encoding="utf-8")
    assert "personalrm retry" in shown
    assert "Learned with lost calls" in shown
    shown_profiles = data_in((project.run / "transcripts.html").read_text(encoding="utf-8"))["profiles"]
    assert sum(bool(profile["lost"]) for profile in shown_profiles) == sum(bool(profile.lost) for profile in profiles)

    # As nothing that is asked for is missing, Snakemake alone would leave all as it is.
    assert "Nothing to be done" in project.snakemake(*TARGETS, cores=1)
    said = retry(project, "results/small", "--dry-run")
    assert "would be removed" in said
    assert project.tables() == spoilt
    assert retry(project, "run.yaml", "--dry-run").splitlines()[:-1] == said.splitlines()[:-1]
    said = retry(project, "results/small")
    assert "removed" in said
    assert "snakemake --cores all --configfile .snakemake/personalrm/small.json" in said
    left = project.tables()
    assert left.items() <= spoilt.items()
    assert not any(name.startswith("tables/main") for name in left)
    # What rests on no lost call stays: nothing of it is made again.
    assert any(name.startswith("data/") for name in left)

    with ScriptedServer(judge, port=port) as server:
        project.snakemake(*TARGETS, cores=1)
        again = Counter(map(body_key, server.requests))
    assert project.tables() == calm.tables()
    assert again.keys() == asked.keys() - answered.keys()
    assert set(again.values()) == {1}
    assert "nothing rests on lost calls" in retry(project, "results/small")


def test_a_file_without_lost_calls_and_what_is_made_of_it_alone_stay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All verdicts on one test pair are lost: profiles and the other user's verdicts stay."""
    pairs: list[str] = []

    def on_the_pair(number: int, body: dict[str, Any]) -> Fault | None:
        return Fault("status", 503) if pairs and pairs[0] in str(body["messages"][-1]["content"]) else None

    with ScriptedServer(judge, faults=on_the_pair) as server:
        project = project_at(tmp_path / "work", server.url)
        monkeypatch.chdir(project.folder)
        project.snakemake("-n", "results/small/tables/main.csv")
        plan = Plan(read_resolved(Path(".snakemake/personalrm/small.json")))
        users = plan.shard_paths("people")
        project.snakemake(*users, cores=1)
        (user,) = read_records(Path(users[0]), UserData)
        pairs.append(user.part("test")[0].rejected)
        project.snakemake("results/small/tables/main.csv", "results/small/tables/benchmark.csv", cores=1)
    before = set(project.tables())
    judged = {path for path in plan.verdict_paths() if path.endswith(Path(users[0]).name) and "/none/" not in path}
    assert len(judged) == 2
    retry(project, "results/small")
    gone = {f"results/small/{name}" for name in before - set(project.tables())}
    assert {path for path in gone if not path.startswith("results/small/tables/main.")} == judged | {
        f"results/small/data/{name}.parquet" for name in ("calls", "verdicts")
    }


def test_ratings_and_votes_of_filters_that_were_lost_are_asked_again_with_all_that_they_decide(tmp_path: Path) -> None:
    def run(name: str, server: ScriptedServer) -> Project:
        config = filtered(server.url) | {"max_failed_share": 0.4}
        config["models"] = {model: entry | {"max_attempts": 1} for model, entry in config["models"].items()}
        project = make(tmp_path / name, config)
        project.snakemake(*FILTERED, cores=1)
        return project

    with ScriptedServer(member) as server:
        calm = run("calm", server)
        asked = Counter(map(body_key, server.requests))
    storm = Storm()
    with ScriptedServer(member, faults=storm) as server:
        project = run("storm", server)
        answered = Counter(map(body_key, server.requests)) - storm.lost
        port = server.port
    said = retry(project, "results/small", "--dry-run")
    assert "/ratings/" in said
    assert "/panel/" in said
    retry(project, "results/small")
    with ScriptedServer(member, port=port) as server:
        project.snakemake(*FILTERED, cores=1)
        again = Counter(map(body_key, server.requests))
    assert project.tables() == calm.tables()
    assert again.keys() == asked.keys() - answered.keys()


def test_what_is_no_run_here_is_named(project: Project) -> None:
    project.write_config()
    said = project.personalrm("retry", "results/other", ok=False)
    assert "results/other: no run of this name was planned here" in said


@pytest.mark.parametrize(
    "name",
    [
        "config.yaml",
        "personalrewardbench.yaml",
        "open_models.yaml",
        "quickstart.yaml",
        "showcase.yaml",
        "folds.yaml",
        "theta.yaml",
    ],
)
def test_the_lineage_has_every_file_that_the_plan_has(name: str) -> None:
    from personalrm.studies.config_load import load_config

    plan = Plan(load_config(ROOT / "config" / name))
    made = plan.lineage()
    planned = [*plan.verdict_paths(), *plan.profile_paths(), *plan.paths("fidelity"), *plan.paths("recovery")]
    planned += [*plan.paths("axes"), *plan.paths("tag"), *plan.analysed_profiles()]
    planned += [path for dataset in plan.filtered for path in (*plan.rating_paths(dataset), *plan.panel_paths(dataset))]
    assert not set(planned) - made.keys()
    places = {path: place for place, path in enumerate(made)}
    assert all(places[path] > places[source] for path in made for source in made[path] if source in places)
