"""Fidelity and axes of personas, through the workflow, against a server whose answers can be computed by hand."""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from support.scripted_judge import Answer, judge
from support.scripted_server import ScriptedServer

from personalrm.core.records import Profile, read_records
from personalrm.judge.label_probe import probe_request

from .conftest import Project, small_config, write_votes

COLOURS = {"ann": "amber", "ben": "beryl", "cy": "coral", "dee": "denim"}
"""What each user likes. All but cy said so."""
DARK = ("amber", "beryl")


def votes() -> list[dict[str, Any]]:
    return [
        {
            "user_id": user,
            "context": [{"role": "user", "content": f"Question {number} of {user}"}],
            "chosen": f"{colour} answer {number}",
            "rejected": f"plain answer {number}",
        }
        for user, colour in COLOURS.items()
        for number in range(8)
    ]


def reader(body: dict[str, Any]) -> Answer:
    """Writes personas of the colour that was chosen, and reads descriptions by their colour."""
    asked = str(next(m["content"] for m in reversed(body["messages"]) if m["role"] == "user"))
    colours = re.findall("|".join(COLOURS.values()), asked)
    if "The person chose:" in asked or "Disliked:" in asked:
        return Answer(f"This person likes {colours[0]}. Short words are welcome.")
    if "--- Description 1 ---" in asked:
        return Answer("- Colour: dark ... light\n- Length: short ... long\n- colour: a ... b")
    if "Facts:" in asked:
        return Answer("\n".join(f"{i}: {'yes' if c == colours[0] else 'no'}" for i, c in enumerate(colours[1:], 1)))
    if "Fact: the person" in asked:
        says = colours[0] == colours[1]
        said, other = (" A", " B") if says == ("A: the description states it" in asked) else (" B", " A")
        return Answer(said, logprobs=[[(said, -0.1), (other, -2.4)]], finish_reason="length")
    if "Scales:" in asked:
        return Answer(f"1: {'low' if colours[0] in DARK else 'high'}\n2: not mentioned")
    if "Sentences:" in asked:
        return Answer("1: values\n2: format")
    if "Description First:" in asked or "Description A:" in asked:
        standard = "Description First:" in asked
        labels = ("First", "Second") if standard else (" A", " B")
        said = labels[0] if colours[0] == colours[1] else labels[1]
        if standard:
            return Answer(f"It says {colours[0]}.\nAnswer: {said}")
        odds = [(said, -0.1), (next(label for label in labels if label != said), -2.4)]
        return Answer(said, logprobs=[odds], finish_reason="length")
    return judge(body)


def assert_each_call_is_made_once_and_accounted(server: ScriptedServer, manifest: dict[str, Any]) -> None:
    """Rows rest on all calls but the probe of the label model, which is paid for as the others are."""
    probe = [(message.role, message.content) for message in probe_request("compact").messages]
    sent = [[(message["role"], message["content"]) for message in body["messages"]] for body in server.requests]
    assert [body["model"] for body, messages in zip(server.requests, sent, strict=True) if messages == probe] == [
        "tiny"
    ]
    assert len({json.dumps(body, sort_keys=True) for body in server.requests}) == server.count
    assert manifest["usage"]["calls"] + 1 == server.count
    assert sum(totals["calls"] for totals in manifest["paid"].values()) == server.count


def jobs(said: str) -> dict[str, int]:
    """Rules and how often each is run, from Snakemake's own list; without the total."""
    found = re.findall(r"^(\w+) +(\d+)$", said, re.MULTILINE)
    return {rule: int(count) for rule, count in found if rule != "total"}


def config(url: str) -> dict[str, Any]:
    made = small_config(url, methods=["longer"], transfer={}, k=["all"], draws=1)
    made["datasets"] = {
        "people": {
            "path": "votes.jsonl",
            "shards": 1,
            "planted": "tastes.json",
            "split": {"fractions": [0.5, 0.2, 0.3]},
        }
    }
    made["learn"] |= {"bootstrap": {"attempts": 1, "max_tokens": 32}, "rebootstrap": False}
    made["learn"]["search"] |= {"num_search_candidates": 0, "special_candidates": ["labelled"]}
    made["analysis"] = {
        "fidelity": {},
        "axes": {"asked": "big", "disjoint": ["halves", "types"]},
        "recovery": {"rubric": "rubric.json", "others": 2},
    }
    return made


