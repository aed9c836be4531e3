"""Filters that ask models: survivors computed by hand, rules for missing answers, and monotone thresholds."""

from __future__ import annotations

from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from personalrm.core.records import PreferencePair, Turn, UserData
from personalrm.data.filters.filter_settings import DisagreementSettings, FilterSettings, PersonalizableSettings
from personalrm.data.filters.filters import (
    Pairs,
    Said,
    agreement,
    disagreed,
    enough_votes,
    personalizable,
    sample_of,
    sensitivity,
    survivors,
)
from personalrm.data.filters.ratings import PairRating, PanelVote

Favour = Literal["chosen", "rejected"] | None
RATED = PersonalizableSettings(model="m")
PANEL = DisagreementSettings(models=["a", "b"], remove_from=0.75)


def pair(user: str, number: int) -> PreferencePair:
    context = (Turn(role="user", content=f"{user} {number}"),)
    return PreferencePair(user_id=user, pair_id=f"{user}-{number}", context=context, chosen="x", rejected="y")


def votes(key: str, *favours: Favour) -> list[PanelVote]:
    outcome: dict[Favour, Any] = {"chosen": "correct", "rejected": "wrong", None: "provider_error"}
    return [
        PanelVote(pair_id=key, swapped=bool(n % 2), favours=favour, outcome=outcome[favour])
        for n, favour in enumerate(favours)
    ]


@pytest.mark.parametrize(
    ("query", "responses", "stays"),
    [
        (3, 3, True),
        (2, 5, False),
        (5, 2, False),
        (None, 3, True),
        (3, None, True),
        (None, 2, False),
        (None, None, True),
    ],
)
def test_a_pair_passes_the_ratings(query: int | None, responses: int | None, stays: bool) -> None:
    assert personalizable(PairRating(pair_id="p", query=query, responses=responses), RATED) is stays


def test_a_pair_without_a_rating_stays() -> None:
    assert personalizable(None, RATED)


@pytest.mark.parametrize(
    ("favours", "share", "stays"),
    [
        (["chosen"] * 4, 1.0, False),
        (["rejected"] * 4, 1.0, False),
        (["chosen", "chosen", "chosen", "rejected"], 0.75, False),
        (["chosen", "rejected", "chosen", "rejected"], 0.5, True),
        (["chosen", "chosen", None, None], 1.0, False),
        (["chosen", None, None, None], 1.0, True),
    ],
)
def test_a_pair_passes_the_panel(favours: list[Favour], share: float, stays: bool) -> None:
    found = agreement(votes("p", *favours))
    assert found is not None
    assert found.share == share
    assert disagreed(votes("p", *favours), PANEL) is stays


def test_nobody_voting_removes_nothing() -> None:
    assert agreement(votes("p", None, None)) is None
    assert not enough_votes(None, PANEL)
    assert disagreed([], PANEL)


def test_nine_of_ten_votes_are_nine_tenths() -> None:
    panel = DisagreementSettings(models=list("abcde"), remove_from=0.9)
    assert not disagreed(votes("p", *["chosen"] * 9, "rejected"), panel)
    assert disagreed(votes("p", *["chosen"] * 8, *["rejected"] * 2), panel)


