"""A scripted judge of generated answers: `good` beats `bad` in quality, and an answer that names the persona's animal
wins in personalization.

A word in the prompt makes it another judge there: `always-first`, `mumbles`, and `refuses`.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from personalrm.judge import rubrics
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


@contextmanager
def prometheus_package(folder: Path) -> Iterator[Path]:
    """The file of prompts of a package of the name that Prometheus' prompt is read from; importing it would fail."""
    package = folder / "prometheus_eval"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("raise RuntimeError('needs a GPU')\n", encoding="utf-8")
    prompt = "Ask {instruction} | {response_A} | {response_B} | {rubric}"
    (package / "prompts.py").write_text(
        f"REL_SYSTEM_PROMPT = 'Be fair.'\nRELATIVE_PROMPT_WO_REF = {prompt!r}\n", encoding="utf-8"
    )
    sys.path.insert(0, str(folder))
    rubrics._prometheus_prompts.cache_clear()
    try:
        yield package / "prompts.py"
    finally:
        sys.path.remove(str(folder))
        rubrics._prometheus_prompts.cache_clear()
