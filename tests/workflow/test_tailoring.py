"""Persona inference by Snakemake, on bundled pairs and a scripted model."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest
from support.packed import data_in
from support.persona_judge import LOGPROBS
from support.projects import ANYWHERE, ROOT, Project
from support.scripted_server import Answer, ScriptedServer

from personalrm.studies.estimate.command import estimate


def answer(body: dict[str, Any]) -> Answer:
    if body.get("logprobs"):
        return Answer(LOGPROBS[0][0], logprobs=[list(LOGPROBS)])
    infers = "Preferred response:" in body["messages"][-1]["content"]
    return Answer("The user is short of time and prefers to act." if infers else "Preference: Second")


def given(folder: Path, system: str) -> str:
    """File of the answers of a system to all bundled pairs."""
    folder.mkdir(parents=True, exist_ok=True)
    bundled = (ROOT / "resources" / "tailoring" / "pairs.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [{"prompt": json.loads(line)["prompt"], "response": f"{system} {n}"} for n, line in enumerate(bundled)]
    path = folder / f"{system}.json"
    path.write_text(json.dumps(rows), encoding="utf-8")
    return str(path)


def config(url: str, folder: Path) -> dict[str, Any]:
    systems = {"tailored": "gold_chosen", "plain": "none"}
    model = {"backend": "openai", "model": "m", "api_base": url, "price_in": 1.0, "price_out": 2.0, **ANYWHERE}
    return {
        "study": "tailoring",
        "run": "small",
        "datasets": {
            "everyday": {"path": "resources/tailoring/pairs.jsonl", "splits": ["test"], "max_pairs": 6, "shards": 2},
        },
        "models": {
            "words": model,
            "odds": model | {"model": "n", "prompts": "compact", "verdicts": ["logprob"]},
        },
        "infer": {"models": ["words"], "released": True},
        "judge": {"accuracy": ["words", "odds"], "preference": ["words"]},
        "compare": {
            "judges": ["words"],
            "given": {
                name: {"files": {"everyday": given(folder, name)}, "persona": told} for name, told in systems.items()
            },
            "pairs": [{"test": "tailored", "base": "plain"}],
        },
        "saliency": {"cutoff": 2},
        "statistics": {"resamples": 99},
    }


def test_a_run_makes_all_results_once_and_its_report_says_what_was_asked(tmp_path: Path) -> None:
    with ScriptedServer(answer) as server:
        project = Project(tmp_path, config(server.url, tmp_path))
        project.snakemake()
        asked = server.count
        assert "Nothing to be done" in project.snakemake()
        project.config["saliency"] = {"cutoff": 3}
        said = project.snakemake()
        assert "table_persona_saliency" in said
        assert "table_persona_accuracy" not in said
        assert server.count == asked
    run = tmp_path / "results" / "small"
    with (run / "tables" / "persona_accuracy.csv").open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [(row["model"], row["judge"]) for row in rows[::3]] == [
        *(("words", "words"), ("words", "odds")),
        *(("released", "words"), ("released", "odds")),
    ]
    assert {row["accuracy"] for row in rows} == {"50.0"}
    with (run / "tables" / "tailoring.csv").open(encoding="utf-8", newline="") as stream:
        compared = {row["rubric"]: (row["n_pairs"], row["tie"], row["difference"]) for row in csv.DictReader(stream)}
    assert compared["quality"] == compared["personalization"] == ("6", "100.0", "")
    assert (run / "figures" / "tailoring.pdf").is_file()
    with (run / "tables" / "cost.csv").open(encoding="utf-8", newline="") as stream:
        assert int(next(csv.DictReader(stream))["calls"]) == asked - 1
    manifest = json.loads((run / "manifest.json").read_text(encoding="utf-8"))
    # Equal personas are judged once; one more call was the probe of labels.
    assert manifest["usage"]["calls"] == asked - 1
    assert manifest["data"]["everyday"]["pairs"] == 6
    assert {"infer", "accuracy", "preference", "everyday", "rivals"} <= manifest["prompts"].keys()
    report = (run / "report.html").read_text(encoding="utf-8")
    assert "everyday: 6 pairs." in report
    assert "Answers compared by words." in report
    assert 'href="transcripts.html"' in report
    page = (run / "transcripts.html").read_text(encoding="utf-8")
    # Of 6 pairs: two writers, each with two sides in two orders by two judges, and comparisons in two orders by one;
    # and the answers of two systems under two rubrics in two orders.
    assert "144 of 144 judgments" in " ".join(page.split())
    assert all(call["prompt"] and call["answer"] for call in data_in(page)["calls"])


def test_the_estimate_counts_the_calls_that_a_run_makes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    project = Project(tmp_path, config("http://127.0.0.1:9/v1", tmp_path))
    project.write_config()
    monkeypatch.chdir(tmp_path)
    rows = json.loads(estimate(tmp_path / "run.yaml", 1, users=3, as_json=True, timed=False))["rows"]
    calls = {(row["stage"], row["model"]): row["calls"] for row in rows}
    assert calls["infer_personas", "words"] == 12
    assert (calls["judge_personas", "words"], calls["judge_personas", "odds"]) == (48, 48)
    assert calls["prefer_personas", "words"] == 24
    assert calls["judge_generations", "words"] == 24
    (whole,) = (row for row in rows if (row["stage"], row["model"]) == ("all", "all"))
    assert whole["usd_batched"] == pytest.approx(whole["usd_list"] / 2)
