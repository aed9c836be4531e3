"""What may reach a prompt: every prompt of every method, variant and stage of a run is read as the server got it."""

from __future__ import annotations

import csv
import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from support.once import Finished, once
from support.scripted_judge import judge
from support.scripted_server import ScriptedServer

from personalrm.core.records import UserData, read_records
from personalrm.methods.registry import METHODS

from .conftest import Project, small_config, write_votes

USERS = ("amy", "bob")
VARIANTS = ["as_published", "corrected", "corrected+mine", "corrected+json"]
PAIR = re.compile(r"\[(?P<user>[a-z]+) (?P<number>\d+)\]")
"""Stands in the question of each pair; `liked` and `poor` in its answers tell a test which was chosen."""


def votes() -> list[dict[str, Any]]:
    return [
        {
            "user_id": user,
            "context": [{"role": "user", "content": f"Question [{user} {number}]"}],
            "chosen": f"liked {user} {number}",
            "rejected": f"poor {user} {number} words",
            "survey": {"age": f"{user}-years"},
        }
        for user in USERS
        for number in range(10)
    ]


JUDGED = [name for name, method in METHODS.items() if method.needs not in ("scores", "taste", "reward")]
JUDGED = [name for name in JUDGED if not METHODS[name].tastes]
"""All methods whose verdicts rest on no scores by attribute and on no trained model."""


def finish(folder: Path) -> None:
    """A run of every method in every variant."""
    project = Project(folder)
    write_votes(folder / "votes.jsonl", votes())
    tastes = {user: {"taste": f"Likes what {user} likes."} for user in USERS}
    (folder / "tastes.json").write_text(json.dumps(tastes), encoding="utf-8")
    program = {"synthesize.predict": {"signature": {"instructions": "Say who this is."}, "demos": []}}
    (folder / "mine.json").write_text(json.dumps(program), encoding="utf-8")
    with ScriptedServer(judge) as server:
        made = small_config(server.url, methods=JUDGED, variants=VARIANTS, transfer={}, k=["all"], draws=1)
        made["datasets"] = {"people": {"path": "votes.jsonl", "planted": "tastes.json", "shards": 1}}
        made["models"] = {"big": made["models"]["big"]}
        made["thetas"] = {"mine": {"path": "mine.json"}}
        made["learn"] |= {"models": ["big"]}
        project.config = made
        project.snakemake("results/small/tables/main.csv")
        Finished(project, list(server.requests), "").keep()


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Project, list[dict[str, Any]]]:
    """The run, and what its server was sent."""
    finished = Finished.read(once(tmp_path_factory, "seen", finish))
    return finished.project, finished.requests


def test_every_method_of_every_variant_has_a_number(run: tuple[Project, list[dict[str, Any]]]) -> None:
    with (run[0].run / "tables" / "main.csv").open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert all(row["accuracy"] for row in rows)
    learned = {name for name, method in METHODS.items() if method.needs == "profile" and name in JUDGED}
    wanted = {(variant, name) for variant in VARIANTS for name in learned}
    wanted |= {("baseline", name) for name in set(JUDGED) - learned}
    assert {(row["variant"], row["method"]) for row in rows} == wanted


def test_no_prompt_has_another_users_data_and_no_test_pair_stands_where_it_is_not_judged(
    run: tuple[Project, list[dict[str, Any]]],
) -> None:
    project, requests = run
    (shard,) = (project.run / "data/people/shards").glob("*.jsonl")
    tests = {pair.context[0].content for user in read_records(shard, UserData) for pair in user.part("test")}
    assert len(tests) == 3 * len(USERS)
    assert requests
    for body in requests:
        *before, last = [message["content"] for message in body["messages"] if message["role"] != "assistant"]
        whole = "\n".join(message["content"] for message in body["messages"])
        assert len({user for user in USERS if re.search(rf"\b{user}\b", whole)}) <= 1, "another user's data"
        assert not any(test in text for test in tests for text in before), "a test pair among what is known"
        shown = [match[0] for match in PAIR.finditer(last)]
        if any(f"Question {name}" in tests for name in shown):
            assert len(shown) == 1, "a test pair beside others"
            assert "The person chose:" not in last, "a label"


def test_prompts_about_a_test_pair_are_the_same_whichever_answer_was_chosen(
    run: tuple[Project, list[dict[str, Any]]],
) -> None:
    project, requests = run
    (shard,) = (project.run / "data/people/shards").glob("*.jsonl")
    pairs = [pair for user in read_records(shard, UserData) for pair in user.part("test")]
    for pair in pairs:
        asked = Counter(
            json.dumps(body["messages"])
            for body in requests
            if pair.context[0].content in str(body["messages"][-1]["content"])
        )
        assert asked
        exchanged = Counter(
            text.replace(pair.chosen, "\0").replace(pair.rejected, pair.chosen).replace("\0", pair.rejected)
            for text in asked.elements()
        )
        # With the two answers exchanged, the same questions were asked: nothing in them tells the label.
        assert exchanged == asked


def test_the_audit_would_see_a_leak(run: tuple[Project, list[dict[str, Any]]], tmp_path: Path) -> None:
    project, requests = run
    (shard,) = (project.run / "data/people/shards").glob("*.jsonl")
    test = next(pair for user in read_records(shard, UserData) for pair in user.part("test"))
    leak = {
        "messages": [
            {"role": "system", "content": f"{test.context[0].content}: {test.chosen}"},
            *requests[0]["messages"],
        ]
    }
    with pytest.raises(AssertionError, match=r"test pair among what is known|another user's data"):
        test_no_prompt_has_another_users_data_and_no_test_pair_stands_where_it_is_not_judged((project, [leak]))
