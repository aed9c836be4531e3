"""Scores by attributes through the workflow: rows of both forms, what was lost is asked again, costs are accounted."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

import pandas as pd
from support.scripted_server import Fault, ScriptedServer
from support.traits import BANK, says

from personalrm.app.retry import retry
from personalrm.core.records import UserScores, read_records

from .conftest import Project, quickstart_votes, small_config, write_votes

FILES = tuple(f"results/small/attributes/people/{model}/s00.jsonl" for model in ("big", "tiny"))
TARGETS = ("results/small/tables/cost.csv", "results/small/manifest.json")
ATTRIBUTES, LABELS = 2, 3
"""In the bank; labels of one order, the judge's own preference among them."""


def make(folder: Path, url: str) -> Project:
    config = small_config(url, methods=["longer"], transfer={}, learn={}, k=["all"], draws=1, max_failed_share=0.5)
    config["attributes"] = {"bank": "bank.yaml", "models": ["big", "tiny"]}
    config["datasets"]["people"] |= {"max_users": 2}
    for model in config["models"].values():
        model |= {"max_attempts": 1, "price_in": 1.0, "price_out": 2.0}
    project = Project(folder, config)
    write_votes(folder / "votes.jsonl", quickstart_votes())
    (folder / "bank.yaml").write_text(BANK, encoding="utf-8")
    return project


def scores(project: Project, model: str) -> list[UserScores]:
    files = sorted((project.run / "attributes" / "people" / model).glob("*.jsonl"))
    return [row for file in files for row in read_records(file, UserScores)]


def test_scores_are_made_retried_and_accounted_for(tmp_path: Path) -> None:
    lost: list[str] = []

    def fault(_: int, body: dict[str, Any]) -> Fault | None:
        """The first call about a trait in words and by label is lost, once."""
        kind = "labels" if "is curious?" in str(body["messages"]) else "words" if "json_schema" in str(body) else ""
        if not kind or kind in lost:
            return None
        lost.append(kind)
        return Fault("status", 503)

    with ScriptedServer(says, faults=fault) as server:
        project = make(tmp_path / "work", server.url)
        project.snakemake(*FILES)
        pairs = sum(len(row.pairs) for row in scores(project, "big")) // 2
        assert pairs > 10
        assert [sum(row.lost for row in scores(project, model)) for model in ("big", "tiny")] == [1, 1]
        assert server.count == 2 * pairs * (1 + LABELS) + 1  # and the probe of labels
        with contextlib.chdir(project.folder):
            said = retry(Path("results/small"))
        assert all(f"  {path}: 1\n" in said for path in FILES)
        project.snakemake(*TARGETS)
        assert server.count == 2 * pairs * (1 + LABELS) + 1 + len(lost)

    for model, count in (("big", ATTRIBUTES), ("tiny", LABELS)):
        rows = scores(project, model)
        assert [row.lost for row in rows] == [0, 0]
        assert {len(one.scores) for row in rows for one in row.pairs} == {count}
    calls = {model: 2 * pairs * each for model, each in (("big", 1), ("tiny", LABELS))}
    cost = pd.read_csv(project.run / "tables" / "cost.csv")
    spent = cost[cost["stage"] == "score_attributes"].set_index("judge_model")
    assert spent["calls"].to_dict() == calls
    assert spent["jobs"].to_dict() == {"big": 1, "tiny": 1}
    assert (spent["cost_usd_list"] > 0).all()
    manifest = json.loads((project.run / "manifest.json").read_text(encoding="utf-8"))
    assert manifest["attributes"]["ids"] == ["is_loud", "is_curious"]
    assert manifest["usage"]["calls"] == sum(calls.values())
