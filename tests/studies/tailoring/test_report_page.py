"""The report of persona inference: its verdict, and pairs with both personas."""

from __future__ import annotations

import json
import re
from pathlib import Path
from urllib.parse import unquote

import pandas as pd
import pytest
from support.persona_judge import answer, pair
from support.scripted_server import ScriptedServer

from personalrm.studies.config_load import write_resolved
from personalrm.studies.report.page import report_stage
from personalrm.studies.run_results import RunResults
from personalrm.studies.tailoring.report_page import headline
from personalrm.studies.tailoring.transcripts import judgments_of
from studies.tailoring.cases import run


def row(side: str, accuracy: float, low: float, high: float, n_pairs: int = 40, **more: object) -> dict[str, object]:
    named = {"dataset": "d", "model": "m", "judge": "j", "verdict": "text", "side": side, "outage": False}
    return {**named, "accuracy": accuracy, "ci_low": low, "ci_high": high, "n_pairs": n_pairs, **more}


DOING = "picks the response that the persona was inferred from"


@pytest.mark.parametrize(
    ("low", "high", "n_pairs", "said"),
    [
        (60.0, 80.0, 40, f"A judge (j) that reads a persona by m {DOING} more often than chance."),
        (20.0, 40.0, 40, f"A judge (j) that reads a persona by m {DOING} less often than chance."),
        (46.0, 54.0, 40, f"A judge (j) that reads a persona by m {DOING} about as often as chance: any difference is"),
        (45.0, 80.0, 40, f"There are too few pairs to tell whether a judge (j) that reads a persona by m {DOING} more"),
        (60.0, 80.0, 29, f"There are too few pairs to tell whether a judge (j) that reads a persona by m {DOING} more"),
    ],
)
def test_the_first_judge_is_said_to_differ_from_chance_only_where_the_pairs_carry_it(
    low: float, high: float, n_pairs: int, said: str
) -> None:
    better = row("all", 99.0, 98.0, 100.0, judge="other")
    table = pd.DataFrame([row("chosen", 70.0, low, high), row("all", 70.0, low, high, n_pairs), better])
    found = headline(table)
    assert found is not None
    assert found.verdict.startswith(said)
    assert [(number.value, number.label) for number in found.numbers] == [
        ("70.0 %", "of these picks are right"),
        ("70.0 %", "with personas of chosen responses"),
    ]


def test_without_an_accuracy_there_is_no_headline() -> None:
    assert headline(pd.DataFrame([row("all", float("nan"), 0.0, 0.0)])) is None
    assert headline(pd.DataFrame([row("all", 50.0, 0.0, 90.0, outage=True)])) is None


def test_a_report_shows_pairs_with_both_personas(tmp_path: Path) -> None:
    with ScriptedServer(answer) as server:
        plan = run(tmp_path, [pair(number) for number in range(8)], server.url)
    for result in RunResults(plan).results:
        RunResults(plan).make(result.rule)
    usage = {"calls": 1, "tokens_in": 1, "tokens_out": 1, "cost_usd_list": None}
    manifest = {"run": "r", "config": {}, "usage": usage, "data": {"d": {"pairs": 8}}}
    (Path(plan.run) / "manifest.json").write_text(json.dumps(manifest))
    write_resolved(tmp_path / "config.json", plan.config)
    report_stage(tmp_path / "config.json", tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "There are too few pairs to tell whether a judge (m) that reads a persona by m" in page
    assert "6 of 8 pairs." in page
    assert page.count('<li class="card">') == 6
    assert page.count("The user wants the better answer") == page.count("The user wants the worse answer") == 6
    assert "Each dot" not in page
    # Links lead to pairs that a page of few judgments has, too.
    linked = {unquote(name) for name in re.findall(r'transcripts\.html#pair=d/([^"]+)"', page)}
    shown = {found["id"] for found in judgments_of(plan, 24).data["pairs"]}
    assert 1 < len(shown) <= len(linked) == 6
    assert shown <= linked
