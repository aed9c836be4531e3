"""Controls of taste weights on planted users, small: what must vanish vanishes, and what must be found is found.

`benchmarks/controls.py` measures the same on more users. *Own alone* are own weights that are not averaged with those
of others.
"""

from __future__ import annotations

import sys
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from personalrm.results.stats.statistics import Difference, paired_cluster_difference

if TYPE_CHECKING:
    from planted_users import Artefacts, Judged, Person, Scores

USERS, VOTES, HELD_OUT = 100, 10, 12
LITTLE = 0.3
"""Weight of what all users want, where they have little in common."""


@pytest.fixture(autouse=True)
def _benchmarks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [str(Path(__file__).parents[2] / "benchmarks"), *sys.path])


@cache
def planted(**options: float) -> tuple[list[Person], Scores]:
    """Test users, and their scores."""
    from planted_users import Scorer, people, scored

    found = people("test", USERS, VOTES, HELD_OUT, seed=1, **options)
    return found, scored(found, Scorer(noise=0.2))


@cache
def prior(**options: float) -> Artefacts:
    """What train users teach."""
    from planted_users import Scorer, fitted, people

    return fitted(people("train", USERS, VOTES, seed=1, **options), Scorer(noise=0.2))


def judged(name: str, learned: Artefacts, k: int = VOTES, *, foreign: bool = False, **options: float) -> Judged:
    """A method on the held-out votes of test users, with weights from their own votes or those of the next user."""
    import planted_users

    found, scores = planted(**options)
    teachers = [*found[1:], *found[:1]] if foreign else None
    return planted_users.judged(name, found, learned, scores, k=k, teachers=teachers)


def over(one: Judged, other: Judged) -> Difference:
    first, second = one.right.sum(axis=1), other.right.sum(axis=1)
    return paired_cluster_difference(first, second, np.full(USERS, HELD_OUT), seed=0, n_resamples=499)


def own(found: Judged) -> float:
    """Share of users who pass the gate."""
    return float(np.mean([taste.own for taste in found.tastes]))


def test_own_votes_gain_and_votes_of_another_user_gain_nothing() -> None:
    from planted_users import ceiling

    learned, (people, _) = prior(population=LITTLE), planted(population=LITTLE)
    population, free = (
        judged(name, learned, population=LITTLE) for name in ("attributes_population", "attributes_alone")
    )
    assert 0.5 < population.right.mean() < free.right.mean() < ceiling(people) - 0.05
    assert over(free, population).low > 0.01
    assert over(judged("attributes", learned, population=LITTLE), population).low > 0.01
    for name in ("attributes", "attributes_alone"):
        found = over(judged(name, learned, foreign=True, population=LITTLE), population)
        assert found.estimate < 0.02, name
        assert found.low < 0, name


def test_users_without_a_taste_of_their_own_are_caught_and_lose_little() -> None:
    population = judged("attributes_population", prior(), null=1.0)
    found, free = (judged(name, prior(), null=1.0) for name in ("attributes", "attributes_alone"))
    difference = over(found, population)
    assert difference.low <= 0 <= difference.high
    assert over(free, population).estimate < difference.estimate
    assert own(found) < 0.1
    # These users want what all want, so that the weights of others are right on most of their votes.
    assert population.right.mean() > 0.66


def test_random_votes_seldom_pass_the_gate() -> None:
    for k in (5, VOTES):
        assert own(judged("attributes", prior(), k, null=1.0, population=0.0)) < 0.15


def test_random_rankings_seldom_pass_the_gate_and_users_without_a_taste_lose_little_by_them() -> None:
    import planted_users
    from planted_users import RANKED, Scorer, ceiling, fitted, in_turns, people

    scorer = Scorer(noise=0.2)
    train, taught = in_turns(people("train", USERS, VOTES, seed=1), scorer)
    learned = fitted(train, scorer, taught)
    voters: dict[str, dict[str, float]] = {"null": {"null": 1.0}, "random": {"null": 1.0, "population": 0.0}}
    for kind, options in voters.items():
        persons, scores = in_turns(planted(**options)[0], scorer)
        assert len(persons[0].user.part("context")) == RANKED
        for prior_of_others in (learned, {}):
            found = planted_users.judged("attributes", persons, prior_of_others, scores, k=RANKED)
            assert (kind == "null" and not prior_of_others) or own(found) < 0.1
        population, found = (
            planted_users.judged(name, persons, learned, scores, k=RANKED)
            for name in ("attributes_population", "attributes")
        )
        assert over(found, population).estimate > -0.02
        if kind == "null":
            assert population.right.mean() > ceiling(persons) - 0.2
            assert np.mean([taste.own_probability for taste in found.tastes]) < 0.5


def test_contrarians_gain() -> None:
    population = judged("attributes_population", prior(), contrarian=1.0)
    assert population.right.mean() < 0.34
    found = judged("attributes", prior(), contrarian=1.0)
    for one in (found, judged("attributes_alone", prior(), contrarian=1.0)):
        assert over(one, population).low > 0
    # Most of their votes contradict the weights of others, but ten are too few to say what they prefer instead.
    assert np.mean([taste.own_probability for taste in found.tastes]) > 0.65
    assert own(found) < 0.25


def test_ten_votes_teach_more_than_two() -> None:
    two, ten = (judged("attributes_alone", prior(population=LITTLE), k, population=LITTLE) for k in (2, VOTES))
    assert over(ten, two).low > 0


def test_wrong_labels_cost_accuracy_also_where_clean_votes_are_judged() -> None:
    from planted_users import turned

    clean = {name: judged(name, prior()) for name in ("attributes_population", "attributes_alone")}
    learned = prior(label_noise=0.3)
    for name, without in clean.items():
        noisy = judged(name, learned, label_noise=0.3)
        people, _ = planted(label_noise=0.3)
        assert noisy.right.mean() < without.right.mean() - 0.02, name
        assert noisy.right.mean() < turned(noisy, people).right.mean() < without.right.mean() + 0.01, name


def test_scores_do_not_depend_on_who_chose_what() -> None:
    _, one = planted()
    _, other = planted(contrarian=1.0)
    swapped = 0
    for user, pairs in one.items():
        for pair, (entry,) in pairs.items():
            (again,) = other[user][pair]
            assert again.scores == entry.scores
            swapped += again.swapped != entry.swapped
    assert swapped > 100
