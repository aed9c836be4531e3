"""Entropy of labels, disagreement of users, and who is made again: numbers that were computed by hand."""

from __future__ import annotations

import math

import pytest

from personalrm.core.records import Outcome, Verdict
from personalrm.core.synthetic import PairLabel
from personalrm.judge.judge import JudgeSettings
from personalrm.personas.synthetic.describe import Bounds, Describing, conflicting
from personalrm.personas.synthetic.labels import Disagreement, Labelling, disagreements


def label(*outcomes: Outcome, odds: tuple[float, ...] = ()) -> PairLabel:
    verdicts = [
        Verdict(pair_id="p", swapped=bool(place), outcome=outcome, log_odds=odds[place] if odds else None)
        for place, outcome in enumerate(outcomes)
    ]
    return PairLabel(pair_id="p", verdicts=tuple(verdicts))


def test_a_label_is_what_both_orders_say() -> None:
    assert label("correct", "correct").label == "first"
    assert label("wrong", "wrong").label == "second"
    assert [label(*pair).label for pair in (("correct", "wrong"), ("tie", "tie"), ("correct", "refused"))] == [None] * 3


def test_entropy_of_words_is_that_of_the_share_of_orders() -> None:
    assert label("correct", "correct").entropy == 0
    assert label("correct", "wrong").entropy == pytest.approx(math.log(2))
    assert label("tie", "tie").entropy == pytest.approx(math.log(2))
    # Three quarters of a preference for the first: one order names it, the other names none.
    assert label("correct", "tie").entropy == pytest.approx(-(0.75 * math.log(0.75) + 0.25 * math.log(0.25)))
    assert label("correct", "unparsed").entropy is None


def test_entropy_of_log_odds_is_that_of_their_mean() -> None:
    # Mean log-odds ln 3: the first answer with probability 3/4.
    known = label("correct", "wrong", odds=(2 * math.log(3) + 1, -1.0))
    assert known.log_odds == pytest.approx(math.log(3))
    assert known.entropy == pytest.approx(-(0.75 * math.log(0.75) + 0.25 * math.log(0.25)))
    assert label("correct", "correct", odds=(5000.0, 5000.0)).entropy == pytest.approx(0, abs=1e-12)


def test_a_description_decides_by_the_margin_where_there_are_log_odds() -> None:
    describing = Describing(Labelling(JudgeSettings()), margin=0.5)
    assert describing.decides(label("correct", "correct"))
    assert describing.decides(label("wrong", "wrong", odds=(-0.4, -0.6)))
    assert not describing.decides(label("correct", "correct", odds=(0.1, 0.8)))
    assert not describing.decides(label("correct", "wrong", odds=(3.0, -1.0)))


def test_disagreement_is_the_share_of_common_pairs_with_other_labels() -> None:
    found = disagreements(
        {
            "a": {"1": "first", "2": "second", "3": "first"},
            "b": {"1": "first", "2": "first", "4": "second"},
            "c": {"2": "first", "3": "second"},
            "d": {"9": "first"},
        }
    )
    assert found == {("a", "b"): (0.5, 2), ("a", "c"): (1.0, 2), ("b", "c"): (0.0, 1)}


def test_of_two_users_who_are_too_alike_the_earlier_stays() -> None:
    known = {("a", "b"): Disagreement(0.0, 20), ("b", "c"): Disagreement(0.0, 20), ("a", "c"): Disagreement(0.6, 20)}
    # c is like b alone, who does not stay.
    assert conflicting(["a", "b", "c"], known, Bounds(0.1, None, 20)) == {"b": ("a",)}
    assert conflicting(["b", "a", "c"], known, Bounds(0.1, None, 10)) == {"a": ("b",), "c": ("b",)}
    assert conflicting(["a", "b", "c"], known, Bounds(0.1, 0.5, 10)) == {"b": ("a",), "c": ("a",)}
    # Few pairs prove nothing.
    assert conflicting(["a", "b", "c"], known, Bounds(0.1, 0.5, 21)) == {}
