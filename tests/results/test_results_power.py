"""The table of power: what a comparison can resolve, by hand and by simulation, and the reported gains below it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from comparison_cases import default, frame_of, learned, row_of
from detail_cases import made_twice
from generated_verdicts import Cell

from personalrm.results.power_gains import Gain, gains_for, gains_of
from personalrm.results.power_table import (
    POWER_COLUMNS,
    power_blocks,
    power_notes,
    power_table,
    smallest_difference,
)
from personalrm.results.reported_numbers import read_numbers
from personalrm.results.scores import collect_verdicts
from personalrm.results.statistics import cluster_interval, cluster_standard_error, paired_cluster_difference

NUMBERS = Path(__file__).resolve().parents[2] / "resources" / "reported" / "synthesizeme.csv"
GAINS = (
    Gain("prism", "big", ("both",), 2.0, "s", "high", ""),
    Gain("arena", "big", ("both",), -30.0, "s", "high", ""),
    Gain("arena", "big", ("demos", "persona"), 1.0, "s", "low", ""),
)


def table_of(frame: pd.DataFrame, answers_to: str | None = None) -> pd.DataFrame:
    return power_table(frame, GAINS, datasets=["d", "e"], answers_to={"d": answers_to})


def test_the_error_and_the_factor_by_hand(tmp_path: Path) -> None:
    # Gains of the users 2 of 2, 0 of 2, 1 of 4: mean 3/8; residuals 1.25, -0.75, -0.5, each over 8.
    frame = frame_of(
        tmp_path,
        [(default(), {"u": "00", "v": "11", "w": "0100"}), (learned(), {"u": "11", "v": "11", "w": "1100"})],
    )
    error = np.sqrt(3 / 2 * (1.25**2 + 0.75**2 + 0.5**2)) / 8
    row = row_of(table_of(frame), method="both")
    assert (row["n_users"], row["n_judgments"], row["difference"]) == (3, 8, 37.5)
    assert row["standard_error"] == pytest.approx(100 * error, abs=1e-4)
    assert row["smallest"] == pytest.approx(100 * (1.959964 + 0.841621) * error, abs=1e-3)


def test_the_error_is_the_one_that_the_bootstrap_finds() -> None:
    generator = np.random.default_rng(5)
    sizes = generator.integers(2, 40, 200)
    first, second = (generator.binomial(sizes, generator.normal(0.55, 0.1, 200).clip(0, 1)) for _ in range(2))
    found = paired_cluster_difference(first, second, sizes, seed=1, n_resamples=4000)
    error = cluster_standard_error(first - second, sizes)
    assert (found.high - found.low) / 2 == pytest.approx(1.96 * error, rel=0.06)


def test_draws_are_averaged_before_users_are_compared() -> None:
    top, bottom = np.array([[2, 1], [0, 1], [1, 0]]), np.array([[2, 2], [2, 2], [1, 1]])
    residuals = ((top - top.sum(0) / 5 * bottom) / 5).mean(axis=1)
    assert cluster_standard_error(top, bottom) == pytest.approx(np.sqrt(1.5 * (residuals**2).sum()))


def test_the_interval_holds_the_share_and_stays_within_bounds() -> None:
    assert np.isnan(cluster_interval([1], [2])[1:]).all()
    assert cluster_interval([1, 2], [2, 4]) == (0.5, 0.5, 0.5)
    found = cluster_interval([4, 4, 1], [4, 4, 4])
    assert (found.estimate, found.high) == (0.75, 1.0)
    # Student's t for two degrees of freedom: 4.3027.
    assert cluster_interval([5, 4, 6], [10, 10, 10]).low == pytest.approx(0.5 - 4.3027 * 0.1 / np.sqrt(3), abs=1e-4)


def test_a_test_finds_the_smallest_difference_four_times_in_five() -> None:
    """Samples of 60 users whose true gain is the smallest difference that one such sample implies."""
    generator = np.random.default_rng(7)
    n_users, spread = 60, 0.12
    sizes = generator.integers(5, 45, n_users)

    def gains(mean: float) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
        own = generator.normal(mean, spread, n_users).clip(-0.5, 0.5)
        return np.asarray(generator.binomial(sizes, 0.5 + own) - generator.binomial(sizes, 0.5), dtype=np.float64)

    errors = [cluster_standard_error(gains(0.0), sizes) for _ in range(400)]
    smallest = smallest_difference(float(np.mean(errors)))
    found = 0
    for _ in range(1500):
        sample = gains(smallest)
        found += abs(sample.sum() / sizes.sum()) > 1.959964 * cluster_standard_error(sample, sizes)
    assert 0.75 < found / 1500 < 0.85


def test_reported_gains_below_what_can_be_resolved(tmp_path: Path) -> None:
    said = ({"u": "0000000000", "v": "1111111111"}, {"u": "1110000000", "v": "1111111110"})
    frame = frame_of(tmp_path, [(default(), said[0]), (learned(), said[1])])
    row = row_of(table_of(frame), method="both")
    # Two users with gains 3 of 10 and -1 of 10: error 20 points, 56 can be resolved.
    assert row["smallest"] == pytest.approx(2.801585 * 20, abs=1e-3)
    assert (row["n_gains"], row["n_below"], row["answers_to"]) == (2, 2, "-")
    row = row_of(table_of(frame, "prism"), method="both")
    assert (row["n_gains"], row["gains_below"]) == (1, "prism big both +2.00")
    large = [gain._replace(points=57.0) for gain in GAINS]
    table = power_table(frame, large, datasets=[], answers_to={})
    assert row_of(table, method="both")["n_below"] == 0
    assert power_blocks(table, large)[0].texts["Reported gains below"].tolist() == ["0 of 2"]


def test_what_has_no_number_says_why(tmp_path: Path) -> None:
    same = {"u": "10", "v": "11"}
    cells = [(default(), same), (learned(), same), (learned("demos"), {"u": "ee", "v": "ee"})]
    cells += [(learned("persona"), {"w": "1"}), (learned("memory", judge="n", profile="n"), same)]
    cells += [(default("o"), {"u": "1"}), (learned("both", judge="o", profile="o"), {"u": "0"})]
    cells += [(Cell("longer", 0.5, None, variant="baseline", dataset="d"), same)]
    table = table_of(frame_of(tmp_path, cells))
    status = {
        (row.dataset, row.judge_model, row.method): row.status for row in table.itertuples(index=False, name="Row")
    }
    assert status == {
        ("d", "m", "both"): "no variation between users",
        ("d", "m", "demos"): "no answers",
        ("d", "m", "persona"): "nothing in common",
        ("d", "n", "memory"): "not run",
        ("d", "o", "both"): "one user",
        ("e", "-", "-"): "not run",
    }
    assert table["smallest"].isna().all()
    shown = power_blocks(table, GAINS)[0].texts["Smallest, points"].tolist()
    assert "no answers (!)" in shown
    assert any("Nothing is assumed" in note for note in power_notes(table))


def test_gains_are_the_reported_numbers_less_default_of_the_same_set_and_model() -> None:
    numbers = read_numbers(NUMBERS)
    gains = gains_of(numbers)
    both = gains_for(gains, "both", "arena")
    assert [(gain.points, gain.confidence) for gain in both] == [(5.28, "high")]
    assert {gain.dataset for gain in gains_for(gains, "both", None)} == {"arena", "prism"}
    assert gains_for(gains, "history", None) == []
    assert all(gain.source and gain.confidence for gain in gains)
    # 55.24 less 52.80 on PRISM with the 8B model: the source does not say which variant it is.
    assert [gain.label for gain in gains if len(gain.methods) > 1] == [
        "prism Llama-3.1-8B-Instruct demos/persona/both +2.44"
    ]
    # Methods without an id here, other papers' numbers, and sets or models without a Default have no gain.
    assert len(gains) == 10
    assert gains_of([number for number in numbers if number.method != "default"]) == ()


def test_the_script_gives_equal_bytes(tmp_path: Path) -> None:
    frame = frame_of(tmp_path, [(default(), {"u": "00", "v": "11"}), (learned(), {"u": "11", "v": "10"})])
    params = {"datasets": ["d", "e"], "answers_to": {"d": "prism", "e": None}}
    csv = made_twice(tmp_path, "power", frame, {"numbers": str(NUMBERS)}, params)
    assert pd.read_csv(csv)["status"].tolist() == ["ok", "not run"]
    empty = power_table(collect_verdicts([]), GAINS, datasets=[], answers_to={})
    assert list(empty.columns) == list(POWER_COLUMNS)
    assert power_notes(empty)
    assert power_blocks(empty, ())[0].texts.empty
