from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.models import pair, spec_of
from support.scripted_tastes import scored_user

from personalrm.core.errors import ConfigError
from personalrm.core.records import Profile, Split, UserData
from personalrm.core.tastes import UserTaste
from personalrm.judge.judge import JudgeContext, JudgeSettings, build_messages, fitted
from personalrm.llm import tokens
from personalrm.methods.base import Known, Method, NoPairs, NotApplicable
from personalrm.methods.baselines import prefer_longer, toss_coin
from personalrm.methods.registry import METHODS, by_name, parse_method


def test_longer_answer_is_right_in_both_orders_or_in_none() -> None:
    longer = pair("p", chosen="GOOD and long")
    shorter = pair("p", rejected="BAD and long")
    equal = pair("p", chosen="same", rejected="size")
    outcomes = [[v.outcome for v in prefer_longer(0, [one])] for one in (longer, shorter, equal)]
    assert outcomes == [["correct"] * 2, ["wrong"] * 2, ["tie"] * 2]


@given(st.integers(0, 1000))
def test_random_is_repeatable_and_seeded(seed: int) -> None:
    verdicts = toss_coin(seed, [pair("p")])
    assert verdicts == toss_coin(seed, [pair("p")])


def test_random_is_fair() -> None:
    said = [v.said for i in range(500) for v in toss_coin(0, [pair(str(i))])]
    assert 430 < said.count("first") < 570


def test_what_a_method_may_see_holds_no_test_pair_and_no_tie() -> None:
    pairs = (pair("c", split="context"), pair("t", split="test"), pair("none").model_copy(update={"split": None}))
    tie = pair("tie", split="context").model_copy(update={"tie": True})
    user = UserData(dataset="d", user_id="u", pairs=(*pairs, tie))
    assert [p.pair_id for p in Known.of(user).user.pairs] == ["c"]


@pytest.mark.parametrize("spec", ["nope", "default@some", "demos@all"])
def test_bad_method_entries(spec: str) -> None:
    with pytest.raises(ConfigError, match="methods:"):
        parse_method(spec)


def test_what_each_method_shows() -> None:
    user = UserData(dataset="d", user_id="u", planted_taste="likes tea")
    learned = {"persona": "a persona", "memory": ("likes tea", "is a nurse")}
    profile = Profile(dataset="d", user_id="u", model="m", variant="corrected", k="all", draw=0, status="ok", **learned)  # type: ignore[arg-type]
    taste = UserTaste(dataset="d", user_id="u", model="m", k="all", draw=0, status="ok", persona="measured")
    prompted = {name: method for name, method in METHODS.items() if method.needs in ("judge", "profile", "taste")}
    shown = {name: method.adapt(Known(user, profile=profile, taste=taste)) for name, method in prompted.items()}
    assert {name: one.persona for name, one in shown.items() if isinstance(one, JudgeContext)} == {
        "default": None,
        "oracle": "likes tea",
        "demos": None,
        "memory": "- likes tea\n- is a nurse",
        "persona": "a persona",
        "both": "a persona",
        "criteria": "a persona",
        "measured_persona": "measured",
        "measured_persona_demos": "measured",
    }
    # Where a prompt is too long, demonstrations of a profile are left out by this method alone.
    assert {name for name, one in shown.items() if isinstance(one, JudgeContext) and one.droppable} == {"criteria"}
    # What does not exist for a user is not what the user has too little of.
    assert {name: type(one) for name, one in shown.items() if not isinstance(one, JudgeContext)} == {
        "demographics": NotApplicable,
        "history": NoPairs,
        "history_validation": NoPairs,
        "scorecard": NoPairs,
    }
    without = Known(user.model_copy(update={"planted_taste": None}))
    assert METHODS["oracle"].adapt(without) == NotApplicable("oracle has nothing to show of this user")


def test_demographics_tells_who_somebody_is_and_not_what_they_like() -> None:
    survey = {
        "age": "25-34 {{ 7 }}",
        "religion.simplified": "None",
        "self_description": "loves rhymes",
        "lm_usecases": "x",
    }
    user = UserData(dataset="d", user_id="u", survey=survey)
    shown = METHODS["demographics"].adapt(Known(user))
    assert isinstance(shown, JudgeContext)
    assert shown.persona == "age: 25-34 {{ 7 }}; religion: None"
    without = user.model_copy(update={"survey": {"self_description": "x"}})
    assert isinstance(METHODS["demographics"].adapt(Known(without)), NotApplicable)


