"""Votes of one conversation are no evidence of each other: they share answers, or what was said before."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from support.scripted_tastes import Array, prior, vectors

from personalrm.core.records import PairScores, PreferencePair, Turn
from personalrm.core.tastes import Taste
from personalrm.methods.attributes import votes_of
from personalrm.methods.logistic import log_loss, posterior, predictive
from personalrm.methods.taste.features import Votes, conversations_of
from personalrm.methods.taste.prior import best_variance, design_effect, empirical_bayes, prior_of
from personalrm.methods.taste.weights import log_odds, prior_taste, tastes

D = 24
TURNS = (4, 4, 2, 2, 2, 2)
"""Answers of each turn of a user: two turns of six pairs each, and four of one."""

LIKED = 5 * vectors(np.random.default_rng(0), 1, 1, D)[0, 0]
"""A taste that many features tell of."""


def ranked(rng: np.random.Generator, weights: Array, turns: tuple[int, ...] = TURNS) -> Votes:
    """A user who ranks the answers of each turn by weights and noise: all pairs of a turn are votes."""
    rows: list[Array] = []
    places: list[int] = []
    for answers in turns:
        made = vectors(rng, 1, answers, D)[0]
        made = made[np.argsort(-(made @ weights + rng.gumbel(size=answers)))]
        first = len(rows)
        rows += [made[one] - made[other] for one, other in combinations(range(answers), 2)]
        places += [first] * (len(rows) - first)
    ids = tuple(f"p{place:03}" for place in range(len(rows)))
    return Votes(ids, np.array(rows), conversations=tuple(places))


def alone(users: list[Votes]) -> list[Taste]:
    """Tastes without other users."""
    return [tastes(prior(np.zeros(D), best_variance([one]), learned=False), [one])[0] for one in users]


@pytest.mark.parametrize("latent", [1.0, 4.0, 16.0])
@pytest.mark.parametrize("turns", [TURNS, (4,) * 6])
def test_a_vote_is_predicted_as_without_its_conversation(latent: float, turns: tuple[int, ...]) -> None:
    rng = np.random.default_rng(1)
    user, mean, variance = ranked(rng, rng.normal(size=D), turns), np.full(D, 0.05), np.full(D, latent / D)
    places = np.array(user.conversations)
    # The same in the space of votes and, with further ones that count nothing, in that of features.
    idle = np.concatenate([user.rows, vectors(rng, 1, D, D)[0]])
    counts = np.arange(len(idle)) < len(places)
    for rows, weight in ((user.rows, None), (idle, counts[None].astype(float))):
        labels = np.concatenate([places, np.arange(len(places), len(rows))])
        found = posterior(rows[None], mean, variance, weight, labels[None]).left_out[0][: len(places)]
        for place in set(user.conversations):
            here = places == place
            others = posterior(user.rows[None], mean, variance, (~here)[None].astype(float))
            exact = log_loss(predictive(others.latent, others.spread))[0]
            assert np.abs(found - exact)[here].max() < 0.05
            assert abs(found[here].mean() - exact[here].mean()) < 0.02
    single = posterior(user.rows[None], mean, variance).left_out[0]
    assert found.mean() > single.mean() + 0.03


def test_a_single_conversation_is_predicted_from_the_prior_alone() -> None:
    rng = np.random.default_rng(2)
    rows, mean, variance = rng.normal(size=(5, D)), np.linspace(-0.3, 0.3, D), np.full(D, 0.2)
    found = posterior(rows[None], mean, variance, None, np.zeros((1, 5), dtype=np.intp)).left_out[0]
    assert found == pytest.approx(log_loss(predictive(rows @ mean, rows**2 @ variance)))


def test_conversations_of_one_vote_change_no_bit_of_any_user() -> None:
    rng = np.random.default_rng(3)
    users = [ranked(rng, np.zeros(D), (2,) * 16) for _ in range(3)]
    plain, named = [one._replace(conversations=()) for one in users], ranked(rng, np.zeros(D))
    known = prior(np.zeros(D), 0.1, learned=True)
    assert tastes(known, [*users, named])[:3] == tastes(known, plain)
    assert tastes(known, [named])[0] != tastes(known, [named._replace(conversations=())])[0]
    assert best_variance(users) == best_variance(plain)
    for one, other in zip(empirical_bayes(users), empirical_bayes(plain), strict=True):
        assert np.array_equal(one, other)


@pytest.mark.parametrize("turns", [TURNS, (4,) * 6])
def test_random_rankings_seldom_pass_the_gate_and_are_predicted_by_chance(turns: tuple[int, ...]) -> None:
    rng = np.random.default_rng(4)
    users = [ranked(rng, np.zeros(D), turns) for _ in range(150)]
    found = alone(users)
    assert np.mean([taste.own for taste in found]) < 0.06
    assert sum(taste.n_right for taste in found) < 0.55 * sum(taste.n_votes for taste in found)


def test_a_strong_taste_is_found_in_rankings() -> None:
    rng = np.random.default_rng(4)
    assert np.mean([taste.own for taste in alone([ranked(rng, LIKED, (4,) * 6) for _ in range(40)])]) > 0.5


def test_kinds_of_question_are_not_learned_from_random_rankings() -> None:
    rng = np.random.default_rng(5)
    users = [ranked(rng, np.zeros(D), (4, 4, 4, 4)) for _ in range(60)]
    kinds = tuple("ab"[place // 6 % 2] for place in range(24))
    assert np.mean([bool(taste.kinds) for taste in alone([one._replace(kinds=kinds) for one in users])]) < 0.1


def test_users_who_want_what_all_want_teach_no_wide_prior_and_have_no_probable_taste_of_their_own() -> None:
    rng = np.random.default_rng(6)
    mean = np.where(np.arange(D) < 4, 0.6, 0)
    learned, variance = empirical_bayes([ranked(rng, mean, (4, 4, 2, 2)) for _ in range(100)])
    assert variance.sum() < 2.5
    assert np.corrcoef(learned, mean)[0, 1] > 0.8
    known = prior(mean, 2.0 / D, learned=True)
    found = tastes(known, [ranked(rng, mean, (4,) * 6) for _ in range(100)])
    assert np.mean([taste.own for taste in found]) < 0.05
    assert np.mean([taste.own_probability for taste in found]) < 0.35
    held_out = rng.normal(size=(200, D))
    held_out *= np.where(rng.random(200) < 1 / (1 + np.exp(-held_out @ mean)), 1, -1)[:, None]
    own = np.mean([(log_odds(taste, held_out) > 0).mean() for taste in found])
    assert own > (log_odds(prior_taste(known), held_out) > 0).mean() - 0.03


def test_votes_count_for_as_many_as_are_independent() -> None:
    rows, single = np.repeat(np.eye(3)[:, None], 4, axis=1), np.arange(4)
    labels = np.array([single, np.zeros(4, dtype=np.intp), [0, 0, 2, 2]])
    assert design_effect(rows, np.ones((3, 4)), labels) == pytest.approx([1, 4, 2])
    # A vote that counts nothing is of no conversation; one side of opposite votes is no fewer votes than one.
    assert design_effect(rows[:1], np.array([[1.0, 1, 0, 0]]), labels[1:2]) == pytest.approx([2])
    assert design_effect(rows[:1] * [[[1], [-1], [1], [-1]]], np.ones((1, 4)), labels[1:2]) == pytest.approx([1])
    assert design_effect(0 * rows, np.ones((3, 4)), labels) == pytest.approx([1, 1, 1])
    # Four copies of a vote in one conversation teach what one vote teaches.
    user = Votes(("a", "b", "c", "d"), np.ones((4, 1)), conversations=(0, 0, 0, 0))
    known = prior(np.zeros(1), 1.0, learned=True)
    four, one = tastes(known, [user, Votes(("a",), np.ones((1, 1)))])
    assert (four.weights.mean, four.own_probability) == (one.weights.mean, one.own_probability)


def pair(number: int, chosen: str, rejected: str, conversation: str | None = None, asked: str = "?") -> PreferencePair:
    context = (Turn(role="user", content=asked),)
    return PreferencePair(
        user_id="u",
        pair_id=f"p{number}",
        context=context,
        chosen=chosen,
        rejected=rejected,
        conversation_id=conversation,
    )


def test_pairs_are_of_one_conversation_by_its_name_or_by_an_answer_that_they_share() -> None:
    named = [pair(0, "a", "b", "x"), pair(1, "c", "d", "y"), pair(2, "e", "f", "x", "later")]
    assert conversations_of(named) == (0, 1, 0)
    assert conversations_of(named[:2]) == ()
    shared = [
        pair(0, "a", "b"),
        pair(1, "c", "d"),
        pair(2, "d", "a"),
        pair(3, "a", "b", asked="other"),
        pair(4, "e", "f"),
    ]
    assert conversations_of(shared) == (0, 0, 0, 3, 4)
    assert conversations_of(shared[3:]) == ()


def test_names_of_conversations_reach_weights_and_prior() -> None:
    rng, pairs, scores = np.random.default_rng(7), [], {}
    for number in range(12):
        pairs.append(pair(number, f"a{number}", f"b{number}", f"c{number // 3}", f"question {number}"))
        values = {f"x{place}": float(rng.normal()) for place in range(6)}
        scores[f"p{number}"] = [PairScores(pair_id=f"p{number}", swapped=False, scores=values)]
    found = prior_of([(pairs, scores)])
    assert found is not None
    assert votes_of(found, pairs[::-1], scores).conversations[:6] == (0, 0, 2, 2, 0, 5)
    apart = [one.model_copy(update={"conversation_id": None}) for one in pairs]
    many = [(apart, scores)] * 20
    assert prior_of(many) != prior_of([(pairs, scores)] * 20)
