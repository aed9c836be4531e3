"""Statistics against known answers, and what must hold for any data."""

from __future__ import annotations

import itertools
import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from personalrm.results.stats.exact_statistics import independent_interval
from personalrm.results.stats.statistics import (
    MANY_USERS,
    cluster_bootstrap,
    difference_spreads,
    expanded_level,
    holm,
    paired_cluster_difference,
    share_interval,
    unexpanded_p,
)

PUBLISHED = [(322, 56.69, 4.05), (327, 57.57, 4.05), (352, 61.97, 3.96)]
"""Right judgments of 568, and accuracy and half-width as printed (facts, sections 4 and 7)."""


def authors_half_widths(correct: int, n: int) -> Counter[float]:
    """Printed half-widths of 400 unseeded runs of the authors' bootstrap (9,999 resamples each)."""
    counts = np.random.default_rng(0).binomial(n, correct / n, size=(400, 9999))
    low, high = np.quantile(counts, [0.025, 0.975], axis=1)
    return Counter(np.round(100 * (high - low) / 2 / n, 2).tolist())


@pytest.mark.parametrize(("correct", "accuracy", "half_width"), PUBLISHED[:2])
def test_independent_interval_reproduces_the_paper_to_the_digit(
    correct: int, accuracy: float, half_width: float
) -> None:
    interval = independent_interval(correct, 568)
    assert round(100 * interval.estimate, 2) == accuracy
    assert round(100 * (interval.high - interval.low) / 2, 2) == half_width


def test_one_published_half_width_is_a_draw_between_two_values() -> None:
    # P(X <= 374) = 0.97473 for 352 of 568: an unseeded run lands on 374 (3.96) or on 375 (4.05, the limit)
    # about equally often.
    runs = authors_half_widths(352, 568)
    assert {value for value, _ in runs.most_common(2)} == {3.96, 4.05}
    assert runs[3.96] > 0.3 * runs.total()
    interval = independent_interval(352, 568)
    assert round(100 * interval.estimate, 2) == 61.97
    assert round(100 * (interval.high - interval.low) / 2, 2) == 4.05


@pytest.mark.parametrize(("correct", "accuracy", "half_width"), PUBLISHED)
def test_published_half_widths_are_what_the_authors_procedure_gives(
    correct: int, accuracy: float, half_width: float
) -> None:
    runs = authors_half_widths(correct, 568)
    assert half_width in {value for value, _ in runs.most_common(2)}


def test_independent_interval_is_the_limit_of_a_basic_bootstrap() -> None:
    generator = np.random.default_rng(3)
    values = np.array([1] * 30 + [0] * 20)
    means = generator.choice(values, size=(40_000, 50)).mean(axis=1)
    low, high = np.quantile(means, [0.025, 0.975])
    interval = independent_interval(30, 50)
    assert interval.low == pytest.approx(2 * 0.6 - high, abs=1e-9)
    assert interval.high == pytest.approx(2 * 0.6 - low, abs=1e-9)


def test_independent_interval_may_leave_the_unit_interval_like_the_paper() -> None:
    # facts, section 4: the authors' evaluate() returned an upper bound of 1.125.
    assert independent_interval(7, 8).high == pytest.approx(1.125)


def test_independent_interval_of_nothing_is_undefined_and_of_nonsense_refused() -> None:
    assert all(math.isnan(value) for value in independent_interval(0, 0))
    with pytest.raises(ValueError, match=r"0\.\.3"):
        independent_interval(4, 3)


def exact_quantiles(numerators: list[int], denominators: list[int]) -> tuple[float, float]:
    """Quantiles over all n^n resamples of users, each equally likely."""
    users = range(len(numerators))
    ratios = [
        sum(numerators[u] for u in drawn) / sum(denominators[u] for u in drawn)
        for drawn in itertools.product(users, repeat=len(numerators))
    ]
    tail = expanded_level(0.025, len(numerators))
    low, high = np.quantile(ratios, [tail, 1 - tail])
    return float(low), float(high)


def test_few_users_have_wider_tails_by_hand_and_many_the_plain_ones() -> None:
    # Student's t with 29 degrees of freedom is 2.0452 at 97.5 %; times sqrt(30 / 29) 2.0802, normal tail 0.01876.
    assert expanded_level(0.025, 30) == pytest.approx(0.01876, abs=1e-5)
    assert expanded_level(0.025, 100_000) == pytest.approx(0.025, abs=1e-4)
    assert unexpanded_p(2 * expanded_level(0.025, 7), 7) == pytest.approx(0.05)
    assert unexpanded_p(1.0, 2) == pytest.approx(1.0)


