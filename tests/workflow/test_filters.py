"""The filters that ask models, through the workflow, against judges whose survivors are computed by hand."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from support.scripted_judge import Answer
from support.scripted_server import ScriptedServer

from .conftest import Project, small_config, write_votes

USERS = {"ann": ["keep"] * 6 + ["query", "responses", "agreed"], "ben": ["keep"] * 4 + ["query"] * 2}
"""What each pair of each user is there for: `keep`, or the filter that removes it."""
NUMBERS = {"query": "query 2 responses 5", "responses": "query 5 responses 2"}
FAVOURITE = {"tiny": "alpha", "big": "beta"}
"""The word that each member of the panel likes; an answer with both words is everybody's favourite."""


def votes() -> list[dict[str, Any]]:
    rows = []
    for user, kinds in USERS.items():
        for number, kind in enumerate(kinds):
            chosen, rejected = ("alpha beta", "plain") if kind == "agreed" else ("alpha", "beta")
            marks = NUMBERS.get(kind, "query 4 responses 3")
            rows.append(
                {
                    "user_id": user,
                    "pair_id": f"{user}-{number}-{kind}",
                    "context": [{"role": "user", "content": f"Request {number} of {user} ({marks})"}],
                    "chosen": f"{chosen} {number}",
                    "rejected": f"{rejected} {number}",
                }
            )
    return rows


def member(body: dict[str, Any]) -> Answer:
    """Rates as the request says, and votes for the answer with its own favourite word."""
    asked = str(next(m["content"] for m in reversed(body["messages"]) if m["role"] == "user"))
    system = str(body["messages"][0]["content"])
    if "Rating: <1-5>" in system or "1: one" in system:
        kind = "responses" if "Response " in asked else "query"
        number = re.search(rf"{kind} (\d)", asked)
        return Answer(f"Tastes differ here.\nRating: {number[1] if number else 'none'}")
    word = FAVOURITE[body["model"]]
    first = re.search(r"Response (?:First|A):\n(.*)", asked)
    likes_first = first is not None and word in first[1]
    if body.get("logprobs"):
        labels = (" A", " B") if likes_first else (" B", " A")
        return Answer(labels[0], logprobs=[[(labels[0], -0.1), (labels[1], -2.4)]], finish_reason="length")
    return Answer(f"It says {word}.\nPreference: {'First' if likes_first else 'Second'}")


def filtered(url: str, **filters: object) -> dict[str, Any]:
    config = small_config(url, methods=["longer", "default"], draws=1, transfer={})
    config["learn"]["models"] = ["big"]
    asked = {"personalizable": {"model": "big"}, "disagreement": {"models": ["big", "tiny"]}, **filters}
    config["datasets"] = {"people": {"path": "votes.jsonl", "shards": 1, "filters": asked}}
    return config


def make(folder: Path, config: dict[str, Any], *more: dict[str, Any]) -> Project:
    project = Project(folder, config)
    write_votes(project.folder / "votes.jsonl", [*votes(), *more])
    return project


def users(project: Project) -> dict[str, dict[str, Any]]:
    lines = [line for file in (project.run / "data/people/shards").glob("*.jsonl") for line in file.open()]
    return {row["user_id"]: row for row in map(json.loads, lines)}


def test_filters_leave_the_survivors_computed_by_hand(tmp_path: Path) -> None:
    with ScriptedServer(member) as server:
        config = filtered(server.url)
        config["datasets"]["people"] |= {"ties": "keep", "shards": 2}
        # A tie is rated, and the panel is not asked about it.
        answers = {"response_a": "alpha 9", "response_b": "beta 9", "winner": "tie"}
        tied = votes()[0] | {
            "pair_id": "ann-9-tie",
            "context": [{"role": "user", "content": "Tied (query 4 responses 3)"}],
        }
        undecided = {name: value for name, value in tied.items() if name not in ("chosen", "rejected")}
        project = make(tmp_path / "work", config, undecided | answers)
        project.snakemake("results/small/tables/main.csv", "results/small/manifest.json")
        calls = server.count
        # No row rests on the probe of the panel's label model.
        assert json.loads((project.run / "manifest.json").read_text())["usage"]["calls"] == calls - 1
        ann, ben = users(project)["ann"], users(project)["ben"]
        assert [pair["pair_id"] for pair in ann["pairs"]] == [*(f"ann-{n}-keep" for n in range(6)), "ann-9-tie"]
        assert {pair["split"] for pair in ann["pairs"]} == {"context", "validation", "test"}
        assert (ben["pairs"], ben["excluded"]) == ([], "4 pairs, fewer than 5, after the filters")
        funnel = json.loads((project.run / "data/people/funnel.json").read_text())
        assert [(step["users"], step["pairs"]) for step in funnel["steps"][-4:]] == [(2, 16), (2, 12), (2, 11), (1, 7)]
        # 16 pairs rated twice; the panel is not asked about the four that the ratings remove.
        assert funnel["filters"] == {
            "pairs_asked_about": 16,
            "query_ratings": 16,
            "response_ratings": 16,
            "panel_votes": 44,
            "panel_votes_missing": 0,
            "panel_calls_saved_by_ratings": 16,
        }
        # Another threshold is tried with the answers that are there: only what it lets through is asked.
        project.config["datasets"]["people"]["filters"]["personalizable"]["min_responses"] = 2
        project.snakemake("results/small/data/people/funnel.json")
        assert server.count - calls == 4
        assert "ann-7-responses" in {pair["pair_id"] for pair in users(project)["ann"]["pairs"]}


def test_filters_that_are_not_applied_report_and_remove_nothing(tmp_path: Path) -> None:
    with ScriptedServer(member) as server:
        project = make(tmp_path / "work", filtered(server.url, apply=False, sample=3))
        project.snakemake("results/small/data/people/funnel.json")
        assert {name: len(row["pairs"]) for name, row in users(project).items()} == {"ann": 9, "ben": 6}
        funnel = json.loads((project.run / "data/people/funnel.json").read_text())
        assert funnel["filters"]["pairs_asked_about"] == 6
        rows = [json.loads(line) for line in (project.run / "data/people/filter_sensitivity.jsonl").open()]
        assert {row["filter"] for row in rows} == {"query", "responses", "panel"}


def test_a_filter_model_that_is_not_configured_is_named(tmp_path: Path, server: ScriptedServer) -> None:
    config = filtered(server.url, disagreement={"models": ["big", "absent"]})
    said = make(tmp_path / "work", config).snakemake("-n", ok=False)
    assert "datasets.people.filters: no model 'absent' under 'models'" in said


def test_the_panel_keeps_the_raw_votes(tmp_path: Path) -> None:
    with ScriptedServer(member) as server:
        project = make(tmp_path / "work", filtered(server.url))
        project.snakemake("results/small/data/people/funnel.json")
    for model, favoured in (("big", "rejected"), ("tiny", "chosen")):
        folder = project.run / f"data/people/panel/{model}"
        rows = [json.loads(line) for file in folder.glob("*.jsonl") for line in file.open()]
        found = {vote["pair_id"]: vote["favours"] for row in rows for vote in row["votes"]}
        assert (found["ann-0-keep"], found["ann-8-agreed"]) == (favoured, "chosen")
        if model == "big":
            assert all(vote["reasoning"].startswith("It says") for row in rows for vote in row["votes"])
