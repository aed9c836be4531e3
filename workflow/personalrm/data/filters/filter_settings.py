"""Typed settings of the filters that ask models (paper, construction of PersonalRewardBench; thresholds are ours)."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

RELEASED = "released"
"""In the place of a model: the judgments that a processed set comes with (`released_judgments`), and no call."""

Threshold = Annotated[float, Field(ge=1, le=5)]


class PersonalizableSettings(BaseModel):
    """A model rates, from 1 to 5 and with a reason, how far a query and, apart, its answers admit of personal taste.

    Pairs rated below `min_query` or `min_responses` are removed. Scale and threshold are not published: 3, the middle,
    keeps what the rater finds at least partly a matter of taste, and the sensitivity table shows all others. `model`
    may be `released`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    model: str
    min_query: Threshold = 3
    min_responses: Threshold = 3
    max_tokens: Annotated[int, Field(ge=4)] = 256


class DisagreementSettings(BaseModel):
    """A panel of judges votes on each pair in both orders; pairs on which it agrees are removed.

    Agreement is the share of the votes for the answer that most votes favour, from 0.5 to 1. Pairs at `remove_from` or
    above are removed (not published; 0.9: at most one vote of ten differs). A vote that failed or named no answer is
    missing; with fewer than `min_votes_share` of all votes the pair stays and is counted as undecided. `models` may be
    `[released]`: the panel is then whom the columns name.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    models: Annotated[list[str], Field(min_length=1)]
    remove_from: Annotated[float, Field(gt=0.5, le=1)] = 0.9
    min_votes_share: Annotated[float, Field(gt=0, le=1)] = 0.5
    max_tokens: Annotated[int, Field(ge=1)] = 512

    @field_validator("models")
    @classmethod
    def _once(cls, value: list[str]) -> list[str]:
        if len(set(value)) < len(value):
            raise ValueError(f"names a member twice: {value}; each has one voice")
        if RELEASED in value and len(value) > 1:
            raise ValueError(f"{RELEASED} stands for a whole panel; write [{RELEASED}], or models alone")
        return value


class FilterSettings(BaseModel):
    """Filters of one data set. `apply: false` rates and reports, and removes nothing; `sample` then limits it to so
    many pairs of each user, by a stable hash."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    apply: bool = True
    sample: Annotated[int, Field(strict=True, ge=1)] | None = None
    personalizable: PersonalizableSettings | None = None
    disagreement: DisagreementSettings | None = None

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
