"""Reward models through the whole workflow: trained, judged, tabled, and named in the manifest."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from support.planted import planted_votes
from support.projects import Project, write_votes

EXTRA = "needs the extra train: pip install 'personalrm[train]'"


def project(folder: Path, base: str) -> Project:
    made = Project(folder / "work")
    tastes = {name: "long" if number % 2 else "short" for number, name in enumerate("abcdefgh")}
    write_votes(made.folder / "votes.jsonl", planted_votes(tastes))  # type: ignore[arg-type]
    entry = {"base": base, "dtype": "float32", "threads": 1, "regime": "all-but-test", "seeds": [0]}
    tuning = {"published": "trl", "tuning": "lora", "steps": 4}
    entry |= {"methods": ["frozen_bt", "lore", "bt"]}
    entry |= {"hyper": {"lore": {"k": 2, "steps": 20, "adapt_steps": 5}, "bt": tuning}}
    made.config = {
        "run": "small",
        "datasets": {"people": {"path": "votes.jsonl", "shards": 1}},
        "reward_models": {"tiny": entry},
        "methods": ["longer"],
        "k": [1, "all"],
    }
    return made


def test_a_run_from_votes_to_tables(tmp_path: Path) -> None:
    pytest.importorskip("torch", reason=EXTRA)
    from support.tiny_models import tiny_llama

    made = project(tmp_path, tiny_llama(tmp_path / "base"))
    names = ("main", "differences", "scaling", "cost")
    wanted = [*(f"results/small/tables/{name}.csv" for name in names), "results/small/manifest.json"]
    said = made.snakemake(*wanted)
    assert said.count("Training on people: lore of tiny, seed 0") == 1
    tables = {name: pd.read_csv(made.run / "tables" / f"{name}.csv", keep_default_na=False) for name in names}
    judge = "tiny (all-but-test)"
    trained = [("frozen_bt", judge, "-"), ("bt", judge, "-"), ("lore", judge, "1"), ("lore", judge, "all")]
    rows = judged(made)
    pairs = rows["longer", "-", "-"][1] // 2
    # One verdict per pair, where `longer` has one for each order.
    assert rows == {("longer", "-", "-"): (1, 2 * pairs), **dict.fromkeys(trained, (1, pairs))}
    compared = {(row.method, row.k, row.reference, row.status) for row in tables["differences"].itertuples()}
    assert compared == {("lore", k, "frozen_bt", "ok") for k in ("1", "all")}
    assert set(tables["scaling"]["method"]) == {"lore"}
    stages = {row.stage: int(row.jobs) for row in tables["cost"].itertuples() if row.level == "stage"}
    assert (stages["features"], stages["reward_model"]) == (1, 3)
    manifest = json.loads((made.run / "manifest.json").read_text(encoding="utf-8"))
    assert set(manifest["reward_models"]) == {
        f"reward_models/people/tiny/{name}/0" for name in ("frozen_bt", "lore", "bt")
    }
    assert manifest["packages"]["torch"]
    assert manifest["packages"]["trl"]
    assert not list((made.run / "checkpoints").glob("*"))
    # Another seed is another draw: it trains alone, on the features that are there.
    made.config["reward_models"]["tiny"]["seeds"] = [0, 1]
    said = made.snakemake(wanted[0])
    assert said.count("Training on people: lore of tiny, seed 1") == 1
    assert said.count("Training on people: bt of tiny, seed 1") == 1
    assert "seed 0" not in said
    assert "Features of people" not in said
    assert judged(made) == {("longer", "-", "-"): (1, 2 * pairs), **dict.fromkeys(trained, (2, 2 * pairs))}


def judged(made: Project) -> dict[tuple[str, str, str], tuple[int, int]]:
    """Draws and judgments of each row of the main table."""
    table = pd.read_csv(made.run / "tables" / "main.csv", keep_default_na=False)
    return {(row.method, row.judge_model, row.k): (row.n_draws, row.n_judgments) for row in table.itertuples()}


def test_without_the_extra_no_job_starts(tmp_path: Path) -> None:
    made = project(tmp_path, "smollm2-135m")
    blocked = tmp_path / "blocked"
    blocked.mkdir()
    (blocked / "sitecustomize.py").write_text(
        "import importlib.util as u\n"
        "found = u.find_spec\n"
        "u.find_spec = lambda name, *more: None if name == 'torch' else found(name, *more)\n",
        encoding="utf-8",
    )
    said = made.snakemake("results/small/tables/main.csv", ok=False, PYTHONPATH=str(blocked))
    assert "no job was started" in said
    assert "reward_models: needs torch" in said
    assert "pip install 'personalrm[train]'" in said
    assert not (made.run / "data").exists()
    # What asks for no reward model runs.
    made.config.pop("reward_models")
    made.snakemake("results/small/tables/main.csv", PYTHONPATH=str(blocked))


def test_the_estimate_says_what_it_leaves_out(tmp_path: Path) -> None:
    made = project(tmp_path, "smollm2-135m")
    made.write_config()
    command = [sys.executable, "-m", "personalrm", "estimate", "--config", "run.yaml", "--untimed"]
    done = subprocess.run(command, cwd=made.folder, env=made.environment(), capture_output=True, text=True, check=True)
    assert "Not in it: features and training of the reward models (tiny), which ask no model." in done.stdout
