"""Where a persona stands on each axis, and what each of its sentences is about.

`standard` models answer for all axes (and, apart, all sentences) in one list. `compact` models are asked one thing a
call, with the options under letters: each in two orders, of which the log-probabilities are added, because small models
favour letters.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

from personalrm.judge.call_recorder import Listener
from personalrm.judge.judge import PromptStyle, label_request, warn_of_alternatives
from personalrm.judge.parsing import numbered_choices, read_labels
from personalrm.judge.prompting import Prompt, load_prompt
from personalrm.llm.types import Request
from personalrm.methods.synthesizeme.persona_json import statements
from personalrm.personas.records import KINDS, TAGS, Axis, Kind, Tag

MOST_SENTENCES = 40
"""Sentences of a persona that are sorted; a persona with more has lost its way."""
WORDS: dict[str, Tag] = {"low": "low", "high": "high", "not mentioned": "absent"}
Option = TypeVar("Option", bound=str)


@dataclass(frozen=True)
class TagQuestion:
    """How personas are tagged: prompt style and, for lists, the length of the answer."""

    style: PromptStyle = "standard"
    max_tokens: int = 1024

    @property
    def prompts(self) -> tuple[Prompt, Prompt]:
        """Prompts for axes and for sentences."""
        return load_prompt(f"tags_{self.style}"), load_prompt(f"kinds_{self.style}")


async def tag_axes(
    model: Listener, persona: str, axes: Sequence[Axis], question: TagQuestion
) -> tuple[Tag | None, ...]:
    """Where the persona stands on each axis; None where the answer can not be read."""
    prompt = question.prompts[0]
    if question.style == "compact":
        return tuple(await asyncio.gather(*(choose(model, prompt, TAGS, persona=persona, axis=axis) for axis in axes)))
    said = await listed(model, prompt, len(axes), list(WORDS), question.max_tokens, persona=persona, axes=axes)
    return tuple(WORDS[word] if word else None for word in said)


async def tag_sentences(model: Listener, persona: str, question: TagQuestion) -> tuple[Kind | None, ...]:
    """What each sentence of the persona is about; None where the answer can not be read."""
    parts = statements(persona)[:MOST_SENTENCES]
    prompt = question.prompts[1]
    if question.style == "compact":
        return tuple(await asyncio.gather(*(choose(model, prompt, KINDS, sentence=part) for part in parts)))
    said = await listed(model, prompt, len(parts), KINDS, question.max_tokens, sentences=parts)
    return tuple(next((kind for kind in KINDS if kind == word), None) for word in said)


async def listed(
    model: Listener, prompt: Prompt, count: int, words: Sequence[str], max_tokens: int, **values: object
) -> tuple[str | None, ...]:
    """One of `words` for each of `count` numbered things in the prompt; None where the answer can not be read."""
    if not count:
        return ()
    response = await model.ask(Request(prompt.messages(**values), max_tokens=max_tokens))
    return numbered_choices(response.text if response else "", count, words)


async def choose(model: Listener, prompt: Prompt, options: Sequence[Option], **values: object) -> Option | None:
    """The likeliest option over both orders of showing. None where an order gave no letter, or two options are equal:
    a model that looks at the letters alone has chosen nothing."""

    async def order(shown: Sequence[Option]) -> dict[Option, float] | None:
        letters = "ABCDEFGH"[: len(shown)]
        response = await model.ask(label_request(prompt.messages(options=shown, **values)))
        odds = read_labels(response, letters) if response else None
        if response and odds is None:
            warn_of_alternatives(response)
        return None if odds is None else dict(zip(shown, odds, strict=True))

    straight, turned = await asyncio.gather(order(options), order(options[::-1]))
    if straight is None or turned is None:
        return None
    likeliest = sorted(options, key=lambda option: straight[option] + turned[option])[::-1]
    first, second = (straight[option] + turned[option] for option in likeliest[:2])
    return likeliest[0] if first > second else None
