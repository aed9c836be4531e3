"""What tests of learning share: one user of six context and two validation pairs, traces, settings, candidates, and
outcomes at random."""

from __future__ import annotations

from hypothesis import strategies as st

from personalrm.core.records import Demonstration, Outcome, Profile, Trace
from personalrm.judge.judge import JudgeSettings
from personalrm.llm.types import Request, Response
from personalrm.methods.synthesizeme.bootstrap import BootstrapSettings
from personalrm.methods.synthesizeme.search import LABELLED, UNSHUFFLED, ZERO_SHOT, SearchSettings, draw_candidate
from support.models import good_is_first, pair, text

TEXT = JudgeSettings("standard", "text")
BOOT = BootstrapSettings(TEXT, attempts=3, temperature=0.7, max_tokens=512)
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


def profile_of(**fields: object) -> Profile:
    """The profile of user u of data set d that model m learned, with these fields."""
    known = {
        "dataset": "d",
        "user_id": "u",
        "model": "m",
        "variant": "corrected",
        "k": "all",
        "draw": 0,
        "status": "ok",
    }
    return Profile.model_validate(known | fields)


def settings(**changes: object) -> SearchSettings:
    """A search with two random candidates, at most 2 traces and 3 labelled pairs, and no stop score."""
    values: dict[str, object] = {"judge": TEXT, "seeds": (ZERO_SHOT, LABELLED, UNSHUFFLED, 0, 1), "max_bootstrapped": 2}
    return SearchSettings(**{**values, "max_labelled": 3, "stop_at_score": None, **changes})  # type: ignore[arg-type]


def draw(seed: int, traces: object = TRACES, boot: int = 2, lab: int = 3) -> tuple[Demonstration, ...]:
    return draw_candidate(seed, PAIRS, traces, max_bootstrapped=boot, max_labelled=lab, salt="0")  # type: ignore[arg-type]


def ids(shown: tuple[Demonstration, ...]) -> list[tuple[str, bool]]:
    return [(d.pair.pair_id, d.reasoning is not None) for d in shown]


def demonstrated(request: Request) -> str:
    return " ".join(m.content for m in request.messages[:-1] if m.role != "assistant")


Matrix = list[list[list[Outcome]]]
OUTCOME = st.sampled_from(["correct", "correct", "wrong", "wrong", "tie", "provider_error"])


def matrices() -> st.SearchStrategy[Matrix]:
    """Outcomes by candidate, validation pair and order."""
    sizes = st.tuples(st.integers(1, 6), st.integers(1, 6), st.integers(1, 2))

    def of(size: tuple[int, int, int]) -> st.SearchStrategy[Matrix]:
        candidates, pairs, orders = size
        one = st.lists(OUTCOME, min_size=orders, max_size=orders)
        row = st.lists(one, min_size=pairs, max_size=pairs)
        return st.lists(row, min_size=candidates, max_size=candidates)

    return sizes.flatmap(of)


def by_content(scores: dict[str, list[bool]], request: Request) -> bool:
    """Right or wrong by the one demonstration that is shown, the pair and the order."""
    shown = demonstrated(request)
    name = next((name for name in scores if f"question {name}" in shown), "none")
    number = int(request.messages[-1].content.split("question v")[1][0])
    return scores[name][number]
