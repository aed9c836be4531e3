"""Typed settings of a domain of synthetic users: its subject, traits, users, questions and pairs."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, ClassVar, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from personalrm.core.synthetic import Way
from personalrm.data.filters.filter_settings import Settings, once_each

Count = Annotated[int, Field(strict=True, ge=0)]
Positive = Annotated[int, Field(strict=True, ge=1)]
Share = Annotated[float, Field(ge=0, lt=1)]
Part = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,39}$")]
"""Name of a dimension or of a value; names of users are made of those of values."""


def slug(text: str) -> str:
    """A name made of a text: lower-case letters and digits with dashes, at most 40.

    >>> slug("The user works in Marine Biology.")
    'the-user-works-in-marine-biology'
    """
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:40].strip("-")


def _named(value: object) -> object:
    """A list of texts as a mapping of names to them."""
    if not isinstance(value, list) or not all(isinstance(text, str) for text in value):
        return value
    named = {slug(text): text for text in value}
    if len(named) < len(value):
        raise ValueError("two texts of the list would have the same name; write {name: text}")
    return named


Dimension = Annotated[dict[Part, Annotated[str, Field(min_length=1)]], BeforeValidator(_named), Field(min_length=1)]


class UserSettings(Settings):
    """Which users a domain has."""

    each: Literal["value", "combination"] = "value"
    """A user for each value of each dimension, or for each combination of one value of every dimension."""
    personas: Positive = 1
    """Users with the same traits, who differ by the facts that are added: more than one needs `refine`."""
    interpolated: bool = False
    """With `each: value`: also a user for every two values of different dimensions that users to learn from have.
    Nothing is learned from them."""
    validation: Share = 0.0
    """Share of the other users with whom settings are chosen."""
    held_out: Share = 0.0
    """Share of the other users that nothing is learned from."""

    @model_validator(mode="after")
    def _parts_fit(self) -> Self:
        if self.validation + self.held_out >= 1:
            raise ValueError("validation and held_out must leave users to learn from: give shares below 1 together")
        if self.interpolated and self.each != "value":
            raise ValueError("interpolated: users with each: combination have a value of every dimension; remove it")
        return self


class QuestionSettings(Settings):
    """Which questions a domain has."""

    seeds: Path | None = None
    """File of questions, one per line; they are examples for the model that writes more."""
    general: Count = 0
    """Questions that anyone would ask, those of the file among them."""
    per_trait: Count = 0
    """Questions of each value of each dimension, such as people with that trait would ask."""
    held_out: Share = 0.0
    """Share of the questions that nothing is learned from."""


class PairSettings(Settings):
    """Which answers are compared, and by whom."""

    per_question: Positive = 3
    """Pairs of answers of each question at most."""
    similarity: Annotated[float, Field(ge=0.5, le=1)] = 0.9
    """Answers that have this share of their letters in common are not paired."""
    shared: Count = 20
    """Pairs that all users label; the disagreement of two users is measured on them."""
    own: Count = 20
    """Further pairs of each user, of general questions and of the user's own traits."""


class Domain(Settings):
    """One domain: people with known traits, who are asked about one subject."""

    hub: ClassVar[None] = None

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,39}$")]
    about: str
    """Subject of the questions, in a few words."""
    licence: str = ""
    """Stated in the card of the exported votes."""
    traits: Annotated[dict[Part, Dimension], Field(min_length=1)]
    """Dimension to its values, each with a sentence about the user: `{tone: {positive: The user likes praise.}}`. A
    list of sentences is named by them."""
    people: UserSettings = UserSettings()
    """Which users there are."""
    ways: Annotated[list[Way], Field(min_length=1), AfterValidator(once_each)] = Field(default=["views"])
    """How answers are made to differ. `views`: several views are listed, and each answer keeps to one;
    `persona_steering`: each answer is for a person with one of the domain's traits; `plain`: samples without an
    instruction, to compare with."""
    refine: bool = True
    """Add facts to descriptions that do not decide (iterative generation of personas); else the traits are all."""
    questions: QuestionSettings
    """Which questions there are."""
    pairs: PairSettings = PairSettings()
    """Which answers are compared."""
    shards: Annotated[int, Field(strict=True, ge=1, le=10_000)] = 1
    """Jobs that answers and labels are cut into."""

    @property
    def trait_texts(self) -> dict[str, str]:
        """Sentence of each trait, by `dimension.value`."""
        return {
            f"{dimension}.{value}": text
            for dimension, values in sorted(self.traits.items())
            for value, text in sorted(values.items())
        }

    def source_files(self) -> list[Path]:
        """Files that the domain is made from."""
        return [self.questions.seeds] if self.questions.seeds else []
