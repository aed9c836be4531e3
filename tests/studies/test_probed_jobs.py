"""The probe of labels in jobs and checks, on real sockets: backends, one alternative, servers mended or away."""

from __future__ import annotations

import asyncio
import math
from pathlib import Path
from typing import Any

import pytest
from support.models import pair
from support.scripted_judge import Answer, judge
from support.scripted_server import Fault, ScriptedServer

from personalrm import DefaultJudge
from personalrm.core.errors import ConfigError, ModelCallError
from personalrm.core.records import Verdict
from personalrm.judge.judge import JudgeContext, JudgeSettings, PromptStyle, judge_pairs
from personalrm.judge.label_probe import UnreadableLabels, probe_request
from personalrm.llm.backends.openai_format import wire_body
from personalrm.llm.open import RuntimeSettings
from personalrm.studies.config_load import parse_config
from personalrm.studies.preflight import missing
from personalrm.studies.study import Needs
from personalrm.studies.synthesizeme.config import Config
from personalrm.studies.synthesizeme.stages.runner import Job

CONTINUES: dict[str, Any] = {"continue_final_message": True, "add_generation_prompt": False}
PAIRS = tuple(pair(f"p{number}") for number in range(3))


def config_for(server: ScriptedServer, style: PromptStyle = "compact", **changes: object) -> Config:
    entry = {"backend": "openai", "model": "x", "api_base": server.url, "prompts": style, "max_attempts": 1, **changes}
    entry.setdefault("verdicts", ["logprob"])
    raw = {"run": "r", "datasets": {"d": {"path": "v.jsonl"}}, "models": {"m": entry}, "learn": {"models": ["m"]}}
    return parse_config(raw)


def judged(config: Config, folder: Path, mode: str = "logprob", jobs: int = 1) -> tuple[Verdict, ...]:
    """Verdicts on all pairs, by so many jobs on one store, one after the other; those of the last."""
    config = config.model_copy(update={"store": folder / "store.sqlite"})
    settings = JudgeSettings(config.models["m"].prompts, mode)  # type: ignore[arg-type]

    async def job() -> tuple[Verdict, ...]:
        async with Job(config, RuntimeSettings(folder / "runtime", cores=1)).model("m") as model:
            return await judge_pairs(model, PAIRS, JudgeContext(), settings)

    for _ in range(jobs - 1):
        asyncio.run(job())
    return asyncio.run(job())


def of_tokens(**odds: float) -> Answer:
    top = [(f" {token}", math.log(p)) for token, p in odds.items()]
    return Answer(top[0][0], logprobs=[top], finish_reason="length")


def new_turn(body: dict[str, Any]) -> Answer | str:
    """A server that opens a new turn after the start of the answer, unless the body has it go on: `A` is an article."""
    if all(body.get(key) == value for key, value in CONTINUES.items()):
        return judge(body)
    return of_tokens(The=0.5, A=0.3, I=0.15, B=0.01)


def is_probe(body: dict[str, Any], style: PromptStyle = "compact") -> bool:
    return "capital of France" in str(body["messages"]) and len(body["messages"]) == len(probe_request(style).messages)


@pytest.mark.parametrize("backend", ["openai", "litellm"])
def test_the_extra_body_that_the_message_names_mends_it(tmp_path: Path, backend: str) -> None:
    with ScriptedServer(new_turn) as server:
        model: dict[str, Any] = {
            "backend": backend,
            "model": "openai/x" if backend == "litellm" else "x",
            "timeout_s": 60,
        }
        verdicts = judged(config_for(server, extra_body=CONTINUES, **model), tmp_path)
        assert {verdict.outcome for verdict in verdicts} <= {"correct", "wrong"}
        assert all(body["continue_final_message"] is True for body in server.requests)
        assert all(body["add_generation_prompt"] is False for body in server.requests)


@pytest.mark.parametrize("style", ["compact", "standard"])
def test_one_probe_for_all_jobs_and_calls_of_a_run(tmp_path: Path, style: PromptStyle) -> None:
    with ScriptedServer(judge) as server:
        judged(config_for(server, style), tmp_path, jobs=3)
        assert is_probe(server.requests[0], style)
        assert sum(is_probe(body, style) for body in server.requests) == 1
        assert server.count == 1 + 2 * len(PAIRS)


