"""Where a persona stands on each axis, and what each of its sentences is about.

`standard` models answer for all axes (or all sentences) in one list. `compact` models are asked about one per call,
with the options under letters, in two orders whose log-probabilities are added: small models favour letters.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from personalrm.core.concurrency import concurrently
from personalrm.judge.call_recorder import Listener
from personalrm.judge.judge import PromptStyle, label_request, warn_of_alternatives
from personalrm.judge.parsing import numbered_choices, read_labels
from personalrm.judge.prompting import Prompt, load_prompt
from personalrm.llm.types import Request
from personalrm.methods.synthesizeme.persona_json import statements
from personalrm.personas.records import KINDS, Axis, Kind, Tag

MOST_SENTENCES = 40
"""Sentences of a persona that are sorted; a persona with more has lost its way."""
TAG_WORDS: dict[str, Tag] = {"low": "low", "high": "high", "not mentioned": "absent"}
KIND_WORDS: dict[str, Kind] = {kind: kind for kind in KINDS}
Option = TypeVar("Option", bound=str)


@dataclass(frozen=True)
class ListQuestion:
    """How several things are asked about a persona: prompt style and, for lists, the length of the answer in tokens."""

    style: PromptStyle = "standard"
    max_tokens: int = 1024


class TagQuestion(ListQuestion):
    """How personas are tagged."""

    @property
    def prompts(self) -> tuple[Prompt, Prompt]:
        """Prompts for axes and for sentences."""
        return load_prompt(f"tags_{self.style}"), load_prompt(f"kinds_{self.style}")


async def tag_axes(
    model: Listener, persona: str, axes: Sequence[Axis], question: TagQuestion
) -> tuple[Tag | None, ...]:
    """Where the persona stands on each axis; None where the answer cannot be read."""
    prompt = question.prompts[0]
    return await answers(model, prompt, question, TAG_WORDS, ("axis", "axes"), axes, persona=persona)


async def tag_sentences(model: Listener, persona: str, question: TagQuestion) -> tuple[Kind | None, ...]:
    """What each sentence of the persona is about; None where the answer cannot be read."""
    parts = statements(persona)[:MOST_SENTENCES]
    return await answers(model, question.prompts[1], question, KIND_WORDS, ("sentence", "sentences"), parts)


async def answers(
    model: Listener,
    prompt: Prompt,
    question: ListQuestion,
    words: Mapping[str, Option],
    name: tuple[str, str],
    things: Sequence[object],
    **values: object,
) -> tuple[Option | None, ...]:
    """Answers about each of `things` in a prompt that also shows `values`; None where one cannot be read.

    `words` are those of a list, with their options; `name` is that of one thing and of all in the prompts.
    """
    if not things:
        return ()
    if question.style == "compact":
        options = tuple(words.values())
        return tuple(
            await concurrently(*(choose(model, prompt, options, **values, **{name[0]: one}) for one in things))
        )
    request = Request(prompt.messages(**values, **{name[1]: things}), max_tokens=question.max_tokens)
    response = await model.ask(request)
    said = numbered_choices(response.text if response else "", len(things), list(words))
    return tuple(words[word] if word else None for word in said)


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

    straight, turned = await concurrently(order(options), order(options[::-1]))
    if straight is None or turned is None:
        return None
    likeliest = sorted(options, key=lambda option: straight[option] + turned[option])[::-1]
    first, second = (straight[option] + turned[option] for option in likeliest[:2])
    return likeliest[0] if first > second else None
