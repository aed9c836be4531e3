"""Persona fidelity: which of two personas describes a person who stated what they like?

The paper reports that learned personas match what users stated in PRISM's survey more often than other users' personas
do; neither its prompt nor its test is published. Ours: a judge reads the statement and two personas, the user's own and
another's, in both orders. It never sees a vote of the user, and the personas were learned without the statement.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from personalrm.core.concurrency import concurrently
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
    """How fidelity is asked: the judge, with how many others each persona is compared, and whether each is also judged
    alone."""

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
    shown = {user: _orders(own, other) for user, other in others.items()}
    return await _ask_all(model, question.between, statement, shown, question.judge)


async def match_personas(
    model: LanguageModel, statement: str, personas: Mapping[str, str], question: FidelityQuestion
) -> tuple[Verdict, ...]:
    """Verdicts on each persona alone (user to persona), if the question has `matches`; `correct`: it fits the person.

    "It fits" and "it does not" are the two answers to choose from, shown in both orders, as all else is.
    """
    if not question.matches:
        return ()
    orders = _orders("The description fits this person.", "The description is of somebody else.")
    shown = {user: tuple(order | {"persona": text} for order in orders) for user, text in personas.items()}
    return await _ask_all(model, load_prompt(f"match_{question.judge.style}"), statement, shown, question.judge)


def _orders(right: str, other: str) -> tuple[dict[str, str], dict[str, str]]:
    """What stands first and second in each order; the second order puts what counts as `correct` second."""
    return {"first": right, "second": other}, {"first": other, "second": right}


async def _ask_all(
    model: LanguageModel,
    prompt: Prompt,
    statement: str,
    shown: Mapping[str, Sequence[Mapping[str, str]]],
    judge: JudgeSettings,
) -> tuple[Verdict, ...]:
    """Verdicts about each user of `shown`, which has the prompt's values in both orders."""
    prefilled = judge.mode != "text"

    async def once(user: str, swapped: bool) -> Verdict:
        messages = prompt.messages(statement=statement, **shown[user][swapped], reasoned=not prefilled)
        return await ask_verdict(model, user, swapped, messages if prefilled else messages[:2], judge)

    async def both(user: str) -> tuple[Verdict, ...]:
        return both_orders(*await concurrently(once(user, False), once(user, True)), judge)

    return tuple(verdict for verdicts in await concurrently(*map(both, shown)) for verdict in verdicts)
