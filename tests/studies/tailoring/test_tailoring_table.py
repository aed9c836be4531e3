"""The table of persona tailoring, from judgments made by hand."""

from __future__ import annotations

import random
from pathlib import Path

import pandas as pd
import pytest

from personalrm.core.generations import JudgedAnswers
from personalrm.core.records import Outcome, Verdict
from personalrm.studies.run_results import REPORTED
from personalrm.studies.tailoring.results.tailoring_reported_table import build
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


@pytest.mark.parametrize(("judges", "status"), [(["j"], "same judge"), ([], "not comparable")])
def test_a_reported_row_says_whether_the_judge_is_the_papers(judges: list[str], status: str, tmp_path: Path) -> None:
    made([judged(n, rubric, "correct") for n in range(3) for rubric in PQ]).to_csv(tmp_path / "t.csv", index=False)
    found = build(
        tmp_path / "t.csv",
        REPORTED / "tailoring_answers.csv",
        reported_datasets={"d": "Mnemonic"},
        reported_comparisons=[("t", "b", "DPO retr")],
        paper_judges=judges,
    )
    rows = found.frame.set_index("comparison")
    assert rows.loc["DPO retr", ["delta_pq", "difference", "status"]].tolist() == [28.6, 100.0, status]
    assert set(rows["status"]) == {status, "not run"}
    assert any(note.startswith(f"{status}: ") for note in found.notes)
