"""Transcripts of persona inference: pairs with both personas, judgments in both orders, and prompts as sent."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from support.answer_judge import answer as compare
from support.answer_judge import compared, prometheus_package
from support.browser import after, needs_browser, opened
from support.packed import data_in
from support.persona_judge import answer, pair
from support.scripted_server import Answer, ScriptedServer

from personalrm.studies.config_load import write_resolved
from personalrm.studies.report.transcripts import transcripts_stage
from personalrm.studies.tailoring.plan import Plan
from studies.tailoring.cases import compared_systems, judged, raw, run
from studies.transcript_cases import prompt_of

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
    said = 'role="note">Pairs of BeaverTails, and answers to their prompts, speak of crime'
    assert (said in page(tmp_path, plan)) == warned


def test_a_large_run_shows_whole_pairs_and_the_same_each_time(tmp_path: Path) -> None:
    with ScriptedServer(answer) as server:
        plan = run(tmp_path, [pair(number) for number in range(6)], server.url)
    # Six verdicts of each pair.
    text = page(tmp_path, plan, max_judgments=17)
    assert "12 of 36 judgments" in " ".join(text.split())
    assert "2 of 6 pairs (chosen by their ids alone" in " ".join(text.split())
    assert len(data_in(text)["pairs"]) == 2
    assert text == page(tmp_path, plan, max_judgments=17)


SYSTEMS = {
    "otter": {"Q0?": "good otter", "Q1?": "Response: bad otter", "Q2?": "good", "Q7?": "same"},
    "plain": {"Q0?": "bad", "Q1?": "good", "Q2?": "bad otter", "Q7?": "same"},
}
"""Quality: W L W, equal. Personalization: W W L, equal."""


def compared_run(folder: Path) -> tuple[str, list[dict[str, Any]]]:
    """The page of comparisons, and what was sent."""
    with ScriptedServer(compare) as server:
        plan = judged(compared_systems(folder, server.url, SYSTEMS), folder)
    return page(folder, plan), server.requests


def test_comparisons_show_both_answers_by_system_and_prompts_as_sent(tmp_path: Path) -> None:
    text, requests = compared_run(tmp_path)
    data = data_in(text)
    sent = {json.dumps([[message["role"], message["content"]] for message in body["messages"]]) for body in requests}
    # Three pairs whose answers differ, two rubrics, both orders; the pair with equal answers is not judged.
    assert len(data["calls"]) == len(requests) == 12
    assert {texts_of(data, call) for call in data["calls"]} == sent
    assert "12 of 12 judgments" in " ".join(text.split())
    pairs = {known["id"]: known for known in data["pairs"]}
    assert (len(data["pairs"]), sorted(pairs)) == (3, ["test-p0", "test-p1", "test-p2"])
    second = pairs["test-p1"]
    assert [data["texts"][second[side]] for side in ("chosen", "rejected")] == ["bad otter", "good"]
    assert (second["words"], second["stripped"]) == ([2, 1], [["Response:"], []])
    (told, nothing) = second["told"]
    assert (data["texts"][told], nothing) == ("The user likes otter.", None)
    rows = [(row["method"], row["systems"], row["variant"]) for row in data["rows"]]
    named = ["otter", "plain"], "otter against plain"
    assert rows == [("better_answer.quality", *named), ("better_answer.personalization", *named)]
    won = {
        (data["rows"][row]["method"], data["pairs"][place]["id"]): {outcome for _, outcome, *_ in verdicts}
        for row, place, verdicts in data["items"]
    }
    assert won["better_answer.quality", "test-p1"] == {"wrong"}
    assert won["better_answer.personalization", "test-p1"] == {"correct"}
    for _, pair_place, verdicts in data["items"]:
        test = data["texts"][data["pairs"][pair_place]["chosen"]]
        for swapped, *_, (place,) in verdicts:
            call = data["calls"][place]
            shown = compared({"messages": [{"role": "user", "content": prompt_of(data, call)[-1].content}]})
            assert call["swapped"] == swapped == (shown["second"] == test)


def test_an_answer_that_is_compared_twice_stands_beside_each_of_the_two(tmp_path: Path) -> None:
    systems = SYSTEMS | {"heron": dict.fromkeys(SYSTEMS["plain"], "good heron")}
    pairs = [{"test": "otter", "base": base} for base in ("plain", "heron")]
    with ScriptedServer(compare) as server:
        plan = judged(compared_systems(tmp_path, server.url, systems, pairs=pairs), tmp_path)
    data = data_in(page(tmp_path, plan))
    beside = {
        (*data["rows"][row]["systems"], *(data["texts"][data["pairs"][place][side]] for side in ("chosen", "rejected")))
        for row, place, _ in data["items"]
        if data["pairs"][place]["id"] == "test-p0"
    }
    assert beside == {("otter", "plain", "good otter", "bad"), ("otter", "heron", "good otter", "good heron")}


def test_of_a_large_run_only_the_comparisons_of_some_pairs_are_shown(tmp_path: Path) -> None:
    with ScriptedServer(compare) as server:
        plan = judged(compared_systems(tmp_path, server.url, SYSTEMS), tmp_path)
    # Two rubrics in two orders of each pair.
    text = page(tmp_path, plan, max_judgments=9)
    assert "8 of 12 judgments" in " ".join(text.split())
    assert "2 of 3 pairs" in " ".join(text.split())
    data = data_in(text)
    assert (len(data["pairs"]), len(data["calls"])) == (2, 8)


def test_prompts_of_prometheus_are_shown_where_its_package_is_installed(tmp_path: Path) -> None:
    values = {"judges": [], "prometheus": {"judges": ["m"]}}
    with ScriptedServer(lambda _: Answer("So. [RESULT] A")) as server, prometheus_package(tmp_path / "packages"):
        plan = judged(compared_systems(tmp_path, server.url, SYSTEMS, **values), tmp_path)
        data = data_in(page(tmp_path, plan))
    sent = {json.dumps([[one["role"], one["content"]] for one in body["messages"]]) for body in server.requests}
    assert {texts_of(data, call) for call in data["calls"]} == sent
    without = data_in(page(tmp_path, plan))
    assert {call["prompt"] for call in without["calls"]} == {None}
    assert without["items"] == data["items"]


@needs_browser
def test_a_reader_sees_which_system_is_better_and_what_it_was_told(tmp_path: Path) -> None:
    compared_run(tmp_path)
    out = tmp_path / "transcripts.html"
    shown = opened(out, "unfold=1&method=better_answer.quality&pair=d/test-p1").texts
    detail = shown["detail"] + shown["compared"]
    for said in (
        "Answer of otterbad otterTold: The user likes otter.; 2 words; removed before judging: Response:",
        "Answer of plaingoodTold no persona; 1 word",
        "plain betterplain better",
        "otter firstplain first",
        "Answer of otter shown firstplain betterthe judge said second",
        "Answer of plain shown firstplain betterthe judge said first",
    ):
        assert said in detail
    counts, saved = after(
        out,
        """
        const found = {};
        let blob = null;
        URL.createObjectURL = (made) => { blob = made; return "blob:x"; };
        HTMLAnchorElement.prototype.click = () => {};
        for (const result of ["won", "lost", "differ", "right", "wrong"]) {
          location.hash = `method=all&result=${result}`;
          await new Promise((done) => setTimeout(done, 50));
          found[result] = parseInt(document.getElementById("count").textContent);
        }
        location.hash = "method=all&q=likes+otter";
        await new Promise((done) => setTimeout(done, 50));
        found.told = parseInt(document.getElementById("count").textContent);
        found.marked = document.querySelectorAll(".answers .chosen").length;
        document.getElementById("save").click();
        return [found, JSON.parse(await blob.text()).judgments];
        """,
    )
    one = next(one for one in saved if one["method"] == "better_answer.quality" and one["pair"]["id"] == "test-p1")
    assert one["pair"]["answers"] == {"otter": "bad otter", "plain": "good"}
    assert (one["pair"]["told"], one["pair"]["words"]) == (["The user likes otter.", None], [2, 1])
    assert [(verdict["shown_first"], verdict["outcome"]) for verdict in one["verdicts"]] == [
        ("otter", "wrong"),
        ("plain", "wrong"),
    ]
    assert counts == {"won": 4, "lost": 2, "differ": 0, "right": 0, "wrong": 0, "told": 6, "marked": 0}


@needs_browser
def test_a_system_that_is_better_in_one_order_alone_is_not_better_in_every_order(tmp_path: Path) -> None:
    def one_order(body: dict[str, Any]) -> Answer:
        shown = compared(body)
        is_first = shown["first"] == SYSTEMS["otter"][shown["prompt"]].removeprefix("Response: ")
        return compare(body) if is_first else Answer("I could go either way.")

    with ScriptedServer(one_order) as server:
        plan = judged(compared_systems(tmp_path, server.url, SYSTEMS), tmp_path)
    page(tmp_path, plan)
    script = """
        const found = {};
        for (const result of ["won", "lost", "differ", "unparsed"]) {
          location.hash = `method=all&result=${result}`;
          await new Promise((done) => setTimeout(done, 50));
          found[result] = parseInt(document.getElementById("count").textContent);
        }
        return found;
    """
    # Whichever it was: three pairs, two rubrics.
    assert after(tmp_path / "transcripts.html", script) == {"won": 0, "lost": 0, "differ": 6, "unparsed": 6}
