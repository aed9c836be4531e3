"""What a reply may lack or hold too much: thinking in its text, and token counts that are missing or too small."""

from __future__ import annotations

import asyncio
import time

import pytest
from support.ports import SPEC, ScriptedBackend, request

from personalrm.llm.cache.store import ResponseStore
from personalrm.llm.client import REMARKS, ModelClient
from personalrm.llm.thinking import without_thinking
from personalrm.llm.types import Request, Response, Usage

ANSWERS = {
    "between tags": ("<think>\nHates cats?\n</think>\n\nLikes dogs.", "Likes dogs.", "Hates cats?", "stop"),
    "a closing tag alone": ("Hates cats?\n</think>\n\nLikes dogs.", "Likes dogs.", "Hates cats?", "stop"),
    "never closed": ("Likes dogs. <think>Or cats?", "", "Or cats?", "length"),
    "twice": ("<think>a</think>One. [THINK]b[/THINK] Two.", "One.   Two.", "a\nb", "stop"),
    "with a prefix": ("<seed:think>a</seed:think>One.", "One.", "a", "stop"),
    "between triangles": ("◁think▷a◁/think▷One.", "One.", "a", "stop"),
    "channels": (
        "<|channel|>analysis<|message|>a<|end|><|start|>assistant<|channel|>final<|message|>One.",
        "One.",
        "a",
        "stop",
    ),
    "another channel": (
        "<|start|>assistant<|channel|>commentary<|message|>a<|end|><|start|>assistant<|channel|>final "
        "<|constrain|>json<|message|>One.<|return|>",
        "One.",
        "a",
        "stop",
    ),
    "channels whose marks were stripped": ("analysisa.assistantfinalOne.", "One.", "a.", "stop"),
    "reasoning that was asked for": ("<reasoning>a</reasoning>\nOne.", "<reasoning>a</reasoning>\nOne.", "", "stop"),
    "thoughts and answer": ("<thoughts>a</thoughts>\n<answer>\nOne.\n</answer>", "One.", "a", "stop"),
    "in two steps": ("<scratchpad>a</scratchpad><reflection>b</reflection>One.", "One.", "a\nb", "stop"),
    "with blanks": ("<think >a</think >One.", "One.", "a", "stop"),
    "between long marks": (
        "<|START_THINKING|>a<|END_THINKING|><|START_RESPONSE|>One.<|END_RESPONSE|>",
        "One.",
        "a",
        "stop",
    ),
    "analysis": ("<analysis>a</analysis>One.", "One.", "a", "stop"),
    "analysis in an answer": ("One </analysis>", "One </analysis>", "", "stop"),
    "a thought process": ("Here is my thought process: a\nHere is my response: One.", "One.", "a", "stop"),
    "a thought process alone": ("Here is my thought process: One.", "Here is my thought process: One.", "", "stop"),
    "a lone end": ("One.<|return|>", "One.", "", "stop"),
    "two ends": ("One. <|im_end|>\n<|endoftext|>\n", "One.", "", "stop"),
    "its own head": ("<|im_start|>assistant\nOne.<|im_end|>", "One.", "", "stop"),
    "a turn that follows": ("One.<|eot_id|><|start_header_id|>user<|end_header_id|>\n\nAnd?", "One.", "", "stop"),
    "an old end": ("<s> One.</s>", "One.", "", "stop"),
    "a line through a word": ("<s>No</s> One </s>", "<s>No</s> One </s>", "", "stop"),
    "types in code": ("List<Thought> a; Set<Reflection> b;", "List<Thought> a; Set<Reflection> b;", "", "stop"),
    "tags that are spoken of": ("`<think>`, `</think>`, not <b>", "`<think>`, `</think>`, not <b>", "", "stop"),
    "code in thinking": ("<think>a `b`</think>`c`", "`c`", "a `b`", "stop"),
    "other thinking that speaks of a response": ("<think>a Here is my response: b", "", "a  b", "length"),
    "nothing but an analysis": ("<analysis>One.</analysis> ", "<analysis>One.</analysis> ", "", "stop"),
    "a template in code": ("```\n<|user|>\n```\nOne.", "```\n<|user|>\n```\nOne.", "", "stop"),
    "a turn after code": ("`a`<|user|>And?", "`a`", "", "stop"),
    "a document": ("<response><b>1</b></response>", "<response><b>1</b></response>", "", "stop"),
    "an answer in tags": ("<answer>One.</answer>", "One.", "", "stop"),
    "two answers in tags": ("<answer>1</answer><answer>2</answer>", "<answer>1</answer><answer>2</answer>", "", "stop"),
    "none": (" Likes <b>dogs</b>. ", " Likes <b>dogs</b>. ", "", "stop"),
}


class Says(ScriptedBackend):
    """Answers with one text."""

    text = ""

    async def call(self, request: Request) -> Response:
        await super().call(request)
        return Response(self.text, "stop", self.usage)


@pytest.mark.parametrize("name", ANSWERS)
def test_thinking_is_no_part_of_what_is_said(store: ResponseStore, name: str) -> None:
    text, said, thought, reason = ANSWERS[name]
    backend = Says()
    backend.text = text
    client = ModelClient(SPEC, backend, store)
    for _ in ("new", "stored"):
        answer = asyncio.run(client.complete(request()))
        assert (answer.text, answer.reasoning, answer.finish_reason) == (said, thought, reason)
        client = ModelClient(SPEC, backend, store)
    assert backend.calls == 1
    raw = store.get(answer.key)
    assert raw is not None
    assert raw.text == text


@pytest.mark.parametrize(
    "part", [" ", "</s>", "<s>", "<|end|>", "<think>", "</think>", "<answer>", "<|im_start|>assistant", "<"]
)
def test_a_million_characters_are_read_within_seconds(part: str) -> None:
    start = time.process_time()
    without_thinking(Response("a" + part * (10**6 // len(part)) + "b", "stop", Usage()))
    without_thinking(Response(part * (10**6 // len(part)), "stop", Usage()))
    without_thinking(Response("<|channel|>final<|constrain|>" + part * (10**6 // len(part)), "stop", Usage()))
    assert time.process_time() - start < 5


@pytest.mark.parametrize("usage", [Usage(), Usage(0, 3), Usage(7, 0)])
def test_an_answer_without_token_counts_has_estimates(store: ResponseStore, usage: Usage) -> None:
    backend = Says(usage=usage)
    backend.text = "word " * 6
    answer = asyncio.run(ModelClient(SPEC, backend, store).complete(request("hello")))
    assert answer.usage == Usage(usage.tokens_in or 10, usage.tokens_out or 10, estimated=True)
    assert answer.cost_usd == pytest.approx((answer.usage.tokens_in * 2 + answer.usage.tokens_out * 4) / 1e6)
    assert store.get(answer.key) == answer


@pytest.mark.parametrize(("counted", "warnings"), [(20, 1), (200, 0)])
def test_a_server_that_cuts_prompts_is_warned_of_once(
    store: ResponseStore, caplog: pytest.LogCaptureFixture, counted: int, warnings: int
) -> None:
    client = ModelClient(SPEC, ScriptedBackend(usage=Usage(counted, 5)), store)
    for number in range(3):
        asyncio.run(client.complete(request(f"{number}" + "word " * 200)))
    assert len(caplog.records) == warnings
    assert all("context_length" in record.getMessage() for record in caplog.records)
    # What manifest and report repeat.
    assert list(store.peek(REMARKS).get(SPEC.identity, {})) == ["cuts prompts"] * warnings
