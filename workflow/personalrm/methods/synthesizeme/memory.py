"""The baseline Memory: facts about a user, extracted from conversations and choices, kept as a list.

The paper names the baseline; its definition and prompt are not published. Ours: one call over the context pairs, one
fact per line.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from personalrm.core.records import Demonstration, PreferencePair
from personalrm.judge.judge import PromptStyle, presented_swapped
from personalrm.judge.prompting import Prompt, load_prompt
from personalrm.llm.types import LanguageModel, Message
from personalrm.methods.synthesizeme.persona import ask_shortened, demonstration_values

_BULLET = re.compile(r"^\s*(?:[-*•]|\d{1,3}[.)])\s+(?P<fact>\S.*?)\s*$")


@dataclass(frozen=True)
class MemorySettings:
    """Prompt style, length of the list in tokens, and the most facts that are kept."""

    style: PromptStyle = "standard"
    max_tokens: int = 512
    max_facts: int = 20

    @property
    def prompt(self) -> Prompt:
        """The prompt file of the style."""
        return load_prompt(f"memory_{self.style}")


class Remembered(NamedTuple):
    """Facts, and what a reader should know about them."""

    facts: tuple[str, ...]
    events: tuple[str, ...]


async def remember(model: LanguageModel, pairs: Sequence[PreferencePair], settings: MemorySettings) -> Remembered:
    """Facts about one user from labelled pairs. Input that does not fit is shortened by whole pairs, the oldest first.

    Raises ModelCallError as the client does.
    """
    shown = [Demonstration(pair=pair, swapped=presented_swapped(pair, "memory")) for pair in pairs]
    if not shown:
        return Remembered((), ("no pair to remember facts from",))

    def build(kept: Sequence[Demonstration]) -> tuple[Message, ...]:
        values = [demonstration_values(one, settings.style) for one in kept]
        return settings.prompt.messages(demonstrations=values)

    written, dropped = await ask_shortened(model, shown, build, settings.max_tokens)
    facts = read_facts(written.words, cut=written.cut)[: settings.max_facts]
    shortened = (f"memory input shortened by {dropped} of {len(shown)} pairs",) if dropped else ()
    return Remembered(facts, shortened if facts else (*shortened, "the model wrote no facts"))


def read_facts(text: str, *, cut: bool = False) -> tuple[str, ...]:
    r"""Facts of a list, each once, in its order; lines that are no items are skipped.

    With `cut` the last item was broken off, and is left out if it is not the only one.

    >>> read_facts("Facts:\n- likes tea\n2) is a nurse\n* likes tea\nThat is all.")
    ('likes tea', 'is a nurse')
    >>> read_facts("- likes tea\n- dislikes lon", cut=True)
    ('likes tea',)
    """
    facts = [found["fact"] for line in text.splitlines() if (found := _BULLET.match(line))]
    return tuple(dict.fromkeys(facts[:-1] if cut and len(facts) > 1 else facts))
