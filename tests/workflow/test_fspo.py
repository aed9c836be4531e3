"""Synthetic users by Snakemake, with a scripted model."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path
from typing import Any

import pytest
from support.projects import ANYWHERE, Project
from support.scripted_server import ScriptedServer
from support.synthetic_world import world

from personalrm.studies.estimate.command import estimate


def config(url: str) -> dict[str, Any]:
    model = {"backend": "openai", "model": "m", "api_base": url, "price_in": 1.0, "price_out": 2.0, **ANYWHERE}
    return {
        "study": "fspo",
        "run": "small",
        "datasets": {
            "colours": {
                "about": "colours",
                "traits": {
                    "likes": {"red": "The person wants red.", "blue": "The person wants blue."},
                    "mood": {"calm": "Is calm."},
                },
                "people": {"interpolated": True},
                "questions": {"general": 5, "held_out": 0.2},
                "pairs": {"shared": 6, "own": 1},
                "shards": 2,
            },
        },
        "models": {"words": model},
        "answer": {"models": ["words"]},
        "label": {"model": "words"},
        "compare": {"model": "words", "judges": ["words"]},
        "describe": {"least_pairs": 3},
        "statistics": {"resamples": 99},
    }


def test_a_run_makes_all_results_once_and_its_report_says_what_was_made(tmp_path: Path) -> None:
    with ScriptedServer(world()) as server:
        project = Project(tmp_path, config(server.url))
        project.snakemake()
        asked = server.count
        assert "Nothing to be done" in project.snakemake()
        project.config["datasets"]["colours"]["shards"] = 1
        said = project.snakemake()
        assert "label_pairs" in said
        assert "ask_questions" not in said.split("Job stats:")[1].split("total")[0]
        assert server.count == asked
    run = tmp_path / "results" / "small"
    with (run / "tables" / "label_entropy.csv").open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [(row["part"], row["n_users"], row["n_pairs"]) for row in rows] == [
        *(("train", "3", "21"), ("interpolated", "2", "14"), ("all", "5", "35")),
    ]
    with (run / "tables" / "cost.csv").open(encoding="utf-8", newline="") as stream:
        assert int(next(csv.DictReader(stream))["calls"]) == asked
    manifest = json.loads((run / "manifest.json").read_text(encoding="utf-8"))
    assert manifest["usage"]["calls"] == asked
    assert manifest["data"]["colours"]["users"] == {"train": 3, "interpolated": 2}
    assert {"ask", "views", "answer", "label", "fact", "rivals"} == manifest["prompts"].keys()
    report = (run / "report.html").read_text(encoding="utf-8")
    (said,) = re.findall(r"colours: 5 users [^<]*", report)
    assert said.startswith("colours: 5 users (train 3, interpolated 2), 5 questions (1 held out, ")
    assert (run / "figures" / "disagreement.svg").is_file()
    with (run / "tables" / "win_rates.csv").open(encoding="utf-8", newline="") as stream:
        rates = {(row["system"], row["part"]): row["win_rate"] for row in csv.DictReader(stream)}
    assert set(rates) == {("oracle", part) for part in ("train", "interpolated", "all")}
    assert rates["oracle", "interpolated"] == "100.0"


def test_the_estimate_counts_the_calls_that_a_run_makes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    values = config("http://127.0.0.1:9/v1")
    # The file is not read: its answers are to questions that are not yet written.
    values["compare"] |= {"shots": [5], "given": {"own": "own.jsonl"}}
    (tmp_path / "own.jsonl").touch()
    project = Project(tmp_path, values)
    project.write_config()
    monkeypatch.chdir(tmp_path)
    rows = json.loads(estimate(tmp_path / "run.yaml", 1, as_json=True, timed=False))["rows"]
    calls = {row["stage"]: (row["calls_least"], row["calls"], row["calls_most"]) for row in rows}
    # One call for five questions; a list of views and three answers for each of the four that are not held out.
    assert calls["ask_questions"] == (1, 1, 1)
    assert calls["answer_questions"] == (16, 16, 16)
    # Seven pairs of each of five users in both orders; more where facts change the description.
    least, expected, most = calls["describe_users"]
    assert least == 5 * 7 * 2
    assert least < expected < most
    # Base answers the held-out question once, two systems once for each user; both orders of fifteen comparisons.
    assert calls["write_answers"] == (11, 11, 11)
    assert calls["compare_answers"] == (30, 30, 30)


def test_answers_of_policies_are_planned_after_their_trainings(tmp_path: Path) -> None:
    values = config("http://127.0.0.1:9/v1")
    policy: dict[str, Any] = {"trained": "other/tiny", "methods": ["pref_ft", "ipo"]}
    values["compare"] = {"policy": policy, "shots": [2, 4], "judges": ["words"]}
    project = Project(tmp_path, values)
    for name in ("pref_ft", "pref_ft_no_user", "ipo"):
        for file in ("card.json", "weights.safetensors"):
            path = tmp_path / "other" / "tiny" / name / "0" / file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("{}", encoding="utf-8")
    jobs = dict(re.findall(r"(?m)^(\w+) +(\d+)$", project.snakemake("-n").split("Job stats:")[1]))
    # Two shards of base, two numbers of votes by two models, IPO, and the oracle; all but Base are compared.
    assert (jobs["generate_answers"], jobs["compare_answers"]) == ("14", "12")
    assert "write_answers" not in jobs
