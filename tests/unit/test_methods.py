from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.models import pair

from personalrm.errors import ConfigError
from personalrm.methods import METHODS, decide_without_model, parse_method, visible_part
from personalrm.records import Profile, UserData


def test_longer_answer_is_right_in_both_orders_or_in_none() -> None:
    longer = pair("p", chosen="GOOD and long")
    shorter = pair("p", rejected="BAD and long")
    equal = pair("p", chosen="same", rejected="size")
    outcomes = [
        [v.outcome for v in decide_without_model(METHODS["longer"], one, 0)] for one in (longer, shorter, equal)
    ]
    assert outcomes == [["correct"] * 2, ["wrong"] * 2, ["tie"] * 2]


@given(st.integers(0, 1000))
def test_random_is_repeatable_and_seeded(seed: int) -> None:
    verdicts = decide_without_model(METHODS["random"], pair("p"), seed)
    assert verdicts == decide_without_model(METHODS["random"], pair("p"), seed)


def test_random_is_fair() -> None:
    said = [v.said for i in range(500) for v in decide_without_model(METHODS["random"], pair(str(i)), 0)]
    assert 430 < said.count("first") < 570


def test_what_a_method_may_see_holds_no_test_pair() -> None:
    user = UserData(dataset="d", user_id="u", pairs=(pair("c", split="context"), pair("t", split="test")))
    assert [p.pair_id for p in visible_part(user).pairs] == ["c"]


@pytest.mark.parametrize("spec", ["nope", "default@some", "demos@all"])
def test_bad_method_entries(spec: str) -> None:
    with pytest.raises(ConfigError, match="methods:"):
        parse_method(spec)


def test_what_each_method_shows() -> None:
    user = UserData(dataset="d", user_id="u", planted_taste="likes tea")
    profile = Profile(
        dataset="d", user_id="u", model="m", variant="corrected", k=0, draw=0, status="ok", persona="a persona"
    )
    shown = {name: method.show(user, profile) for name, method in METHODS.items()}
    personas = {name: one.persona if one else None for name, one in shown.items()}
    assert personas == {
        "random": None,
        "longer": None,
        "default": None,
        "oracle": "likes tea",
        "demos": None,
        "persona": "a persona",
        "both": "a persona",
    }
    assert METHODS["oracle"].show(user.model_copy(update={"planted_taste": None}), None) is None
