"""The persona step's variants through the workflow: a prompt optimised on train users, and personas as JSON."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

from support.scripted_judge import judge
from support.scripted_server import Answer, ScriptedServer

from personalrm.core.records import Profile, UserData, read_records
from personalrm.methods.synthesizeme.persona_json import NO_OBJECT
from personalrm.methods.synthesizeme.theta import read_theta

from .conftest import Project, quickstart_votes, small_config, write_votes


def answer(body: dict[str, Any]) -> Answer | str:
    """A proposer with a new instruction for each seed, a persona writer who follows it, and the usual judge."""
    first, last = str(body["messages"][0]["content"]), str(body["messages"][-1]["content"])
    if "proposed_instruction" in first:
        return f"[[ ## proposed_instruction ## ]]\nDescribe the taste, way {body.get('seed', 0) % 1000}."
    if "observations" in first or "summary" in first:
        return "Choices of several people."
    if "Describe the taste, way" in last:
        return f"A person described {last.rsplit('way', 1)[1].strip()}"
    if "response_format" in body:
        return '{"unsure": [], "likes":\n["short words"], "dislikes": []}' if len(last) % 2 else "Likes words."
    return judge(body)


def make(folder: Path, url: str, dataset: str, model: str) -> Project:
    """A Theta that is searched on the train users, beside the variants with and without JSON."""
    config = small_config(url)
    votes = {
        "path": "votes.jsonl",
        "shards": 1,
        "max_pairs": 8,
        "user_split": {"min_users": 8, "fractions": [0.4, 0.1, 0.5]},
    }
    config |= {
        "datasets": {dataset: votes},
        "models": {model: config["models"][model]},
        "k": ["all"],
        "draws": 1,
        "variants": ["corrected", "corrected+ours", "corrected+json"],
        "thetas": {"ours": {"optimise": {"num_candidates": 4, "num_trials": 5, "max_demos": 0}}},
        "transfer": {},
        "learn": config["learn"] | {"models": [model]},
    }
    project = Project(folder, config)
    write_votes(project.folder / "votes.jsonl", quickstart_votes())
    return project


def test_a_theta_is_found_on_train_users_who_then_have_no_row(tmp_path: Path) -> None:
    model, dataset = "big", "people"
    with ScriptedServer(answer) as server:
        project = make(tmp_path / "work", server.url, dataset, model)
        project.snakemake("results/small/tables/main.csv", "results/small/tables/ablation.csv")
        program = project.run / "thetas" / "ours" / f"{model}.json"
        saved = json.loads(program.read_text(encoding="utf-8"))["metadata"]
        scores = saved["validation_accuracy_percent"]
        shards = sorted((project.run / "data" / dataset / "shards").glob("*.jsonl"))
        people = [user for shard in shards for user in read_records(shard, UserData)]
        train = {user.user_id for user in people if user.user_split == "train"}
        assert saved["provenance"]["users"] == len(train) >= 2
        assert len(scores["trials"]) == 6
        assert scores["best"] == max(trial["score"] for trial in scores["trials"]) >= scores["as_it_was"]
        assert scores["trials"][0]["score"] == scores["as_it_was"]
        assert len({trial["instruction"] for trial in scores["trials"]}) > 2
        assert read_theta(program).instruction in {trial["instruction"] for trial in scores["trials"]}

        folder = project.run / "profiles" / dataset / "corrected+ours" / model / "kall"
        rows = [row for path in folder.glob("*.jsonl") for row in read_records(path, Profile)]
        assert {row.user_id for row in rows if row.status == "empty"} == train
        assert all("Theta ours was found on the train users" in str(row.reason) for row in rows if row.user_id in train)
        assert all("theta ours" in " ".join(row.prompts) for row in rows if row.status == "ok")
        with (project.run / "tables" / "main.csv").open(encoding="utf-8", newline="") as stream:
            table = {(row["variant"], row["method"]): int(row["n_users"]) for row in csv.DictReader(stream)}
        persona = next(method for _, method in table if method.startswith("persona"))
        assert table["corrected+ours", persona] == len(people) - len(train) < table["corrected", persona] == len(people)

        folder = project.run / "profiles" / dataset / "corrected+json" / model / "kall"
        rows = [row for path in folder.glob("*.jsonl") for row in read_records(path, Profile)]
        in_words, in_json = "Likes words.", '{"likes": ["short words"], "dislikes": [], "unsure": []}'
        assert {row.persona for row in rows} == {in_words, in_json}
        assert all((NO_OBJECT in row.events) == (row.persona == in_words) for row in rows)
        shown = [str(body["messages"][0]["content"]) for body in server.requests]
        assert any(f"user:\n{in_json}\n" in prompt for prompt in shown), "the judge is shown the one spelling"
        with (project.run / "tables" / "ablation.csv").open(encoding="utf-8", newline="") as stream:
            effects = [row for row in csv.DictReader(stream) if row["factor"] == "format"]
        assert {(row["level"], row["reference"], row["n_users"]) for row in effects} == {
            ("JSON", "text", str(len(people)))
        }

        asked = server.count
        program.unlink()
        project.snakemake("results/small/tables/main.csv")
        assert server.count == asked, "a repeated search rests on the response store"