def test_a_perfect_judge_that_lists_one_alternative_is_right_in_all(tmp_path: Path) -> None:
    def one(body: dict[str, Any]) -> Answer:
        text = str(body["messages"][-2]["content"])
        return of_tokens(**{"A" if text.find("GOOD") < text.find("BAD") else "B": 0.999})

    with ScriptedServer(one) as server:
        for mode in ("logprob", "logprob_both"):
            verdicts = judged(config_for(server), tmp_path, mode)
            assert {verdict.outcome for verdict in verdicts} == {"correct"}


def test_a_refusal_serves_all_jobs_of_a_run_and_the_next_run_asks_anew(tmp_path: Path) -> None:
    mended = False
    with ScriptedServer(lambda body: judge(body) if mended else new_turn(body)) as server:
        config = config_for(server).model_copy(update={"store": tmp_path / "store.sqlite"})
        for _ in range(2):
            with pytest.raises(UnreadableLabels):
                judged(config, tmp_path)
        assert server.count == 1
        mended = True
        assert missing(config, Needs(models={"m"})) == []
        assert {verdict.outcome for verdict in judged(config, tmp_path)} <= {"correct", "wrong"}
        count = server.count
        assert missing(config, Needs(models={"m"})) == []
        judged(config, tmp_path)
        assert server.count == count


def test_the_library_asks_a_mended_server_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    mended = False
    options = {"prompts": "compact", "verdicts": ["logprob"], "max_attempts": 1}
    with ScriptedServer(lambda body: judge(body) if mended else new_turn(body)) as server:

        def answered() -> int:
            with DefaultJudge("x", server.url, output_dir=tmp_path, model_options=options) as judging:
                return judging.predict_pairwise("What shall we do?", "Go for a hike.", "Watch a series.")

        with pytest.raises(UnreadableLabels):
            answered()
        mended = True
        assert answered() in (-1, 0, 1)


def test_calls_that_waited_for_a_lost_probe_share_its_error_and_later_ones_probe_again(tmp_path: Path) -> None:
    config = config_for(server := ScriptedServer(judge, faults=[Fault("status", 500)]).start())
    try:
        config = config.model_copy(update={"store": tmp_path / "s.sqlite"})
        asked = probe_request("compact")

        async def job() -> tuple[list[object], int]:
            async with Job(config, RuntimeSettings(tmp_path / "runtime", cores=1)).model("m") as model:
                first = await asyncio.gather(*(model.complete(asked) for _ in range(5)), return_exceptions=True)
                count = server.count
                await model.complete(asked)
                return list(first), count

        first, count = asyncio.run(job())
    finally:
        server.stop()
    assert all(isinstance(error, ModelCallError) for error in first)
    assert (count, server.count) == (1, 2)


def checked(server: ScriptedServer, verdicts: list[str]) -> Config:
    return config_for(server, verdicts=verdicts).model_copy(update={"check_endpoints": True})


@pytest.mark.parametrize("verdicts", [["logprob"], ["logprob_both"]])
def test_the_check_of_endpoints_probes(verdicts: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # where the config looks for its store
    with ScriptedServer(new_turn) as server:
        (problem,) = missing(checked(server, verdicts), Needs(models={"m"}))
        assert "continue_final_message" in problem
        assert server.count == 1
    with ScriptedServer(judge) as server:
        assert missing(checked(server, verdicts), Needs(models={"m"})) == []
        assert server.count == 1


@pytest.mark.parametrize("key", ["model", "messages", "seed", "temperature", "top_logprobs"])
def test_what_requests_set_themselves_is_no_extra_body(key: str) -> None:
    with ScriptedServer(judge) as server, pytest.raises(ConfigError, match=rf"models\.m\.extra_body.*{key}"):
        config_for(server, extra_body={key: 1})


def test_the_extra_body_is_sent_with_its_types_and_is_another_model_to_the_store() -> None:
    values: dict[str, Any] = {"b": True, "text": "true", "number": 0.5, "deep": {"z": [1, None], "a": "x"}}
    with ScriptedServer(judge) as server:
        plain = config_for(server).models["m"].spec("m")
        extra = config_for(server, extra_body=values).models["m"].spec("m")
        turned = config_for(server, extra_body=dict(reversed(values.items()))).models["m"].spec("m")
    body = wire_body(extra, probe_request("compact"))
    assert {name: body[name] for name in values} == values
    assert extra.identity == turned.identity != plain.identity
