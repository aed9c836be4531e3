"""Systems whose answers are given: what the config says of them is checked against their files; and estimates."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from support.answer_judge import answer
from support.projects import ROOT
from support.scripted_server import ScriptedServer

from personalrm.core.errors import DataError
from personalrm.core.generations import Generation
from personalrm.studies.config_load import parse_config
from personalrm.studies.estimate.command import estimate
from personalrm.studies.tailoring.plan import Plan
from personalrm.studies.tailoring.run_results import result_settings
from personalrm.studies.tailoring.stages.answers import given_stage
from personalrm.studies.tailoring.stages.prepare import prepare_stage
from personalrm.studies.tailoring.study import STUDY
from studies.tailoring.test_answers import OTTER, PLAIN, config, judged, rows_of


def test_a_persona_that_the_file_denies_is_an_error(tmp_path: Path) -> None:
    """Else a system with personas would be taken as the generic rival, or judged for somebody else."""
    values = config(tmp_path, "http://x/v1", {"otter": OTTER, "plain": PLAIN})
    persona = "The user likes tigers."
    answers = [{"prompt": f"Prompt: {p}\nPersona: {persona}\nResponse:", "response": r} for p, r in PLAIN.items()]
    (tmp_path / "plain.jsonl").write_text(json.dumps(answers), encoding="utf-8")
    plan = Plan(parse_config(values))
    prepare_stage(plan, "d")
    job = next(job for job in plan.jobs("given_answers") if job.system == "plain")
    with pytest.raises(DataError, match=r"8 of 8 answers were told another persona than .* compare\.given\.plain\.per"):
        given_stage(**plan.arguments("given_answers", job, out=tmp_path / "x"))


def test_a_comparison_without_a_common_pair_is_named(tmp_path: Path) -> None:
    systems = {"otter": {"Q0?": "good"}, "plain": {"Q0?": "bad"}, "tiger": {"Q1?": "good"}}
    with ScriptedServer(answer) as server:
        values = config(tmp_path, server.url, systems)
        values["compare"]["pairs"].append({"test": "otter", "base": "tiger"})
        plan = judged(values, tmp_path)
    assert rows_of(plan)["quality"]["base"] == "plain"
    text = (Path(plan.run) / "tables" / "tailoring.md").read_text(encoding="utf-8")
    assert "no pair has an answer of both systems: otter against tiger on d." in text
    # What is printed after a run.
    assert text in STUDY.shown(Path(plan.run))


def test_an_empty_answer_is_judged_and_loses(tmp_path: Path) -> None:
    with ScriptedServer(answer) as server:
        values = config(tmp_path, server.url, {"otter": {"Q0?": "good"}, "plain": {}})
        empty = Generation(dataset="d", pair_id="x", system="y", prompt="Q0?", response="", outcome="empty")
        (tmp_path / "plain.jsonl").write_text(empty.model_dump_json() + "\n", encoding="utf-8")
        row = rows_of(judged(values, tmp_path))["quality"]
    assert [row[name] for name in ("n_win", "n_pairs", "no_answer", "words_base")] == [1, 1, 0, 0.0]


def test_an_estimate_counts_the_pairs_that_have_answers(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    few = dict(list(PLAIN.items())[:2])
    values: dict[str, Any] = config(tmp_path, "http://x/v1", {"otter": OTTER, "plain": few})
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(values), encoding="utf-8")
    for users, calls in ((8, {8}), (1, {0, 32})):
        rows = json.loads(estimate(tmp_path / "run.yaml", 1, users=users, as_json=True, timed=False))["rows"]
        # Both orders and both rubrics of two pairs; a sample of one pair has an answer of each system, or not.
        assert sum(row["calls"] for row in rows if row["stage"] == "judge_generations") in calls
    # All answers fit a pair, though the sample holds few.
    assert not caplog.records


def test_the_quickstart_is_estimated_with_the_comparisons_of_trained_systems(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    path = Path("config/tailoring_quickstart.yaml")
    rows = json.loads(estimate(path, 1, users=4, as_json=True, timed=False))["rows"]
    calls = {row["stage"]: row["calls"] for row in rows if row["stage"] != "all"}
    # 60 pairs: a persona of each side, judged in both orders, and compared in both; 20 test pairs: answers of two
    # comparisons in both orders under both rubrics.
    expected = {"infer_personas": 120, "judge_personas": 240, "prefer_personas": 120, "judge_generations": 160}
    assert calls == expected


def test_only_prometheus_asked_by_its_own_prompt_is_the_papers_judge(tmp_path: Path) -> None:
    values = config(tmp_path, "http://x/v1", {"otter": OTTER, "plain": PLAIN}, judges=["same", "m"])
    paper = values["models"]["m"] | {"model": "prometheus-eval/prometheus-7b-v2.0"}
    values["models"] |= {"paper": paper, "same": paper, "larger": paper | {"model": "prometheus-8x7b-v2.0"}}
    values["compare"]["prometheus"] = {"judges": ["paper", "larger"]}
    assert result_settings(Plan(parse_config(values))).paper_judges == ["paper"]
