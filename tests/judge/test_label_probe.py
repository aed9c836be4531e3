"""One probe for each model shows, before labels are read, that log-probabilities speak of the labels."""

from __future__ import annotations

import asyncio
import math
from pathlib import Path
from typing import Any

import pytest
from support.projects import Project, quickstart_votes, small_config, write_votes
from support.scripted_judge import Answer, judge
from support.scripted_server import ScriptedServer

from personalrm.judge.judge import PromptStyle
from personalrm.judge.label_probe import Probed, UnreadableLabels, probe_request
from personalrm.llm.cache.store import ResponseStore
from personalrm.llm.open import RuntimeSettings, open_model
from personalrm.llm.types import Message, ModelSpec, Request
from personalrm.studies.model_config import ModelConfig

RUNTIME = RuntimeSettings(Path("models"), Path("servers"), 1)
TEXT = Request((Message("user", "Say yes."),), max_tokens=4)


def alternatives(*listed: tuple[str, float]) -> Answer:
    """One generated token with these alternatives (text, probability)."""
    return Answer(listed[0][0], logprobs=[[(token, math.log(p)) for token, p in listed]])


NEW_TURN = alternatives((" The", 0.5), (" A", 0.3), (" I", 0.1), (" B", 0.05), (" It", 0.04))
"""What vLLM answers that opens a new turn behind the given start: `A` is an article there."""


def continues_if_told(body: dict[str, Any]) -> Answer:
    return judge(body) if body.get("continue_final_message") else NEW_TURN


def spec_of(server: ScriptedServer, **entry: object) -> ModelSpec:
    config = ModelConfig.model_validate(
        {"backend": "openai", "model": "m", "api_base": server.url, "verdicts": ["logprob"], **entry}
    )
    return config.spec("mine")


def ask(spec: ModelSpec, store: Path, style: PromptStyle, *requests: Request) -> None:
    """Ask through the probe, all requests at once, as a job of its own."""

    async def asked() -> None:
        async with open_model(spec, store=ResponseStore(store, run="r"), runtime=RUNTIME) as port:
            model = Probed(port, style)
            await asyncio.gather(*(model.complete(request) for request in requests))

    asyncio.run(asked())


def labels_about(*questions: str) -> list[Request]:
    asked = probe_request("compact")
    return [
        Request((Message("user", question), asked.messages[-1]), max_tokens=1, top_logprobs=20)
        for question in questions
    ]


def test_a_server_that_opens_a_new_turn_is_refused_before_any_label_is_read(tmp_path: Path) -> None:
    with ScriptedServer(lambda _: NEW_TURN) as server:
        with pytest.raises(UnreadableLabels) as raised:
            ask(spec_of(server), tmp_path / "s.sqlite", "compact", *labels_about("one", "two"))
        assert server.count == 1
    message = str(raised.value)
    assert "\n" not in message
    assert "models.mine.extra_body: {continue_final_message: true" in message
    assert "35% of the probability lies on 'A' and 'B' (likeliest: ' The', ' A', ' I')" in message


def test_with_the_key_that_the_message_names_the_same_server_is_read(tmp_path: Path) -> None:
    told = {"continue_final_message": True, "add_generation_prompt": False}
    with ScriptedServer(continues_if_told) as server:
        ask(spec_of(server, extra_body=told), tmp_path / "s.sqlite", "standard", *labels_about("one"))
        assert [body["add_generation_prompt"] for body in server.requests] == [False, False]
        # An answer to other settings is another answer, so the refused one is not found.
        assert spec_of(server).identity != spec_of(server, extra_body=told).identity


@pytest.mark.parametrize("wins", [0, 1])
@pytest.mark.parametrize(("mass", "readable"), [(0.5, True), (0.49, False)])
def test_half_of_the_mass_on_both_labels_is_enough_whichever_wins(
    tmp_path: Path, wins: int, mass: float, readable: bool
) -> None:
    labels = (" A", " B") if wins == 0 else (" B", " A")
    answer = alternatives((labels[0], mass - 0.05), (labels[1], 0.05), *((f" x{n}", 0.1) for n in range(5)))
    with ScriptedServer(lambda _: answer) as server:
        if readable:
            ask(spec_of(server), tmp_path / "s.sqlite", "compact", *labels_about("one"))
            assert server.count == 2
        else:
            with pytest.raises(UnreadableLabels):
                ask(spec_of(server), tmp_path / "s.sqlite", "compact", *labels_about("one"))


def test_a_server_without_log_probabilities_is_told_from_one_that_lists_too_few(tmp_path: Path) -> None:
    with ScriptedServer(lambda _: Answer("A")) as server, pytest.raises(UnreadableLabels, match="top_logprobs") as none:
        ask(spec_of(server), tmp_path / "none.sqlite", "compact", *labels_about("one"))
    assert "models.mine.verdicts: [text]" in str(none.value)
    few = alternatives((" The", 0.4))
    with ScriptedServer(lambda _: few) as server, pytest.raises(UnreadableLabels, match="lists 1 of 20 alternatives"):
        ask(spec_of(server), tmp_path / "few.sqlite", "compact", *labels_about("one"))


def test_the_probe_is_paid_for_once_in_all_jobs_and_not_for_words(tmp_path: Path) -> None:
    store = tmp_path / "s.sqlite"
    with ScriptedServer(judge) as server:
        ask(spec_of(server), store, "compact", TEXT)
        assert server.count == 1
        ask(spec_of(server), store, "compact", *labels_about("one", "two"))
        assert server.count == 1 + 1 + 2
        ask(spec_of(server), store, "compact", *labels_about("two", "three"))
        assert server.count == 4 + 1


@pytest.mark.parametrize(
    ("entry", "says"),
    [
        ({"backend": "embedded", "model": "smollm2-135m", "extra_body": {"x": 1}}, "'openai' and 'litellm' only"),
        ({"model": "m", "extra_body": {"messages": [], "top_logprobs": 2}}, "messages, top_logprobs: set by"),
    ],
)
def test_an_extra_body_that_cannot_be_sent_is_refused(entry: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        ModelConfig.model_validate(entry)


def test_a_run_and_its_check_of_endpoints_end_with_the_message(tmp_path: Path) -> None:
    def answer(body: dict[str, Any]) -> Answer:
        return NEW_TURN if body.get("top_logprobs") else judge(body)

    with ScriptedServer(answer) as server:
        config = small_config(server.url, draws=1, k=["all"], methods=["default", "demos"], transfer={})
        config["learn"]["models"] = ["tiny"]
        project = Project(tmp_path / "work", config)
        write_votes(project.folder / "votes.jsonl", quickstart_votes())
        output = project.snakemake("--config", "check_endpoints=true", ok=False)
        assert "models.tiny.extra_body: {continue_final_message: true" in output
        assert not (project.run / "data").exists()
        output = project.snakemake("results/small/tables/main.csv", ok=False)
        assert "models.tiny.extra_body: {continue_final_message: true" in output
        assert [body["model"] for body in server.requests if body.get("top_logprobs")] == ["tiny"] * 2
    assert not list((project.run / "traces").rglob("*/tiny/*.jsonl"))
