"""What a study gives the report in addition to its results: the headline of the first screen, and people.

Texts are plain; the template escapes them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple
from urllib.parse import quote

Mark = Literal["right", "wrong", "split", "none"]
"""What became of one pair under one method, all of its judgments together."""
MARKS: dict[Mark, str] = {
    "right": "right",
    "wrong": "wrong",
    "split": "right in some of its judgments",
    "none": "no verdict",
}


SHORT = 240
"""Characters of a text of a demonstration that are shown."""
WIDEST = 1.5
"""Length of the scale of weights over the largest weight."""


class Number(NamedTuple):
    """A number of the first screen: the number, what it is, and what it stands on."""

    value: str
    label: str
    detail: str = ""


class Headline(NamedTuple):
    """One plain sentence on what came out, the numbers that it rests on, and further sentences on other data sets."""

    verdict: str
    numbers: Sequence[Number]
    others: Sequence[str] = ()


class PersonaText(NamedTuple):
    """A persona: what kind it is and who wrote it, and its text."""

    source: str
    text: str


class Weight(NamedTuple):
    """One weight of a user, in log-odds, with the ends of its 95 % interval. `label` is the pole that the user prefers,
    so that `value` is not negative."""

    label: str
    value: float
    low: float
    high: float


class Demonstration(NamedTuple):
    """A pair that the judge is shown: the last question, both answers, and the reasoning, if there is any."""

    question: str
    chosen: str
    rejected: str
    reasoning: str = ""


class Dots(NamedTuple):
    """The user's test pairs under one method, in one order for all methods."""

    label: str
    marks: Sequence[Mark]

    @property
    def said(self) -> str:
        """The dots in words."""
        right = sum(mark == "right" for mark in self.marks)
        return f"{self.label}: {right} of {len(self.marks)} pairs right"


@dataclass(frozen=True, kw_only=True)
class Person:
    """One user, or one pair where `pair` is its id. What a run does not have is empty. `planted` is the taste that an
    invented user was given."""

    dataset: str
    user: str
    pair: str = ""
    planted: str = ""
    personas: Sequence[PersonaText] = ()
    weights: Sequence[Weight] = ()
    demonstrations: Sequence[Demonstration] = ()
    demonstrations_title: str = "Demonstrations that the judge is shown"
    dots: Sequence[Dots] = ()

    @property
    def anchor(self) -> str:
        """The part of the address of the transcripts that shows this user, or this pair, alone."""
        kind, name = ("pair", self.pair) if self.pair else ("user", self.user)
        return f"{kind}={quote(self.dataset, safe='')}/{quote(name, safe='')}"


class People(NamedTuple):
    """Some users of a run: those shown, and how many there are."""

    shown: Sequence[Person]
    total: int
    heading: str = "People"
    noun: str = "users"

    @property
    def high(self) -> float:
        """The upper end of the scale of all bars, in log-odds. What goes further is cut there."""
        largest = max((weight.value for person in self.shown for weight in person.weights), default=0.0)
        return WIDEST * (largest or 1.0)

    @property
    def low(self) -> float:
        """The lower end: a part of the scale for intervals that hold 0."""
        return -self.high / 3


def short(text: str) -> str:
    """A text on one line, cut after at most `SHORT` characters, between words where there are spaces."""
    line = " ".join(text.split())
    cut = line[:SHORT]
    return line if len(line) <= SHORT else (cut.rpartition(" ")[0] or cut) + " …"
