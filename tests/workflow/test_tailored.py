"""Persona tailoring by Snakemake: training of a tiny model on bundled pairs, answers, and their comparison."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch", reason="needs the extra train: pip install 'personalrm[train]'")

from support.projects import ANYWHERE, Project
from support.scripted_server import Answer, ScriptedServer
from support.tiny_models import tiny_llama

from personalrm.studies.estimate.command import estimate


def answer(body: dict[str, Any]) -> Answer:
    compares = "Preference" in body["messages"][0]["content"]
    return Answer("Preference: First" if compares else "It depends.")


def config(url: str, base: str) -> dict[str, Any]:
    model = {"backend": "openai", "model": "m", "api_base": url, "price_in": 1.0, "price_out": 2.0, **ANYWHERE}
    hyper = {"lr": 0.01, "steps": 3, "batch": 2, "at_once": 2}
    learned, held_out = ["train"], ["validation"]
    return {
        "study": "tailoring",
        "run": "small",
        "datasets": {
            "everyday": {"path": "resources/tailoring/pairs.jsonl", "splits": ["train", "validation", "test"]}
        },
        "models": {"words": model},
        "tailor": {
            "policies": {"tiny": {"base": base, "threads": 1, "max_length": 64, "sft": hyper, "dpo": hyper}},
            "systems": {
                "tailored": {"strategy": "dpo", "inference": "gold_chosen", "policy": "tiny"},
                "plain": {"strategy": "few_shot", "train": "none", "inference": "none", "model": "words"},
            },
            **{"max_new_tokens": 4, "min_new_tokens": 2, "examples": learned, "shots": 1},
            **{"sft_train": learned, "sft_val": held_out, "dpo_train": learned, "dpo_val": held_out},
        },
        "compare": {"judges": ["words"], "pairs": [{"test": "tailored", "base": "plain"}]},
        "statistics": {"resamples": 99},
    }


def test_a_run_trains_answers_and_compares_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    base = tiny_llama(tmp_path / "base")
    with ScriptedServer(answer) as server:
        project = Project(tmp_path / "project", config(server.url, base))
        project.snakemake()
        asked = server.count
        assert "Nothing to be done" in project.snakemake()
        # Another answer length trains nothing anew.
        project.config["tailor"]["min_new_tokens"] = 3
        planned = project.snakemake("-n")
        assert "generate_answers" in planned
        assert "tailor_dpo" not in planned
        assert server.count == asked
    run = tmp_path / "project" / "results" / "small"
    with (run / "tables" / "tailoring.csv").open(encoding="utf-8", newline="") as stream:
        (quality,) = (row for row in csv.DictReader(stream) if row["rubric"] == "quality")
    # The first answer is always the better one: ties alone.
    assert (quality["n_pairs"], quality["tie"]) == ("20", "100.0")
    manifest = json.loads((run / "manifest.json").read_text(encoding="utf-8"))
    cards = manifest["policies"]
    assert sorted(cards) == [f"policies/everyday/tiny/chosen/{step}/card.json" for step in ("dpo", "sft")]
    assert {card["steps"] for card in cards.values()} == {3}
    assert {"answer", "rivals"} <= manifest["prompts"].keys()
    monkeypatch.chdir(project.folder)
    project.write_config()
    rows = json.loads(estimate(Path("run.yaml"), 1, users=4, as_json=True, timed=False))["rows"]
    calls = {(row["stage"], row["model"]): row["calls"] for row in rows}
    # Both orders and both rubrics of 20 pairs.
    assert (calls["ask_answers", "words"], calls["judge_generations", "words"]) == (20, 80)
