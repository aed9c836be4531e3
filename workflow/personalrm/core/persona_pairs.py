"""Records about pairs without users: the pairs, personas of who would prefer each response, and judgments of these."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, get_args

from pydantic import Field

from personalrm.core.conditions import VerdictMode
from personalrm.core.records import CallRef, Outcome, Record, Verdict, agreed_outcome

Side = Literal["chosen", "rejected"]
"""A response of a pair. Its persona is of somebody who would prefer it to the other one."""
SIDES: tuple[Side, ...] = get_args(Side)
PersonaOutcome = Literal["ok", "empty"] | Outcome
"""What became of a persona: written, empty, or the outcome of a call without an answer."""
PersonaSource = Literal["gold_chosen", "gold_rejected", "retr_chosen", "retr_rejected", "none"]
"""Which persona of a pair an answer is tailored to: its own (`gold`), or that of the most similar training prompt
(`retr`), of the chosen or of the rejected response."""
RELEASED = "released"
"""Instead of a model: the personas that a data set comes with."""


def told_in_prompt(prompt: str, persona: str) -> str:
    """A prompt whose writer says of themselves what the persona says, for a model that learned without personas.

    >>> told_in_prompt("Why?", "The user is brief and prefers lists.")
    'Why? I am brief and prefers lists.'
    """
    # Verbs stay as they are, as in the paper's code.
    return f"{prompt} {persona.replace('The user is', 'I am')}"


class PersonaPair(Record):
    """A prompt with a chosen and a rejected response. `user_id` is None where nobody is known to have chosen.

    Texts have no "Human:" or "Assistant:" around them. `gold` are the personas that the data set has of the pair
    itself, `retrieved` those that it has of the most similar training prompt; a side without one is not in them.
    """

    dataset: str
    pair_id: str
    split: str
    user_id: str | None = Field(default=None, exclude_if=lambda user: user is None)
    prompt: str
    chosen: str
    rejected: str
    gold: dict[Side, str] = Field(default_factory=dict)
    retrieved: dict[Side, str] = Field(default_factory=dict)

    @property
    def decides(self) -> bool:
        """Whether there are two different responses to choose between."""
        return bool(self.chosen and self.rejected) and self.chosen != self.rejected

    def response(self, side: Side) -> str:
        """The response of a side."""
        return self.chosen if side == "chosen" else self.rejected

    def persona(self, source: PersonaSource) -> str:
        """The persona of a source; "" where the pair has none."""
        kind, _, side = source.partition("_")
        personas = {"gold": self.gold, "retr": self.retrieved}.get(kind, {})
        return next((text for name, text in personas.items() if name == side), "")


class PairRow(Record):
    """What one model wrote or said of one pair."""

    dataset: str
    pair_id: str
    model: str
    calls: tuple[CallRef, ...] = ()
    prompts: dict[str, str] = Field(default_factory=dict)


class PairPersonas(PairRow):
    """The personas that `model` wrote of a pair; a side whose outcome is not `ok` has none."""

    personas: dict[Side, str]
    outcomes: dict[Side, PersonaOutcome]


class JudgedPersonas(PairRow):
    """Which response the owner of each persona would pick, as `judge` says: `correct` is the persona's own side.

    `model` wrote the personas. A side without a persona has no verdicts.
    """

    judge: str
    mode: VerdictMode
    verdicts: dict[Side, tuple[Verdict, ...]]


class JudgedPreference(PairRow):
    """Which of the two personas of a pair describes somebody better off with it, as `judge` says, without the pair:
    `correct` is the chosen response's. A pair that lacks a persona has no verdicts."""

    judge: str
    mode: VerdictMode
    verdicts: tuple[Verdict, ...]

    @property
    def preferred(self) -> Side | Literal["tie"] | None:
        """The persona that is preferred in every order; a tie where the orders differ; None where one has no answer
        that can be read."""
        sides: Mapping[Outcome, Side | Literal["tie"]] = {"correct": "chosen", "wrong": "rejected", "tie": "tie"}
        agreed = agreed_outcome(self.verdicts)
        return None if agreed is None else sides[agreed]
