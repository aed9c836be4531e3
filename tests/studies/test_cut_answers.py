"""Answers that end at their limit of tokens: a line in log, table and report names the setting."""

from __future__ import annotations

import asyncio
import json
import logging
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from support.models import pair
from support.projects import Project, quickstart_votes, small_config, write_votes
from support.scripted_judge import Answer, judge
from support.scripted_server import ScriptedServer

from personalrm.core.records import Verdict
from personalrm.judge.judge import Judge, JudgeContext, JudgeSettings
from personalrm.llm.open import RuntimeSettings
from personalrm.llm.types import Message, Request
from personalrm.methods.registry import parse_method
from personalrm.results.scores import read_frame
from personalrm.results.tables.main_table import cuts
from personalrm.studies.config_load import parse_config
from personalrm.studies.runner import limits_of
from personalrm.studies.synthesizeme.report_summary import what_failed, what_servers_did
from personalrm.studies.synthesizeme.stages.runner import Job


def thinking_only(body: dict[str, Any]) -> Answer:
    """Half of the verdicts are nothing but thinking until the limit; no reply has token counts."""
    said = judge(body)
    cut = "Preference" in (said.text or "") and len(str(body["messages"])) % 2 == 0
    text, reason = (None, "length") if cut else (said.text, said.finish_reason)
    return Answer(text, said.logprobs, reason, tokens_in=0, tokens_out=0)


def test_a_run_whose_answers_are_cut_says_so_and_names_the_setting(tmp_path: Path) -> None:
    with ScriptedServer(thinking_only) as server:
        config = small_config(server.url, draws=1, k=["all"], methods=["default"], transfer={})
        config["models"].pop("tiny")
        config["models"]["big"]["max_tokens"] = 77
        config["learn"]["models"] = ["big"]
        config["datasets"]["people"]["max_users"] = 1
        project = Project(tmp_path / "work", config)
        write_votes(project.folder / "votes.jsonl", quickstart_votes())
        tables = [f"results/small/tables/{name}.csv" for name in ("main", "cost")]
        project.snakemake(*tables, "results/small/manifest.json")
    run = project.run
    (log,) = (run / "logs").rglob("baseline/big/*.log")
    assert "answers were cut at 77 tokens" in log.read_text(encoding="utf-8")
    for name in ("main.md", "main.tex", "main.html"):
        shown = (run / "tables" / name).read_text(encoding="utf-8").replace("\\", "")
        assert "were cut at their limit of tokens" in shown
        assert "raise models.big.max_tokens" in shown.replace("{_}", "_")
    verdicts = read_frame(run / "data" / "verdicts.parquet")
    (line,) = cuts(verdicts)
    assert line.startswith("big: in ")
    main, none = pd.read_csv(run / "tables" / "main.csv"), pd.DataFrame({"status": []})
    assert line in what_failed(main, none, verdicts)
    # Half of what the limit left is no verdict; a number says how many.
    cut = verdicts["cut"].fillna(value=False).astype(bool)
    assert set(verdicts.loc[cut, "outcome"].astype(str)) == {"unparsed"}
    assert "are estimates from their lengths" in (run / "tables" / "cost.md").read_text(encoding="utf-8")
    manifest = json.loads((run / "manifest.json").read_text(encoding="utf-8"))
    assert manifest["usage"]["estimated_calls"] == manifest["usage"]["calls"] > 0
    (remark,) = what_servers_did(manifest)
    assert remark.startswith("big: replies have no token counts")


@pytest.mark.parametrize(
    ("method", "cut"),
    [("default", ""), ("criteria", "Weight <1-5>:"), ("criteria", "Criterion <number>:"), ("scorecard", "")],
)
@pytest.mark.parametrize("reason", ["length", "stop"])
def test_every_way_of_judging_in_words_knows_of_cut_answers(tmp_path: Path, method: str, cut: str, reason: str) -> None:
    def said(body: dict[str, Any]) -> Answer:
        """Calls with some words in their instruction are cut, or none is."""
        return Answer(judge(body).text, finish_reason=reason if cut in body["messages"][0]["content"] else "stop")

    with ScriptedServer(said) as server:
        entry = {"backend": "openai", "model": "x", "api_base": server.url}
        raw = {"run": "r", "datasets": {"d": {"path": "v"}}, "models": {"m": entry}, "store": str(tmp_path / "s")}

        async def judged() -> tuple[Verdict, ...]:
            async with Job(parse_config(raw), RuntimeSettings(tmp_path, 1)).model("m") as model:
                judge_by = parse_method(method).method.judge
                assert isinstance(judge_by, Judge)
                return await judge_by.pairs(model, [pair("p")], JudgeContext(), JudgeSettings())

        assert {verdict.cut for verdict in asyncio.run(judged())} == {reason == "length"}


@pytest.mark.parametrize(("cut", "warned"), [(1, False), (2, True)])
def test_five_percent_are_not_told_of(tmp_path: Path, caplog: pytest.LogCaptureFixture, cut: int, warned: bool) -> None:
    def some(body: dict[str, Any]) -> Answer:
        number = int(body["messages"][-1]["content"])
        return Answer("Some words", finish_reason="max_tokens" if number < cut else "stop")

    with ScriptedServer(some) as server:
        entry = {"backend": "openai", "model": "x", "api_base": server.url, "max_tokens": 30}
        raw = {"run": "r", "datasets": {"d": {"path": "v"}}, "models": {"m": entry, "other": entry}}
        config = parse_config({**raw, "store": str(tmp_path / "s"), "learn": {"persona": {"max_tokens": 30}}})

        async def asked() -> None:
            async with Job(config, RuntimeSettings(tmp_path, 1)).model("m") as model:
                requests = [Request((Message("user", str(number)),), 30) for number in range(20)]
                await asyncio.gather(*map(model.complete, requests))

        # The second time from the store.
        for _ in range(2):
            caplog.clear()
            with caplog.at_level(logging.WARNING):
                asyncio.run(asked())
            told = [record.getMessage() for record in caplog.records if "were cut" in record.getMessage()]
            assert len(told) == warned
            assert all("2 of 20 answers were cut at 30 tokens (10 %)" in line for line in told)
            assert all(line.endswith("raise models.m.max_tokens or learn.persona.max_tokens") for line in told)
    assert limits_of(config, "m", 31) == []


def test_labels_and_frames_of_earlier_versions_have_no_cut_answers() -> None:
    assert cuts(pd.DataFrame({"outcome": ["correct"]})) == []
