"""Persona fidelity: which of two personas describes a person who stated what they like?

The paper reports that learned personas match what users stated in PRISM's survey more often than other users' personas
do; neither prompt nor test is published (facts file, 7). Ours: a judge reads the statement and two personas, the
user's own and another's, in both orders. It never sees a vote of the user, and the personas were learned without the
statement.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from personalrm.core.files import stable_hash
from personalrm.core.records import UserData, Verdict
from personalrm.judge.judge import JudgeSettings, ask_verdict, both_orders
from personalrm.judge.prompting import Prompt, load_prompt
from personalrm.llm.types import LanguageModel
from personalrm.personas.records import StatementKind

STATED = ("self_description", "system_string", "stated_prefs")
"""PRISM's questions on what people are like and want of a language model; parts of an answer follow after a dot."""


@dataclass(frozen=True)
class FidelityQuestion:
    """How fidelity is asked: the judge, how many others each persona meets, and whether each is judged alone, too."""

    judge: JudgeSettings
    others: int = 1
    matches: bool = False
    seed: int = 0

    @property
    def prompts(self) -> tuple[Prompt, ...]:
        """Prompt files in use."""
        alone = (load_prompt(f"match_{self.judge.style}"),) if self.matches else ()
        return self.between, load_prompt("statement"), *alone

    @property
    def between(self) -> Prompt:
        """The prompt that shows two personas."""
        return load_prompt(f"fidelity_{self.judge.style}")


class Statement(NamedTuple):
    """What a person stated, as the judge reads it, and where it comes from."""

    kind: StatementKind
    text: str


def statement_of(user: UserData) -> Statement | None:
    """The survey's own words and ratings; for bundled users the planted taste; None where there is neither."""
    told = {q: text for q, text in user.survey.items() if q.partition(".")[0] in STATED and text.strip()}
    if told:
        return Statement("survey", load_prompt("statement").render("survey", answers=told))
    return Statement("planted", user.planted_taste) if user.planted_taste else None


def others_of(user_id: str, candidates: Iterable[str], count: int, seed: int) -> list[str]:
    """`count` other users, drawn by a hash of both ids: neither the order nor the number of users decides."""
    others = {candidate for candidate in candidates if candidate != user_id}
    return sorted(others, key=lambda other: stable_hash(str(seed), "other persona", user_id, other))[:count]


async def compare_personas(
    model: LanguageModel, statement: str, own: str, others: Mapping[str, str], question: FidelityQuestion
) -> tuple[Verdict, ...]:
    """Verdicts on the own persona against each of `others` (user to persona), in both orders; `correct`: the own."""

    def shown(other: str, *, swapped: bool) -> dict[str, str]:
        first, second = (others[other], own) if swapped else (own, others[other])
        return {"statement": statement, "first": first, "second": second}

    return await _ask_all(model, question.between, others, shown, question)


async def match_personas(
    model: LanguageModel, statement: str, personas: Mapping[str, str], question: FidelityQuestion
) -> tuple[Verdict, ...]:
    """Verdicts on each persona alone (user to persona): `correct` where it is judged to fit the person; none are asked
    for unless the question has `matches`.

    "It fits" and "it does not" are the two answers to choose from, shown in both orders, as all else is.
    """

    def shown(whose: str, *, swapped: bool) -> dict[str, str]:
        fits, does_not = "The description fits this person.", "The description is of somebody else."
        first, second = (does_not, fits) if swapped else (fits, does_not)
        return {"statement": statement, "persona": personas[whose], "first": first, "second": second}

    asked = personas if question.matches else {}
    return await _ask_all(model, load_prompt(f"match_{question.judge.style}"), asked, shown, question)


class _Show(Protocol):
    """Values of a prompt about one user; `swapped` puts what counts as `correct` second."""

    def __call__(self, user: str, /, *, swapped: bool) -> dict[str, str]: ...


async def _ask_all(
    model: LanguageModel, prompt: Prompt, users: Iterable[str], shown: _Show, question: FidelityQuestion
) -> tuple[Verdict, ...]:
    async def once(user: str, *, swapped: bool) -> Verdict:
        prefilled = question.judge.mode != "text"
        messages = prompt.messages(**shown(user, swapped=swapped), reasoned=not prefilled)
        return await ask_verdict(model, user, swapped, messages if prefilled else messages[:2], question.judge)

    async def both(user: str) -> tuple[Verdict, ...]:
        orders = await asyncio.gather(once(user, swapped=False), once(user, swapped=True))
        return both_orders(*orders, question.judge)

    return tuple(verdict for verdicts in await asyncio.gather(*map(both, users)) for verdict in verdicts)