def test_cluster_bootstrap_matches_the_exact_distribution_of_four_users() -> None:
    numerators, denominators = [1, 4, 2, 9], [4, 6, 2, 20]
    low, high = exact_quantiles(numerators, denominators)
    interval = cluster_bootstrap(numerators, denominators, seed=1, n_resamples=40_000)
    assert interval.estimate == pytest.approx(16 / 32)
    assert interval.low == pytest.approx(low, abs=0.01)
    assert interval.high == pytest.approx(high, abs=0.01)


def test_cluster_bootstrap_is_wider_than_independence_where_users_differ() -> None:
    # Ten users, all right or all wrong: the effective sample is 10, not 1,000.
    interval = cluster_bootstrap([100] * 5 + [0] * 5, [100] * 10, seed=0)
    # Student's t with 9 degrees of freedom: tails of 0.0086, where Binomial(10, 1/2) has 1 and 9.
    assert (interval.low, interval.high) == (0.1, 0.9)
    independent = independent_interval(500, 1000)
    assert interval.high - interval.low > 9 * (independent.high - independent.low)


def test_one_user_has_an_estimate_without_bounds() -> None:
    interval = cluster_bootstrap([3], [4], seed=0)
    assert interval.estimate == 0.75
    assert math.isnan(interval.low)
    assert math.isnan(interval.high)


def test_no_user_has_nothing_and_users_without_judgments_do_not_count() -> None:
    assert math.isnan(cluster_bootstrap([0, 0], [0, 0], seed=0).estimate)
    assert math.isnan(cluster_bootstrap([3, 0], [4, 0], seed=0).low)
    assert cluster_bootstrap([3, 0, 1], [4, 0, 4], seed=5) == cluster_bootstrap([3, 1], [4, 4], seed=5)


def test_equal_users_have_an_interval_of_no_width() -> None:
    interval = cluster_bootstrap([2, 4, 6], [4, 8, 12], seed=0)
    assert interval == (0.5, 0.5, 0.5)


def test_draws_are_averaged_and_travel_with_their_user() -> None:
    numerators = [[4, 0], [0, 4], [4, 0], [0, 4]]
    interval = cluster_bootstrap(numerators, [[4, 4]] * 4, seed=0)
    # Each user is half right whatever is resampled: draws of a user are kept together.
    assert interval == (0.5, 0.5, 0.5)
    uneven = cluster_bootstrap([[1, 3], [1, 5]], [[2, 4], [2, 8]], seed=0)
    assert uneven.estimate == pytest.approx((2 / 4 + 8 / 12) / 2)


def test_equal_seeds_give_equal_bounds_and_other_seeds_others() -> None:
    right, n = range(1, 21), range(21, 61, 2)
    first, again, other = (cluster_bootstrap(right, n, seed=s, n_resamples=99) for s in (4, 4, 5))
    assert first == again
    assert first.estimate == other.estimate
    assert first != other


def test_one_resample_is_enough_for_bounds() -> None:
    interval = cluster_bootstrap([1, 3], [4, 4], seed=0, n_resamples=1)
    assert interval.low == interval.high
    assert interval.low in (0.25, 0.5, 0.75)


def test_bad_input_is_refused() -> None:
    with pytest.raises(ValueError, match="must both be"):
        cluster_bootstrap([1, 2], [1], seed=0)
    with pytest.raises(ValueError, match="finite"):
        cluster_bootstrap([1.0, math.nan], [1, 1], seed=0)
    with pytest.raises(ValueError, match="n_resamples"):
        cluster_bootstrap([1], [1], seed=0, n_resamples=0)


users = st.lists(
    st.integers(1, 12).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))), min_size=2, max_size=12
)


@settings(max_examples=60, deadline=None)
@given(users, st.integers(0, 9))
def test_bounds_hold_for_any_users(data: list[tuple[int, int]], seed: int) -> None:
    numerators, denominators = zip(*data, strict=True)
    found = cluster_bootstrap(numerators, denominators, seed=seed, n_resamples=300)
    assert found.estimate == pytest.approx(sum(numerators) / sum(denominators))
    assert 0 <= found.low <= found.high <= 1


