"""Planned calls, counted by hand."""

from __future__ import annotations

from typing import Any

from support.models import pair

from personalrm.config_load import parse_config
from personalrm.records import UserData
from personalrm.stages.estimate import Work, planned_work

USER = UserData(
    dataset="d",
    user_id="u",
    pairs=(
        *(pair(f"c{n}", split="context") for n in range(4)),
        *(pair(f"v{n}", split="validation") for n in range(4)),
        *(pair(f"t{n}", split="test") for n in range(5)),
    ),
)


def work(methods: list[str], verdicts: str = "text", axes: object = None, **search: object) -> Work:
    model: dict[str, Any] = {"backend": "openai", "model": "gpt", "api_base": "http://x/v1", "verdicts": [verdicts]}
    raw = {
        "run": "x",
        "datasets": {"d": {"path": "votes.jsonl"}},
        "models": {"m": model, "n": {**model, "verdicts": ["text"]}},
        "methods": methods or ["both"],
        "learn": {"models": ["m", "n"], "search": search},
        "analysis": {"axes": axes},
    }
    return planned_work(parse_config(raw), [USER])["m"]


def test_criteria_cost_three_calls_a_pair_where_verdicts_are_words() -> None:
    both = work(["both"]).calls
    # As `both` (two calls for each of 5 pairs, and one for the shared prefix), and one more call a pair.
    assert work(["both", "criteria"]).calls == both + 1 + 5 * 3
    assert work(["both", "criteria"], "logprob").calls == both


def test_disjoint_parts_cost_a_search_and_a_persona_each_and_their_tags() -> None:
    whole, halves = (work([], axes={"disjoint": parts}).calls for parts in ([], ["halves"]))
    # Two parts: 12 candidates over 4 pairs in 2 orders, 0.8 of them asked, a prefix each, a persona; two tags each of
    # two models' personas.
    assert round(halves - whole, 6) == round(2 * (0.8 * 12 * 4 * 2 + 12 + 1) + 2 * 2 * 2, 6)


def test_halving_counts_the_questions_of_its_rounds() -> None:
    exact, halved = work(["both"]), work(["both"], strategy="halving")
    # Two searches over 4 pairs, of 12 and 13 candidates. Exact: 0.8 of all; halving: 1, 1 and 2 more pairs a round.
    saved = 2 * (0.8 * (12 + 13) * 4 - (12 + 6 + 2 * 3) - (13 + 7 + 2 * 4))
    assert round(exact.calls - halved.calls, 6) == round(saved, 6)
