"""Tastes through the workflow: measured from votes, judged from, read out as a persona, and shown to judges."""

from __future__ import annotations

import csv
import json
from typing import Any

import pytest
from support.packed import data_in
from support.scripted_judge import Answer
from support.scripted_server import ScriptedServer
from support.traits import BANK, says, shown

from personalrm.core.records import JudgedUser, UserScores, read_records
from personalrm.core.tastes import UserTaste

from .conftest import Project, small_config, write_votes

TARGETS = ("main", "differences", "cost", "calibration")
TASTES = {"loud": "!", "calm": "", "noisy": "!"}
"""Users and what stands in the answer that they choose."""
N_PAIRS = 12
METHODS = [
    *("default", "attributes", "attributes@loo", "attributes_context", "attributes_population", "words"),
    *("measured_persona", "measured_persona_demos", "demos"),
]


def votes() -> list[dict[str, Any]]:
    """Each answer has marks of its own, and the same words otherwise."""
    rows = []
    for user, mark in TASTES.items():
        for number in range(N_PAIRS):
            chosen = f"Take the {number} road home{mark * (1 + number % 3)}"
            rejected = f"Take the {number} road home" + ("!" * (1 + number % 3) if user == "calm" else "")
            if number % 2:
                chosen, rejected = f"{chosen} now", f"{rejected} now"
            rows.append(
                {
                    "user_id": user,
                    "conversation_id": f"{user}-{number}",
                    "timestamp": 1_700_000_000 + 86_400 * number,
                    "context": [{"role": "user", "content": f"Which way, {user} {number}?"}],
                    "chosen": {"role": "assistant", "content": chosen},
                    "rejected": {"role": "assistant", "content": rejected},
                }
            )
    return rows


def obeys(body: dict[str, Any]) -> Answer:
    """The judge prefers what the persona in the instruction names, and the first answer where it names nothing."""
    system = str(body["messages"][0]["content"])
    if "Which response is" in str(body["messages"]) or "capital of France" in str(body["messages"]):
        return says(body)
    if not body["max_tokens"]:
        return Answer("")
    lead = ("prefers loud answers" in system) - ("prefers calm answers" in system)
    last = [message for message in body["messages"] if message["role"] == "user"][-1:]
    if "Which response does the user prefer?" not in last[0]["content"] and "Response First:" not in last[0]["content"]:
        return Answer("This user likes plain answers.")  # a persona
    first, second = shown(last)
    odds = lead * (first.count("!") - second.count("!")) or 0.1
    if body.get("logprobs"):
        label = "A" if odds > 0 else "B"
        other = "B" if odds > 0 else "A"
        return Answer(f" {label}", logprobs=[[(f" {label}", -0.1), (f" {other}", -2.4)]], finish_reason="length")
    return Answer(f"Because.\nPreference: {'First' if odds > 0 else 'Second'}")


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    with ScriptedServer(obeys) as server:
        config = small_config(server.url, methods=METHODS, k=[2, "all"], draws=2)
        config["models"]["tiny"]["verdicts"] = ["logprob_both"]
        config["learn"]["models"] = ["tiny"]
        config["transfer"] = {"pairs": [["tiny", "big"]], "methods": ["measured_persona"], "baselines": ["default"]}
        config["attributes"] = {"bank": "bank.yaml", "orders": "one"}
        made = Project(tmp_path_factory.mktemp("tastes") / "work", config)
        write_votes(made.folder / "votes.jsonl", votes())
        (made.folder / "bank.yaml").write_text(BANK, encoding="utf-8")
        targets = [*(f"results/small/tables/{name}.csv" for name in TARGETS), "results/small/transcripts.html"]
        made.snakemake(*targets)
        asked = server.count
        made.snakemake(*targets)
        assert server.count == asked
    return made


def rows(project: Project, name: str) -> list[dict[str, str]]:
    with (project.run / "tables" / f"{name}.csv").open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def accuracy(project: Project, method: str, **where: str) -> list[float]:
    found = [row for row in rows(project, "main") if row["method"].partition(".")[0] == method]
    return [float(row["accuracy"]) for row in found if all(row[name] == value for name, value in where.items())]


def tastes(project: Project, draw: int = 0) -> dict[tuple[str, int | str], UserTaste]:
    (file,) = (project.run / "tastes" / "people" / "tiny").glob("*.jsonl")
    return {(row.user_id, row.k): row for row in read_records(file, UserTaste) if row.draw == draw}


