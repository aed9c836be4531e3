"""Typed settings of the filters that use models (paper, construction of PersonalRewardBench; thresholds are ours)."""

from __future__ import annotations

from typing import Annotated, TypeVar

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

RELEASED = "released"
"""Instead of a model: the judgments that a processed set comes with (`released_judgments`), and no call."""

T = TypeVar("T")
Threshold = Annotated[float, Field(ge=1, le=5)]


def once_each(value: list[T]) -> list[T]:
    """The list. Raises ValueError where it names one thing twice."""
    for place, one in enumerate(value):
        if one in value[:place]:
            raise ValueError(f"{one!r} is given twice")
    return value


class Settings(BaseModel):
    """Base of the settings of data sets: frozen, and strict about unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class PersonalizableSettings(Settings):
    """A model rates from 1 to 5, with a reason, how far a query and, separately, the choice between its answers admit
    of personal taste. Scale and thresholds are not published: 3, the middle, keeps what the rater finds at least partly
    a matter of taste."""

    model: str
    """A model, or `released`."""
    min_query: Threshold = 3
    """Pairs whose query is rated lower are removed."""
    min_responses: Threshold = 3
    """Pairs whose choice between the answers is rated lower are removed."""
    max_tokens: Annotated[int, Field(ge=4)] = 256
    """Longest rating, in tokens."""


class DisagreementSettings(Settings):
    """A panel of judges votes on each pair in both orders; pairs on which it agrees are removed.

    Agreement is the share of the votes for the answer that most votes favour, from 0.5 to 1. The threshold is not
    published; at 0.9 at most one vote of ten differs. A vote that failed or named no answer is missing.
    """

    models: Annotated[list[str], Field(min_length=1)]
    """Members of the panel, or `[released]`."""
    remove_from: Annotated[float, Field(gt=0.5, le=1)] = 0.9
    """Pairs on which this share of the votes, or more, agree are removed."""
    min_votes_share: Annotated[float, Field(gt=0, le=1)] = 0.5
    """With a smaller share of all votes a pair stays."""
    max_tokens: Annotated[int, Field(ge=1)] = 512
    """Longest vote, in tokens."""

    @field_validator("models")
    @classmethod
    def _once(cls, value: list[str]) -> list[str]:
        if len(set(value)) < len(value):
            raise ValueError(f"names a member twice: {value}; each has one voice")
        if RELEASED in value and len(value) > 1:
            raise ValueError(f"{RELEASED} stands for a whole panel; write [{RELEASED}], or models alone")
        return value


class FilterSettings(Settings):
    """Filters of one data set, which use models or released judgments (docs/data.md)."""

    apply: bool = True
    """`false`: rate, vote and report, and remove nothing."""
    sample: Annotated[int, Field(strict=True, ge=1)] | None = None
    """With `apply: false`: pairs of each user that are rated."""
    personalizable: PersonalizableSettings | None = None
    """The filter by ratings."""
    disagreement: DisagreementSettings | None = None
    """The filter by a panel."""

    @property
    def judges(self) -> list[str]:
        """Who judges: models, or `released`."""
        rater = [self.personalizable.model] if self.personalizable else []
        return [*rater, *(self.disagreement.models if self.disagreement else [])]

    @model_validator(mode="after")
    def _whole(self) -> FilterSettings:
        if self.apply and self.sample is not None:
            raise ValueError(
                "sample with apply: true would remove by what was rated and keep the rest; set apply: false"
            )
        if self.personalizable is None and self.disagreement is None:
            raise ValueError("give personalizable, disagreement, or both")
        return self
