from __future__ import annotations

import math

import numpy as np
import pytest

from personalrm.results.stats.length_control import length_controlled


def test_without_differences_in_length_it_is_about_the_win_rate() -> None:
    found = length_controlled([1] * 300 + [0] * 100, [0] * 400)
    assert found.estimate == pytest.approx(0.75, abs=0.001)
    # The interval of a log-odds of 400 pairs, whose standard error is sqrt(1/300 + 1/100).
    half = 1.96 * math.sqrt(1 / 300 + 1 / 100)
    assert found.high == pytest.approx(1 / (1 + math.exp(-(math.log(3) + half))), abs=0.001)


def test_wins_that_length_explains_are_taken_out() -> None:
    coin = np.random.default_rng(0)
    longer = coin.normal(40, 30, 4000)
    odds = -0.4 + 0.03 * longer
    wins = coin.random(4000) < 1 / (1 + np.exp(-odds))
    found = length_controlled(wins, longer)
    assert wins.mean() > 0.6
    assert found.low < 1 / (1 + math.exp(0.4)) < found.high
    assert found.high - found.low < 0.08
    # In other units it is the same, and seen from the other side the rest.
    assert length_controlled(wins, longer * 7) == pytest.approx(found)
    assert length_controlled(~wins, -longer).estimate == pytest.approx(1 - found.estimate)


def test_it_is_finite_where_all_agree_and_undefined_without_pairs() -> None:
    assert 0.9 < length_controlled([1] * 10, [3] * 10).estimate < 1
    assert math.isnan(length_controlled([], []).estimate)