@pytest.fixture
def made(tmp_path: Path) -> Project:
    project = Project(tmp_path / "work")
    write_votes(project.folder / "votes.jsonl", votes())
    tastes = {user: {"taste": f"Likes {colour}."} for user, colour in COLOURS.items() if user != "cy"}
    (project.folder / "tastes.json").write_text(json.dumps(tastes), encoding="utf-8")
    rubric = {user: [f"likes {colour}", "likes beryl"] for user, colour in COLOURS.items() if user != "cy"}
    (project.folder / "rubric.json").write_text(json.dumps(rubric), encoding="utf-8")
    return project


def test_fidelity_axes_and_recovery_are_those_computed_by_hand(made: Project) -> None:
    with ScriptedServer(reader) as server:
        made.config = config(server.url)
        tables = [f"tables/{name}.csv" for name in ("fidelity", "recovery", "axes", "cost")]
        made.snakemake(*(f"results/small/{target}" for target in (*tables, "figures/axes.pdf", "manifest.json")))
        manifest = json.loads((made.run / "manifest.json").read_text())
        # No method shows a profile here. Fidelity of three users in two orders by two models, one call for the axes,
        # two for each of eight personas (those from halves have the same words); facts of three users looked for in
        # three personas each: in a list by one model, by the other one by one in two orders (beryl of all four).
        # Beside them what these rest on.
        asked = {"fidelity": 3 * 2 * 2, "recovery": 3 * 3 + (3 + 3 + 4) * 2, "axes": 1, "tag": 8 * 2}
        cost = pd.read_csv(made.run / "tables/cost.csv")
        stages = cost[(cost["level"] == "stage") & (cost["step"] == "all")].groupby("stage")[["calls", "jobs"]].sum()
        assert {stage: int(stages.loc[stage, "calls"]) for stage in asked} == asked
        assert [int(stages.loc[stage, "jobs"]) for stage in asked] == [2, 2, 1, 2 * 3]
        learned = int(stages.loc[["bootstrap", "profile"], "calls"].sum())
        assert manifest["usage"]["calls"] == sum(asked.values()) + learned
        assert_each_call_is_made_once_and_accounted(server, manifest)
        shown = "\n".join(str(body) for body in server.requests if "Description First:" in str(body))
        assert "Question" not in shown, "no vote of the user may reach the judge of fidelity"
        # Another judge asks for its verdicts alone: no persona is learned or tagged again.
        before = server.count
        made.config["analysis"]["fidelity"] = {"models": ["tiny"], "judge": "big"}
        said = made.snakemake("results/small/tables/fidelity.csv", "results/small/tables/axes.csv")
        assert jobs(said) == {"fidelity": 1, "table_fidelity": 1}
        assert server.count - before == 6
    assert_fidelity_and_recovery_are_those_computed_by_hand(made.run)
    assert_axes_are_those_computed_by_hand(made.run)
    # A half is learned from other pairs than its counterpart: a persona prompt of two choices, and none of both.
    rows = [
        row
        for path in (made.run / "profiles/people/corrected/big/khalves").glob("*.jsonl")
        for row in read_records(path, Profile)
    ]
    assert sorted((row.user_id, row.draw) for row in rows) == [(user, half) for user in COLOURS for half in (0, 1)]
    for user in COLOURS:
        one, two = (set(row.persona_pairs) for row in rows if row.user_id == user)
        assert (len(one), len(two), one & two) == (2, 2, set())


