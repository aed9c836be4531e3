"""Errors, intervals and p-values against their formulas, written out user by user."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import mean

import pytest

from personalrm.results.stats import statistics
from personalrm.results.stats.statistics import (
    FEW_USERS,
    Spread,
    cluster_bootstrap,
    cluster_standard_error,
    difference_spreads,
    paired_cluster_difference,
    plus_four,
    share_interval,
    unexpanded_p,
)

Counts = Sequence[Sequence[float]]
Z = 1.959963984540054
SHARE, DIFFERENCE = (0.0, 1.0), (-1.0, 1.0)

# Judgments of each user in each draw.
RIGHT, ASKED = [[3], [1], [2]], [[4], [4], [2]]
DRAWS_RIGHT, DRAWS_ASKED = [[3, 2], [1, 4], [2, 0]], [[4, 5], [4, 4], [2, 1]]
GAIN, MANY_ASKED = [[1], [-2], [3]], [[4], [4], [5]]


def apart(right: Counts, asked: Counts, about: Sequence[float]) -> list[float]:
    """How far each user is from the shares `about` of the draws, as part of all judgments."""
    totals = [sum(draw) for draw in zip(*asked, strict=True)]
    rows = [zip(*row, about, totals, strict=True) for row in zip(right, asked, strict=True)]
    return [mean((r - share * n) / total for r, n, share, total in row) for row in rows]


def shares(right: Counts, asked: Counts) -> list[float]:
    return [sum(r) / sum(n) for r, n in zip(zip(*right, strict=True), zip(*asked, strict=True), strict=True)]


def standard_error(right: Counts, asked: Counts) -> float:
    users = len(right)
    return math.sqrt(users / (users - 1) * sum(r**2 for r in apart(right, asked, shares(right, asked))))


@pytest.mark.parametrize(("right", "asked"), [(RIGHT, ASKED), (DRAWS_RIGHT, DRAWS_ASKED), (GAIN, MANY_ASKED)])
def test_the_clustered_error_is_cochrans(right: Counts, asked: Counts) -> None:
    assert cluster_standard_error(right, asked) == pytest.approx(standard_error(right, asked))
    assert math.isnan(cluster_standard_error(right[:1], asked[:1]))


def test_a_draw_without_judgments_is_left_out_and_one_with_a_single_judgment_is_not() -> None:
    empty = cluster_standard_error([[3, 0], [1, 0]], [[4, 0], [4, 0]])
    assert empty == pytest.approx(standard_error([[3], [1]], [[4], [4]]))
    single = [[3, 1], [1, 0]], [[4, 1], [4, 0]]
    assert cluster_standard_error(*single) == pytest.approx(standard_error(*single))
    assert cluster_bootstrap(*single, seed=0).estimate == mean((4 / 8, 1))


@pytest.mark.parametrize(
    ("right", "asked", "units", "ends"),
    [
        (RIGHT, ASKED, None, SHARE),
        (RIGHT, ASKED, 5, SHARE),
        (DRAWS_RIGHT, DRAWS_ASKED, None, SHARE),
        (DRAWS_RIGHT, DRAWS_ASKED, 4, SHARE),
        (GAIN, MANY_ASKED, None, DIFFERENCE),
        (GAIN, MANY_ASKED, 30, DIFFERENCE),
        (GAIN * 7, MANY_ASKED * 7, 30, DIFFERENCE),
        (GAIN * 7, MANY_ASKED * 7, 200, DIFFERENCE),
        (RIGHT, ASKED, 1, SHARE),
    ],
)
def test_plus_four_adds_half_of_z_squared_units_at_each_end(
    right: Counts, asked: Counts, units: float | None, ends: tuple[float, float]
) -> None:
    judged, found = mean(sum(draw) for draw in zip(*asked, strict=True)), shares(right, asked)
    users, unit = len(right), 1 if units is None else judged / units
    clustered, independent = plus_four(right, asked, units, ends)

    n = judged + Z**2 * unit
    middle = (mean(found) * judged + Z**2 * unit * mean(ends)) / n
    of_users = (
        users
        / (users - 1)
        * sum((r * judged) ** 2 for r in apart(right, asked, [share + middle - mean(found) for share in found]))
    )
    of_added = Z**2 / 2 * unit**2 * sum((end - middle) ** 2 for end in ends)
    freedom = (of_users + of_added) ** 2 / of_users**2 * (users - 1)
    assert clustered == pytest.approx((middle, math.sqrt(of_users + of_added) / n, freedom, judged / n))

    unit = unit if users < FEW_USERS else min(1, unit)
    n = judged + Z**2 * unit
    middle = (mean(found) * judged + Z**2 * unit * mean(ends)) / n
    discordant = shares([[abs(r) for r in row] for row in right], asked)
    squares = (mean(discordant) * judged + Z**2 / 2 * unit * sum(map(abs, ends))) / n
    error = math.sqrt((squares - middle**2) * unit / n)
    assert independent == pytest.approx((middle, error, math.inf, judged / n))


def test_of_fewer_than_20_users_the_judgments_of_a_pair_count_as_one() -> None:
    errors = {
        users: plus_four([[3], [1]] * (users // 2), [[4], [4]] * (users // 2), users, SHARE) for users in (18, 20)
    }
    assert [independent.error > clustered.error for clustered, independent in errors.values()] == [True, False]


def test_plus_four_of_equal_users_is_agresti_and_coulls_interval_of_as_many_judgments() -> None:
    n = 12 + Z**2
    middle = (6 + Z**2 / 2) / n
    clustered, independent = plus_four([2, 2, 2], [4, 4, 4], None, SHARE)
    assert independent[:3] == pytest.approx((middle, math.sqrt(middle * (1 - middle) / n), math.inf))
    # Users who are all equal have no part in the clustered error.
    assert clustered[:3] == pytest.approx((middle, math.sqrt(Z**2 / 4) / n, math.inf))


def test_bounds_and_p_value_of_a_spread_are_those_of_tables() -> None:
    # Student's t with 9 degrees of freedom is 2.26216 at 97.5 %, 1.83311 at 95 %.
    assert Spread(1.0, 0.5, 9, 1).bounds == pytest.approx((1 - 1.13108, 1 + 1.13108), abs=1e-5)
    assert Spread(1.0, 0.5, math.inf, 1).bounds == pytest.approx((1 - Z / 2, 1 + Z / 2))
    assert Spread(-1.13108, 0.5, 9, 1).p_value == pytest.approx(0.05, abs=1e-5)
    assert Spread(1.83311, 1.0, 9, 1).p_value == pytest.approx(0.1, abs=1e-5)
    assert Spread(Z, 1.0, math.inf, 1).p_value == pytest.approx(0.05)
    assert [Spread(value, 0.0, 9, 1).p_value for value in (0.0, 0.5, 1.0)] == [1, 0, 0]


def test_without_a_seed_the_interval_is_students_around_what_is_left_open() -> None:
    error = cluster_standard_error([60, 40, 55, 50], [100] * 4)
    # Student's t with 3 degrees of freedom: 3.18245.
    found = share_interval([60, 40, 55, 50], [100] * 4)
    spreads = plus_four([60, 40, 55, 50], [100] * 4, None, SHARE)
    lows, highs = zip((0.5125 - 3.18245 * error, 0.5125 + 3.18245 * error), *(s.bounds for s in spreads), strict=True)
    assert lows[0] == min(lows)
    assert found == pytest.approx((0.5125, min(lows), max(highs)), abs=1e-6)


def test_a_difference_is_the_hull_of_its_parts_and_its_p_the_largest() -> None:
    first, second, asked = [3, 4, 2, 5, 3, 1, 4, 5], [2, 1, 3, 2, 3, 1, 2, 4], [5] * 8
    found = paired_cluster_difference(first, second, asked, seed=3)
    gain = [[a - b] for a, b in zip(first, second, strict=True)]
    spreads = plus_four(gain, [[5]] * 8, None, DIFFERENCE)
    sampled = cluster_bootstrap(gain, [[5]] * 8, seed=3)
    lows, highs = zip(sampled[1:], *(spread.bounds for spread in spreads), strict=True)
    assert found[:3] == pytest.approx((9 / 40, min(*lows, 0), max(highs)))
    assert found == paired_cluster_difference(first, second, asked, seed=3, n_resamples=9999)
    plain, *others = difference_spreads(first, second, asked)
    assert plain[:2] == pytest.approx((9 / 40, standard_error(gain, [[5]] * 8)))
    assert others == list(spreads)
    assert found.p_value >= max(spread.p_value for spread in spreads) > 0.01


@pytest.mark.parametrize("users", [30, 40])
def test_resamples_without_any_difference_count_for_both_sides(users: int) -> None:
    """Two users gain all, the others nothing: a resample holds neither with a probability that is known."""
    first, none, asked = [100, 100] + [0] * (users - 2), [0] * users, [100] * users
    neither = (1 - 2 / users) ** users
    for sides in ((first, none), (none, first)):
        found = paired_cluster_difference(*sides, asked, seed=1)
        assert found.p_value == pytest.approx(unexpanded_p(2 * neither, users), abs=0.02)
        assert found.p_value > 1.2 * max(spread.p_value for spread in difference_spreads(*sides, asked))


def test_a_p_value_of_resamples_is_never_smaller_than_so_many_resamples_show() -> None:
    found = paired_cluster_difference([40] * 11 + [39], [0] * 12, [40] * 12, seed=0, n_resamples=19)
    assert found.p_value == pytest.approx(unexpanded_p(2 / 20, 12))


def test_at_a_p_value_of_exactly_5_percent_the_interval_holds_0(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(statistics, "sign_floor", lambda _: 0.05)
    found = paired_cluster_difference([40] * 12, [0] * 12, [40] * 12, seed=0)
    assert (found.low, found.p_value) == (0, 0.05)


def test_a_draw_that_a_resample_leaves_empty_is_left_out_of_it() -> None:
    """Each user is asked in one draw alone: where one of them is drawn twice, the other draw has no judgment."""
    assert cluster_bootstrap([[1, 0], [0, 0]], [[1, 0], [0, 1]], seed=0) == (0.5, 0, 1)


def test_the_memory_that_resamples_take_changes_none(monkeypatch: pytest.MonkeyPatch) -> None:
    right, asked = [1, 4, 2, 9, 3], [4, 6, 2, 20, 4]
    whole = cluster_bootstrap(right, asked, seed=1, n_resamples=100)
    monkeypatch.setattr(statistics, "CELLS_PER_BLOCK", 5 * 30)
    assert cluster_bootstrap(right, asked, seed=1, n_resamples=100) == whole
