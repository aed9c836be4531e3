"""Surface features without a model: planted tastes are found, test labels are not seen, and no votes break it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression
from support.models import pair
from support.planted import TASTES, Taste, planted_users

from personalrm.core.records import PreferencePair, UserData, Weights
from personalrm.methods import surface
from personalrm.methods.base import Known, NoPairs, NotApplicable, Training
from personalrm.methods.registry import METHODS
from personalrm.methods.surface import NAMES, differences, fit_weights, map_weights, weigh

OTHERS = fit_weights(Training(planted_users({f"o{n}": TASTES[n % 4] for n in range(16)}, seed=1), 0))


def voted(name: str, chosen: str, rejected: str) -> PreferencePair:
    return pair(name).model_copy(update={"chosen": chosen, "rejected": rejected})


def feature(name: str, chosen: str, rejected: str = "") -> float:
    return float(differences([voted("p", chosen, rejected)])[0, NAMES.index(name)])


@pytest.mark.parametrize(
    ("name", "text", "count"),
    [
        ("characters", "abc", 3),
        ("paragraphs", "a\n\nb\n \nc", 2),
        ("paragraphs", "a\r\n\r\nb\r\nc", 1),
        ("headings", "**Bold**\r\n# A\r\nb", 2),
        ("list items", "Two:\n- a\n 2) b\n-c\n3.5", 2),
        ("headings", "# A\n**Bold:**\nno **bold** line\n#tag", 2),
        ("code", "`a` and\n```\nb\n```", 3),
        ("links", "see https://a.b and http://c", 2),
        ("digits", "a1 22", 3),
        ("questions", "Why? What?", 2),
        ("exclamation marks", "Oh! No!", 2),
        ("hedges", "Perhaps it may seem so; mayor", 3),
        ("first person", "I think we and my isle", 3),
        ("second person", "You and your youth", 2),
    ],
)
def test_a_feature_is_a_logarithm_of_a_count(name: str, text: str, count: int) -> None:
    assert feature(name, text) == pytest.approx(np.log1p(count))
    assert feature(name, "", text) == pytest.approx(-np.log1p(count))


def right(method: str, user: UserData, k: int) -> float:
    """Share of the test pairs that a method gets right when it may see k context pairs."""
    state = METHODS[method].adapt(Known.of(user, pairs=user.part("context")[:k], artefact=OTHERS))
    verdicts = METHODS[method].judge(state, user.part("test"))  # type: ignore[operator]
    return float(np.mean([verdict.outcome == "correct" for verdict in verdicts]))


@pytest.mark.parametrize("taste", TASTES[:4])
def test_own_weights_find_a_planted_taste_that_others_do_not_share(taste: Taste) -> None:
    users = planted_users({f"{taste}{n}": taste for n in range(5)}, pairs=20, seed=2)
    own = np.mean([right("surface_user", user, 10) for user in users])
    # Others like either side of both axes, so that their weights say nothing of one user.
    assert own >= 0.95
    assert own > np.mean([right("surface", user, 10) for user in users]) - 1e-9


def test_own_weights_are_better_than_those_of_others_over_all_tastes_and_grow_with_k() -> None:
    users = planted_users({f"u{n}": TASTES[n % 4] for n in range(12)}, seed=3)
    others, *own = (
        np.mean([right(method, user, k) for user in users])
        for method, k in (("surface", 10), ("surface_user", 1), ("surface_user", 4), ("surface_user", 10))
    )
    assert own[0] < own[1] <= own[2]
    assert own[2] > others + 0.3


def test_votes_that_say_nothing_leave_the_weights_of_others() -> None:
    same = voted("same", "a list?\n- b", "a list?\n- b")
    weights = Weights(names=NAMES, mean=tuple(range(12)), scale=(2.0,) * 12)
    user = UserData(dataset="d", user_id="u", pairs=(same,))
    assert METHODS["surface_user"].adapt(Known(user, pairs=(same,), artefact=weights)) == weights


def test_labels_at_random_give_chance() -> None:
    users = planted_users({f"u{n}": "coin" for n in range(40)}, seed=4)
    assert 0.4 < np.mean([right("surface_user", user, 10) for user in users]) < 0.6


def flipped(user: UserData) -> UserData:
    """The user with the labels of the test pairs exchanged."""
    pairs = (
        one.model_copy(update={"chosen": one.rejected, "rejected": one.chosen}) if one.split == "test" else one
        for one in user.pairs
    )
    return user.model_copy(update={"pairs": tuple(pairs)})


def test_labels_of_test_pairs_reach_no_state() -> None:
    (user,) = planted_users({"a": "long"})
    known = [Known.of(one, pairs=one.part("context"), artefact=OTHERS) for one in (user, flipped(user))]
    assert known[0] == known[1]
    assert not any(one.split == "test" for one in known[0].user.pairs)
    states = [METHODS["surface_user"].adapt(one) for one in known]
    assert states[0].model_dump_json() == states[1].model_dump_json()
    # Exchanged labels exchange the verdicts, so that the test could see a leak.
    first, second = (weigh(states[0], one.part("test")) for one in (user, flipped(user)))
    assert [v.log_odds for v in first] == [-(v.log_odds or 0) for v in second]


def test_who_has_nothing_to_learn_from() -> None:
    user = UserData(dataset="d", user_id="u", pairs=(pair("t", split="test"),))
    assert METHODS["surface"].adapt(Known.of(user)) == NotApplicable("no pairs of other users to learn from")
    assert METHODS["surface_user"].adapt(Known.of(user, artefact=OTHERS)) == NoPairs()
    assert fit_weights(Training((), 0)) is None
    # A user without others has weights of the own votes alone.
    (alone,) = planted_users({"a": "list"})
    state = METHODS["surface_user"].adapt(Known.of(alone, pairs=alone.part("context")))
    assert isinstance(state, Weights)
    assert {verdict.outcome for verdict in weigh(state, alone.part("test"))} == {"correct"}


TEXTS = st.sampled_from(["", "a", "- a\n- b", "Why?", "x" * 1000, "1 2 3", "# A\n\n`b`", "maybe I!"])


@given(st.lists(st.tuples(TEXTS, TEXTS), min_size=1, max_size=12))
def test_weights_are_finite_whatever_the_votes(texts: list[tuple[str, str]]) -> None:
    pairs = tuple(voted(str(n), one, other) for n, (one, other) in enumerate(texts))
    found = fit_weights(Training((UserData(dataset="d", user_id="u", pairs=pairs),), 0))
    assert found is not None
    assert np.isfinite([*found.mean, *found.scale]).all()
    # Without an intercept an exchange of all labels exchanges the signs, and the order of the pairs changes nothing.
    exchanged = [one.model_copy(update={"chosen": one.rejected, "rejected": one.chosen}) for one in reversed(pairs)]
    other = fit_weights(Training((UserData(dataset="d", user_id="u", pairs=tuple(exchanged)),), 0))
    assert other is not None
    assert np.allclose(other.mean, -np.array(found.mean), atol=2e-6)


def test_votes_that_a_feature_separates_and_huge_answers_give_finite_log_odds() -> None:
    pairs = [voted(str(n), "word " * 400_000, "no") for n in range(8)]
    found = fit_weights(Training((UserData(dataset="d", user_id="u", pairs=tuple(pairs)),), 0))
    assert found is not None
    (verdict,) = weigh(found, pairs[:1])
    assert (verdict.outcome, verdict.swapped) == ("correct", None)
    assert 1 < (verdict.log_odds or 0) < 20


def test_weights_are_those_of_a_library() -> None:
    users = planted_users({f"u{n}": TASTES[n % 3] for n in range(6)}, seed=5)
    rows = differences(one for user in users for one in user.pairs)
    rows = rows[:, rows.any(axis=0)]
    known = LogisticRegression(C=0.5 * surface.VARIANCE, fit_intercept=False, tol=1e-10, max_iter=10_000)
    known.fit(np.concatenate([rows, -rows]), [1] * len(rows) + [0] * len(rows))
    assert map_weights(rows, np.zeros(rows.shape[1])) == pytest.approx(known.coef_[0], abs=1e-5)
    # The prior's mean is where the weights are without votes, and votes move them from there.
    mean = np.full(rows.shape[1], 3.0)
    assert map_weights(rows[:0], mean).tolist() == mean.tolist()
    assert not np.allclose(map_weights(rows[:3], mean), mean)


def test_one_verdict_per_pair_with_the_log_odds_of_both_orders() -> None:
    weights = Weights(names=NAMES, mean=(2.0, *[0.0] * 11), scale=(4.0, *[1.0] * 11))
    pairs = [voted("long", "abc", "a"), voted("short", "a", "abc")]
    same = voted("same", "a", "b")
    verdicts = weigh(weights, [*pairs, same])
    assert [(v.pair_id, v.outcome) for v in verdicts] == [
        ("long", "correct"),
        ("short", "wrong"),
        ("same", "tie"),
    ]
    assert [v.log_odds for v in verdicts] == [0.346574, -0.346574, 0.0]
    assert all(v.swapped is None and not v.calls for v in verdicts)
