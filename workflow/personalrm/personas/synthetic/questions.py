"""Questions of a domain, written by a model from a few examples; near-duplicates are removed and counted."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from personalrm.core.concurrency import concurrently
from personalrm.core.errors import ModelCallError
from personalrm.core.files import stable_hash
from personalrm.data.near_duplicates import folded, near_duplicates
from personalrm.judge.judge import failure_outcome, is_refused
from personalrm.judge.prompting import PROMPT_DIR, Prompt, load_prompt
from personalrm.llm.types import LanguageModel, Request, Response

FOLDER = PROMPT_DIR / "fspo"
_MARK = re.compile(r"^(?:[-*•–]|\(?\d{1,3}[.):])\s+")
_LEAST_WORDS, _MOST_LETTERS = 2, 400


@dataclass(frozen=True)
class QuestionAsking:
    """How questions are asked for.

    Attributes:
        about: subject.
        per_call: questions asked for in one call.
        examples: questions shown as examples at most.
        rounds: how often more are asked for while some are missing.
        similarity: share of letters in common from which two questions are near-duplicates.
        temperature, max_tokens: of a call.
        seed: of the calls, and of which examples are shown.
    """

    about: str
    per_call: int = 10
    examples: int = 5
    rounds: int = 3
    similarity: float = 0.9
    temperature: float = 1.0
    max_tokens: int = 1024
    seed: int = 0

    @property
    def prompts(self) -> tuple[Prompt, ...]:
        """Prompt files in use."""
        return (load_prompt("ask", FOLDER),)


class Questions(NamedTuple):
    """Different questions in the order in which they were written, and how many near-duplicates were dropped."""

    texts: list[str]
    duplicates: int


def listed(text: str) -> list[str]:
    r"""The items of a list, one per line, without bullets, numbers, marks of emphasis and quotation marks.

    Headings, lines of a single word and very long lines are left out.

    >>> listed("Here they are:\n\n1. Why is *tea* hot?\n- **Why not?**\n2) \"Is it so?\"\nYes")
    ['Why is *tea* hot?', 'Why not?', 'Is it so?']
    """
    lines = (_MARK.sub("", line.strip()).strip("*_\"'“”# ").strip() for line in text.splitlines())
    return [
        line for line in lines if len(line.split()) >= _LEAST_WORDS and len(line) <= _MOST_LETTERS and line[-1] != ":"
    ]


def whole_items(response: Response) -> list[str]:
    """The items of a list that a model wrote: none of a refusal, and not the last one of an answer that was cut."""
    lines = [] if is_refused(response) else listed(response.text)
    return lines[:-1] if response.cut else lines


def distinct(texts: Sequence[str], similarity: float) -> list[str]:
    """`texts` without those that are near-duplicates of an earlier one that is kept.

    >>> distinct(["Why is tea hot?", "why is tea HOT", "Why is tea cold?"], 0.95)
    ['Why is tea hot?', 'Why is tea cold?']
    """
    dropped: set[int] = set()
    for earlier, later in sorted(near_duplicates(texts, similarity), key=lambda pair: pair[::-1]):
        if earlier not in dropped or folded(texts[earlier]) == folded(texts[later]):
            dropped.add(later)
    return [text for place, text in enumerate(texts) if place not in dropped]


async def ask_questions(
    model: LanguageModel, asking: QuestionAsking, wanted: int, *, trait: str = "", given: Sequence[str] = ()
) -> Questions:
    """`wanted` different questions, `given` ones first; fewer where the model writes no more.

    `trait` is the sentence about the people who would ask them; empty: anyone. Calls that fail give no question.
    """
    found = distinct(list(given), asking.similarity)
    duplicates = len(given) - len(found)
    for number in range(asking.rounds):
        missing = wanted - len(found)
        if missing <= 0:
            break
        requests = [
            _request(asking, trait, found, min(asking.per_call, missing), f"{number}.{call}", number * 1000 + call)
            for call in range(math.ceil(missing / asking.per_call))
        ]
        written = await concurrently(*(_written(model, request) for request in requests))
        new = [line for lines in written for line in lines]
        together = distinct([*found, *new], asking.similarity)
        duplicates += len(found) + len(new) - len(together)
        found = together
    return Questions(found[:wanted], duplicates)


def _request(asking: QuestionAsking, trait: str, known: Sequence[str], count: int, salt: str, sample: int) -> Request:
    """A request for `count` questions, with some of the known ones as examples."""
    shown = sorted(known, key=lambda text: stable_hash("example", str(asking.seed), trait, salt, text))
    (prompt,) = asking.prompts
    messages = prompt.messages(about=asking.about, trait=trait, examples=shown[: asking.examples], count=count)
    return Request(
        messages,
        max_tokens=asking.max_tokens,
        temperature=asking.temperature,
        seed=asking.seed,
        sample_index=sample,
    )


async def _written(model: LanguageModel, request: Request) -> list[str]:
    try:
        response = await model.complete(request)
    except ModelCallError as error:
        failure_outcome(error)  # raises an error that concerns the whole job again
        return []
    return whole_items(response)
