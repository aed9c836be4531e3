"""What may be said of a difference: an effect only where interval, adjusted p, users and pairs all carry it."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from personalrm.results.claims import (
    LEVEL,
    MIN_PAIRS,
    MIN_USERS,
    SMALL,
    Claim,
    claim_of,
    claim_of_accuracy,
    in_words,
)

Row = dict[str, float]
SHOWN: Row = {"difference": 8.0, "ci_low": 2.0, "ci_high": 14.0, "p_holm": 0.01, "n_users": 20, "n_pairs": 200}
FLIPPED: Row = SHOWN | {"difference": -8.0, "ci_low": -14.0, "ci_high": -2.0}


def test_what_all_three_carry_is_said() -> None:
    assert (claim_of(SHOWN), claim_of(FLIPPED)) == (Claim.BETTER, Claim.WORSE)
    assert in_words(SHOWN, "A") == "A predicts these votes better than Default."
    assert in_words(FLIPPED, "A", "B") == "A predicts these votes worse than B."


@pytest.mark.parametrize("side", [SHOWN, FLIPPED])
@pytest.mark.parametrize(
    "failing",
    [
        {"ci_low": -1.0, "ci_high": 14.0},
        {"ci_low": -14.0, "ci_high": 1.0},
        {"ci_low": 0.0, "ci_high": 14.0},
        {"p_holm": LEVEL},
        {"p_holm": 0.49},
        {"p_holm": math.nan},
        {"n_users": MIN_USERS - 1},
        {"n_pairs": MIN_PAIRS - 1},
        {"ci_low": math.nan, "ci_high": math.nan},
    ],
)
def test_where_one_of_them_fails_there_are_too_few_pairs_to_tell(side: Row, failing: Row) -> None:
    row = side | failing
    assert claim_of(row) is Claim.TOO_FEW
    assert in_words(row, "A") == "There are too few pairs to tell whether A predicts better than Default."


def test_at_the_bounds_of_the_rule_an_effect_is_said() -> None:
    assert claim_of(SHOWN | {"n_users": MIN_USERS, "n_pairs": MIN_PAIRS, "p_holm": 0.0499}) is Claim.BETTER


def test_a_narrow_interval_around_0_shows_that_a_difference_is_small() -> None:
    narrow = SHOWN | {"difference": 1.0, "ci_low": -SMALL, "ci_high": SMALL, "p_holm": 1.0}
    assert claim_of(narrow) is Claim.SMALL
    assert in_words(narrow, "A").endswith("about equally well: any difference is below 5 points.")
    assert claim_of(narrow | {"ci_high": SMALL + 0.1}) is Claim.TOO_FEW
    assert claim_of(narrow | {"ci_low": -SMALL - 0.1}) is Claim.TOO_FEW
    assert claim_of(narrow | {"n_users": 2}) is Claim.TOO_FEW
    # Nor is it small where 0 lies outside: adjusted for all comparisons, nothing is known.
    assert claim_of(narrow | {"ci_low": 0.5}) is Claim.TOO_FEW


def test_accuracy_against_chance_rests_on_interval_and_size() -> None:
    row = {"ci_low": 51.0, "ci_high": 70.0, "n_users": 20, "n_pairs": 200}
    assert claim_of_accuracy(row) is Claim.BETTER
    assert claim_of_accuracy(row | {"ci_low": 30.0, "ci_high": 49.0}) is Claim.WORSE
    for failing in ({"ci_low": 50.0}, {"n_users": 5}, {"n_pairs": 29}, {"ci_low": math.nan}):
        assert claim_of_accuracy(row | failing) is Claim.TOO_FEW


@given(
    st.floats(-100, 100),
    st.floats(-100, 100),
    st.floats(0, 1),
    st.integers(0, 40),
    st.integers(0, 200),
)
def test_no_sentence_names_a_winner_that_one_of_the_three_does_not_carry(
    low: float, high: float, p_holm: float, users: int, pairs: int
) -> None:
    row = {"ci_low": min(low, high), "ci_high": max(low, high), "p_holm": p_holm, "n_users": users, "n_pairs": pairs}
    carried = (row["ci_low"] > 0 or row["ci_high"] < 0) and p_holm < 0.05 and users >= 6 and pairs >= 30
    assert ("these votes" in in_words(row, "A")) == carried