@settings(max_examples=60, deadline=None)
@given(users, st.integers(0, 9))
def test_right_and_wrong_mirror_each_other(data: list[tuple[int, int]], seed: int) -> None:
    right, n = (np.array(column) for column in zip(*data, strict=True))
    first = cluster_bootstrap(right, n, seed=seed, n_resamples=300)
    second = cluster_bootstrap(n - right, n, seed=seed, n_resamples=300)
    assert second.low == pytest.approx(1 - first.high)
    assert second.high == pytest.approx(1 - first.low)


@pytest.mark.parametrize("users", [30, 131])
def test_clustered_interval_covers_as_it_says_and_the_independent_one_does_not(users: int) -> None:
    generator = np.random.default_rng(11)
    sizes = generator.integers(2, 16, size=users)
    clustered, independent, n_trials = 0, 0, 1000
    for trial in range(n_trials):
        right = generator.binomial(sizes, generator.beta(6, 4, size=users))
        interval = cluster_bootstrap(right, sizes, seed=trial, n_resamples=400)
        clustered += interval.low <= 0.6 <= interval.high
        pooled = independent_interval(int(right.sum()), int(sizes.sum()))
        independent += pooled.low <= 0.6 <= pooled.high
    assert 0.93 <= clustered / n_trials <= 0.97
    assert independent / n_trials < 0.9


def wilson(right: float, n: float) -> tuple[float, float]:
    """The score interval at 95 %, from its closed form (Wilson 1927)."""
    z = 1.959964
    middle, half = (right / n + z * z / 2 / n), z * math.sqrt(right / n * (1 - right / n) / n + z * z / 4 / n**2)
    return (middle - half) / (1 + z * z / n), (middle + half) / (1 + z * z / n)


@pytest.mark.parametrize("seed", [0, None])
@pytest.mark.parametrize(
    ("right", "n"), [([1] * 4, [4] * 4), ([1, 1, 1], [1, 1, 1]), ([0] * 8, [3] * 8), ([2] * 30, [2] * 30)]
)
def test_equal_users_have_an_interval_that_holds_wilsons(right: list[int], n: list[int], seed: int | None) -> None:
    found = share_interval(right, n, seed=seed)
    low, high = wilson(sum(right), sum(n))
    assert found.low <= low + 1e-6
    assert found.high >= high - 1e-6
    assert 0 <= found.low <= found.estimate <= found.high <= 1
    # Bounds of what so many judgments leave open, not of everything.
    assert found.high - found.low < 2 * (high - low)


def test_two_orders_of_a_pair_leave_open_what_one_does() -> None:
    one = share_interval([3, 3, 3, 3], [3, 3, 3, 3], seed=0)
    two = share_interval([6, 6, 6, 6], [6, 6, 6, 6], seed=0, units=12)
    assert two.low == pytest.approx(one.low)
    assert share_interval([6, 6, 6, 6], [6, 6, 6, 6], seed=0).low > two.low + 0.05
    draws = share_interval([[3, 3]] * 4, [[3, 3]] * 4, seed=0)
    assert draws.low == pytest.approx(one.low)
    with pytest.raises(ValueError, match="units"):
        share_interval([1, 1], [2, 2], units=0)


def test_the_interval_of_many_users_is_the_one_of_the_bootstrap_or_a_little_wider() -> None:
    generator = np.random.default_rng(3)
    sizes = generator.integers(2, 16, size=131)
    right = generator.binomial(sizes, generator.beta(6, 4, size=131))
    plain, shown = (f(right, sizes, seed=1) for f in (cluster_bootstrap, share_interval))
    assert shown.low <= plain.low < plain.high <= shown.high
    assert shown.high - shown.low < 1.1 * (plain.high - plain.low)


def test_many_users_are_resampled_as_few_are() -> None:
    generator = np.random.default_rng(12)
    sizes = generator.integers(1, 6, size=(MANY_USERS + 1, 2))
    right = generator.binomial(sizes, 0.6)
    sampled = cluster_bootstrap(right, sizes, seed=0)
    few = cluster_bootstrap(right[1:], sizes[1:], seed=0)
    assert sampled[1:] == pytest.approx(few[1:], abs=0.05 * (few.high - few.low))
    order = generator.permutation(len(right))
    assert cluster_bootstrap(right[order], sizes[order], seed=0) == sampled


