"""A user's own weights, on scripted vectors: recovery, the evidence gate, kinds of question, calibration, controls."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.scripted_tastes import Array, prior, vectors, voted, votes

from personalrm.core.tastes import Taste, TasteStatement, TasteWeights
from personalrm.methods.logistic import posterior
from personalrm.methods.taste.features import Votes
from personalrm.methods.taste.prior import best_variance
from personalrm.methods.taste.statements import persona_text, sign_probability, statements
from personalrm.methods.taste.weights import explain, log_odds, prior_taste, tastes

D = 30


@dataclass(frozen=True)
class Word:
    id: str
    more: str
    less: str


BANK = [Word(f"a{place:02}", f"more {place}", f"less {place}") for place in range(D)]


def own_only(rows: Array, kinds: tuple[str | None, ...] = ()) -> Taste:
    """The taste of a user without other users."""
    return tastes(prior(np.zeros(D), best_variance([votes(rows)]), learned=False), [votes(rows, kinds)])[0]


def planted(users: int, n: int, seed: int = 0, noise: float = 0.08) -> Array:
    """Users with opposite tastes for the axis along which the answers of their pairs differ, 20 more pairs each."""
    rng = np.random.default_rng(seed)
    rows = vectors(rng, users, n + 20, D, axis=0)
    liked = np.sign(rows[:, :, AXIS]).mean(axis=2) * rng.choice([-1, 1], users)[:, None]
    return voted(rng, rows, np.sign(liked) * np.log(1 / noise - 1))


LOADING = np.random.default_rng(5).normal(size=(D, 6))[:, 0]
AXIS = [int(place) for place in np.argsort(-LOADING)[:3]]


def right(taste: Taste, rows: Array, kinds: tuple[str | None, ...] = ()) -> float:
    return float((log_odds(taste, rows, kinds) > 0).mean())


def test_planted_tastes_are_found_and_more_votes_help() -> None:
    rows = planted(40, 16)
    by_k = [np.mean([right(own_only(user[:k]), user[16:]) for user in rows]) for k in (2, 5, 16)]
    assert by_k[0] < by_k[1] <= by_k[2] + 0.01
    assert by_k[2] > 0.85
    assert np.mean([own_only(user[:16]).own for user in rows]) > 0.75


@pytest.mark.parametrize("n", [5, 10, 16])
def test_random_votes_seldom_pass_the_gate(n: int) -> None:
    rng = np.random.default_rng(n)
    rows = vectors(rng, 150, n, D, axis=0) * rng.choice([-1, 1], (150, n))[..., None]
    assert np.mean([own_only(user).own for user in rows]) <= 0.15
    for latent in (0.25, 4.0):
        wide = prior(np.zeros(D), latent / D, learned=True)
        assert np.mean([taste.own for taste in tastes(wide, [votes(user) for user in rows])]) <= 0.15


def test_a_user_without_own_taste_is_left_to_others_or_to_default_or_is_a_guess() -> None:
    rng = np.random.default_rng(2)
    rows = np.repeat(vectors(rng, 1, 4, D)[0], 2, axis=0) * np.array([1, -1] * 4)[:, None]
    mean = np.linspace(-0.1, 0.1, D)
    (learned,) = tastes(prior(mean, 0.1, learned=True), [votes(rows)])
    assert not learned.own
    # Votes that contradict each other teach nothing: the weights are nearly those of others.
    assert learned.weights.mean == pytest.approx(mean, abs=0.02)
    assert 0 < (learned.own_probability or 0) < 0.5
    assert "no taste of the user's own: log-loss of left-out votes" in str(learned.reason)
    assert statements(learned, BANK, votes(rows)) == ()
    # Others, where there are any, and not the judge.
    judged = prior(mean, 0.1, learned=True).model_copy(update={"names": ("default", *learned.names[1:])})
    assert tastes(judged, [votes(rows)])[0].weights == learned.weights
    alone = prior(np.zeros(D), 0.1, learned=False)
    named = alone.model_copy(update={"names": ("default", *alone.names[1:]), "scale": (2.0,) * D})
    # Without others it is the judge, whose log-odds are the feature before it is scaled.
    assert log_odds(prior_taste(named), np.full((1, D), 1.5)) == pytest.approx([3.0])
    (default,), (own_alone,) = tastes(named, [votes(rows)]), tastes(alone, [votes(rows)])
    share = default.own_probability or 0
    averaged = share * np.array(own_alone.weights.mean) + (1 - share) * 2 * np.eye(D)[0]
    assert (default.own, 0.05 < share < 0.95) == (False, True)
    assert default.weights.mean == pytest.approx(averaged, abs=2e-6)
    # A judge that is worse than a coin is no rival of own weights.
    against = np.concatenate([np.full((8, 1), -5.0), rows[:, 1:]], axis=1)
    assert tastes(named, [votes(against)])[0].null_log_loss == pytest.approx(np.log(2), abs=1e-6)
    for_it = np.concatenate([np.full((8, 1), 0.5), rows[:, 1:]], axis=1)
    assert tastes(named, [votes(for_it)])[0].null_log_loss == pytest.approx(np.log1p(np.exp(-1)), abs=1e-6)
    (guess,) = tastes(alone, [votes(rows)])
    assert not guess.own
    assert guess.own_probability is None
    assert "own_probability" not in guess.model_dump()
    assert guess.weights.effect
    assert statements(guess, BANK, votes(rows)) == ()


def test_a_few_votes_are_no_evidence_however_much_they_agree() -> None:
    rows = np.repeat(planted(1, 1)[0][:1], 5, axis=0)
    four, five = own_only(rows[:4]), own_only(rows)
    assert (four.own, five.own, five.reason) == (False, True, None)
    assert four.reason == "no taste of the user's own: 4 votes, fewer than 5"


def test_who_agrees_with_others_needs_no_own_taste_and_who_opposes_them_has_one() -> None:
    rng = np.random.default_rng(3)
    rows = vectors(rng, 60, 32, D, axis=0)
    mean = np.zeros(D)
    mean[AXIS] = 0.6
    known = prior(mean, 4.0 / D, learned=True)
    like = voted(rng, rows, rows @ mean)
    agree = tastes(known, [votes(user[:12]) for user in like])
    assert np.mean([taste.own for taste in agree]) < 0.15
    oppose = [-user for user in like]
    found = tastes(known, [votes(user[:12]) for user in oppose])
    assert np.mean([taste.own for taste in found]) > 0.5
    assert np.mean([taste.own_probability for taste in found]) > 0.9
    assert np.mean([taste.own_probability for taste in agree]) < 0.5
    # Votes that contradict others are no taste where own weights predict them worse than a coin does.
    assert [taste.own for taste in found] == [(taste.log_loss or 0) <= np.log(2) for taste in found]
    own = np.mean([right(taste, user[12:]) for taste, user in zip(found, oppose, strict=True)])
    assert own > np.mean([right(prior_taste(known), user[12:]) for user in oppose]) + 0.25
    signs = [np.sign(np.array(taste.weights.effect)[AXIS].sum()) for taste in found if taste.own]
    assert np.mean(np.array(signs) < 0) > 0.9


def test_weights_are_those_of_others_and_own_ones_by_the_probability_of_the_votes() -> None:
    rows = np.random.default_rng(11).normal(size=(12, D))
    mean, variance = np.linspace(-0.3, 0.2, D), np.full(D, 0.01)
    (found,) = tastes(prior(mean, variance, learned=True), [votes(rows)])
    (own,) = tastes(prior(mean, variance, learned=False), [votes(rows)])
    of_others = -np.logaddexp(0, -rows @ mean).sum()
    share = 1 / (1 + np.exp(of_others - posterior(rows[None], mean, variance).evidence[0]))
    assert 0.05 < share < 0.95
    assert found.own_probability == pytest.approx(share, abs=1e-6)
    assert found.weights.mean == pytest.approx(share * np.array(own.weights.mean) + (1 - share) * mean, abs=2e-6)
    for part in ("sd", "taught"):
        mine, alone = (np.array(getattr(one.weights, part)) for one in (found, own))
        assert np.allclose(mine, np.sqrt(share) * alone, atol=2e-6)
    # What a user's votes say is said of own weights alone.
    assert (found.weights.effect, found.weights.effect_sd) == (own.weights.effect, own.weights.effect_sd)
    assert tastes(prior(mean, variance, learned=True), [votes(rows[:4])])[0].reason == (
        "no taste of the user's own: 4 votes, fewer than 5"
    )


def test_own_weights_by_kind_are_as_probable_as_the_votes_are_under_them() -> None:
    """The marginal likelihood is checked by integration over both weights, the shared one and what a kind adds."""
    rows, kinds = np.tile([[1.0], [-1.0]], (8, 1)), ("a", "b") * 8
    mean, variance = np.array([0.2]), np.array([0.6])
    known = prior(np.zeros(D), 1.0, learned=True).model_copy(
        update={"names": ("a00",), "bias": (0.0,), "scale": (1.0,), "mean": (0.2,), "variance": (0.6,)}
    )
    (taste,) = tastes(known, [votes(rows, kinds)])
    assert set(taste.kinds) == {"a", "b"}
    grid = np.linspace(-6, 6, 61)
    shared, of_a, of_b = np.meshgrid(
        mean + np.sqrt(variance) * grid, *[np.sqrt(0.8 * variance) * grid] * 2, indexing="ij"
    )
    likelihood = (1 + np.exp(-(shared + of_a))) ** -8.0 * (1 + np.exp(shared + of_b)) ** -8.0
    density = np.exp(-(grid**2) / 2) / np.exp(-(grid**2) / 2).sum()
    own = np.einsum("ijk,i,j,k", likelihood, density, density, density)
    of_others = (1 + np.exp(-mean[0])) ** -8.0 * (1 + np.exp(mean[0])) ** -8.0
    assert taste.own_probability == pytest.approx(own / (own + of_others), abs=0.02)


def test_votes_that_count_nothing_leave_even_odds_of_own_weights() -> None:
    mean = np.linspace(-0.3, 0.2, D)
    idle = Votes(("p0", "p1"), planted(1, 2)[0][:2], (), (0.0, 0.0))
    for none in (votes(np.zeros((0, D))), idle):
        (taste,) = tastes(prior(mean, 0.1, learned=True), [none])
        assert taste.own_probability == 0.5
        assert not taste.own
        assert taste.weights.mean == pytest.approx(mean, abs=1e-6)


def test_another_users_votes_gain_nothing() -> None:
    rng = np.random.default_rng(4)
    rows = vectors(rng, 120, 30, D)
    mean = np.where(np.arange(D) < 4, 0.5, 0)
    rows = voted(rng, rows, (rows * (mean + 0.7 * rng.normal(size=(120, 1, D)))).sum(axis=2))
    known = prior(mean, 0.49, learned=True)
    mine = tastes(known, [votes(user[:14]) for user in rows])
    population = np.mean([right(prior_taste(known), user[14:]) for user in rows])
    own = np.mean([right(taste, user[14:]) for taste, user in zip(mine, rows, strict=True)])
    another = np.mean([right(taste, user[14:]) for taste, user in zip(mine[1:] + mine[:1], rows, strict=True)])
    assert own > population + 0.03
    assert another < population + 0.01


def two_kinds(users: int, n: int, *, opposite: bool) -> tuple[Array, list[tuple[str, ...]]]:
    """Users whose taste for questions of kind b is opposite, or the same."""
    rng = np.random.default_rng(6)
    rows = vectors(rng, users, n + 20, D, axis=0)
    of_b = rng.integers(0, 2, (users, n + 20)).astype(bool)
    liked = np.sign(rows[:, :, AXIS].mean(axis=2)) * np.where(of_b & opposite, -1, 1)
    return voted(rng, rows, liked * 2.4), [tuple("ab"[int(one)] for one in user) for user in of_b]


@pytest.mark.parametrize("opposite", [True, False])
def test_kinds_help_who_needs_them_and_cost_others_nothing(opposite: bool) -> None:
    rows, kinds = two_kinds(40, 16, opposite=opposite)
    shared = np.mean([right(own_only(user[:16]), user[16:]) for user in rows])
    found = [own_only(user[:16], named[:16]) for user, named in zip(rows, kinds, strict=True)]
    by_kind = np.mean([right(t, user[16:], named[16:]) for t, user, named in zip(found, rows, kinds, strict=True)])
    used = np.mean([bool(taste.kinds) for taste in found])
    if opposite:
        assert by_kind > shared + 0.15
        assert used > 0.5
    else:
        assert by_kind > shared - 0.02
        assert used < 0.15


def test_kinds_that_are_too_few_or_too_many() -> None:
    rows = planted(1, 16)[0]
    shared = own_only(rows)
    assert own_only(rows, ("a",) * 36) == shared
    assert own_only(rows, ("a", "a", *[None] * 34)) == shared
    with pytest.raises(ValueError, match="kinds of question: 5 of one user"):
        own_only(rows, tuple("abcde" * 7 + "a"))


def test_a_batch_of_users_is_each_user_alone_in_any_order() -> None:
    rng = np.random.default_rng(7)
    people = [votes(voted(rng, rows, rows[:, 0])) for n in (1, 4, 9, 4) for rows in vectors(rng, 3, n, D)]
    people.append(votes(np.full((0, D), np.nan)))
    people.append(people[0])
    known = prior(np.zeros(D), 0.1, learned=True)
    together = tastes(known, people)
    assert together == [tastes(known, [one])[0] for one in people]
    assert together == list(reversed(tastes(known, people[::-1])))
    assert together[-1] == together[0]
    assert (together[-2].n_votes, together[-2].own) == (0, False)


def test_missing_features_teach_nothing_and_make_a_verdict_less_sure() -> None:
    rows = planted(1, 16)[0]
    gaps = rows.copy()
    gaps[3, AXIS[0]] = gaps[5, AXIS[0]] = np.nan
    taste = own_only(gaps)
    assert taste.missing == {f"a{AXIS[0]:02}": 2}
    nothing = gaps.copy()
    nothing[[3, 5], AXIS[0]] = 0
    assert taste.weights == own_only(nothing).weights
    pair = rows[:1].copy()
    pair[0, AXIS[0]] = np.nan
    zero = np.nan_to_num(pair)
    assert 0 < abs(log_odds(taste, pair)[0]) < abs(log_odds(taste, zero)[0])
    assert not log_odds(taste, np.full((1, D), np.nan))[0]


def test_votes_that_count_less_weigh_less() -> None:
    rows = np.concatenate([planted(1, 16, noise=0.01)[0][:8], -planted(1, 16)[0][8:16]])
    known = prior(np.zeros(D), 0.1, learned=True)
    first = Votes(votes(rows).ids, rows, (), (1.0,) * 8 + (0.0,) * 8)
    (late,) = tastes(known, [first])
    (alone,) = tastes(known, [votes(rows[:8])])
    assert (late.log_loss, late.null_log_loss, late.own) == (alone.log_loss, alone.null_log_loss, alone.own)
    for part in ("mean", "sd", "effect", "effect_sd"):
        assert getattr(late.weights, part) == pytest.approx(getattr(alone.weights, part), abs=2e-6)
    assert tastes(known, [votes(rows)])[0].log_loss != alone.log_loss


def test_verdicts_are_as_sure_as_they_are_right() -> None:
    rng = np.random.default_rng(9)
    rows = vectors(rng, 300, 34, D)
    rows = voted(rng, rows, (rows * (0.35 * rng.normal(size=(300, 1, D)))).sum(axis=2))
    found = tastes(prior(np.zeros(D), 0.1225, learned=False), [votes(user[:14]) for user in rows])
    odds = [log_odds(taste, user[14:]) for taste, user in zip(found, rows, strict=True) if taste.own]
    said = np.abs(np.concatenate(odds))
    correct = np.concatenate(odds) > 0
    for low, high in ((0, 0.5), (0.5, 1), (1, 9)):
        here = (said >= low) & (said < high)
        assert here.sum() > 100
        assert np.mean(1 / (1 + np.exp(-said[here]))) == pytest.approx(correct[here].mean(), abs=0.06)


@given(st.floats(0.01, 100), st.integers(1, 6))
def test_votes_that_separate_give_finite_records_that_can_be_read_again(size: float, n: int) -> None:
    rows = np.zeros((n, D))
    rows[:, 0] = size
    taste = own_only(rows)
    assert np.isfinite([*taste.weights.mean, *taste.weights.sd]).all()
    assert taste.weights.mean[0] > 0
    again = Taste.model_validate_json(taste.model_dump_json())
    assert np.array_equal(log_odds(again, rows), log_odds(taste, rows))


def test_explain_says_what_each_feature_adds() -> None:
    taste = prior_taste(prior(np.arange(D) / 10, 0.1, learned=True))
    row = np.full(D, np.nan)
    row[[2, 3, 7]] = -1.0, 2.0, 0.0
    assert explain(taste, row.tolist()) == {"a03": 0.6, "a02": -0.2, "a07": 0.0}


def test_statements_are_sure_and_strongest_first_with_the_votes_that_support_them() -> None:
    rows = planted(1, 30, seed=2)[0][:30]
    taste = own_only(rows)
    found = statements(taste, BANK, votes(rows))
    assert 1 <= len(found) <= 6
    assert [abs(one.log_odds) for one in found] == sorted([abs(one.log_odds) for one in found], reverse=True)
    for one in found:
        place = taste.names.index(one.feature)
        mean, sd = taste.weights.effect[place], taste.weights.effect_sd[place]
        assert one.posterior == sign_probability(mean, sd) >= 0.9
        assert one.log_odds == pytest.approx(mean * np.sqrt((rows[:, place] ** 2).mean()), abs=1e-5)
        assert one.text == f"{'more' if mean > 0 else 'less'} {place}"
        support = [rows[int(name[1:]), place] * mean for name in one.votes]
        assert support == sorted(np.maximum(rows[:, place] * mean, 0), reverse=True)[:3]
    effects = zip(taste.weights.effect, taste.weights.effect_sd, strict=True)
    sure = sum(sign_probability(mean, sd) >= 0.9 for mean, sd in effects)
    assert len(statements(taste, BANK, votes(rows), most=D)) == sure < D
    # A feature without words makes no statement.
    rest = [one for one in BANK if one.id != found[0].feature]
    assert found[0] not in statements(taste, rest, votes(rows), most=D)


def test_effects_are_slopes_of_the_log_odds_and_as_sure_as_draws_of_the_weights_say() -> None:
    rng = np.random.default_rng(10)
    rows = planted(1, 12)[0]
    variance = np.full(D, 4.0 / D)
    (taste,) = tastes(prior(np.zeros(D), variance, learned=True), [votes(rows)])
    assert taste.own
    found = posterior(rows[None], np.zeros(D), variance)
    covariance = np.diag(variance) - found.taught[0].T @ found.taught[0]
    drawn = rng.multivariate_normal(found.mean[0], covariance, 4000) @ rows.T
    slopes = drawn @ rows / (rows**2).sum(axis=0)
    assert np.allclose(taste.weights.effect, slopes.mean(axis=0), atol=0.05)
    assert np.allclose(taste.weights.effect_sd, slopes.std(axis=0), rtol=0.1)


def test_statements_are_true_of_planted_tastes() -> None:
    rows = planted(40, 14)
    true = []
    for user in rows:
        liked = user.mean(axis=0)
        found = statements(own_only(user[:14]), BANK, votes(user[:14]))
        true += [np.sign(liked[int(one.feature[1:])]) == np.sign(one.log_odds) for one in found]
    assert len(true) > 100
    assert np.mean(true) > 0.95


def test_a_kind_of_question_is_named_where_its_weight_is_another() -> None:
    (rows,), (kinds,) = two_kinds(1, 28, opposite=True)
    taste = own_only(rows, kinds)
    assert set(taste.kinds) == {"a", "b"}
    found = statements(taste, BANK, votes(rows, kinds), most=D)
    about = {(one.kind, one.feature): one.text.split()[0] for one in found}
    both = [place for place in range(D) if {("a", f"a{place:02}"), ("b", f"a{place:02}")} <= about.keys()]
    assert both
    assert all(about["a", f"a{place:02}"] != about["b", f"a{place:02}"] for place in both)
    for one in found:
        assert all(one.kind in (None, kinds[int(name[1:])]) for name in one.votes)


def test_statements_by_hand_only_own_ones_and_each_once() -> None:
    rows = np.ones((4, 2))
    kinds = ("a", "a", "b", "b")
    shared = TasteWeights(mean=(1.0, 0.0), sd=(1.0, 1.0), effect=(1.0, 0.1), effect_sd=(0.5, 1.0))
    of_a = shared.model_copy(update={"effect": (2.0, -1.5), "effect_sd": (0.5, 0.5)})
    of_b = shared.model_copy(update={"effect": (-2.0, 0.0)})
    taste = Taste(
        names=("a00", "surface:characters"),
        bias=(0.0, 0.0),
        scale=(1.0, 1.0),
        weights=shared,
        kinds={"a": of_a, "b": of_b},
        own=True,
        n_votes=4,
    )
    found = statements(taste, BANK, votes(rows, kinds))
    said = [(one.kind, one.text, one.strength, one.votes) for one in found]
    assert said == [
        ("b", "less 0", "strongly", ()),
        ("a", "shorter answers", "strongly", ()),
        (None, "more 0", "strongly", ("p000", "p001", "p002")),
    ]
    assert statements(taste.model_copy(update={"own": False}), BANK, votes(rows, kinds)) == ()


def statement(text: str, strength: str, kind: str | None = None) -> TasteStatement:
    return TasteStatement(feature="f", text=text, strength=strength, log_odds=1, posterior=0.95, kind=kind)


def test_the_persona_is_its_statements() -> None:
    assert persona_text([statement("short answers", "clearly"), statement("lists", "strongly", "work")]) == (
        "This person clearly prefers short answers. When asked about work, this person strongly prefers lists."
    )
    assert persona_text([]) is None
