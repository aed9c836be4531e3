"""Personas of pairs: inferred from a pair, judged by the choice that they predict, and compared with each other
(Balepur et al., "Whose Boat Does it Float?", ACL 2025).

Differs from the paper in the wording of all prompts and in their layout: the five worked examples are chat turns
between the instruction and the question, where the paper's code sends one message.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from personalrm.core.concurrency import concurrently
from personalrm.core.persona_pairs import SIDES, PersonaOutcome, PersonaPair, Side
from personalrm.core.records import Verdict
from personalrm.judge.call_recorder import answer_of
from personalrm.judge.judge import JudgeSettings, ask_verdict, both_orders
from personalrm.judge.prompting import PROMPT_DIR, Prompt, load_prompt
from personalrm.llm.types import LanguageModel, Message, Request

FOLDER = PROMPT_DIR / "tailoring"
STOP = "\nPrompt:"
"""Where an answer ends, as in the paper's code: the model would go on with an example of its own."""
_LABEL = re.compile(r"^\W*persona\W*(?::[\s*_]*|$)", re.IGNORECASE)
_OTHER: Mapping[Side, Side] = {"chosen": "rejected", "rejected": "chosen"}


@dataclass(frozen=True)
class PersonaQuestion:
    """How personas are asked for: the data set's prompt file, and the longest answer in tokens."""

    data: str = "everyday"
    max_tokens: int = 200

    @property
    def prompts(self) -> tuple[Prompt, ...]:
        """Prompt files in use."""
        return load_prompt("infer", FOLDER), load_prompt(self.data, FOLDER)


@dataclass(frozen=True)
class PairQuestion:
    """How personas are judged: by their choice between the responses of a data set with this prompt file, or, where
    `data` is None, one against the other."""

    judge: JudgeSettings
    data: str | None = None

    @property
    def prompts(self) -> tuple[Prompt, ...]:
        """Prompt files in use."""
        if self.data is None:
            return (load_prompt("preference", FOLDER),)
        return load_prompt("accuracy", FOLDER), load_prompt(self.data, FOLDER)


def first_line(text: str) -> str:
    r"""The first line of an answer that says anything, without a "Persona:" or a heading "Persona" before it.

    >>> first_line("\nPersona: The user is brief.\nThe user is long."), first_line(" ")
    ('The user is brief.', '')
    >>> first_line("**Persona:** The user is brief."), first_line("# Persona\n\nThe user is brief.")
    ('The user is brief.', 'The user is brief.')
    """
    return next(filter(None, (_LABEL.sub("", line).strip() for line in text.splitlines())), "")


def persona_request(pair: PersonaPair, side: Side, question: PersonaQuestion) -> Request:
    """The request for a persona of who would prefer the response of `side`."""
    task, data = question.prompts
    messages = [Message("system", task.render("system", about=data.value("about")))]
    for number, one in enumerate(data.value("examples")):
        # Worked examples of both sides, so that a persona is not one of better answers.
        shown: Side = SIDES[number % 2]
        values = {"prompt": one["prompt"], "preferred": one[shown], "other": one[_OTHER[shown]]}
        messages.append(Message("user", task.render("user", **values)))
        messages.append(Message("assistant", one[f"{shown}_persona"]))
    values = {"prompt": pair.prompt, "preferred": pair.response(side), "other": pair.response(_OTHER[side])}
    messages.append(Message("user", task.render("user", **values)))
    return Request(tuple(messages), max_tokens=question.max_tokens, stop=(STOP,))


async def infer_persona(
    model: LanguageModel, pair: PersonaPair, side: Side, question: PersonaQuestion
) -> tuple[str, PersonaOutcome]:
    """A persona of who would prefer the response of `side`, empty where the outcome is not `ok`."""
    text, outcome, _ = await answer_of(model, persona_request(pair, side, question))
    persona = first_line(text)
    return persona, "empty" if outcome == "ok" and not persona else outcome


def accuracy_messages(pair: PersonaPair, persona: str, question: PairQuestion, *, first: Side) -> tuple[Message, ...]:
    """Messages of a judgement which response the owner of `persona` would pick, with that of `first` standing first."""
    task, data = question.prompts
    labels = question.judge.labels
    messages = [Message("system", task.render("system", about=data.value("about"), labels=labels))]
    for number, one in enumerate(data.value("examples")):
        # First, second, second, first, first: neither a place nor a side is right each time.
        owner, shown = SIDES[number % 2], SIDES[number // 2 % 2]
        messages.append(Message("user", _pick(task, one, one[f"{owner}_persona"], shown, labels)))
        said = labels[0] if owner == shown else labels[1]
        messages.append(Message("assistant", f"{task.render('assistant')} {said}"))
    texts = {"prompt": pair.prompt, "chosen": pair.chosen, "rejected": pair.rejected}
    messages.append(Message("user", _pick(task, texts, persona, first, labels)))
    return _begun(messages, task, question.judge)


def _pick(task: Prompt, texts: Mapping[str, str], persona: str, first: Side, labels: Sequence[str]) -> str:
    shown: dict[str, Any] = {"first": texts[first], "second": texts[_OTHER[first]]}
    return task.render("user", prompt=texts["prompt"], **shown, persona=persona, labels=labels)


def _begun(messages: Sequence[Message], task: Prompt, judge: JudgeSettings) -> tuple[Message, ...]:
    """The messages, with the answer begun where the label is read from log-probabilities."""
    begun = () if judge.mode == "text" else (Message("assistant", task.render("assistant")),)
    return (*messages, *begun)


async def judge_persona(
    model: LanguageModel, pair: PersonaPair, persona: str, side: Side, question: PairQuestion
) -> tuple[Verdict, ...]:
    """Verdicts which response the owner of `persona` would pick, in both orders; `correct`: that of `side`."""

    async def once(first: Side) -> Verdict:
        messages = accuracy_messages(pair, persona, question, first=first)
        return await ask_verdict(model, pair.pair_id, first != side, messages, question.judge)

    return both_orders(*await concurrently(once(side), once(_OTHER[side])), question.judge)


def preference_messages(personas: Mapping[Side, str], question: PairQuestion, *, first: Side) -> tuple[Message, ...]:
    """Messages of a judgement which of two personas is the better one to have, with that of `first` standing first."""
    (task,), labels = question.prompts, question.judge.labels
    values = {"first": personas[first], "second": personas[_OTHER[first]], "labels": labels}
    messages = [Message("system", task.render("system", labels=labels)), Message("user", task.render("user", **values))]
    return _begun(messages, task, question.judge)


async def prefer_persona(
    model: LanguageModel, pair_id: str, personas: Mapping[Side, str], question: PairQuestion
) -> tuple[Verdict, ...]:
    """Verdicts which of two personas is the better one to have, in both orders; `correct`: that of the chosen
    response."""

    async def once(first: Side) -> Verdict:
        messages = preference_messages(personas, question, first=first)
        return await ask_verdict(model, pair_id, first != "chosen", messages, question.judge)

    return both_orders(*await concurrently(once("chosen"), once("rejected")), question.judge)
