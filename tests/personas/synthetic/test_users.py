"""Users of a domain by its traits."""

from __future__ import annotations

import pytest

from personalrm.core.errors import ConfigError
from personalrm.personas.synthetic.settings import Domain
from personalrm.personas.synthetic.users import seed_users

REVIEW = {
    "tone": {"positive": "Likes praise.", "negative": "Likes blame."},
    "length": {"short": "Is brief.", "long": "Is long."},
}


def domain(**changes: object) -> Domain:
    return Domain.model_validate({"name": "d", "about": "x", "traits": REVIEW, "questions": {"general": 1}} | changes)


def test_four_traits_and_the_four_pairs_of_them() -> None:
    users = seed_users(domain(people={"interpolated": True}), 0)
    parts = {user.user_id: user.part for user in users}
    assert sorted(name for name, part in parts.items() if part == "train") == ["long", "negative", "positive", "short"]
    assert sorted(name for name, part in parts.items() if part == "interpolated") == [
        *("long-negative", "long-positive", "short-negative", "short-positive"),
    ]
    (both,) = (user for user in users if user.user_id == "long-negative")
    assert both.seed == "Is long. Likes blame."
    assert both.traits == {"length": "long", "tone": "negative"}


def test_several_personas_of_each_combination_and_exact_parts() -> None:
    users = seed_users(domain(people={"each": "combination", "personas": 5, "validation": 0.1, "held_out": 0.15}), 0)
    assert len({user.user_id for user in users}) == len({user.key for user in users}) == 20
    assert users[0].user_id.endswith(("-1", "-2", "-3", "-4", "-5"))
    parts = [user.part for user in users]
    assert [parts.count(part) for part in ("train", "validation", "held_out")] == [15, 2, 3]
    others = seed_users(domain(people={"each": "combination", "personas": 5, "validation": 0.1, "held_out": 0.15}), 1)
    assert {user.user_id for user in users if user.part == "train"} != {u.user_id for u in others if u.part == "train"}


def test_another_seed_holds_other_users_out_where_each_has_one_persona() -> None:
    many = domain(traits={"work": [f"Works in {name}." for name in "abcdefghijkl"]}, people={"held_out": 0.5})
    held = [{user.key for user in seed_users(many, seed) if user.part == "held_out"} for seed in (0, 0, 1)]
    assert held[0] == held[1] != held[2]


def test_names_decide_nothing() -> None:
    renamed = {"tone": {"zz": "Likes praise.", "aa": "Likes blame."}, "length": {"b": "Is brief.", "a": "Is long."}}
    shares = {"each": "value", "personas": 3, "held_out": 0.3}
    one, other = seed_users(domain(people=shares), 0), seed_users(domain(people=shares, traits=renamed), 0)
    assert [(user.key, user.part, user.seed) for user in one] == [(user.key, user.part, user.seed) for user in other]


def test_a_list_of_sentences_is_named_by_them_and_names_are_unique() -> None:
    users = seed_users(domain(traits={"work": ["Works in law.", "Works in art."]}), 0)
    assert sorted(user.user_id for user in users) == ["works-in-art", "works-in-law"]
    with pytest.raises(ConfigError, match="two users would be named 'a'"):
        seed_users(domain(traits={"x": {"a": "A."}, "y": {"a": "B."}}), 0)
    with pytest.raises(ValueError, match="two texts of the list would have the same name"):
        domain(traits={"x": ["Same.", "same!"]})
    with pytest.raises(ValueError, match="give shares below 1 together"):
        domain(people={"validation": 0.5, "held_out": 0.5})


def test_interpolated_users_combine_what_users_to_learn_from_have() -> None:
    held = {"interpolated": True, "held_out": 0.25}
    for seed in range(9):
        users = seed_users(domain(people=held), seed)
        learned = {trait for user in users if user.part == "train" for trait in user.traits.items()}
        between = [user for user in users if user.part == "interpolated"]
        assert len(between) == 2
        assert all(set(user.traits.items()) <= learned for user in between)
    # One dimension is left: a single value of the other one is held out.
    traits = {"tone": {"positive": "Likes praise."}, "length": {"short": "Is brief."}}
    with pytest.raises(ConfigError, match=r"people\.interpolated: users to learn from have traits of one dimension"):
        seed_users(domain(traits=traits, people={"interpolated": True, "held_out": 0.5}), 0)


def test_users_with_the_same_traits_and_domains_without_users_to_learn_from_are_refused() -> None:
    with pytest.raises(ConfigError, match="'a' and another user would have the same traits"):
        seed_users(domain(traits={"x": {"a": "Same."}, "y": {"b": "Same.", "c": "Other."}}), 0)
    with pytest.raises(ConfigError, match="of 1 users nobody is left to learn from"):
        seed_users(domain(traits={"x": {"a": "A."}}, people={"held_out": 0.5}), 0)
