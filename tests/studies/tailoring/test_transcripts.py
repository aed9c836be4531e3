"""Transcripts of persona inference: pairs with both personas, judgments in both orders, and prompts as sent."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from support.persona_judge import answer, pair
from support.scripted_server import Answer, ScriptedServer

from personalrm.studies.config_load import write_resolved
from personalrm.studies.report.transcripts import transcripts_stage
from personalrm.studies.tailoring.plan import Plan
from studies.tailoring.cases import raw, run
from studies.transcript_cases import data_in, prompt_of

OF_DATA = {"models": ["m"], "released": True}


def with_gold(number: int) -> dict[str, Any]:
    """A pair that comes with a persona of its chosen response."""
    return pair(number) | {"chosen_persona_gold": f"likes the better answer {number},", "rejected_persona_gold": ""}


def page(folder: Path, plan: Plan, max_judgments: int = 10_000) -> str:
    write_resolved(folder / "config.json", plan.config)
    out = folder / "transcripts.html"
    transcripts_stage(folder / "config.json", out, max_judgments)
    return out.read_text(encoding="utf-8")


def texts_of(data: dict[str, Any], call: dict[str, Any]) -> str:
    return json.dumps([[message.role, message.content] for message in prompt_of(data, call)])


def test_prompts_and_answers_are_those_of_the_calls(tmp_path: Path) -> None:
    with ScriptedServer(answer) as server:
        plan = run(tmp_path, [with_gold(0), with_gold(1)], server.url, infer=OF_DATA)
        data = data_in(page(tmp_path, plan))
        asked = server.count
    sent = {
        json.dumps([[message["role"], message["content"]] for message in body["messages"]]) for body in server.requests
    }
    # Of two pairs: two personas, both judged in both orders and compared in both; and the one persona of the data.
    assert len(data["calls"]) == len(sent) == asked == 2 * (2 + 4 + 2 + 2)
    assert {texts_of(data, call) for call in data["calls"]} == sent
    assert all(data["texts"][call["answer"]["text"]] for call in data["calls"])
    judged = [(data["rows"][row], data["pairs"][place]["id"], verdicts) for row, place, verdicts in data["items"]]
    rows = [
        (row["method"], row["profile_model"], len(verdicts)) for row, name, verdicts in judged if name == "pairs-p0"
    ]
    assert rows == [
        ("chosen_persona", "m", 2),
        ("rejected_persona", "m", 2),
        ("chosen_persona", "released", 2),
        ("preference", "m", 2),
    ]


def test_the_order_of_a_call_is_that_of_the_answers_whoever_is_right(tmp_path: Path) -> None:
    with ScriptedServer(answer) as server:
        plan = run(tmp_path, [pair(0)], server.url)
        data = data_in(page(tmp_path, plan))
    for number, _, verdicts in data["items"]:
        row = data["rows"][number]
        if row["method"] == "preference":
            continue
        for swapped, *_, (place,) in verdicts:
            call = data["calls"][place]
            # `swapped` of a verdict: the persona's own answer stands second; of a call: the rejected answer first.
            assert call["swapped"] == (swapped != (row.get("side") == "rejected"))
            said = prompt_of(data, call)[-1].content
            assert call["swapped"] == (said.index("worse answer 0") < said.index("better answer 0"))


def test_a_pair_has_its_personas_by_who_wrote_them(tmp_path: Path) -> None:
    with ScriptedServer(answer) as server:
        plan = run(tmp_path, [with_gold(0)], server.url, infer=OF_DATA)
        data = data_in(page(tmp_path, plan))
    ((place, outcome, calls),) = data["pairs"][0]["personas"]["released"].values()
    assert (data["texts"][place], outcome, calls) == ("likes the better answer 0,", "ok", [])
    written = data["pairs"][0]["personas"]["m"]
    for side, word in {"chosen": "better", "rejected": "worse"}.items():
        place, outcome, (call,) = written[side]
        assert (data["texts"][place], outcome) == (f"The user wants the {word} answer 0,", "ok")
        # The one of two calls that asked for this side.
        assert texts_of(data, data["calls"][call]).rindex(f"{word} answer 0") < texts_of(
            data, data["calls"][call]
        ).rindex(f"{'worse' if word == 'better' else 'better'} answer 0")


def silent(body: dict[str, Any]) -> Answer | str:
    last = body["messages"][-1]["content"]
    return "" if "Preferred response" in last and "Question 1" in last else answer(body)


def test_a_persona_that_was_not_written_is_shown_with_its_outcome_and_without_judgments(tmp_path: Path) -> None:
    with ScriptedServer(silent) as server:
        plan = run(tmp_path, [pair(0), pair(1)], server.url)
        data = data_in(page(tmp_path, plan))
    # Pairs without any judgment are not shown.
    assert [known["id"] for known in data["pairs"]] == ["pairs-p0"]


@pytest.mark.parametrize(("prompt", "warned"), [("shp", False), ("beavertails", True)])
def test_beavertails_is_announced(tmp_path: Path, prompt: str, warned: bool) -> None:
    with ScriptedServer(answer) as server:
        entry = raw(tmp_path, server.url)["datasets"]["d"] | {"prompt": prompt}
        del entry["reported"]
        plan = run(tmp_path, [pair(0)], server.url, datasets={"d": entry})
    assert ('role="note">Pairs of BeaverTails speak of crime' in page(tmp_path, plan)) == warned


def test_a_large_run_shows_whole_pairs_and_the_same_each_time(tmp_path: Path) -> None:
    with ScriptedServer(answer) as server:
        plan = run(tmp_path, [pair(number) for number in range(6)], server.url)
    # Six verdicts of each pair.
    text = page(tmp_path, plan, max_judgments=17)
    assert "12 of 36 judgments" in " ".join(text.split())
    assert "2 of 6 pairs (chosen by their ids alone" in " ".join(text.split())
    assert len(data_in(text)["pairs"]) == 2
    assert text == page(tmp_path, plan, max_judgments=17)
