"""Taste weights from scores by attribute: the methods, position bias, lost scores, parts of a user, and words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pytest
from support.models import pair
from support.scripted_tastes import scored_user

from personalrm.core.records import PairScores, PreferencePair, TastePrior, UserData
from personalrm.core.tastes import Taste
from personalrm.methods.attributes import TasteState, votes_of, weigh
from personalrm.methods.base import Known, NoPairs, NotApplicable, Training
from personalrm.methods.registry import METHODS
from personalrm.methods.taste.features import SURFACE, differences, position_bias, scales
from personalrm.methods.taste.prior import LEAST_USERS, fit_prior, prior_of

Scores = Mapping[str, Sequence[PairScores]]
WARM = {"warm": 2.0, "blunt": 0.0, "lists": 0.0}
BLUNT = {"warm": -2.0, "blunt": 1.0, "lists": 0.0}


def people(users: int, weights: dict[str, float] = WARM, **how: float) -> dict[str, tuple[UserData, Scores]]:
    rng = np.random.default_rng(1)
    return {f"o{n:02}": scored_user(f"o{n:02}", weights, rng, pairs=12, **how) for n in range(users)}  # type: ignore[arg-type]


def training(users: Mapping[str, tuple[UserData, Scores]]) -> Training:
    return Training([user for user, _ in users.values()], 0, {name: scores for name, (_, scores) in users.items()})


def known_of(user: UserData, scores: Scores, prior: TastePrior | None = None, k: int | None = None) -> Known:
    return Known.of(user, pairs=user.part("context")[:k], scores=scores, artefact=prior)


def state_of(method: str, known: Known) -> TasteState:
    state = METHODS[method].adapt(known)
    assert isinstance(state, TasteState)
    return state


def right(state: TasteState, pairs: Sequence[PreferencePair]) -> float:
    return float(np.mean([verdict.outcome == "correct" for verdict in weigh(state, pairs)]))


def test_own_weights_find_who_differs_from_others_and_the_population_does_not() -> None:
    most, some = people(LEAST_USERS, noise=0.5), people(5, BLUNT, noise=0.5)
    prior = fit_prior(training({**most, **some}))
    assert prior is not None
    assert prior.learned
    assert prior.mean[prior.names.index("warm")] > 0.2
    user, scores = scored_user("u", BLUNT, np.random.default_rng(2), pairs=40)
    known, test = known_of(user, scores, prior), user.part("test")
    own, context = state_of("attributes", known), state_of("attributes_context", known)
    population = state_of("attributes_population", Known.of(user, scores=scores, artefact=prior))
    assert right(own, test) >= 0.9
    assert right(population, test) < 0.3
    assert own.taste.own
    assert (own.taste.n_votes, context.taste.n_votes) == (30, 20)
    assert population.taste.weights.mean == prior.mean
    # With fewer context pairs there are still the validation pairs.
    assert state_of("attributes", known_of(user, scores, prior, k=2)).taste.n_votes == 12


def test_who_has_nothing_to_learn_from() -> None:
    user, scores = scored_user("u", WARM, np.random.default_rng(3))
    few = fit_prior(training(people(LEAST_USERS - 1)))
    assert few is not None
    assert (few.learned, few.n_users, set(few.mean)) == (False, LEAST_USERS - 1, {0.0})
    for artefact in (None, few):
        found = METHODS["attributes_population"].adapt(Known.of(user, scores=scores, artefact=artefact))
        assert found == NotApplicable("fewer than 20 other users with scores to learn weights from")
    bare = user.model_copy(update={"pairs": user.part("test")})
    assert METHODS["attributes"].adapt(known_of(bare, scores, few)) == NoPairs()
    lost = {name: [PairScores(pair_id=name, swapped=False, reason="refused")] for name in scores}
    assert METHODS["attributes"].adapt(known_of(user, lost)) == NoPairs("no pair to learn from has scores")
    assert prior_of([(user.pairs, lost)]) is None
    state = state_of("attributes", known_of(user, lost, few))
    assert (state.taste.own, state.taste.n_votes, state.taste.n_unscored) == (False, 0, 12)
    with pytest.raises(ValueError, match="user u: no scores of pair u-000; score all pairs by attributes first"):
        METHODS["attributes"].adapt(known_of(user, {}, few))


def test_one_user_alone_is_learned_from_the_own_pairs() -> None:
    user, scores = scored_user("u", WARM, np.random.default_rng(4), pairs=24)
    state = state_of("attributes", known_of(user, scores))
    assert state.taste.own
    assert right(state, user.part("test")) >= 0.8


@pytest.mark.parametrize("reason", ["context_overflow", "refused", "provider_error", "unparsed", None])
def test_a_pair_without_scores_is_not_learned_from_and_no_wrong_answer(reason: str | None) -> None:
    user, scores = scored_user("u", WARM, np.random.default_rng(5), pairs=24)
    whole = state_of("attributes", known_of(user, scores))
    gone, test = user.part("context")[0].pair_id, user.part("test")
    empty = [PairScores(pair_id="x", swapped=True, reason="unparsed"), PairScores(pair_id="x", swapped=False)]
    empty[1] = empty[1].model_copy(update={"reason": reason})
    lost = {**scores, gone: empty, test[0].pair_id: empty}
    state = state_of("attributes", known_of(user, lost))
    assert (state.taste.n_votes, state.taste.n_unscored) == (whole.taste.n_votes - 1, 1)
    first, second = weigh(state, test[:2])
    assert (first.outcome, first.log_odds) == (reason or "unparsed", None)
    assert second.outcome in ("correct", "wrong")
    assert second.calls == (f"call-{second.pair_id}-{scores[second.pair_id][0].swapped}",)


def test_a_missing_attribute_is_counted_and_no_zero() -> None:
    user, scores = scored_user("u", WARM, np.random.default_rng(6), pairs=24)
    (entry,) = scores["u-000"]
    less = entry.model_copy(update={"scores": {"blunt": 0.0}})
    state = state_of("attributes", known_of(user, {**scores, "u-000": [less]}))
    assert state.taste.missing == {"lists": 1, "warm": 1}
    rows = differences(user.pairs[:1], {"u-000": [less]}, ("blunt", "warm"), (0.0, 0.0))
    assert rows[0, 0] == 0
    assert np.isnan(rows[0, 1])


def test_both_orders_have_no_bias_and_that_of_one_order_is_subtracted() -> None:
    true, false = (scored_user("u", WARM, np.random.default_rng(7), pairs=400, bias=bias, orders=2) for bias in (0, 3))
    names, nothing = ("warm", *SURFACE), (0.0,) * 13
    expected = differences(true[0].pairs, true[1], names, nothing)
    assert np.allclose(differences(false[0].pairs, false[1], names, nothing), expected, atol=2e-4)
    user, scores = scored_user("u", WARM, np.random.default_rng(7), pairs=400, bias=3.0)
    bias = position_bias([scores], names)
    assert bias[0] == pytest.approx(3.0, abs=0.2)
    assert not bias[1:].any()
    found = differences(user.pairs, scores, names, bias.tolist())
    unbiased = [{**entry.of_chosen}["warm"] + (3 if entry.swapped else -3) for (entry,) in scores.values()]
    assert np.allclose(found[:, 0], unbiased, atol=0.2)


@pytest.mark.parametrize("others", [True, False])
def test_the_bias_of_positions_costs_no_accuracy(others: bool) -> None:
    share = []
    for bias in (0.0, 4.0):
        prior = fit_prior(training(people(6, bias=bias))) if others else None
        rng = np.random.default_rng(8)
        users = [scored_user(f"u{n}", BLUNT, rng, pairs=40, bias=bias) for n in range(4)]
        found = [right(state_of("attributes", known_of(*one, prior)), one[0].part("test")) for one in users]
        share.append(np.mean(found))
    assert share[1] > 0.8
    assert share[1] > share[0] - 0.1


def test_a_few_scores_have_no_certain_bias() -> None:
    entry = PairScores(pair_id="p", swapped=False, scores={"warm": 2.0})
    assert position_bias([{"p": [entry]}], ("warm",)) == [0.0]
    wide = [entry, entry.model_copy(update={"scores": {"warm": -1.9}})]
    assert position_bias([{"p": wide}], ("warm",)) == [0.0]


def test_the_scale_counts_zeros_leaves_out_what_is_missing_and_has_a_floor() -> None:
    rows = np.array([[3.0, np.nan, 0.01, 2.0], [0, 4, -0.01, 0], [0, -4, 0.01, 0], [0, 4, 0.01, 2]])
    found = scales(rows, ("a", "b", "c", "surface:digits"))
    assert found == pytest.approx([1.5, 4.0, 0.75, np.sqrt(2)])
    assert scales(np.zeros((2, 2)), ("a", "surface:digits")) == pytest.approx([1.0, 1.0])


def reversed_mapping(scores: Scores) -> Scores:
    return {
        name: [entry.model_copy(update={"scores": dict(reversed(entry.scores.items()))}) for entry in reversed(entries)]
        for name, entries in reversed(scores.items())
    }


def test_no_order_of_users_pairs_orders_or_attributes_changes_a_byte() -> None:
    users = people(LEAST_USERS, noise=0.5, orders=2)
    again = {
        name: (user.model_copy(update={"pairs": user.pairs[::-1]}), reversed_mapping(scores))
        for name, (user, scores) in reversed(users.items())
    }
    one, other = fit_prior(training(users)), fit_prior(training(again))
    assert one is not None
    assert other is not None
    assert one.model_dump_json() == other.model_dump_json()
    (user, scores), (back, scored) = (group["o03"] for group in (users, again))
    states = [state_of("attributes", known_of(who, what, one)).taste for who, what in ((user, scores), (back, scored))]
    assert states[0].model_dump_json() == states[1].model_dump_json()
    assert Taste.model_validate_json(states[0].model_dump_json()) == states[0]


def test_no_label_of_a_test_pair_and_no_score_of_one_reaches_a_state() -> None:
    user, scores = scored_user("u", WARM, np.random.default_rng(9), pairs=24)
    other = {**scores, **{one.pair_id: [PairScores(pair_id="x", swapped=False)] for one in user.part("test")}}
    tastes = [state_of("attributes", known_of(user, each)).taste for each in (scores, other)]
    assert tastes[0] == tastes[1]


def test_kinds_of_question_reach_the_weights_and_the_verdicts() -> None:
    user, scores = scored_user("u", WARM, np.random.default_rng(10), pairs=48)
    kinds = {one.pair_id: "ab"[number % 2] for number, one in enumerate(user.pairs)}
    mixed = {
        name: [e.model_copy(update={"scores": {a: -s for a, s in e.scores.items()}}) for e in entries]
        if kinds[name] == "b"
        else entries
        for name, entries in scores.items()
    }
    known = Known.of(user, pairs=user.part("context"), scores=mixed, kinds=kinds)
    state = state_of("attributes", known)
    assert set(state.taste.kinds) == {"a", "b"}
    assert right(state, user.part("test")) >= 0.8
    assert right(state._replace(kinds={}), user.part("test")) < 0.8


def test_votes_are_in_the_order_of_their_ids() -> None:
    user, scores = scored_user("u", WARM, np.random.default_rng(11))
    prior = prior_of([(user.pairs, scores)])
    assert prior is not None
    found = votes_of(prior, user.pairs[::-1], scores)
    assert list(found.ids) == sorted(found.ids)
    assert found.rows.shape == (16, 3 + len(SURFACE))


def test_votes_beyond_k_change_nothing() -> None:
    user, scores = scored_user("u", WARM, np.random.default_rng(12))
    changed = {
        name: [entry.model_copy(update={"scores": {"warm": 9.0}}) for entry in entries]
        for name, entries in scores.items()
    }
    few = user.part("context")[:5]
    mixed = {**changed, **{one.pair_id: scores[one.pair_id] for one in few}}
    found = [state_of("attributes_context", known_of(user, each, k=5)).taste for each in (scores, mixed)]
    assert found[0] == found[1]
    assert found[0].n_votes == 5


def told(name: str, chosen: str, rejected: str, split: str = "context") -> PreferencePair:
    return pair(name).model_copy(update={"chosen": chosen, "rejected": rejected, "split": split})


def test_words_weigh_what_the_chosen_answers_have_more_of() -> None:
    learned = [told(f"c{n}", f"Dear friend no. {n}", f"sir {n + 10}") for n in range(4)]
    learned.append(told("v", "my DEAR", "madam", "validation"))
    test = [told("t", "dear me", "sir", "test"), told("u", "nothing", "new", "test"), told("w", "sir", "dear", "test")]
    user = UserData(dataset="d", user_id="u", pairs=(*learned, *test))
    state = METHODS["words"].adapt(Known.of(user, pairs=user.part("context")))
    assert isinstance(state, Taste)
    assert {"word:dear", "word:friend", "word:sir", "word:10", "word:my"} <= set(state.names)
    assert state.n_votes == 5
    verdicts = METHODS["words"].judge(state, test)  # type: ignore[operator]
    assert [verdict.outcome for verdict in verdicts] == ["correct", "tie", "wrong"]
    assert verdicts[0].log_odds > 0
    weights = dict(zip(state.names, state.weights.mean, strict=True))
    assert weights["word:dear"] > weights["word:my"] > 0 > weights["word:sir"]
    # A word is never the item of the judge without a user.
    named = [told(f"c{n}", "by default", "by hand") for n in range(2)]
    guess = METHODS["words"].adapt(Known.of(UserData(dataset="d", user_id="u", pairs=tuple(named)), pairs=tuple(named)))
    assert isinstance(guess, Taste)
    assert not guess.own
    assert guess.weights.mean[guess.names.index("word:hand")] < 0
    empty = [told("c", "?", "!")]
    known = Known.of(UserData(dataset="d", user_id="u", pairs=tuple(empty)), pairs=tuple(empty))
    assert METHODS["words"].adapt(known) == NoPairs("the answers have no words")
    assert METHODS["words"].adapt(Known.of(UserData(dataset="d", user_id="u"))) == NoPairs()
