"""Real votes, converted by the documented examples, through the whole workflow (scripted model)."""

from __future__ import annotations

import csv
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from support.scripted_server import ScriptedServer

from .conftest import ROOT, Project, small_config

WORDS = ("sea", "moon", "bread", "tyre", "star", "garden")
SHARED = Path(os.environ.get("PERSONALRM_SHARED_DATA", ROOT.parent / "shared" / "data"))


def run_on(folder: Path, server: ScriptedServer, converter: str, source: Path, dataset: dict[str, Any]) -> list[Any]:
    if not source.is_file():
        pytest.skip(f"{source.name} is not here: set PERSONALRM_SHARED_DATA to a folder that has it")
    config = small_config(server.url, k=["all"], draws=1, transfer={}, datasets={"real": dataset})
    config["learn"]["models"] = ["big"]
    config["methods"] += ["demographics", "memory", "history"]
    project = Project(folder, config)
    script = str(ROOT / "examples" / converter)
    subprocess.run([sys.executable, script, str(source), "votes.jsonl"], cwd=project.folder, check=True)
    project.snakemake("results/small/tables/main.csv")
    with (project.run / "tables" / "main.csv").open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def test_prism_slice_all_six_users(tmp_path: Path, server: ScriptedServer) -> None:
    source = SHARED / "prism_slice" / "pairs.jsonl.gz"
    table = run_on(tmp_path / "work", server, "convert_prism_slice.py", source, {"path": "votes.jsonl", "shards": 1})
    methods = {"random", "longer", "default", "demographics", "memory", "history", "demos", "persona", "both"}
    assert {row["method"] for row in table} == methods
    assert {row["n_users"] for row in table} == {"6"}
    assert {row["n_pairs"] for row in table} == {"50"}


@pytest.mark.full
def test_mtbench_six_users_by_stable_hash(tmp_path: Path, server: ScriptedServer) -> None:
    source = SHARED / "mtbench_judges" / "judgments.jsonl.gz"
    dataset = {"path": "votes.jsonl", "shards": "per_user", "max_users": 6}
    table = run_on(tmp_path / "work", server, "convert_mtbench.py", source, dataset)
    # These judges filled in no survey: the row stays, and says that nobody could be judged.
    users = {row["method"]: (row["n_users"], row["n_pairs"]) for row in table}
    assert users.pop("demographics") == ("0", "0")
    assert set(users.values()) == {("6", "41")}


def test_a_csv_with_other_columns_becomes_a_table_by_what_import_writes(tmp_path: Path) -> None:
    folder = tmp_path / "work"
    project = Project(folder, {})
    lines = ["Rater,Question,answer_a,answer_b,preference"]
    for user, taste in (("007", "A"), ("ben", "B")):
        lines += [f"{user},What is {n} {word}?,short {word},long and {word},{taste}" for n, word in enumerate(WORDS)]
    (folder / "ratings.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    said = project.personalrm("import", "ratings.csv", "--config", "run.yaml", "--name", "small")
    assert "user_id           Rater" in said
    project.config = yaml.safe_load((folder / "run.yaml").read_text(encoding="utf-8"))
    project.snakemake("results/small/tables/main.csv")
    with (project.run / "tables" / "main.csv").open(encoding="utf-8", newline="") as stream:
        rows = {row["method"]: row for row in csv.DictReader(stream)}
    assert rows.keys() == {"random", "longer", "words", "words@loo"}
    assert {row["n_users"] for row in rows.values()} == {"2"}
    # One user always likes the longer answer, the other the shorter one.
    assert float(rows["longer"]["accuracy"]) == 50.0
    card = (project.run / "data" / "small" / "card.md").read_text(encoding="utf-8")
    assert "A means `response_a`, B means `response_b`" in card
