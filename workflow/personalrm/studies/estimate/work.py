"""Sums of planned calls and tokens, by stage and model."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

from personalrm.studies.synthesizeme.plan import declared_stages

STAGES = (
    *("rate", "panel", "baseline", "bootstrap", "search", "persona", "rebootstrap", "search_persona", "memory"),
    *("judge", "transfer", "fidelity", "recovery", "axes", "tag", "theta"),
)
"""In the order of a run; other stages come after them. Profiles are counted by their steps, whose names are those of
`CallRef.stage`; `transfer` is `judge` with another model's profiles."""
BATCHED = frozenset({"memory", "transfer", *(stage.name for stage in declared_stages() if stage.batches)})
"""Stages whose questions are all known at their start, so that a batch API can take them."""


class Used(NamedTuple):
    """Tokens of one call; `cached` is the part of `prompt` that a prefix cache has seen."""

    prompt: float
    cached: float
    generated: float


@dataclass
class Work:
    """Calls and their tokens."""

    calls: float = 0.0
    prompt: float = 0.0
    cached: float = 0.0
    generated: float = 0.0

    def add(self, used: Used, times: float = 1.0) -> None:
        """Add a call, `times` over: one user stands for several."""
        self.calls += times
        self.prompt += times * used.prompt
        self.cached += times * used.cached
        self.generated += times * used.generated


Tally = dict[tuple[str, str], Work]
"""By stage and model."""


def total(works: Iterable[Work]) -> Work:
    """The sum."""
    added = Work()
    for work in works:
        added.calls += work.calls
        added.prompt += work.prompt
        added.cached += work.cached
        added.generated += work.generated
    return added
