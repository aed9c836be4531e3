"""What a model's words say of attributes: every form that models write, what leaves a doubt, and any text at all."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from personalrm.judge.attribute_answers import parse_ratings

NAMES = ("warm", "long_text", "odd")


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ('{"warm": 1, "long_text": -2, "odd": 0}', [1, -2, 0]),
        ('{"odd": 0, "long_text": -2, "warm": 1}', [1, -2, 0]),
        ('```json\n{"warm": 1, "long_text": -2}\n```', [1, -2, None]),
        ('I compared them. {"warm": 1} is my view of one, and {"long_text": -2} of the other.', [1, -2, None]),
        ('<think>{"warm": -2}</think>{"warm": 2}', [2, None, None]),
        ('{"warm": "+1", "long_text": " -2 ", "odd": 0.5}', [1, -2, 0.5]),
        ('{"Warm": 1, "Long Text": 2, "long-text": 1}', [1, 1, None]),
        ('{"1": 1, "3": -1}', [1, None, -1]),
        ('{"ratings": {"warm": 1, "odd": {"score": -1, "reason": "it is odd"}}}', [1, None, -1]),
        ('[{"id": "warm", "score": 1}, {"name": "odd", "rating": "-1"}]', [1, None, -1]),
        ('[{"property": 2, "value": 2}]', [None, 2, None]),
        ('{"warm": 1, "warm": -1}', [-1, None, None]),
        ('{"warm": "+2 (First)", "odd": "-1: rather the Second", "long_text": "2 (Second)"}', [2, None, -1]),
        ('{"warm": 1, "final": {"warm": -1}}', [-1, None, None]),
        # The number of an attribute is no rating of it, and its name counts before its number.
        ('{"name": "long_text", "rating": -2, "number": 1}', [None, -2, None]),
        ('{"number": 0, "name": "warm", "rating": 7}', [None, None, None]),
        ('[{"id": 1, "name": "long_text", "score": 2}]', [None, 2, None]),
        ('{"warm": {"rating": -1, "number": 1}}', [-1, None, None]),
        # Ratings of each response by itself.
        ('{"First": {"warm": 2, "odd": 1}, "Second": {"warm": 1, "odd": 2}}', [None, None, None]),
        ('{"response_a": {"warm": 2}, "Response B": {"warm": 1}, "odd": 1}', [None, None, 1]),
        # Not on the scale, or no number.
        ('{"warm": 3, "long_text": -2.5, "odd": true}', [None, None, None]),
        ('{"warm": null, "long_text": "First", "odd": NaN}', [None, None, None]),
        ('{"warm": 1e999, "long_text": [1], "odd": 1}', [None, None, 1]),
        # Not JSON, but pairs.
        ('{"warm": +1, "odd": −2}', [1, None, -2]),
        ("{'warm': 1, 'long_text': -1,}", [1, -1, None]),
        ("warm: 1\nlong_text: -2\nodd: 0", [1, -2, 0]),
        ("1. **warm**: +1 (a little)\n2. long text: 2\n3. odd = -1", [1, 2, -1]),
        ("| property | rating |\n|---|---|\n| warm | 1 |\n| odd | -2 |", [1, None, -2]),
        ("- warm (warmer and friendlier): 2", [2, None, None]),
        ("warm: 1\nwarm: -1", [-1, None, None]),
        ("1: 2\n2: -1\n3. 0", [2, -1, 0]),
        ("| 1 | 2 |\n| 3 | -1 |", [2, None, -1]),
        ("warm: 2 (First)\nodd: -1 (rather the Second)\nlong text: 0, First", [2, 0, -1]),
        # The side that is named is not that of the sign.
        ("warm: 2 (Second)\nodd: -1 (clearly the First)\nlong text: 1 | Second |", [None, None, None]),
        ("warm: 2 (Second is matter-of-fact)\nodd: -1\nFirst of all", [2, None, -1]),
        # Quotations.
        ('{"warm": 1}\n> {"warm": 2}', [1, None, None]),
        ("> warm: 2", [None, None, None]),
        ("1. 2 responses are compared.\n2. 1 of them is longer.", [None, None, None]),
        # Doubts.
        ("warm: 1 or 2\nodd: -1 to 1", [None, None, None]),
        ("warm: 1.5.2, odd: 2/2, long_text: 2nd", [None, None, None]),
        ("warm: 7\nodd: 12", [None, None, None]),
        ("lukewarm: 1\nodds: 2", [None, None, None]),
        ("The First response is warm and the Second is odd.", [None, None, None]),
        ("<think>warm: 1", [None, None, None]),
        ("", [None, None, None]),
    ],
)
def test_ratings(text: str, found: list[float | None]) -> None:
    expected = {name: rating for name, rating in zip(NAMES, found, strict=True) if rating is not None}
    assert parse_ratings(text, NAMES) == expected


def test_the_last_number_of_a_text_that_was_cut_counts_for_none() -> None:
    assert parse_ratings('{"warm": 1, "odd": -1', NAMES, cut=True) == {"warm": 1.0}
    assert parse_ratings('{"warm": 1, "odd": -1', NAMES) == {"warm": 1.0, "odd": -1.0}
    assert parse_ratings("warm: 1\nodd: 2\n", NAMES, cut=True) == {"warm": 1.0}


def test_ratings_come_in_the_order_of_the_names() -> None:
    assert list(parse_ratings('{"odd": 1, "warm": 1}', NAMES)) == ["warm", "odd"]


@given(st.dictionaries(st.sampled_from(NAMES), st.sampled_from([-2, -1, 0, 1, 2])), st.text(), st.text())
def test_an_object_is_found_in_any_prose_without_brackets_or_tags(
    said: dict[str, int], before: str, after: str
) -> None:
    before, after = (text.translate(dict.fromkeys(map(ord, "{}[]<>~|"))) for text in (before, after))
    found = parse_ratings(f"{before}\n{json.dumps(said)}\n{after}", NAMES)
    if said and "analysis" not in before:
        assert found == {name: float(said[name]) for name in NAMES if name in said}


@given(st.text(alphabet='warmoddlng_text{}[]":,+-.0123456789 \n`|<>/think', max_size=200), st.booleans())
def test_no_text_breaks_the_parser_or_leaves_the_scale(text: str, cut: bool) -> None:
    found = parse_ratings(text, NAMES, cut=cut)
    assert found.keys() <= set(NAMES)
    assert all(-2 <= rating <= 2 for rating in found.values())


@pytest.mark.parametrize(
    "text", ["[" * 50_000, '{"a":' * 20_000, "warm: " * 20_000, "1" * 100_000, '{"warm": 1}' * 5000]
)
def test_long_texts_take_no_time(text: str) -> None:
    assert set(parse_ratings(text, NAMES)) <= {"warm"}
