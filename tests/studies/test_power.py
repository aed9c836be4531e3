"""The table of power: what a comparison can resolve, by hand and by simulation, and the reported gains below it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.stats import nct
from scipy.stats import t as student
from support.comparison_cases import default, frame_of, learned, row_of
from support.generated_verdicts import Cell
from support.result_cases import made_twice

from personalrm.results.scores import collect_verdicts
from personalrm.results.stats.statistics import cluster_standard_error, paired_cluster_difference, share_interval
from personalrm.studies.synthesizeme.results.power_table import (
    POWER_COLUMNS,
    Gain,
    gains_for,
    gains_of,
    power_blocks,
    power_notes,
    power_table,
    resolvable,
    smallest_difference,
)
from personalrm.studies.synthesizeme.results.reported_numbers import read_numbers

NUMBERS = Path(__file__).resolve().parents[2] / "resources" / "reported" / "synthesizeme.csv"
GAINS = (
    Gain("prism", "big", ("both",), 2.0, "s", "high"),
    Gain("arena", "big", ("both",), -30.0, "s", "high"),
    Gain("arena", "big", ("demos", "persona"), 1.0, "s", "low"),
)


def table_of(frame: pd.DataFrame, answers_to: str | None = None) -> pd.DataFrame:
    return power_table(frame, GAINS, datasets=["d", "e"], answers_to={"d": answers_to})


def test_the_error_and_the_factor_by_hand(tmp_path: Path) -> None:
    # Gains of the users 4 of 4 (six of them) and 0 of 4 (six): mean 1/2; residuals of size 2, each over 48.
    users = [f"u{n:02d}" for n in range(12)]
    ours = {user: "1111" if n % 2 else "0000" for n, user in enumerate(users)}
    frame = frame_of(tmp_path, [(default(), dict.fromkeys(users, "0000")), (learned(), ours)])
    error = np.sqrt(12 / 11 * 12 * 2**2) / 48
    row = row_of(table_of(frame), method="both")
    assert (row["n_users"], row["n_judgments"], row["difference"]) == (12, 48, 50)
    assert row["standard_error"] == pytest.approx(100 * error, abs=1e-4)
    # Noncentral t with 11 degrees of freedom (normal quantiles: 2.802).
    plain = smallest_difference(1.0, 11) * error
    assert smallest_difference(1.0, 11) == pytest.approx(3.0784, abs=1e-4)
    # With z^2 = 3.8415 added units: mean 24 / 51.84, so that residuals are 2.148 and -1.852.
    mean = 24 / 51.8415
    users_part = 12 / 11 * 6 * ((4 - 4 * mean) ** 2 + (4 * mean) ** 2)
    added = 3.8415 / 2 * ((1 - mean) ** 2 + (1 + mean) ** 2)
    freedom = 11 * (users_part + added) ** 2 / users_part**2
    widened = smallest_difference(1.0, freedom) * np.sqrt(users_part + added) / 48
    assert plain < widened
    assert row["smallest"] == pytest.approx(100 * widened, abs=1e-2)


@pytest.mark.parametrize("users", [8, 30, 131])
def test_the_factor_is_the_one_of_a_t_test(users: int) -> None:
    factor = smallest_difference(1.0, users - 1)
    assert nct.sf(student.ppf(0.975, users - 1), users - 1, factor) == pytest.approx(0.8, abs=1e-6)
    assert factor > smallest_difference(1.0, np.inf) == pytest.approx(1.959964 + 0.841621, abs=1e-5)


def test_fewer_than_six_users_resolve_nothing(tmp_path: Path) -> None:
    users = [f"u{n}" for n in range(6)]
    said = {user: "1100" if n % 2 else "1010" for n, user in enumerate(users)}
    theirs = {user: "0100" if n % 2 else "0101" for n, user in enumerate(users)}
    for number, expected in ((6, "ok"), (5, "fewer than 6 users")):
        kept = users[:number]
        cells = [(default(), {u: theirs[u] for u in kept}), (learned(), {u: said[u] for u in kept})]
        table = table_of(frame_of(tmp_path / str(number), cells))
        row = row_of(table, method="both")
        assert row["status"] == expected
        assert pd.isna(row["smallest"]) == (expected != "ok")
    assert any("fewer than 6" in note for note in power_notes(table))


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
    assert np.isnan(share_interval([1], [2])[1:]).all()
    # Users who are equal leave open what six judgments do.
    found = share_interval([1, 2], [2, 4])
    assert (found.low, found.high) == pytest.approx((0.1876, 0.8124), abs=1e-3)
    found = share_interval([4, 4, 1], [4, 4, 4])
    assert (found.estimate, found.high) == (0.75, 1.0)
    # Student's t for two degrees of freedom: 4.3027.
    apart = share_interval([2, 5, 8], [10, 10, 10])
    assert apart.low == pytest.approx(max(0.0, 0.5 - 4.3027 * 0.3 / np.sqrt(3)), abs=1e-4)
    assert share_interval([50, 40, 60], [100, 100, 100]).low == pytest.approx(0.5 - 4.3027 * 0.1 / np.sqrt(3), abs=1e-4)


@pytest.mark.parametrize("n_users", [8, 30, 60])
def test_a_test_finds_the_smallest_difference_four_times_in_five(n_users: int) -> None:
    """Samples of users whose true gain is the smallest difference that such samples imply; the test is the table's."""
    generator = np.random.default_rng(7)
    sizes = generator.integers(20, 45, n_users)

    def gains(mean: float) -> tuple[np.ndarray[tuple[int, ...], np.dtype[np.float64]], ...]:
        own = generator.normal(mean, 0.12, n_users).clip(-0.4, 0.6)
        sides = (generator.binomial(sizes, 0.4 + own), generator.binomial(sizes, 0.4), sizes)
        return tuple(side.astype(np.float64) for side in sides)

    units = int(sizes.sum())
    implied = [resolvable(*(side[:, None] for side in gains(0.0)), units=units) for _ in range(300)]
    smallest = float(np.sqrt(np.mean(np.square(implied))))
    tests = (paired_cluster_difference(*gains(smallest), seed=n, n_resamples=1999, units=units) for n in range(500))
    found = sum(test.p_value < 0.05 for test in tests)
    assert 0.74 < found / 500 < 0.86


