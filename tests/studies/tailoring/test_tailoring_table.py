"""The table of persona tailoring, from judgments made by hand."""

from __future__ import annotations

import random

import pandas as pd

from personalrm.core.generations import JudgedAnswers
from personalrm.core.records import Outcome, Verdict
from personalrm.studies.tailoring.results.tailoring_table import PQ, tailoring_table


def judged(number: int, rubric: str, said: Outcome) -> JudgedAnswers:
    ids = {"dataset": "d", "pair_id": f"p{number:02}", "test": "t", "base": "b", "judge": "j", "mode": "text"}
    verdicts = tuple(Verdict(pair_id=ids["pair_id"], swapped=turn, outcome=said) for turn in (False, True))
    return JudgedAnswers(**ids, rubric=rubric, verdicts=verdicts, words=(3, 2))  # type: ignore[arg-type]


def made(rows: list[JudgedAnswers], seed: int = 1) -> pd.DataFrame:
    return tailoring_table(rows, seed=seed, n_resamples=99)


def test_bounds_rest_on_the_seed_and_not_on_the_order_of_rows() -> None:
    coin = random.Random(0)
    said: list[Outcome] = [coin.choice(["correct", "wrong"]) for _ in range(60)]
    # Both rubrics agree, so that the mean of both varies as each does, and the bootstrap gives the bounds.
    rows = [judged(number, rubric, one) for number, one in enumerate(said) for rubric in PQ]
    table = made(rows)
    pd.testing.assert_frame_equal(made(rows), table)
    pd.testing.assert_frame_equal(made([*rows[60:], *rows[:60]]), table)
    other = made(rows, seed=3)
    assert (other["difference"] == table["difference"]).all()
    assert (other["ci_low"] != table["ci_low"]).all()
