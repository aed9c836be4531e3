"""Calibration: what confident judges are worth, by hand, on calibrated judges, and as drawn."""

from __future__ import annotations

import math
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pandas as pd
import pytest
from support.comparison_cases import assert_readable
from support.generated_verdicts import Cell, judged
from support.models import pair as pair_of

from personalrm.core.records import JudgedUser, Outcome, UserData, Verdict, write_records
from personalrm.results.figures.calibration_figure import calibration_caption, calibration_figure, shown_methods
from personalrm.results.scores import collect_verdicts
from personalrm.results.tables.calibration_table import (
    COLUMNS,
    calibration_blocks,
    calibration_notes,
    calibration_table,
    user_ties,
)

DEFAULT = Cell("default.logprob_both", 0.5, "judge", variant="baseline")


def odds_of(probability: float) -> float:
    return math.log(probability / (1 - probability))


def verdict(pair: str, chosen: float, outcome: Outcome | None = None) -> Verdict:
    """A verdict that gives the chosen answer this probability."""
    said: Outcome = "tie" if chosen == 0.5 else "correct" if chosen > 0.5 else "wrong"
    return Verdict(pair_id=pair, swapped=None, outcome=outcome or said, log_odds=odds_of(chosen))


def tabled(*rows: JudgedUser, ties: str = "") -> pd.DataFrame:
    """The table of these rows; the user called the pairs of `ties`, a letter each, a tie."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "rows.jsonl"
        write_records(path, rows)
        pairs = tuple(pair_of(name).model_copy(update={"tie": name in ties}) for name in "abcdef")
        write_records(Path(folder) / "users.jsonl", [UserData(dataset="generated", user_id="u", pairs=pairs)])
        return calibration_table(collect_verdicts([path]), user_ties([Path(folder) / "users.jsonl"]))


def test_scores_and_bins_by_hand() -> None:
    said = [verdict("a", 0.85), verdict("b", 0.85), verdict("c", 0.15), verdict("d", 0.55), verdict("e", 0.5)]
    table = tabled(judged(DEFAULT, "u", said), judged(DEFAULT, "v", [verdict("f", 0.85)]))
    assert table["bin"].tolist() == ["all", "50-60", "80-90"]
    whole, low, high = (row for _, row in table.iterrows())
    assert (whole["n_users"], whole["n_verdicts"]) == (2, 6)
    # A tie counts as half.
    assert (low["n_verdicts"], low["confidence"], low["accuracy"]) == (2, 52.5, 75.0)
    assert (high["n_verdicts"], high["confidence"], high["accuracy"]) == (4, 85.0, 75.0)
    loss = -(3 * math.log(0.85) + math.log(0.15) + math.log(0.55) + math.log(0.5)) / 6
    assert whole["log_loss"] == pytest.approx(loss, abs=1e-5)
    assert whole["brier"] == pytest.approx((3 * 0.15**2 + 0.85**2 + 0.45**2 + 0.5**2) / 6, abs=1e-5)
    assert whole["ece"] == pytest.approx((2 * 22.5 + 4 * 10) / 6, abs=1e-3)
    assert pd.isna(high["ece"])
    assert " ".join(table.columns) == " ".join(COLUMNS)


def test_words_failures_lost_verdicts_and_ties_of_the_user_do_not_count() -> None:
    kept = verdict("a", 0.7)
    others = [
        Verdict(pair_id="b", swapped=None, outcome="unparsed"),
        Verdict(pair_id="c", swapped=None, outcome="provider_error"),
        verdict("d", 0.7, "wrong"),  # the user called the pair a tie, and the judge did not
        verdict("e", 0.5, "correct"),
        verdict("f", 0.3, "wrong"),  # neither did it here, with a sign that is wrong where the user chose
    ]
    table = tabled(judged(DEFAULT, "u", [kept, *others]), ties="def")
    assert table["n_verdicts"].tolist() == [1, 1]
    assert tabled(judged(DEFAULT, "u", [kept, *others]))["n_verdicts"].iloc[0] == 4
    words = [Verdict(pair_id="a", swapped=swapped, outcome="correct", said="first") for swapped in (False, True)]
    assert tabled(judged(Cell("default", 0.5, "judge", variant="baseline"), "u", words)).empty


def test_extreme_log_odds_neither_overflow_nor_leave_the_bins() -> None:
    sure = [Verdict(pair_id=f"p{n}", swapped=None, outcome="correct", log_odds=odds) for n, odds in enumerate((800, 5))]
    table = tabled(judged(DEFAULT, "u", sure))
    assert table["bin"].tolist() == ["all", "95-100"]
    assert table["n_verdicts"].tolist() == [2, 2]


def simulated(method: str, stretch: float, users: int = 40, pairs: int = 25) -> list[JudgedUser]:
    """A judge whose log-odds are `stretch` times those of the truth."""
    rng = np.random.default_rng(3)
    rows = []
    for user in range(users):
        found = []
        for pair in range(pairs):
            odds = abs(rng.normal(0, 2))
            right = rng.random() < 1 / (1 + math.exp(-odds))
            said: Outcome = "correct" if right else "wrong"
            value = stretch * odds * (1 if right else -1)
            found.append(Verdict(pair_id=f"{user}-{pair}", swapped=None, outcome=said, log_odds=value))
        rows.append(judged(Cell(method, 0.5, "judge", variant="baseline"), f"u{user}", found))
    return rows


def test_a_calibrated_judge_is_told_from_one_that_is_too_sure() -> None:
    table = tabled(*simulated("default.logprob_both", 1.0), *simulated("oracle.logprob_both", 3.0))
    honest, boasting = (row for _, row in table[table["bin"] == "all"].iterrows())
    assert honest["accuracy"] == boasting["accuracy"]
    assert honest["ece"] < 5
    assert boasting["ece"] > 10
    assert honest["log_loss"] < boasting["log_loss"]
    bins = table[(table["method"] == "default.logprob_both") & (table["bin"] != "all")]
    inside = (bins["ci_low"] <= bins["confidence"]) & (bins["confidence"] <= bins["ci_high"])
    assert inside.sum() >= len(bins) - 1


def test_the_figure_has_a_line_a_method_and_names_what_it_leaves_out() -> None:
    names = ["default", "oracle", "history", "history_validation", "memory", "demos", "persona", "both", "demographics"]
    rows = [row for name in names for row in simulated(f"{name}.logprob_both", 1.0, users=3)]
    table = tabled(*rows)
    found, others = shown_methods(table)
    (lines,) = found.values()
    assert (len(lines), others) == (8, ["oracle"])
    figure = calibration_figure(table, title_note="a run")
    (axes,) = figure.axes
    assert sum(line.get_linestyle() == "-" and line.get_linewidth() == 1.4 for line in axes.lines) == 8
    assert "Of lower accuracy, in the table calibration alone: Oracle (planted taste)." in calibration_caption(table)
    assert_readable(figure)
    (block,) = calibration_blocks(table)
    assert len(block.texts) == len(names)
    assert any("expected calibration error" in note for note in calibration_notes(table))
