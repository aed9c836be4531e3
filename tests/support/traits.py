"""A model that sees two traits of answers, for tests of scores by attributes: `!` makes an answer loud, `?` curious.

It answers both forms of the question, and the judge's own (`better`, by the number of `GOOD`), with a bias in favour of
the answer that is shown first.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence
from typing import Any

from support.scripted_judge import Answer

SIGNS = {"loud": "!", "curious": "?", "better": "GOOD"}
"""What makes an answer so, by comparative."""
BIAS = 0.5
BANK = """\
version: 1
attributes:
  - {id: is_loud, group: tone, comparative: loud, more: loud answers, less: calm answers, core: true}
  - {id: is_curious, group: interaction, comparative: curious, more: questions, less: statements}
"""


def shown(messages: Sequence[dict[str, Any]]) -> tuple[str, str]:
    """The answers of the pair in a prompt, in the order in which they stand."""
    asked = next(str(m["content"]) for m in messages if m["role"] == "user")
    end = r"\n\n(?:Compare both|Read both|Which response does)"
    found = re.search(rf"Response (?:A|First):\n(.*?)\n\nResponse (?:B|Second):\n(.*?){end}", asked, re.DOTALL)
    assert found, asked
    return found[1], found[2]


def says(body: dict[str, Any]) -> Answer:
    """Sees traits as they are, but for the bias; ratings as far as the scale goes."""
    if not body["max_tokens"]:
        return Answer("")  # an embedded model's server evaluates the start of a prompt
    if "capital of France" in str(body["messages"]):
        return Answer(" A", logprobs=[[(" A", -0.1), (" B", -2.5)]], finish_reason="length")  # the probe of labels
    first, second = shown(body["messages"])

    def lead(name: str) -> float:
        return first.count(SIGNS[name]) - second.count(SIGNS[name]) + BIAS

    if body.get("logprobs"):
        question = [str(m["content"]) for m in body["messages"] if m["role"] == "user"][-1]
        asked = re.search(r"Which response is (\w+)\?", question)
        odds = lead(asked[1] if asked else "better")
        labels = ("First", "Second") if "Response First:" in str(body["messages"]) else ("A", "B")
        top = [(f" {labels[0]}", -math.log1p(math.exp(-odds))), (f" {labels[1]}", -math.log1p(math.exp(odds)))]
        return Answer(top[0][0], logprobs=[sorted(top, key=lambda one: -one[1])], finish_reason="length")
    listed = re.findall(r"^\d+\. (\w+): (\w+)$", str(body["messages"][0]["content"]), re.MULTILINE)
    return Answer(json.dumps({name: max(-2, min(2, lead(comparative))) for name, comparative in listed}))


def sorts(body: dict[str, Any]) -> Answer:
    """Sees traits, and sorts questions by their topic (`About food: …`), in the form of the schema if there is one."""
    if "You sort the questions" not in str(body["messages"]):
        return says(body)
    listed = re.findall(r"^(\d+)\. About (\w+):", body["messages"][1]["content"], re.MULTILINE)
    named = {topic: [int(number) for number, one in listed if one == topic] for topic in ("food", "work")}
    if "response_format" in body:
        return Answer(json.dumps({"kinds": [{"name": name, "questions": part} for name, part in named.items()]}))
    return Answer(json.dumps(named))
