"""A scripted judge of generated answers: `good` beats `bad` in quality, and an answer that names the persona's animal
wins in personalization.

A word in the prompt makes it another judge there: `always-first`, `mumbles`, and `refuses`.
"""

from __future__ import annotations

import re
from typing import Any

from support.scripted_server import Answer

_SHOWN = re.compile(
    r"Prompt:\n(?P<prompt>.*?)\n\nAnswer (?:First|A):\n(?P<first>.*?)\n\nAnswer (?:Second|B):\n(?P<second>.*?)"
    r"(?:\n\nThe person: The user likes (?P<animal>\w+)\.)?\n\nWhich",
    re.DOTALL,
)


def compared(body: dict[str, Any]) -> dict[str, str]:
    """What a question shows: prompt, first, second and animal (None where nobody is described)."""
    asked = next(message["content"] for message in reversed(body["messages"]) if message["role"] == "user")
    found = _SHOWN.search(asked)
    assert found, asked
    return found.groupdict()


def answer(body: dict[str, Any]) -> Answer:
    if any("Paris" in message["content"] for message in body["messages"]):
        return Answer("A", logprobs=[[(" A", -0.1), (" B", -2.4)]])  # the probe of labels
    shown = compared(body)
    if "mumbles" in shown["prompt"]:
        return Answer("I could go either way.")
    if "refuses" in shown["prompt"]:
        return Answer("", finish_reason="content_filter")
    sought = shown["animal"] or "good"
    is_first = sought in shown["first"] or "always-first" in shown["prompt"]
    if not is_first and sought not in shown["second"]:
        is_first = True  # neither has it: the place decides
    if body.get("logprobs"):
        return Answer("A", logprobs=[[(" A", -0.1 if is_first else -2.4), (" B", -2.4 if is_first else -0.1)]])
    return Answer(f"So.\nPreference: {'First' if is_first else 'Second'}")
