"""Records of synthetic users: questions, answers, pairs of answers, users with a description, and their labels."""

from __future__ import annotations

import math
from typing import Literal, get_args

from pydantic import Field

from personalrm.core.generations import JudgedAnswers
from personalrm.core.persona_pairs import PersonaOutcome
from personalrm.core.records import READABLE, CallRef, Label, Record, Verdict

SyntheticPart = Literal["train", "validation", "held_out", "interpolated"]
"""Users to learn from, users to choose settings with, users of the same kind that nothing is learned from, and users
that combine traits which users to learn from have apart."""
PARTS: tuple[SyntheticPart, ...] = get_args(SyntheticPart)
Way = Literal["plain", "persona_steering", "views"]
"""How an answer is asked for: without an instruction, for a person with a trait, or keeping to one of several views."""
UNDECIDED = math.log(2)
"""Entropy in nats of a label that is as likely to be the one as the other."""


class SeedUser(Record):
    """A user before any model is asked. `traits` holds the value of each dimension, `seed` the description that follows
    from them, and `key` a hash of the texts of the traits and a number, which no name changes."""

    dataset: str
    user_id: str
    key: str
    part: SyntheticPart
    traits: dict[str, str]
    seed: str


class SyntheticQuestion(Record):
    """A question. `trait` (`dimension.value`) names the trait of the people who would ask it; empty: anyone would.
    Nothing is learned from a question that is held out."""

    dataset: str
    question_id: str
    text: str
    trait: str = ""
    source: Literal["seed", "model"] = "model"
    held_out: bool = False


class QuestionGroup(Record):
    """The questions that anyone would ask, or those of one trait, and how many were dropped as near-duplicates."""

    dataset: str
    model: str | None
    trait: str
    questions: tuple[SyntheticQuestion, ...]
    duplicates: int = 0
    asked: int = 0
    failed: int = 0
    calls: tuple[CallRef, ...] = ()
    prompts: dict[str, str] = Field(default_factory=dict)


class SyntheticAnswer(Record):
    """One answer; `steer` is the trait or the view that it was asked to keep to. The text is empty where `outcome` is
    not `ok`. `cut`: it ended at its limit of tokens."""

    model: str
    temperature: float
    way: Way
    steer: str = ""
    text: str
    outcome: PersonaOutcome = "ok"
    cut: bool = False


class QuestionAnswers(Record):
    """All answers of one model to one question. `viewless` counts the lists of views that could not be had."""

    dataset: str
    question_id: str
    model: str
    answers: tuple[SyntheticAnswer, ...]
    viewless: int = 0
    asked: int = 0
    failed: int = 0
    calls: tuple[CallRef, ...] = ()
    prompts: dict[str, str] = Field(default_factory=dict)


class SyntheticPair(Record):
    """Two answers to one question, in the order of a seeded coin. `shared`: all users of the domain label it."""

    dataset: str
    pair_id: str
    question_id: str
    question: str
    trait: str
    first: str
    second: str
    shared: bool = False


class PairLabel(Record):
    """The verdicts on one pair in both orders. `correct` means here: the pair's `first` answer is preferred."""

    pair_id: str
    verdicts: tuple[Verdict, ...]

    @property
    def read(self) -> bool:
        """Whether the answers in both orders can be read."""
        return all(verdict.outcome in READABLE for verdict in self.verdicts)

    @property
    def lost(self) -> int:
        """Verdicts that the provider failed."""
        return sum(verdict.outcome == "provider_error" for verdict in self.verdicts)

    @property
    def label(self) -> Label | None:
        """The answer that both orders prefer; None where they differ, name none, or cannot be read."""
        outcomes = {verdict.outcome for verdict in self.verdicts}
        return "first" if outcomes == {"correct"} else "second" if outcomes == {"wrong"} else None

    @property
    def log_odds(self) -> float | None:
        """Mean log-odds of the first answer over both orders; None without log-probabilities."""
        known = [verdict.log_odds for verdict in self.verdicts if verdict.log_odds is not None]
        return sum(known) / len(known) if known and len(known) == len(self.verdicts) else None

    @property
    def entropy(self) -> float | None:
        """Entropy of the label in nats, from 0 to ln 2; None where a verdict cannot be read.

        With log-probabilities, of the probability that belongs to the mean log-odds; with words, of the share of orders
        that prefer the first answer, so that it is ln 2 where the orders differ or the judge names none.
        """
        if not self.read:
            return None
        if (odds := self.log_odds) is not None:
            share = 1 / (1 + math.exp(-min(max(odds, -700.0), 700.0)))
        else:
            share = sum({"correct": 1.0, "wrong": 0.0}.get(v.outcome, 0.5) for v in self.verdicts) / len(self.verdicts)
        return -sum(p * math.log(p) for p in (share, 1 - share) if p > 0)


class SyntheticUser(SeedUser):
    """A user with the final description: the seed, and `facts` that were added where it did not decide.

    - undecided: pairs that the description of that time did not decide; coins: pair to the side that a coin gave, where
      a fact was added; unusable: answers of the model that were no sentence about the person.
    - before, after: labels of all pairs of the user by the seed, and by the final description; empty where the
      description is not refined.
    - attempts: how often the user was made; conflicts: users whose disagreement with this one is out of the bounds.
    """

    facts: tuple[str, ...] = ()
    undecided: int = 0
    unusable: int = 0
    coins: dict[str, Label] = Field(default_factory=dict)
    before: tuple[PairLabel, ...] = ()
    after: tuple[PairLabel, ...] = ()
    attempts: int = 1
    conflicts: tuple[str, ...] = ()
    asked: int = 0
    failed: int = 0
    calls: tuple[CallRef, ...] = ()
    prompts: dict[str, str] = Field(default_factory=dict)

    @property
    def description(self) -> str:
        """What judges are shown of the user."""
        return " ".join((self.seed, *self.facts)).strip()


class AnswerComparison(JudgedAnswers):
    """Which of two systems' answers to a held-out question one user would prefer; `pair_id` is that of the user and the
    question (`answer_id`)."""

    user_id: str
    part: SyntheticPart
    question_id: str


def answer_id(user_id: str, question_id: str) -> str:
    """What names the answer of a system to a question for one user: the `pair_id` of a `Generation`."""
    return f"{user_id}/{question_id}"


class UserLabels(Record):
    """The labels of all pairs of one user, as `model` gives them by the final description."""

    dataset: str
    user_id: str
    part: SyntheticPart
    model: str
    labels: tuple[PairLabel, ...]
    calls: tuple[CallRef, ...] = ()
    prompts: dict[str, str] = Field(default_factory=dict)
