"""Votes of invented users have the planted properties, and neither one user's words nor length give them away."""

from __future__ import annotations

from collections import defaultdict
from itertools import combinations

import numpy as np
import pytest
from support.scripted_users import NAMES, Array, Made, Row, made

from personalrm.data.scripted.settings import ScriptedSettings
from personalrm.data.scripted.tastes import Planted

MIXED = {"users": 240, "pairs": 10, "null": 0.2, "contrarian": 0.2, "unseen_combination": 0.5, "label_noise": 0.2}


def test_label_noise_turns_round_its_share_of_votes_and_no_other_vote() -> None:
    plain, noisy = made(users=150, pairs=10), made(users=150, pairs=10, label_noise=0.3)
    flipped = np.array([row["flipped"] for row in noisy.axes])
    turned = [a["chosen"] == b["rejected"] for a, b in zip(plain.votes, noisy.votes, strict=True)]
    assert flipped.tolist() == turned
    assert abs(flipped.mean() - 0.3) < 3 * (0.21 / 1500) ** 0.5
    assert not any(row["flipped"] for row in plain.axes)
    assert noisy.card["measured"]["all"]["flipped"] == pytest.approx(flipped.mean(), abs=1e-4)


@pytest.mark.parametrize("noise", [0.0, 0.2])
def test_the_true_weights_reach_the_stated_ceiling(noise: float) -> None:
    data = made(**{**MIXED, "label_noise": noise})
    odds = (data.weights() * data.differences()).sum(axis=1) / 0.5
    assert np.allclose(odds, [row["log_odds"] for row in data.axes], atol=1e-5)
    sure = 1 / (1 + np.exp(-np.abs(odds)))
    ceiling = (sure * (1 - noise) + (1 - sure) * noise).mean()
    reached = ((odds > 0) + 0.5 * (odds == 0)).mean()
    measured = data.card["measured"]["all"]
    assert (measured["ceiling"], measured["chosen_by_true_weights"]) == pytest.approx((ceiling, reached), abs=2e-3)
    assert abs(reached - ceiling) < 3 * (0.25 / len(odds)) ** 0.5


def test_kinds_are_written_apart_as_they_are_together() -> None:
    whole = made(**MIXED)
    parts = [made(**MIXED, kinds=kinds) for kinds in (("own", "null"), ("unseen",), ("contrarian",))]
    assert {name: taste for part in parts for name, taste in part.tastes.items()} == whole.tastes
    assert {taste["kind"] for taste in parts[0].tastes.values()} == {"own", "null"}
    votes = [row for part in parts for row in part.votes]
    assert sorted(votes, key=lambda row: row["pair_id"]) == list(whole.votes)
    assert parts[1].card["measured"].keys() == {"all", "test, unseen"}


def test_null_users_want_what_all_want_and_contrarians_the_opposite() -> None:
    data = made(**MIXED)
    shared = data.card["population"]
    assert len(shared) == 4
    assert "length" not in shared
    assert set(map(abs, shared.values())) == {1.0}
    for user in data.of("null"):
        assert (data.tastes[user]["weights"], data.tastes[user]["own"]) == (shared, {})
    for user in data.of("contrarian"):
        assert data.tastes[user]["weights"] == {name: -weight for name, weight in shared.items()}
    # The same people, once as null users and once as contrarians: votes mirror each other.
    by_population = [
        made(users=150, pairs=10, **{kind: 1.0}).card["measured"]["all"]["chosen_by_population"]
        for kind in ("null", "contrarian")
    ]
    assert by_population[0] > 0.7
    assert abs(sum(by_population) - 1) < 3 * (2 * 0.25 / 1500) ** 0.5
    none = made(users=150, pairs=10, null=1.0, population=0.0)
    assert none.card["measured"]["all"]["ceiling"] == 0.5
    assert {taste["taste"] for taste in none.tastes.values()} == {
        "This user has no preference between ways of answering."
    }


def combinations_of(own: dict[str, float]) -> set[tuple[str, str, bool]]:
    """Two axes with tastes, and whether on the same side."""
    return {(one, other, (own[one] > 0) == (own[other] > 0)) for one, other in combinations(sorted(own), 2)}


@pytest.mark.parametrize("more", [{}, {"types": 8}, {"tastes": 2, "axes": ("interest",)}, {"rank": 6, "tastes": 2}])
def test_unseen_users_combine_tastes_as_no_train_user_does(more: Row) -> None:
    data = made(**MIXED, **more)
    learned = [taste for taste in data.tastes.values() if taste["part"] != "test"]
    known = set().union(*(combinations_of(taste["own"]) for taste in learned))
    unseen = data.of("unseen")
    assert unseen
    assert all(data.tastes[user]["part"] == "test" for user in unseen)
    assert all(combinations_of(data.tastes[user]["own"]) - known for user in unseen)
    others = [user for user in data.of("own") if data.tastes[user]["part"] == "test"]
    assert 0.3 < len(unseen) / len([*unseen, *others]) < 0.7
    # What is new of an unseen user is nothing that another test user might happen to have.
    new = set.intersection(*(combinations_of(data.tastes[user]["own"]) - known for user in unseen[:1]))
    assert not any(new <= combinations_of(data.tastes[user]["own"]) for user in others)


