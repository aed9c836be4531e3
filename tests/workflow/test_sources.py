"""The raw releases through the workflow: PRISM, Chatbot Arena and our own export, side by side, to one table."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from support.raw_prism import generate_raw_prism
from support.scripted_server import ScriptedServer

from .conftest import Project, small_config


def arena_row(number: int) -> dict[str, Any]:
    question = {"role": "user", "content": f"Question {number}: what would you cook?"}
    answers = [{"role": "assistant", "content": f"{word} {number}"} for word in ("A stew, slowly,", "A salad")]
    return {
        "question_id": f"q{number}",
        "model_a": "one",
        "model_b": "two",
        "winner": ("model_a", "model_b", "tie (bothbad)")[number % 3],
        "judge": f"arena_user_{number % 4}",
        "conversation_a": [question, answers[0]],
        "conversation_b": [question, answers[1]],
        "turn": 1,
        "anony": True,
        "language": "English",
        "tstamp": 1682352000.0 + number,
        "openai_moderation": {},
        "toxic_chat_tag": {},
    }


def table(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def test_raw_releases_to_tables_and_an_export_that_reads_back(tmp_path: Path, server: ScriptedServer) -> None:
    config = small_config(server.url, methods=["longer", "default"], draws=1, transfer={})
    config["learn"]["models"] = ["big"]
    config["datasets"] = {
        "prism": {"source": "prism", "path": "raw/prism", "shards": 1},
        "arena": {"source": "arena", "path": "raw/arena", "shards": 1},
        "tied": {"source": "arena", "path": "raw/arena", "shards": 1, "ties": "keep"},
    }
    project = Project(tmp_path / "work", config)
    made = generate_raw_prism(project.folder / "raw/prism", conversations=60)
    (project.folder / "raw/arena").mkdir()
    rows = "".join(json.dumps(arena_row(number)) + "\n" for number in range(60))
    (project.folder / "raw/arena/train.jsonl").write_text(rows, encoding="utf-8")
    project.snakemake("results/small/tables/main.csv", "results/small/tables/benchmark.csv")

    counts = {(row["dataset"], row["split"]): row for row in table(project.run / "tables/benchmark.csv")}
    # 60 votes of 4 users, a third of them ties.
    assert (counts["arena", "all"]["users"], counts["arena", "all"]["pairs"]) == ("4", "40")
    assert counts["arena", "all"]["reported_pairs"] == "1338"
    assert counts["prism", "all"]["users"] == str(made.users)
    assert {row["dataset"] for row in table(project.run / "tables/main.csv")} == {"prism", "arena", "tied"}
    # With ties kept, the same 40 pairs stand in the same parts; the ties of the test part are judged.
    both = [counts["tied", part] for part in ("all", "test")]
    assert [(row["users"], row["pairs"], row["ties"]) for row in both] == [("4", "60", "20"), ("4", "18", "6")]
    judged = [json.loads(line) for file in project.run.glob("verdicts/tied/*/big/*.jsonl") for line in file.open()]
    assert sum(len(row["verdicts"]) for row in judged) == 2 * 18
    survey = json.loads(next((project.run / "data/prism/shards").glob("*.jsonl")).open().readline())["survey"]
    assert survey["age"]

    out = project.folder / "export"
    said = project.personalrm("export", str(project.run), "arena", str(out), "--licence", "test")
    assert said == f"{out}: rows test 40\n"
    # With judgments in the authors' columns the filters have their answers, and no model is asked.
    file = out / "data/test-00000-of-00001.parquet"
    rated = pq.read_table(file).drop_columns(["personalizable_query"])
    for name, values in (("personalizable_query", [4] * 40), ("prediction_mine", ["First"] * 40)):
        rated = rated.append_column(name, pa.array(values))
    pq.write_table(rated, file)
    asked = {"apply": False, "personalizable": {"model": "released"}, "disagreement": {"models": ["released"]}}
    entry = {"source": "personalrewardbench", "path": "export", "shards": 1, "filters": asked}
    config |= {"datasets": {"again": entry}, "models": {}, "learn": {}, "methods": ["longer"]}
    calls = server.count
    project.snakemake("results/small/data/again/funnel.json")
    assert server.count == calls
    funnel = json.loads((project.run / "data/again/funnel.json").read_text(encoding="utf-8"))
    assert (funnel["filters"]["query_ratings"], funnel["filters"]["panel_votes"]) == (40, 40)
    ours, again = (
        [json.loads(line)["pairs"] for file in sorted(folder.glob("*.jsonl")) for line in file.open()]
        for folder in (project.run / "data/arena/shards", project.run / "data/again/shards")
    )
    # A coin of presentation is in the export alone, and read with it.
    coins = {row["pair_id"]: row["flip"] for row in pq.read_table(file).to_pylist()}
    assert again == [[pair | {"flip": coins[pair["pair_id"]]} for pair in pairs] for pairs in ours]


def test_a_folder_that_is_no_release_is_named_before_any_job(tmp_path: Path, server: ScriptedServer) -> None:
    config = small_config(server.url)
    config["datasets"] = {"prism": {"source": "prism", "path": "absent", "shards": 2}}
    said = Project(tmp_path / "work", config).snakemake("results/small/data/prism/funnel.json", ok=False)
    assert "datasets.prism.path: no file absent/conversations.jsonl" in said
    assert "datasets.prism.path: no file absent/survey.jsonl" in said
