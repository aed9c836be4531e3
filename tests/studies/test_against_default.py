"""Which judgments differ from Default, and with which method the transcripts open."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

from personalrm.studies.synthesizeme.against_default import against_default, opening

Item = list[Any]


def row(method: str, judge: str | None = "m", *, user: int = 0, k: str = "-", draw: int = 0) -> dict[str, Any]:
    return {
        **{"method": method, "judge_model": judge, "profile_model": None, "variant": "baseline"},
        **{"user": user, "k": k, "draw": draw},
    }


def item(number: int, pair: int | None, *outcomes: str) -> Item:
    return [number, pair, [[bool(place), outcome, None, None, []] for place, outcome in enumerate(outcomes)]]


def test_shares_are_those_of_right_verdicts_and_lost_calls_count_nowhere() -> None:
    rows = [row("default"), row("persona")]
    items = [
        *(item(0, 0, "correct", "wrong"), item(1, 0, "correct", "correct")),
        *(item(0, 1, "correct", "correct"), item(1, 1, "unparsed", "correct")),
        *(item(0, 2, "correct", "wrong"), item(1, 2, "correct", "provider_error")),
        *(item(0, 3, "provider_error"), item(1, 3, "correct")),
        *(item(0, None), item(1, None), item(1, 4, "correct")),
    ]
    assert against_default(rows, items)[1::2][:4] == [0.5, -0.5, 0.5, None]
    assert against_default(rows, items)[8:] == [None, None, None]
    # Default is not compared with itself.
    assert against_default(rows, items)[0] is None


def test_default_is_that_of_the_same_judge_then_kind_of_verdict_then_pairs() -> None:
    rows = [
        *(row("default", "n"), row("default.logprob", "m"), row("default@all", "m"), row("default", "m")),
        *(row("persona", "m"), row("persona.logprob", "m"), row("persona@all", "m"), row("persona", "x")),
        *(row("words", None), row("default", "m", user=1)),
    ]
    right = {0: "wrong", 1: "correct", 2: "tie", 3: "wrong"}
    items = [item(number, 0, right.get(number, "correct")) for number in range(len(rows))]
    # A judge without Default is compared with no other's; a method without a judge with m's, which stands before n's.
    assert against_default(rows, items)[4:] == [1.0, 0.0, 1.0, None, 1.0, None]
    items[3] = item(3, 0, "correct", "correct")
    assert against_default(rows, items)[4:] == [0.0, 0.0, 1.0, None, 0.0, None]


def opened(rows: Sequence[dict[str, Any]], items: Sequence[Item]) -> Any:  # noqa: ANN401 - a dict or None
    return opening(rows, items, against_default(rows, items))


def judged(number: int, outcomes: str) -> list[Item]:
    """Verdicts of a row on pairs 0, 1, …: `c`orrect or `w`rong."""
    return [item(number, pair, {"c": "correct", "w": "wrong"}[one]) for pair, one in enumerate(outcomes)]


def test_the_page_opens_with_the_method_that_differs_on_most_pairs() -> None:
    names = ["default", "persona", "demos", "persona", "oracle", "random", "bt_oracle", "fspo_oracle"]
    rows = [row(name, k="1" if number == 1 else "all") for number, name in enumerate(names)]
    given = ["ccw", "ccc", "wcc", "wcw", *["wwc"] * 4]
    items = [line for number, said in enumerate(given) for line in judged(number, said)]
    # Demonstrations differ twice; personas once in each of two conditions; controls are left out.
    assert opened(rows, items) == {"method": "demos", "pairs": 2, "of": 3}
    random.Random(0).shuffle(items)
    assert opened(rows, items) == {"method": "demos", "pairs": 2, "of": 3}


def test_of_equals_the_first_of_the_tables_opens_and_nothing_where_nothing_differs() -> None:
    rows = [row("default"), row("both"), row("demos")]
    items = [*judged(0, "cc"), *judged(1, "cw"), *judged(2, "wc")]
    assert opened(rows, items)["method"] == "demos"
    assert opened(rows, [*judged(0, "cc"), *judged(1, "cc")]) is None
    assert opened([], []) is None


def test_a_method_of_other_pairs_than_those_of_default_does_not_open() -> None:
    rows = [row("default"), row("words@loo", None), row("demos")]
    items = [*judged(0, "ccc"), *judged(1, "www"), *judged(2, "wcc")]
    assert opened(rows, items) == {"method": "demos", "pairs": 1, "of": 3}
