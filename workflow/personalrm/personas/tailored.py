"""Persona tailoring: what models learn from pairs with personas, and how they are asked for answers to a persona
(Balepur et al., "Whose Boat Does it Float?", ACL 2025).

The layout of texts is the paper's: lines "Prompt:", "Persona:" and "Response:". Differs from the paper in that the
response begins after a blank, which belongs to it, and that chat models are shown examples as turns.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal, NamedTuple, get_args

from personalrm.core.persona_pairs import SIDES, PersonaPair, PersonaSource, Side, told_in_prompt
from personalrm.judge.prompting import Prompt, load_prompt
from personalrm.llm.types import Message
from personalrm.personas.of_pairs import FOLDER, STOP
from personalrm.train.policy_settings import Choice, Text

TrainType = Literal["chosen", "rejected", "all", "none"]
"""Rows that are learned: each pair with the persona of its chosen response and that response; of the rejected one;
both; or the chosen response without a persona."""
Inference = PersonaSource | Literal["system"]
"""Which persona an answer is tailored to: one of the pair, one for all pairs of a data set (`system`), or none."""
TRAIN_TYPES: tuple[TrainType, ...] = get_args(TrainType)
STOPS = (STOP,)
"""Where an answer of a model that was shown examples ends, as in the paper's code: it would go on with one more."""
_TARGETS: dict[TrainType, tuple[Side, ...]] = {
    "chosen": ("chosen",),
    "rejected": ("rejected",),
    "all": SIDES,
    "none": ("chosen",),
}


class Lesson(NamedTuple):
    """What a model is asked, the response that it learns, and the other one of the pair."""

    asked: tuple[str, str]
    target: str
    other: str

    @property
    def text(self) -> Text:
        """For supervised fine-tuning; the end token is added there."""
        return Text(laid_out(*self.asked), f" {self.target}")

    @property
    def choice(self) -> Choice:
        """For preference optimisation; the prompt has no response."""
        return Choice(laid_out(*self.asked), f" {self.target}", f" {self.other}")


def answer_prompt() -> Prompt:
    """The prompt file of all layouts."""
    return load_prompt("answer", FOLDER)


def laid_out(prompt: str, persona: str = "") -> str:
    r"""A text up to its response.

    >>> laid_out("Why?", "The user is brief."), laid_out("Why?")
    ('Prompt: Why?\nPersona: The user is brief.\nResponse:', 'Prompt: Why?\nResponse:')
    """
    return answer_prompt().render("text", prompt=prompt, persona=persona)


def asked(prompt: str, persona: str, train: TrainType) -> tuple[str, str]:
    """Prompt and persona as a model of a training type is shown them: one that learned without personas is told the
    persona in the first person, at the end of the prompt.

    >>> asked("Why?", "The user is brief.", "none"), asked("Why?", "The user is brief.", "chosen")
    (('Why? I am brief.', ''), ('Why?', 'The user is brief.'))
    """
    if train == "none" and persona:
        return told_in_prompt(prompt, persona), ""
    return prompt, persona


def lessons(pairs: Sequence[PersonaPair], train: TrainType) -> Iterator[Lesson]:
    """What is learned from pairs, in their order; a side without its persona or its response is left out."""
    for pair in pairs:
        for side in _TARGETS[train]:
            persona, target = pair.gold.get(side, ""), pair.response(side)
            other = pair.response("rejected" if side == "chosen" else "chosen")
            if target and (persona or train == "none"):
                yield Lesson((pair.prompt, "" if train == "none" else persona), target, other)


def begun(pair: PersonaPair, data: str) -> str:
    """How an answer begins by itself, from the kind of its data: that of mnemonics as in the paper's code."""
    return f"{pair.prompt.title()} sounds like" if data == "mnemonic" else ""


def continued_text(shown: tuple[str, str], examples: Sequence[Lesson], start: str = "") -> str:
    """A text that a model continues with an answer: worked examples, separated by blank lines, and what is asked, with
    the `start` of the answer."""
    parts = [f"{laid_out(*one.asked)} {one.target}" for one in examples]
    return "\n\n".join([*parts, laid_out(*shown)]) + (f" {start}" if start else "")


def answer_messages(shown: tuple[str, str], examples: Sequence[Lesson], about: str) -> tuple[Message, ...]:
    """The same for a chat model, with the examples as turns."""
    prompt = answer_prompt()
    messages = [Message("system", prompt.render("system", about=about))]
    for one in examples:
        messages.append(Message("user", prompt.render("user", prompt=one.asked[0], persona=one.asked[1])))
        messages.append(Message("assistant", one.target))
    return (*messages, Message("user", prompt.render("user", prompt=shown[0], persona=shown[1])))