def history_user(count: int) -> UserData:
    pairs = [pair(f"c{n}", split="context", order=n) for n in range(count)]
    return UserData(dataset="d", user_id="u", pairs=(*reversed(pairs), pair("t", split="test", order=99)))


def shown_pairs(method: str, user: UserData) -> list[str]:
    shown = METHODS[method].adapt(Known.of(user))
    return [one.pair.pair_id for one in shown.demonstrations]


def test_history_shows_no_validation_pair_where_it_is_not_asked_to() -> None:
    # In folds the parts are not one after the other.
    split: tuple[Split, ...] = ("validation", "context", "test", "context", "validation", "context", "test")
    pairs = tuple(pair(f"{part[0]}{n}", split=part, order=n) for n, part in enumerate(split))
    tie = pair("tie", split="validation", order=3).model_copy(update={"tie": True})
    user = UserData(dataset="d", user_id="u", pairs=(*reversed(pairs), tie))
    assert shown_pairs("history", user) == ["c1", "c3", "c5"]
    assert shown_pairs("history_validation", user) == ["v0", "c1", "c3", "v4", "c5"]
    # The pairs that both show are shown alike.
    few, all_of_them = (METHODS[name].adapt(Known(user)) for name in ("history", "history_validation"))
    assert set(few.demonstrations) < set(all_of_them.demonstrations)
    assert all_of_them.droppable
    without = UserData(dataset="d", user_id="u", pairs=(pair("t", split="test"),))
    assert METHODS["history_validation"].adapt(Known(without)) == NoPairs()
    with pytest.raises(ConfigError, match="test pairs only"):
        parse_method("history_validation@all")


def test_history_shows_the_context_pairs_most_recent_last_and_no_others() -> None:
    shown = METHODS["history"].adapt(Known.of(history_user(5)))
    assert isinstance(shown, JudgeContext)
    assert [one.pair.pair_id for one in shown.demonstrations] == [f"c{n}" for n in range(5)]
    assert all(one.reasoning is None for one in shown.demonstrations)
    assert len({METHODS["history"].adapt(Known(history_user(20))).demonstrations[n].swapped for n in range(20)}) == 2
    with pytest.raises(ConfigError, match="test pairs only"):
        parse_method("history@all")


@given(st.integers(0, 1500))
def test_history_drops_whole_pairs_the_oldest_first_until_it_fits(window: int) -> None:
    shown = METHODS["history"].adapt(Known.of(history_user(6)))
    assert isinstance(shown, JudgeContext)
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


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"name": "a.b"}, "is no name"),
        ({"needs": "nothing"}, "a function that asks no model"),
        ({"fit": lambda _: None}, "give reads"),
        ({"fit": lambda _: None, "reads": "surface"}, "give reads"),
        ({"by_k": True}, "so that it learns"),
        ({"by_k": True, "learns": True, "needs": "profile"}, "no k of its own"),
    ],
)
def test_a_method_whose_steps_do_not_go_together_is_one_line(values: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=f"method '(mine|a.b)': .*{said}"):
        Method(**{"name": "mine", "needs": "judge", "adapt": lambda known: known, **values})


def test_methods_have_names_of_their_own_and_read_what_a_method_learns() -> None:
    surface, other = METHODS["surface"], METHODS["default"]
    assert by_name([surface, other, surface]) == {"surface": surface, "default": other}
    with pytest.raises(ConfigError, match="'surface': two modules"):
        by_name([surface, replace(other, name="surface")])
    for name in ("default", "surfase"):
        with pytest.raises(ConfigError, match=f"'mine': reads '{name}', which is no method with a fit"):
            by_name([other, replace(other, name="mine", reads=name)])


@pytest.mark.parametrize("method", [one for one in METHODS.values() if one.by_k and one.needs in ("nothing", "scores")])
def test_a_method_learns_from_validation_pairs_exactly_if_it_says_so(method: Method[Any]) -> None:
    user, scores = scored_user("u", {"warm": 2.0, "blunt": -1.0}, np.random.default_rng(1))
    worded = [
        one.model_copy(update={"chosen": f"a long answer {n}", "rejected": "no"}) for n, one in enumerate(user.pairs)
    ]
    user = user.model_copy(update={"pairs": tuple(worded)})
    without = user.model_copy(update={"pairs": tuple(one for one in user.pairs if one.split != "validation")})
    states = [method.adapt(Known.of(who, pairs=user.part("context"), scores=scores)) for who in (user, without)]
    assert not any(isinstance(state, NoPairs | NotApplicable) for state in states)
    assert (states[0] != states[1]) == method.validation
