"""Pairs, traces and settings that tests of learning share: one user of six context and two validation pairs."""

from __future__ import annotations

from personalrm.candidates import LABELLED, UNSHUFFLED, ZERO_SHOT
from personalrm.judge import JudgeSettings
from personalrm.llm.types import Request, Response
from personalrm.records import Trace
from personalrm.search import SearchSettings
from support.models import good_is_first, pair, text

TEXT = JudgeSettings("standard", "text")
PAIRS = [pair(f"c{i}", split="context") for i in range(6)]
VALIDATION = [pair(f"v{i}", split="validation") for i in range(2)]


def say(right: bool, request: Request) -> Response:
    """The verdict that is right, or wrong, whichever answer stands first."""
    first = good_is_first(request) == right
    return text(f"Because.\nPreference: {'First' if first else 'Second'}")


def trace_of(name: str) -> Trace:
    """A verified trace of the pair of that name."""
    return Trace(pair_id=name, swapped=False, reasoning=f"why {name}", outcome="correct")


TRACES = {name: trace_of(name) for name in ("c1", "c3", "c4")}


def settings(**changes: object) -> SearchSettings:
    """A search with two random candidates, at most 2 traces and 3 labelled pairs, and no stop score."""
    values: dict[str, object] = {"judge": TEXT, "seeds": (ZERO_SHOT, LABELLED, UNSHUFFLED, 0, 1), "max_bootstrapped": 2}
    return SearchSettings(**{**values, "max_labelled": 3, "stop_at_score": None, **changes})  # type: ignore[arg-type]
