"""A scripted model for persona inference: a persona quotes the response that it is of, and the judge finds the quote.

A word in the prompt of a pair makes it another judge there: `always-first`; `mumbles` and `refuses`, about personas of
the chosen response; `contrary`, which prefers the other persona.
"""

from __future__ import annotations

import re
from typing import Any

from support.scripted_server import Answer

_SHOWN = re.compile(
    r"Response (?:First|A):\n(.*?)\n\nResponse (?:Second|B):\n(.*?)\n\nThe person: (.*?)\n\n", re.DOTALL
)
_TWO = re.compile(r"Description (?:First|A):\n(.*?)\n\nDescription (?:Second|B):\n(.*?)\n\n", re.DOTALL)
_PREFERRED = re.compile(r"Preferred response:\n(.*?)\n\nOther response:", re.DOTALL)
LOGPROBS = ((" A", -0.1), (" B", -2.4))


def pair(number: int, word: str = "") -> dict[str, Any]:
    """A pair whose prompt, responses and (so) personas have the word in them."""
    chosen, rejected = (f"the {side} answer {number}, {word}" for side in ("better", "worse"))
    return {"id": f"p{number}", "prompt": f"Question {number} {word}?", "chosen": chosen, "rejected": rejected}


def swapped(row: dict[str, Any]) -> dict[str, Any]:
    return row | {"chosen": row["rejected"], "rejected": row["chosen"]}


def answer(body: dict[str, Any]) -> Answer:
    asked = next(message["content"] for message in reversed(body["messages"]) if message["role"] == "user")
    if preferred := _PREFERRED.search(asked):
        return Answer(f"\nPersona: The user wants {preferred[1]}\nThe user is long-winded.")
    personas, pairs = _TWO.search(asked), _SHOWN.search(asked)
    if pairs:
        first, second, persona = pairs.groups()
        is_first = first in persona
        assert is_first != (second in persona)
        better = "better" in persona
    else:
        assert personas
        is_first, better = "better" in personas[1], True
    if "mumbles" in asked and better:
        return Answer("I could go either way.")
    if "refuses" in asked and better and pairs:
        return Answer("", finish_reason="content_filter")
    if "contrary" in asked and personas:
        is_first = not is_first
    if "always-first" in asked:
        is_first = True
    if body.get("logprobs"):
        a, b = LOGPROBS if is_first else ((" A", -2.4), (" B", -0.1))
        return Answer(a[0], logprobs=[[a, b]])
    return Answer(f"Preference: {'First' if is_first else 'Second'}")
