"""What models answered for the filters: ratings and panel votes, raw, so that each threshold is tried without calls."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from pydantic import Field

from personalrm.core.records import CallRef, Outcome, Record

Favour = Literal["chosen", "rejected"]


class PairRating(Record):
    """Ratings (1-5) of one pair's query and responses; None where the rater failed or named no number.

    Models name whole numbers; released ratings may be others.
    """

    pair_id: str
    query: int | float | None = None
    responses: int | float | None = None
    query_reasoning: str = ""
    responses_reasoning: str = ""


class UserRatings(Record):
    """Ratings of one user's pairs by one model; a row of a ratings file."""

    dataset: str
    user_id: str
    model: str
    ratings: tuple[PairRating, ...] = ()
    failed: int = 0
    calls: tuple[CallRef, ...] = ()
    prompts: dict[str, str] = Field(default_factory=dict)


FAVOURS: Mapping[Outcome, Favour] = {"correct": "chosen", "wrong": "rejected"}
"""The answer that a vote with this outcome favours; those with another outcome favour none."""


class PanelVote(Record):
    """One panel member on one pair in one order: which answer it favours, None where it failed or named neither."""

    pair_id: str
    swapped: bool
    favours: Favour | None
    outcome: Outcome
    reasoning: str = ""


class UserPanel(Record):
    """Votes of one panel member on one user's pairs; a row of a panel file. `gated` counts pairs without a call,
    because the rating removes them already."""

    dataset: str
    user_id: str
    model: str
    votes: tuple[PanelVote, ...] = ()
    gated: int = 0
    calls: tuple[CallRef, ...] = ()
    prompts: dict[str, str] = Field(default_factory=dict)
