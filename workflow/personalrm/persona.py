"""Stage 2: persona induction (paper, section 3; facts file, 3.2): from judgements to a description."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeVar

from personalrm.errors import ContextOverflow
from personalrm.judge import LABELS, PromptStyle
from personalrm.llm import tokens
from personalrm.llm.types import LanguageModel, Message, Request
from personalrm.parsing import whole_sentences
from personalrm.persona_json import NO_OBJECT, canonical_persona, json_schema
from personalrm.prompting import Prompt, load_prompt
from personalrm.records import Demonstration
from personalrm.theta import Theta
from personalrm.variants import JSON, PersonaFormat

Item = TypeVar("Item")


@dataclass(frozen=True)
class PersonaSettings:
    """Prompt style and length of the persona in tokens; `shortening` as in `variants.Repairs`; an optimised `theta`,
    for the `format` "text" alone."""

    style: PromptStyle = "standard"
    max_tokens: int = 512
    shortening: bool = True
    theta: Theta | None = None
    format: PersonaFormat = "text"

    @property
    def prompt(self) -> Prompt:
        """The prompt file of the style and format."""
        return load_prompt(f"persona_json_{self.style}" if self.format == JSON else f"persona_{self.style}")

    @property
    def schema(self) -> str | None:
        """The JSON schema of the answer; None for text."""
        return json_schema(self.style) if self.format == JSON else None


class Induced(NamedTuple):
    """A persona (None where the model wrote nothing) and what a reader should know about it."""

    persona: str | None
    events: tuple[str, ...]


def demonstration_values(demonstration: Demonstration, style: PromptStyle) -> dict[str, object]:
    """What the prompts that learn from judgements can show of one."""
    pair, swapped = demonstration.pair, demonstration.swapped
    first, second = (pair.rejected, pair.chosen) if swapped else (pair.chosen, pair.rejected)
    return {
        "context": pair.context,
        "question": pair.context[-1].content if pair.context else "",
        "chosen": pair.chosen,
        "rejected": pair.rejected,
        "first": first,
        "second": second,
        "label": LABELS[style][1 if swapped else 0],
        "reasoning": demonstration.reasoning,
    }


def persona_messages(demonstrations: Sequence[Demonstration], settings: PersonaSettings) -> tuple[Message, ...]:
    """Messages of the one call that induces a persona. Demonstrations of a Theta stand as turns before its input."""
    shown = [demonstration_values(demonstration, settings.style) for demonstration in demonstrations]
    if settings.theta is None:
        return settings.prompt.messages(demonstrations=shown)
    system, *rest = settings.prompt.messages(demonstrations=shown, instruction=settings.theta.instruction)
    turns = [
        message
        for judgements, persona in settings.theta.demonstrations
        for message in (Message("user", judgements), Message("assistant", persona))
    ]
    return (system, *turns, *rest)


async def induce_persona(
    model: LanguageModel, demonstrations: Sequence[Demonstration], settings: PersonaSettings
) -> Induced:
    """Persona of one user. Input that does not fit is shortened by whole judgements, the first first, and so recorded.
    Where JSON is asked for, an answer that is none is kept as text, and so recorded.

    Raises ModelCallError as the port does; ContextOverflow if even a single judgement does not fit, or where nothing is
    shortened.
    """

    def build(kept: Sequence[Demonstration]) -> tuple[Message, ...]:
        return persona_messages(kept, settings)

    dropped = 0
    if settings.shortening:
        text, dropped = await ask_shortened(model, demonstrations, build, settings.max_tokens, settings.schema)
    else:
        text = await _ask(model, build(demonstrations), settings.max_tokens, settings.schema)
    persona = whole_sentences(text.words) if text.cut else text.words
    events = [f"persona input shortened by {dropped} of {len(demonstrations)} judgements"] if dropped else []
    if persona and settings.format == JSON:
        read = canonical_persona(text.words, settings.style)
        events += [NO_OBJECT] if read is None else []
        persona = persona if read is None else read
    if not persona:
        events.append("the model wrote an empty persona")
    return Induced(persona or None, tuple(events))


class Written(NamedTuple):
    """What a model wrote, the start that it was given included, and whether the token limit cut it off."""

    words: str
    cut: bool


async def ask_shortened(
    model: LanguageModel,
    items: Sequence[Item],
    build: Callable[[Sequence[Item]], tuple[Message, ...]],
    max_tokens: int,
    schema: str | None = None,
) -> tuple[Written, int]:
    """One call about several items, and how many of them (whole ones, the first first) had to be left out to fit.
    The answer is held to a JSON `schema` by backends that can.

    Raises ModelCallError as the port does; ContextOverflow if even a single item does not fit.
    """
    kept = list(items)
    room = model.spec.context_length - max_tokens
    while len(kept) > 1 and not tokens.fits(build(kept), room, model.spec):
        kept.pop(0)
    while True:
        try:
            return await _ask(model, build(kept), max_tokens, schema), len(items) - len(kept)
        except ContextOverflow:
            if len(kept) <= 1:
                raise
            kept.pop(0)


async def _ask(
    model: LanguageModel, messages: tuple[Message, ...], max_tokens: int, schema: str | None = None
) -> Written:
    response = await model.complete(Request(messages=messages, max_tokens=max_tokens, json_schema=schema))
    text = response.text.strip()
    if not text:
        return Written("", False)
    start = messages[-1].content if messages[-1].role == "assistant" else ""
    return Written(f"{start} {text}".strip(), response.finish_reason == "length")