def assert_fidelity_and_recovery_are_those_computed_by_hand(run: Path) -> None:
    fidelity = pd.read_csv(run / "tables/fidelity.csv")
    assert fidelity[["profile_model", "judge_model"]].to_numpy().tolist() == [["tiny", "big"]]
    assert fidelity[["n_users", "no_statement", "own", "other"]].to_numpy().tolist() == [[3, 1, 6, 0]]
    assert fidelity[["share_own", "p_value"]].to_numpy().tolist() == [[100, 0.25]]
    recovery = pd.read_csv(run / "tables/recovery.csv")
    of_tiny = recovery[recovery["profile_model"] == "tiny"].set_index("user")
    everybody = of_tiny.loc["all"]
    assert everybody[["n_users", "no_facts", "no_persona", "n_facts", "unread"]].tolist() == [3, 1, 0, 6, 0]
    # Ann's persona states her first fact, not the second; ben's both (they are one).
    assert of_tiny.loc[["ann", "ben", "dee"], "own"].tolist() == [50, 100, 50]
    assert everybody["own"] == pytest.approx(200 / 3, abs=1e-3)
    assert (
        recovery[recovery["profile_model"] == "big"]["own"].tolist()
        == recovery[recovery["profile_model"] == "tiny"]["own"].tolist()
    )


def assert_axes_are_those_computed_by_hand(run: Path) -> None:
    axes = pd.read_csv(run / "tables/axes.csv")
    prevalence = axes[axes["part"] == "axis"].set_index(["profile_model", "name"])
    for model in ("big", "tiny"):
        assert prevalence.loc[(model, "Colour"), ["n_items", "n_low", "n_high"]].tolist() == [4, 2, 2]
        assert prevalence.loc[(model, "Length"), ["n_items", "n_found"]].tolist() == [4, 0]
    sentences = axes[(axes["part"] == "sentences") & (axes["profile_model"] == "big")].set_index("name")
    assert sentences["share"].to_dict() == {"values": 50, "topic": 0, "format": 50, "other": 0}
    agreement = axes[axes["part"] == "agreement"]
    assert agreement[["name", "profile_model", "k"]].to_numpy().tolist() == [
        ["models", "big, tiny", "all"],
        *([name, model, "-"] for model in ("big", "tiny") for name in ("halves", "types")),
    ]
    # All agree on Length; on Colour each agrees with one of three others.
    there = agreement[agreement["name"] != "types"]
    assert there["n_users"].tolist() == [4, 4, 4]
    assert there["share"].tolist() == [100, 100, 100]
    assert there["share_others"].tolist() == pytest.approx([200 / 3] * 3, abs=1e-3)
    # Votes in our format have no types of conversation.
    assert agreement.loc[agreement["name"] == "types", "n_users"].tolist() == [0, 0]
    assert "not applicable" in (run / "tables/axes.md").read_text()


def test_without_the_section_nothing_is_asked_or_made(made: Project) -> None:
    made.config = config("http://127.0.0.1:9/v1")
    del made.config["analysis"]
    said = made.snakemake("-n")
    assert not re.search(
        "rule (fidelity|recovery|axes|tag|table_fidelity|table_recovery|table_axes|figure_axes):", said
    )
    made.config["analysis"] = {"fidelity": {"judge": "absent"}, "axes": {"models": ["huge"]}}
    said = made.snakemake("-n", ok=False)
    assert "analysis.fidelity.judge: no model 'absent' under 'models'" in said
    assert "analysis.axes.models: 'huge' is not in learn.models, so it has no personas" in said


def test_jobs_of_variants_at_the_same_time_make_no_call_twice(made: Project) -> None:
    with ScriptedServer(reader, latency=0.5) as server:
        # The reader writes the same personas for both variants, so that their jobs ask the same: fidelity, axes, tags.
        made.config = config(server.url) | {"variants": ["corrected", "as_published"]}
        made.config["learn"]["models"] = ["big"]
        made.snakemake(*(f"results/small/tables/{name}.csv" for name in ("fidelity", "axes")), cores=8)
        asked = Counter(json.dumps(body, sort_keys=True) for body in server.requests)
    assert {text: count for text, count in asked.items() if count > 1} == {}