def test_paired_difference_of_a_known_gain() -> None:
    first, second, n = [5, 6, 7, 8], [4, 5, 6, 7], [10, 10, 10, 10]
    difference = paired_cluster_difference(first, second, n, seed=0, n_resamples=999)
    assert difference.estimate == pytest.approx(0.1)
    # Four users who all gain are one chance in eight, so that 0 is not excluded, however equal the gains are.
    assert difference.p_value >= 2 / 2**4
    assert difference.low <= 0 < difference.high
    # Twelve such users: users differ, gains do not, and pairing removes that variation.
    difference = paired_cluster_difference(3 * first, 3 * second, 3 * n, seed=0, n_resamples=999)
    assert 0 < difference.low < difference.estimate < difference.high < 0.2
    assert difference.p_value < 0.02


def test_paired_difference_of_equal_methods_is_no_evidence_and_leaves_differences_open() -> None:
    difference = paired_cluster_difference([3, 1, 2], [3, 1, 2], [4, 4, 4], seed=0)
    assert (difference.estimate, difference.p_value) == (0.0, 1.0)
    # No discordant one of 12: z sqrt(z^2 / n) / sqrt(n), n = 12 + z^2.
    assert difference.high == -difference.low == pytest.approx(3.8415 / (12 + 3.8415), abs=0.25)
    alone = paired_cluster_difference([3], [1], [4], seed=0)
    assert alone.estimate == 0.5
    assert math.isnan(alone.p_value)


@pytest.mark.parametrize("users", [2, 3, 4, 5])
def test_five_users_or_fewer_never_show_a_difference(users: int) -> None:
    found = paired_cluster_difference([40] * users, [0] * users, [40] * users, seed=0)
    assert found.p_value == 2 / 2**users
    assert found.low <= 0
    six = paired_cluster_difference([40] * 6, [0] * 6, [40] * 6, seed=0)
    assert six.p_value < 0.05
    assert six.low > 0


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=8, max_size=16))
def test_p_value_and_interval_of_a_difference_agree(data: list[tuple[int, int]]) -> None:
    first, second = zip(*data, strict=True)
    n = [5] * len(data)
    one = paired_cluster_difference(first, second, n, seed=2, n_resamples=499)
    other = paired_cluster_difference(second, first, n, seed=2, n_resamples=499)
    assert one.p_value == other.p_value
    assert one.estimate == pytest.approx(-other.estimate)
    assert -1 <= one.low <= one.high <= 1
    assert (one.p_value < 0.05) == (one.low > 0 or one.high < 0)


def test_holm_on_a_worked_example() -> None:
    # Sorted 0.005, 0.01, 0.03, 0.04 times 4, 3, 2, 1, made monotone.
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])


def test_holm_leaves_out_what_was_not_compared() -> None:
    adjusted = holm([0.02, math.nan, 0.9])
    assert adjusted[0] == pytest.approx(0.04)
    assert math.isnan(adjusted[1])
    assert adjusted[2] == pytest.approx(0.9)
    assert holm([]) == []
    with pytest.raises(ValueError, match=r"\[0, 1\]"):
        holm([1.5])


@given(st.lists(st.floats(0, 1), max_size=8))
def test_holm_never_lowers_and_keeps_the_order(p_values: list[float]) -> None:
    adjusted = holm(p_values)
    assert all(p <= a <= 1 for p, a in zip(p_values, adjusted, strict=True))
    order = np.argsort(p_values, kind="stable")
    assert (np.diff(np.array(adjusted)[order]) >= 0).all()


def test_the_clustered_error_has_as_many_degrees_of_freedom_as_users_who_count_less_one() -> None:
    equal = difference_spreads([1, 2, 0, 1], [0, 1, 1, 0], [4, 4, 4, 4])[0]
    assert equal.freedom == pytest.approx(3)
    # Judgments 1, 1, 2: (1 + 1 + 4)^2 / (1 + 1 + 16) - 1.
    assert difference_spreads([1, 0, 1], [0, 0, 1], [1, 1, 2])[0].freedom == pytest.approx(1.0)
    assert difference_spreads([1, 0, 1, 1], [0, 0, 1, 0], [2, 2, 3, 3])[0].freedom == pytest.approx(26**2 / 194 - 1)
    # One user has nearly all: never below 1.
    assert difference_spreads([1, 9], [0, 2], [1, 20])[0].freedom == 1
    assert equal.shrunk == 1
