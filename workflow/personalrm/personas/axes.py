"""Persona axes: scales named from the personas themselves (paper, persona axes; how is not published, this is ours)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from personalrm.core.errors import ModelCallError
from personalrm.core.files import stable_hash
from personalrm.core.records import Profile
from personalrm.judge.judge import PromptStyle, failure_outcome
from personalrm.judge.prompting import Prompt, load_prompt
from personalrm.llm.types import LanguageModel, Message
from personalrm.methods.synthesizeme.persona import ask_shortened
from personalrm.personas.records import Axis

LONGEST_NAME, LONGEST_END = 60, 120
"""Characters of an axis; a line with more is prose and no axis."""
_AXIS = re.compile(
    r"\s*(?:[-*•]|\d{1,2}[.)])?\s*(?:(?P<name>[^:]*?)\s*:)?\s*(?P<low>[^:]+?)\s*(?:\.{3,}|…|<-+>|↔|→|\bvs\b\.?)\s*(?P<high>.+?)\s*"
)
_MARKS = "*_`\"' "


@dataclass(frozen=True)
class AxesQuestion:
    """How axes are asked for: prompt style, length of the answer, and the most personas shown and axes kept."""

    style: PromptStyle = "standard"
    max_tokens: int = 1024
    max_personas: int = 60
    max_axes: int = 12
    seed: int = 0

    @property
    def prompt(self) -> Prompt:
        """The prompt file of the style."""
        return load_prompt(f"axes_{self.style}")


class Named(NamedTuple):
    """Axes, from how many personas, and what a reader should know about them."""

    axes: tuple[Axis, ...]
    shown: int
    events: tuple[str, ...]


def sample_of_personas(profiles: Iterable[Profile], count: int, seed: int) -> list[Profile]:
    """`count` profiles that have a persona, the first draws only, by a hash of user and model."""
    there = [profile for profile in profiles if profile.persona and profile.draw == 0]
    return sorted(there, key=lambda p: stable_hash(str(seed), "axes", p.user_id, p.model))[:count]


async def name_axes(model: LanguageModel, profiles: Iterable[Profile], question: AxesQuestion) -> Named:
    """Axes named by one call over a sample of personas; whole personas are left out until they fit.

    A model that refuses, or names none, leaves no axis and says so. Raises ModelCallError where the provider failed.
    """
    personas = [p.persona or "" for p in sample_of_personas(profiles, question.max_personas, question.seed)]
    if not personas:
        return Named((), 0, ("there is no persona to name axes from",))

    def build(kept: Sequence[str]) -> tuple[Message, ...]:
        return question.prompt.messages(personas=kept, most=question.max_axes)

    try:
        written, dropped = await ask_shortened(model, personas, build, question.max_tokens)
    except ModelCallError as error:
        outcome = failure_outcome(error)
        if outcome == "provider_error":
            raise
        return Named((), 0, (f"{outcome}: {error}",))
    axes = read_axes(written.words, question.max_axes, cut=written.cut)
    events = [f"{dropped} of {len(personas)} personas did not fit"] if dropped else []
    if not axes:
        events.append("the model named no axis")
    return Named(axes, len(personas) - dropped, tuple(events))


def read_axes(text: str, most: int, *, cut: bool = False) -> tuple[Axis, ...]:
    r"""Axes of a list, a line each; of those with one name, however spelt, the first. Other lines are passed over.

    An axis without a name is called by its ends (small models are given such a pair, the first, as the form). With
    `cut` the last line was broken off, and is left out.

    >>> read_axes("- Tone: cold ... warm\n2. **tone**: dry ... kind\nThat is all: one axis.", 5)
    (Axis(schema_version=1, name='Tone', low='cold', high='warm'),)
    >>> [axis.name for axis in read_axes("- short ... long\nLong and short.", 5)]
    ['short or long']
    """
    lines = text.splitlines()
    found: dict[str, Axis] = {}
    for line in lines[: len(lines) - cut]:
        match = _AXIS.fullmatch(line)
        name, low, high = ((match[part] or "").strip(_MARKS) for part in ("name", "low", "high")) if match else [""] * 3
        if match and match["name"] is None:
            name = f"{low} or {high}"
        known = " ".join(re.findall(r"\w+", name.casefold()))
        if known and low and high and len(name) <= LONGEST_NAME and max(len(low), len(high)) <= LONGEST_END:
            found.setdefault(known, Axis(name=name, low=low, high=high))
    return tuple(found.values())[:most]