def test_weights_find_what_was_planted_and_the_persona_says_it(project: Project) -> None:
    found = tastes(project)
    assert set(found) == {(user, k) for user in TASTES for k in (2, "all")}
    said = {user: found[user, "all"].persona or "" for user in TASTES}
    assert "prefers loud answers" in said["loud"]
    assert "prefers calm answers" in said["calm"]
    assert "prefers loud answers" in said["noisy"]
    assert all(row.taste is not None and row.taste.n_votes <= N_PAIRS for row in found.values())
    # The votes of the statements are the user's own, and none of them is a test pair.
    tested = {
        verdict.pair_id
        for file in (project.run / "verdicts" / "people" / "attributes" / "tiny").glob("*.jsonl")
        for row in read_records(file, JudgedUser)
        if row.method == "attributes.logprob_both"
        for verdict in row.verdicts
    }
    for row in found.values():
        assert not tested & {pair_id for one in row.statements for pair_id in one.votes}


def test_what_was_measured_predicts_and_what_was_not_does_not(project: Project) -> None:
    assert accuracy(project, "attributes", k="all") == [100.0]
    assert accuracy(project, "attributes_context", k="all") == [100.0]
    assert accuracy(project, "attributes@loo") == [100.0]
    # The persona makes any judge right, in its own form of verdicts and in that of another model.
    assert accuracy(project, "measured_persona", k="all", judge_model="tiny") == [100.0]
    assert accuracy(project, "measured_persona", k="all", judge_model="big") == [100.0]
    assert accuracy(project, "measured_persona_demos", k="all") == [100.0]
    (default,) = accuracy(project, "default", judge_model="tiny")
    assert default < 70
    (population,) = (row for row in rows(project, "main") if row["method"] == "attributes_population.logprob_both")
    assert population["status"] == "not applicable"  # three users are too few to learn from


def test_each_draw_of_context_pairs_is_judged_with_its_own_taste(project: Project) -> None:
    (file,) = (project.run / "verdicts" / "people" / "measured" / "tiny-to-tiny").glob("*.jsonl")
    rows = [row for row in read_records(file, JudgedUser) if row.k == 2]
    assert sorted((row.user_id, row.draw) for row in rows) == [
        (user, draw) for user in sorted(TASTES) for draw in (0, 1)
    ]
    scored = {
        (row.user_id, row.draw): {call.key for call in row.calls if call.stage == "score_attributes"} for row in rows
    }
    for (user, draw), keys in scored.items():
        assert keys == {call.key for call in tastes(project, draw)[user, 2].calls}
    assert any(scored[user, 0] != scored[user, 1] for user in TASTES)


def test_each_claim_stands_beside_its_reference(project: Project) -> None:
    pairs = {(row["method"], row["reference"]) for row in rows(project, "differences") if row["status"] == "ok"}
    assert ("attributes.logprob_both", "default.logprob_both") in pairs
    assert ("attributes.logprob_both", "words") in pairs
    assert ("measured_persona.logprob_both", "attributes.logprob_both") in pairs
    assert any(row["method"] == "attributes.logprob_both" for row in rows(project, "calibration"))


def test_rows_owe_the_calls_of_the_scores_that_they_rest_on(project: Project) -> None:
    files = list((project.run / "attributes" / "people" / "tiny").glob("*.jsonl"))
    scored = {row.user_id: row for file in files for row in read_records(file, UserScores)}
    calls = {call.key for row in scored.values() for call in row.calls}
    for row in rows(project, "main"):
        if row["method"] == "attributes@loo.logprob_both":
            assert int(row["calls"]) == len(calls)
        if row["method"] == "words":
            assert row["calls"] == "0"
    manifest = json.dumps([row.model_dump(mode="json") for row in tastes(project).values()])
    assert "measured_persona" in manifest


def test_transcripts_show_the_prompts_with_measured_personas(project: Project) -> None:
    data = data_in((project.run / "transcripts.html").read_text(encoding="utf-8"))
    # Those that score pairs, and those of judges that are shown a measured persona.
    assert all(call["prompt"] for call in data["calls"])
    prompts = [data["texts"][text] for _, text in data["messages"]]
    for persona in {row.persona for row in tastes(project).values() if row.persona}:
        assert any(persona in prompt for prompt in prompts)
        assert any(data["texts"][row["taste"]] == persona for row in data["rows"] if "taste" in row)
