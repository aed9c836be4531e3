"""Reward models through the whole workflow: trained, judged, tabled, and named in the manifest."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest
from support.planted import planted_votes
from support.projects import Project, write_votes

EXTRA = "needs the extra train: pip install 'personalrm[train]'"


def project(folder: Path, base: str, regime: str = "all-but-test") -> Project:
    made = Project(folder / "work")
    tastes = {name: "long" if number % 2 else "short" for number, name in enumerate("abcdefgh")}
    write_votes(made.folder / "votes.jsonl", planted_votes(tastes))  # type: ignore[arg-type]
    entry = {"base": base, "dtype": "float32", "threads": 1, "regime": regime, "seeds": [0]}
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


def test_users_who_are_judged_in_unseen_reach_no_weight(tmp_path: Path) -> None:
    pytest.importorskip("torch", reason=EXTRA)
    from support.tiny_models import tiny_llama

    made = project(tmp_path, tiny_llama(tmp_path / "base"), "unseen")
    made.config["datasets"]["people"]["user_split"] = {"fractions": [0.5, 0.2, 0.3], "min_users": 8}
    made.config["reward_models"]["tiny"]["methods"] = ["frozen_bt", "lore"]
    made.config["reward_models"]["tiny"]["hyper"] = {"lore": {"k": 2, "k_grid": [1, 2], "steps": 20, "adapt_steps": 5}}
    results = [f"results/small/{name}" for name in ("tables/main.csv", "tables/training.csv", "figures/training.svg")]
    made.snakemake(*results)
    shard = (made.run / "data" / "people" / "shards").glob("*.jsonl")
    users = [json.loads(line) for path in shard for line in path.read_text(encoding="utf-8").splitlines()]
    parts = {user["user_id"]: user["user_split"] for user in users if "user_id" in user}
    counts = {part: sum(one == part for one in parts.values()) for part in ("train", "validation", "test")}
    assert min(counts.values()) >= 1
    trained = pd.read_csv(made.run / "tables" / "training.csv")
    assert set(zip(trained["method"], trained["train_users"], trained["validation_users"], strict=True)) == {
        (name, counts["train"], counts["validation"]) for name in ("frozen_bt", "lore")
    }
    assert set(trained["train_pairs"]) == {20 * counts["train"]}
    main = pd.read_csv(made.run / "tables" / "main.csv")
    mine = main[main["judge_model"] == "tiny (unseen)"]
    assert set(mine["n_users"]) == {counts["test"]}
    # Exchange the answers of all votes of the test users, in the raw votes: what is trained stays the same, bit by bit.
    weights, votes = made.run / "reward_models/people/tiny/frozen_bt/0/weights.safetensors", made.folder / "votes.jsonl"
    before = weights.read_bytes()
    rows = [json.loads(line) for line in votes.read_text(encoding="utf-8").splitlines()]
    for part, same in (("test", True), ("train", False)):
        turned = [
            row | {"chosen": row["rejected"], "rejected": row["chosen"]} if parts[row["user_id"]] == part else row
            for row in rows
        ]
        write_votes(votes, turned)
        said = made.snakemake(str(weights.relative_to(made.folder)))
        assert said.count("Training on people") == 1
        assert (weights.read_bytes() == before) == same


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


def test_the_estimate_names_tokens_and_steps_of_training(tmp_path: Path) -> None:
    made = project(tmp_path, "smollm2-135m")
    made.write_config()
    said = made.personalrm("estimate", "--config", "run.yaml", "--untimed")
    assert "Reward models tiny on people: features of " in said
    assert "2 trainings with 20 steps in all; time not measured: not timed." in said


def test_a_language_model_that_is_shown_votes_is_a_reward_model(tmp_path: Path) -> None:
    pytest.importorskip("torch", reason=EXTRA)
    from support.tiny_models import tiny_llama

    made = project(tmp_path, tiny_llama(tmp_path / "base", tokens=256))
    made.config["k"] = [1, 2]
    few = {"shots": 2, "windows": 1, "tuning": "lora", "rank": 2, "batch": 4, "at_once": 4, "warmup": 0}
    entry = {"methods": ["few_shot_prompt", "fspo", "fspo_no_shots"], "hyper": {"fspo": few, "pref_ft": few}}
    made.config["reward_models"]["tiny"] |= entry
    results = [f"results/small/{name}" for name in ("tables/main.csv", "tables/training.csv", "tables/scaling.csv")]
    said = made.snakemake(*results, "results/small/tables/differences.csv")
    first, second = (said.index(f"Training on people: {name} of tiny, seed 0") for name in ("pref_ft", "fspo"))
    assert first < second
    assert "Features of people" not in said
    found = judged(made)
    names = [*((name, k) for name in ("few_shot_prompt", "fspo") for k in ("1", "2")), ("fspo_no_shots", "-")]
    assert set(found) == {("longer", "-", "-"), *((name, "tiny (all-but-test)", k) for name, k in names)}
    training = pd.read_csv(made.run / "tables" / "training.csv").drop_duplicates("method", keep="last")
    assert list(training["method"]) == ["pref_ft", "fspo"]
    assert (set(training["train_users"]), set(training["steps"])) == ({8}, {2})
    assert set(pd.read_csv(made.run / "tables" / "scaling.csv")["method"]) == {"few_shot_prompt", "fspo"}
    # Another second stage begins with the first one that is there.
    made.config["reward_models"]["tiny"]["hyper"]["fspo"] = few | {"beta": 0.5}
    said = made.snakemake(results[0])
    assert "Training on people: fspo of tiny" in said
    assert "pref_ft of tiny" not in said
