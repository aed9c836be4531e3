"""What became of every vote and user on the way to the benchmark: every drop is counted."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TypeVar

from pydantic import BaseModel, ConfigDict, Field

from personalrm.core.records import PreferencePair, Record
from personalrm.data.sources.votes import Vote

M = TypeVar("M", bound=BaseModel)


class FunnelStep(BaseModel):
    """What is left after one step. A conversation without an id is counted by its context."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    step: str
    users: int
    conversations: int
    pairs: int


STEP_COUNTS = ("users", "conversations", "pairs")


class Funnel(Record):
    """Counts of one data set.

    `dropped` counts votes by reason (bad lines included) and `steps` follows users, conversations and pairs;
    `contradictions` are pairs of kept votes with opposite choices; `split_pairs` counts pairs and `split_grain` users
    by the grain that kept their pairs together, and `split_ties` the ties among the pairs, where there are any.
    `near_duplicates` counts pairs that stay with others because their prompts are alike (`pairs_joined`), users for
    which that was not possible (`users_too_alike`), and test pairs whose prompt is a near-duplicate of one that methods
    learn from (`test_pairs_leaked`): of those users, and of splits that do not keep prompts together.
    `incomplete_times` counts users whose pairs have times only in part (`users`), and their pairs without one
    (`pairs_without`), where there are any. `ignored_fields`, `problems` and `notes` come from the reader. `filters`
    counts what models were asked and what they answered.
    """

    dataset: str
    lines: int = 0
    votes: int = 0
    dropped: dict[str, int] = Field(default_factory=dict)
    steps: tuple[FunnelStep, ...] = ()
    users_written: int = 0
    users_excluded: int = 0
    contradictions: int = 0
    survey_conflicts: int = 0
    split_pairs: dict[str, int] = Field(default_factory=dict)
    split_ties: dict[str, int] = Field(default_factory=dict, exclude_if=lambda ties: not ties)
    split_grain: dict[str, int] = Field(default_factory=dict)
    near_duplicates: dict[str, int] = Field(default_factory=dict)
    incomplete_times: dict[str, int] = Field(default_factory=dict, exclude_if=lambda counts: not counts)
    ignored_fields: dict[str, int] = Field(default_factory=dict)
    problems: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    filters: dict[str, int] = Field(default_factory=dict)


def add_up(same: Sequence[M], counts: Sequence[str]) -> M:
    """Merge rows counted on disjoint groups of users by summing the fields `counts`."""
    return same[0].model_copy(update={name: sum(getattr(row, name) for row in same) for name in counts})


def counts_of(by_user: Iterable[Sequence[Vote] | Sequence[PreferencePair]]) -> dict[str, int]:
    """The numbers of a `FunnelStep`: users with at least one vote (or pair), their conversations and votes."""
    kept = [mine for mine in by_user if mine]
    return {
        "users": len(kept),
        "conversations": sum(len({vote.conversation_id or vote.context for vote in mine}) for mine in kept),
        "pairs": sum(map(len, kept)),
    }
