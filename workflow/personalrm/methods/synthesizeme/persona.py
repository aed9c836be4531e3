"""Stage 2: persona induction (paper, section 3): from judgements to a description.

Repair `persona_check` (our choice): a persona that says nothing (`persona_quality.py`) is sampled again at a
temperature above 0; where no attempt says anything, the least bad one is kept, and marked.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple, TypeVar

from personalrm.core.conditions import JSON, PersonaFormat
from personalrm.core.errors import ContextOverflow, Refused, RequestRejected
from personalrm.core.records import Demonstration, PersonaFlaw
from personalrm.judge.judge import LABELS, PromptStyle, is_refused
from personalrm.judge.parsing import whole_sentences
from personalrm.judge.prompting import Prompt, load_prompt
from personalrm.llm import tokens
from personalrm.llm.types import LanguageModel, Message, Request
from personalrm.methods.synthesizeme.bootstrap import sampled
from personalrm.methods.synthesizeme.persona_json import NO_OBJECT, canonical_persona, json_schema
from personalrm.methods.synthesizeme.persona_quality import SEVERITY, persona_flaw
from personalrm.methods.synthesizeme.theta import Theta

Item = TypeVar("Item")


@dataclass(frozen=True)
class PersonaSettings:
    """Prompt style and length of the persona in tokens; `shortening` as in `variants.Repairs`; an optimised `theta`,
    for the `format` "text" alone. At most so many `attempts` at a persona that says something: the first greedy, the
    others at the `temperature`; 1 without the repair `persona_check`."""

    style: PromptStyle = "standard"
    max_tokens: int = 512
    shortening: bool = True
    theta: Theta | None = None
    format: PersonaFormat = "text"
    attempts: int = 3
    temperature: float = 0.7

    @property
    def prompt(self) -> Prompt:
        """The prompt file of the style and format."""
        return load_prompt(f"persona_json_{self.style}" if self.format == JSON else f"persona_{self.style}")

    @property
    def schema(self) -> str | None:
        """The JSON schema of the answer; None for text."""
        return json_schema(self.style) if self.format == JSON else None


class Induced(NamedTuple):
    """A persona (None where the model wrote nothing), what a reader should know about it, and why it says nothing, if
    it does not."""

    persona: str | None
    events: tuple[str, ...]
    flaw: PersonaFlaw | None = None


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
    """Messages of the one call that induces a persona. Demonstrations of a Theta stand as turns before its input, in
    the layout of the input."""
    theta = settings.theta
    instructed = {"instruction": theta.instruction} if theta else {}

    def asked(judgements: Sequence[Demonstration]) -> tuple[Message, ...]:
        values = [demonstration_values(one, settings.style) for one in judgements]
        return settings.prompt.messages(demonstrations=values, **instructed)

    system, *rest = asked(demonstrations)
    turns: list[Message] = []
    for shown in theta.demonstrations if theta else ():
        judged = next(message for message in asked(shown.judgements) if message.role == "user")
        turns += [judged, Message("assistant", shown.persona)]
    return (system, *turns, *rest)


async def induce_persona(
    model: LanguageModel, demonstrations: Sequence[Demonstration], settings: PersonaSettings
) -> Induced:
    """Persona of one user. Input that does not fit is shortened by whole judgements, the first first, and so recorded.
    Where JSON is asked for, an answer that is none is kept as text, and so recorded. A persona that says nothing is
    sampled again, as often as the settings say; the first that says something is taken, else the least bad.

    Raises ModelCallError as the client does; ContextOverflow if even a single judgement does not fit, or
    where nothing is shortened.
    """

    def build(kept: Sequence[Demonstration]) -> tuple[Message, ...]:
        return persona_messages(kept, settings)

    dropped = 0
    if settings.shortening:
        text, dropped = await ask_shortened(model, demonstrations, build, settings.max_tokens, settings.schema)
    else:
        text = await _ask(model, persona_request(build(demonstrations), settings, 0))
    attempts = [_read(text, demonstrations, settings)]
    while attempts[-1].flaw is not None and len(attempts) < settings.attempts:
        again = persona_request(build(demonstrations[dropped:]), settings, len(attempts))
        text = await _ask(model, again)
        attempts.append(_read(text, demonstrations, settings))
    kept = min(attempts, key=lambda attempt: SEVERITY.index(attempt.flaw) if attempt.flaw else -1)
    shortened = [f"persona input shortened by {dropped} of {len(demonstrations)} judgements"] if dropped else []
    return kept._replace(events=(*shortened, *kept.events, *_sampled_again(attempts, kept)))


def _read(text: Written, demonstrations: Sequence[Demonstration], settings: PersonaSettings) -> Induced:
    """One attempt: the persona in what the model wrote, and whether it says anything."""
    persona = whole_sentences(text.words) if text.cut else text.words
    events: tuple[str, ...] = ()
    if persona and settings.format == JSON:
        read = canonical_persona(text.words, settings.style)
        events = (NO_OBJECT,) if read is None else ()
        persona = persona if read is None else read
    if not persona:
        events = (*events, "the model wrote an empty persona")
    shown = settings.theta.demonstrations if settings.theta else ()
    answers = (answer for one in demonstrations for answer in (one.pair.chosen, one.pair.rejected))
    # The prompt without judgements is what it says of itself.
    bare = persona_messages((), replace(settings, theta=settings.theta and replace(settings.theta, demonstrations=())))
    flaw = persona_flaw(
        persona,
        instruction="\n".join(message.content for message in bare if message.role != "assistant"),
        start=bare[-1].content if bare[-1].role == "assistant" else "",
        sources=(*answers, *(one.persona for one in shown)),
        is_json=settings.format == JSON,
    )
    return Induced(persona or None, events, flaw)


def _sampled_again(attempts: Sequence[Induced], kept: Induced) -> tuple[str, ...]:
    """Events of the attempts."""
    if kept.flaw is not None:
        return (f"the persona says nothing: {kept.flaw} (attempts: {len(attempts)})",)
    flaws = ", ".join(str(attempt.flaw) for attempt in attempts[:-1])
    return (f"persona sampled again, for attempts that said nothing: {flaws}",) if flaws else ()


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

    Raises ModelCallError as the client does; ContextOverflow if even a single item does not fit.
    """
    kept = list(items)
    room = model.spec.context_length - max_tokens
    while len(kept) > 1 and not tokens.fits(build(kept), room, model.spec):
        kept.pop(0)
    while True:
        try:
            return await _ask(model, Request(build(kept), max_tokens, json_schema=schema)), len(items) - len(kept)
        except ContextOverflow:
            if len(kept) <= 1:
                raise
            kept.pop(0)


def persona_request(messages: tuple[Message, ...], settings: PersonaSettings, attempt: int) -> Request:
    """The request of one attempt at a persona, from 0."""
    how = sampled(settings.temperature, attempt)
    return Request(messages, settings.max_tokens, json_schema=settings.schema, **how)  # type: ignore[arg-type]


async def _ask(model: LanguageModel, request: Request) -> Written:
    try:
        response = await model.complete(request)
    except RequestRejected as error:
        # Another attempt at this user's persona would be rejected, too.
        raise Refused(str(error)) from None
    if is_refused(response):
        raise Refused(f"model {model.spec.name}: {response.refusal or 'the answer was stopped by a filter'}")
    text, last = response.text.strip(), request.messages[-1]
    start = last.content if last.role == "assistant" else ""
    return Written(f"{start} {text}".strip(), response.cut) if text else Written("", False)
