from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.models import pair, spec_of

from personalrm.core.errors import ConfigError
from personalrm.core.records import Profile, Split, UserData
from personalrm.judge.judge import JudgeSettings, build_messages, fitted
from personalrm.llm import tokens
from personalrm.methods.registry import METHODS, decide_without_model, parse_method, visible_part


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
    learned = {"persona": "a persona", "memory": ("likes tea", "is a nurse")}
    profile = Profile(dataset="d", user_id="u", model="m", variant="corrected", k="all", draw=0, status="ok", **learned)  # type: ignore[arg-type]
    shown = {name: method.show(user, profile) for name, method in METHODS.items()}
    personas = {name: one.persona if one else None for name, one in shown.items()}
    assert personas == {
        "random": None,
        "longer": None,
        "default": None,
        "demographics": None,
        "history": None,
        "history_validation": None,
        "oracle": "likes tea",
        "demos": None,
        "memory": "- likes tea\n- is a nurse",
        "persona": "a persona",
        "both": "a persona",
        "criteria": "a persona",
    }
    assert METHODS["oracle"].show(user.model_copy(update={"planted_taste": None}), None) is None


def test_demographics_tells_who_somebody_is_and_not_what_they_like() -> None:
    survey = {
        "age": "25-34 {{ 7 }}",
        "religion.simplified": "None",
        "self_description": "loves rhymes",
        "lm_usecases": "x",
    }
    user = UserData(dataset="d", user_id="u", survey=survey)
    shown = METHODS["demographics"].show(user, None)
    assert shown is not None
    assert shown.persona == "age: 25-34 {{ 7 }}; religion: None"
    assert METHODS["demographics"].show(user.model_copy(update={"survey": {"self_description": "x"}}), None) is None


def history_user(count: int) -> UserData:
    pairs = [pair(f"c{n}", split="context", order=n) for n in range(count)]
    return UserData(dataset="d", user_id="u", pairs=(*reversed(pairs), pair("t", split="test", order=99)))


def shown_pairs(method: str, user: UserData) -> list[str]:
    shown = METHODS[method].show(visible_part(user), None)
    return [one.pair.pair_id for one in shown.demonstrations] if shown else []


def test_history_shows_no_validation_pair_where_it_is_not_asked_to() -> None:
    # In folds the parts are not one after the other.
    split: tuple[Split, ...] = ("validation", "context", "test", "context", "validation", "context", "test")
    pairs = tuple(pair(f"{part[0]}{n}", split=part, order=n) for n, part in enumerate(split))
    tie = pair("tie", split="validation", order=3).model_copy(update={"tie": True})
    user = UserData(dataset="d", user_id="u", pairs=(*reversed(pairs), tie))
    assert shown_pairs("history", user) == ["c1", "c3", "c5"]
    assert shown_pairs("history_validation", user) == ["v0", "c1", "c3", "v4", "c5"]
    # The pairs that both show are shown alike.
    few, all_of_them = (METHODS[name].show(user, None) for name in ("history", "history_validation"))
    assert few is not None
    assert all_of_them is not None
    assert set(few.demonstrations) < set(all_of_them.demonstrations)
    assert all_of_them.droppable
    without = UserData(dataset="d", user_id="u", pairs=(pair("t", split="test"),))
    assert METHODS["history_validation"].show(without, None) is None
    with pytest.raises(ConfigError, match="test pairs only"):
        parse_method("history_validation@all")


def test_history_shows_the_context_pairs_most_recent_last_and_no_others() -> None:
    shown = METHODS["history"].show(visible_part(history_user(5)), None)
    assert shown is not None
    assert [one.pair.pair_id for one in shown.demonstrations] == [f"c{n}" for n in range(5)]
    assert all(one.reasoning is None for one in shown.demonstrations)
    assert len({METHODS["history"].show(history_user(20), None).demonstrations[n].swapped for n in range(20)}) == 2  # type: ignore[union-attr]
    with pytest.raises(ConfigError, match="test pairs only"):
        parse_method("history@all")


@given(st.integers(0, 1500))
def test_history_drops_whole_pairs_the_oldest_first_until_it_fits(window: int) -> None:
    shown = METHODS["history"].show(visible_part(history_user(6)), None)
    assert shown is not None
    settings = JudgeSettings(max_tokens=10)
    test = [pair("t", split="test", chosen="GOOD" * 20)]
    left = fitted(shown, test, settings, spec_of(window))
    assert tuple(left.demonstrations) == tuple(shown.demonstrations[6 - len(left.demonstrations) :])
    if left.demonstrations:
        assert tokens.at_most(build_messages(test[0], True, left, settings)) + 10 <= window
    if len(left.demonstrations) < 6:
        one_more = replace(left, demonstrations=shown.demonstrations[5 - len(left.demonstrations) :])
        assert tokens.at_most(build_messages(test[0], True, one_more, settings)) + 10 > window
    assert (
        fitted(replace(shown, droppable=False), test, settings, spec_of(window)).demonstrations == shown.demonstrations
    )