def test_types_are_shared_and_opposite_and_a_rank_is_one() -> None:
    data = made(users=100, types=4)
    by_type = defaultdict(set)
    for taste in data.tastes.values():
        by_type[taste["type"]].add(tuple(sorted(taste["own"].items())))
    assert sorted(by_type) == [0, 1, 2, 3]
    assert all(len(tastes) == 1 for tastes in by_type.values())
    (first,), (second,) = by_type[0], by_type[1]
    assert second == tuple((name, -weight) for name, weight in first)
    assert len(set().union(*by_type.values())) == 4
    free, low = made(users=100), made(users=100, rank=3, tastes=2)
    assert np.linalg.matrix_rank(free.weights("own")) == len(NAMES)
    assert np.linalg.matrix_rank(low.weights("own"), tol=1e-3) == 3
    # A taste on a bundle counts as much as one on an axis.
    lengths = np.linalg.norm(low.weights("own"), axis=1) ** 2
    assert {round(float(each), 4) for each in lengths} <= {2.0, 5.0, 8.0, 10.0, 13.0, 18.0}
    grades = {abs(weight) for taste in free.tastes.values() for weight in taste["own"].values()}
    assert grades == {1.0, 2.0, 3.0}
    assert {len(taste["own"]) for taste in free.tastes.values()} == {3}


def test_the_sentence_for_an_oracle_names_each_taste_by_its_poles_strongest_first() -> None:
    data = made(users=40, contrarian=0.3)
    poles = {axis["name"]: (axis["plus"], axis["minus"]) for axis in data.card["axes"]}
    for taste in data.tastes.values():
        said = taste["taste"].removeprefix("This user ").removesuffix(".").split("; ")
        strengths = []
        for name, weight in taste["weights"].items():
            liked, other = poles[name] if weight > 0 else poles[name][::-1]
            degree = "somewhat" if abs(weight) <= 1 else "clearly" if abs(weight) <= 2 else "strongly"
            strengths.append((said.index(f"{degree} prefers {liked} to {other}"), -abs(weight)))
        assert [weight for _, weight in sorted(strengths)] == sorted(weight for _, weight in strengths)
        assert len(said) == len(taste["weights"])
        facts = {fact for name, weight in taste["own"].items() for fact in (
            f"likes {poles[name][weight < 0]}", f"dislikes {poles[name][weight > 0]}"
        )}  # fmt: skip
        assert set(taste["facts"]) == facts


def test_all_users_together_want_no_length_and_as_much_as_population_says() -> None:
    shared = [Planted(ScriptedSettings(seed=seed, population=0.3)).population for seed in range(40)]
    assert {weights[NAMES.index("length")] for weights in shared} == {0.0}
    assert {sum(map(abs, weights)) for weights in shared} == {4 * 0.3}
    assert len(set(shared)) == 40


def test_own_tastes_lie_on_the_chosen_axes_only() -> None:
    data = made(users=60, axes=("interest", "tone"), tastes=2)
    assert {name for taste in data.tastes.values() for name in taste["own"]} == {
        "tone",
        "thrift",
        "outdoors",
        "company",
    }
    assert data.card["options"]["axes"] == ["tone", "thrift", "outdoors", "company"]


def test_the_longer_answer_is_chosen_half_of_the_time() -> None:
    data = made(users=600, pairs=6)
    longer = [len(row["chosen"]["content"]) - len(row["rejected"]["content"]) for row in data.votes]
    share = float(np.mean([(each > 0) + 0.5 * (each == 0) for each in longer]))
    assert data.card["measured"]["all"]["longer_chosen"] == pytest.approx(share, abs=1e-4)
    assert abs(share - 0.5) < 0.03


def words_of(data: Made) -> Array:
    """Counts of words and signs, chosen minus rejected, (pairs, words)."""
    from sklearn.feature_extraction.text import CountVectorizer

    sides = [[row[side]["content"] for row in data.votes] for side in ("chosen", "rejected")]
    counter = CountVectorizer(token_pattern=r"\w+|[^\w\s]").fit([text for side in sides for text in side])
    counts = [counter.transform(side).toarray().astype(float) for side in sides]
    found: Array = counts[0] - counts[1]
    return found


def right(learn: Array, test: Array, strength: float) -> float:
    """Share of the test rows that a logistic regression on the others puts on the chosen side."""
    from sklearn.linear_model import LogisticRegression

    told = learn.any(axis=0)
    both, labels = np.concatenate([learn, -learn])[:, told], np.repeat([1, 0], len(learn))
    model = LogisticRegression(fit_intercept=False, C=strength, max_iter=300).fit(both, labels)
    margins = test[:, told] @ model.coef_[0]
    return float(((margins > 0) + 0.5 * (margins == 0)).mean())


def left_out(features: Array, users: int, strength: float) -> float:
    """Accuracy on each of a user's 10 pairs by a regression on the user's nine others."""
    own = [features[10 * user : 10 * user + 10] for user in range(users)]
    found = [right(np.delete(rows, place, 0), rows[[place]], strength) for rows in own for place in range(10)]
    return float(np.mean(found))


def test_words_of_one_user_do_not_solve_it_and_words_of_many_users_say_what_all_like() -> None:
    data = made(users=150, pairs=10)
    words, values, measured = words_of(data), data.differences(), data.card["measured"]["all"]
    own_words, own_values = left_out(words, 15, 0.1), left_out(values, 15, 0.3)
    assert own_words < 0.62
    assert own_words + 0.08 < own_values < measured["ceiling"] - 0.08
    of_all = right(words[:1200], words[1200:], 0.1)
    assert measured["chosen_by_population"] - 0.11 < of_all < measured["chosen_by_population"] + 0.06