def test_survivors_by_hand() -> None:
    pairs = {"u": [pair("u", n) for n in range(5)], "v": [pair("v", 0)]}
    said = Said(
        ratings={
            "u-0": PairRating(pair_id="u-0", query=1, responses=5),
            "u-1": PairRating(pair_id="u-1", query=5, responses=4),
            "u-2": PairRating(pair_id="u-2", query=3, responses=3),
            "u-3": PairRating(pair_id="u-3", query=4, responses=1),
        },
        votes={
            "u-1": votes("u-1", "chosen", "chosen", "rejected", "rejected"),
            "u-2": votes("u-2", "chosen", "chosen", "chosen", "chosen"),
            "u-4": votes("u-4", "rejected", "rejected", "chosen", "rejected"),
        },
    )
    settings = FilterSettings(personalizable=RATED, disagreement=PANEL)
    first, second = survivors(pairs, said, settings)
    assert [each.pair_id for each in first[1]["u"]] == ["u-1", "u-2", "u-4"]
    assert [each.pair_id for each in second[1]["u"]] == ["u-1"]
    assert [each.pair_id for each in second[1]["v"]] == ["v-0"]
    rows = {(row.filter, row.threshold): row for row in sensitivity("d", pairs, said, settings, min_pairs=1)}
    assert [rows["query", float(t)].pairs for t in range(1, 6)] == [6, 5, 5, 4, 3]
    assert rows["query", 5.0].undecided == 2
    assert (rows["query", 3.0].base_pairs, rows["query", 3.0].base_users, rows["query", 3.0].is_default) == (6, 2, True)
    # The panel is tried on what the ratings leave: u-1, u-2, u-4 and v-0.
    assert (rows["panel", 0.75].pairs, rows["panel", 0.75].base_pairs, rows["panel", 0.75].undecided) == (2, 4, 1)
    assert rows["panel", 1.0].pairs == 3


ratings = st.one_of(st.none(), st.integers(1, 5))
favour_lists = st.lists(st.sampled_from(["chosen", "rejected", None]), max_size=4)


@st.composite
def said_of_pairs(draw: st.DrawFn) -> tuple[Pairs, Said]:
    pairs = {user: [pair(user, n) for n in range(draw(st.integers(0, 4)))] for user in "uv"}
    keys = [each.pair_id for mine in pairs.values() for each in mine]
    rated = {key: PairRating(pair_id=key, query=draw(ratings), responses=draw(ratings)) for key in keys}
    return pairs, Said(rated, {key: votes(key, *draw(favour_lists)) for key in keys})


@given(said_of_pairs(), st.integers(1, 3))
def test_thresholds_are_monotone(drawn: tuple[Pairs, Said], min_pairs: int) -> None:
    settings = FilterSettings(personalizable=RATED, disagreement=PANEL)
    rows = sensitivity("d", *drawn, settings, min_pairs)
    for name, up in (("query", -1), ("responses", -1), ("panel", 1)):
        mine = [row for row in rows if row.filter == name]
        assert [row.threshold for row in mine] == sorted(row.threshold for row in mine)
        for counts in ([row.pairs for row in mine], [row.users for row in mine]):
            assert counts == sorted(counts, reverse=up < 0)


@given(said_of_pairs())
def test_filters_commute_with_sharding(drawn: tuple[Pairs, Said]) -> None:
    pairs, said = drawn
    settings = FilterSettings(personalizable=RATED, disagreement=PANEL)
    whole = survivors(pairs, said, settings)[-1][1]
    apart = [survivors({user: mine}, said, settings)[-1][1][user] for user, mine in pairs.items()]
    assert list(whole.values()) == apart


def test_a_sample_is_by_hash_and_nested() -> None:
    user = UserData(dataset="d", user_id="u", pairs=tuple(pair("u", n) for n in range(9)))
    three, five = (sample_of(user, n) for n in (3, 5))
    assert (len(three), len(five)) == (3, 5)
    assert set(three) <= set(five)
    assert sample_of(user, None) == user.pairs
    assert [each.pair_id for each in five] == sorted(each.pair_id for each in five)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"sample": 3, "personalizable": {"model": "m"}}, "apply: false"),
        ({}, "personalizable, disagreement, or both"),
        ({"disagreement": {"models": ["m"], "remove_from": 0.4}}, "greater than 0.5"),
        ({"disagreement": {"models": ["m", "m"]}}, "a member twice"),
        ({"personalizable": {"model": "m", "min_query": 7}}, "less than or equal to 5"),
    ],
)
def test_bad_filter_settings(values: dict[str, object], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        FilterSettings.model_validate(values)