def test_reported_gains_below_what_can_be_resolved(tmp_path: Path) -> None:
    gains = {f"u{n}": "1110000000" for n in range(4)}, {f"v{n}": "1111111110" for n in range(4)}
    bare = {user: "0" * 10 if user[0] == "u" else "1" * 10 for side in gains for user in side}
    frame = frame_of(tmp_path, [(default(), bare), (learned(), gains[0] | gains[1])])
    row = row_of(table_of(frame), method="both")
    # Four users with gains 3 of 10 and four with -1 of 10: error sqrt(8 / 7 * 8 * 2^2) / 80, times 3.27; the units that
    # are added make it 2 % more.
    assert row["smallest"] == pytest.approx(100 * 3.26976 * np.sqrt(8 / 7 * 8 * 4) / 80, rel=0.025)
    # The one of -30 points is larger in size than 25.
    assert (row["n_gains"], row["n_below"], row["answers_to"]) == (2, 1, "-")
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


def test_the_table_has_equal_bytes_each_time(tmp_path: Path) -> None:
    ours, theirs = ({f"u{n}": said[n % 2] for n in range(8)} for said in (("00", "11"), ("11", "10")))
    frame = frame_of(tmp_path, [(default(), ours), (learned(), theirs)])
    params = {"compared": ["d", "e"], "reported_sets": {"d": "prism", "e": None}}
    csv = made_twice(tmp_path, "power", frame, {"reported_numbers": NUMBERS}, params)
    assert pd.read_csv(csv)["status"].tolist() == ["ok", "not run"]
    empty = power_table(collect_verdicts([]), GAINS, datasets=[], answers_to={})
    assert list(empty.columns) == list(POWER_COLUMNS)
    assert power_notes(empty)
    assert power_blocks(empty, ())[0].texts.empty
