from __future__ import annotations

import hashlib
import itertools
import random
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from personalrm.core.errors import DataError
from personalrm.core.records import Split
from personalrm.data.settings import LocalDataset
from personalrm.data.sources.votes import parse_vote
from personalrm.data.users import Built, build_users, pick_users

from .vote_rows import Row, row, without

RELEASED: list[Split] = ["test", "context", "validation", "context", "test"]


def build(rows: Sequence[Row], **options: object) -> Built:
    votes = [parse_vote(each, line) for line, each in enumerate(rows, start=1)]
    known = {name: options.pop(name) for name in ("planted", "seen") if name in options}
    dataset = LocalDataset.model_validate({"name": "d", "path": "votes.jsonl", **options})
    return build_users(votes, dataset, **known)  # type: ignore[arg-type]


def rows_of(user: str, count: int, **changes: object) -> list[Row]:
    return [row(user, number, **changes) for number in range(count)]


@st.composite
def row_sets(draw: st.DrawFn) -> list[Row]:
    """Rows with repeats, contradictions, equal answers, and partly missing or equal metadata."""
    rows = []
    for _ in range(draw(st.integers(0, 40))):
        each = row(draw(st.sampled_from("abc")), draw(st.integers(0, 9)))
        if draw(st.booleans()):
            each |= {"chosen": each["rejected"], "rejected": each["chosen"]}
        if draw(st.integers(0, 9)) == 0:
            each["chosen"] = each["rejected"]
        for name, values in (
            ("timestamp", (None, 1, 2.5)),
            ("conversation_id", (None, "c2", "c10")),
            ("turn", (None, 0, 1)),
            ("flip", (None, True, False)),
        ):
            value = draw(st.sampled_from(values))
            each |= {} if value is None else {name: value}
        if draw(st.booleans()):
            each["survey"] = {"age": draw(st.sampled_from(["1", "2"]))}
        rows.append(each)
    return rows


@given(row_sets(), st.randoms(use_true_random=False))
@settings(max_examples=60)
def test_permuting_rows_changes_nothing(rows: list[Row], rng: random.Random) -> None:
    shuffled = list(rows)
    rng.shuffle(shuffled)
    assert build(shuffled, min_pairs=3) == build(rows, min_pairs=3)


@given(row_sets(), st.permutations(["zed", "B", "0"]), st.sampled_from([None, 4]))
@settings(max_examples=60)
def test_renaming_users_changes_nothing_but_names(rows: list[Row], names: list[str], limit: int | None) -> None:
    # New names sort otherwise than the old ones.
    new = dict(zip("abc", names, strict=True))
    renamed = [each | {"user_id": new[str(each["user_id"])]} for each in rows]

    def shape(built: Built) -> dict[str, object]:
        return {
            user.user_id: (
                user.survey,
                user.excluded,
                [(p.context, p.chosen, p.rejected, p.order, p.split, p.timestamp) for p in user.pairs],
            )
            for user in built.users
        }

    before, after = (build(given, min_pairs=3, max_pairs=limit) for given in (rows, renamed))
    assert shape(after) == {new[user]: found for user, found in shape(before).items()}
    assert after.funnel == before.funnel


@given(row_sets(), st.sampled_from(["0", "bb", "zz"]), st.integers(1, 6))
@settings(max_examples=60)
def test_a_further_user_changes_no_other_user(rows: list[Row], name: str, size: int) -> None:
    options = {"min_pairs": 3, "user_split": {"min_users": 1}}
    more = build([*rows_of(name, size), *rows], **options).users
    assert [user for user in more if user.user_id != name] == build(rows, **options).users


@given(row_sets())
@settings(max_examples=60)
def test_every_vote_is_accounted_for(rows: list[Row]) -> None:
    built = build(rows, min_pairs=3)
    funnel = built.funnel
    usable = funnel.votes - sum(funnel.dropped.values())
    assert usable == funnel.steps[-2].pairs
    assert sum(funnel.split_pairs.values()) == funnel.steps[-1].pairs == sum(len(u.pairs) for u in built.users)
    assert funnel.users_written + funnel.users_excluded == len({each["user_id"] for each in rows})


def test_users_with_too_few_pairs_are_rows_with_a_reason() -> None:
    rows = [*rows_of("one", 1), *rows_of("four", 4), *rows_of("five", 5), row("none", chosen="same", rejected="same")]
    found = {user.user_id: (len(user.pairs), user.excluded) for user in build(rows).users}
    assert found == {
        "none": (0, "0 pairs, fewer than 5"),
        "one": (0, "1 pair, fewer than 5"),
        "four": (0, "4 pairs, fewer than 5"),
        "five": (5, None),
    }


def test_what_carries_no_preference_is_dropped_before_the_user_filter() -> None:
    tie = without(row("u", 90, response_a="x", response_b="y", winner="tie"), "chosen", "rejected")
    rows = [*rows_of("u", 4), row("u", 0), row("u", 91, rejected="good answer 91"), tie]
    built = build(rows)
    assert built.users[0].excluded == "4 pairs, fewer than 5"
    assert built.funnel.dropped == {"tie": 1, "equal_answers": 1, "duplicate": 1}
    assert [(s.users, s.conversations, s.pairs) for s in built.funnel.steps] == [
        (1, 6, 7),
        (1, 5, 6),
        (1, 4, 5),
        (1, 4, 4),
        (0, 0, 0),
    ]


def test_contradictions_are_kept_counted_and_never_straddle() -> None:
    rows = rows_of("u", 6)
    rows.append(rows[0] | {"chosen": rows[0]["rejected"], "rejected": rows[0]["chosen"]})
    built = build(rows)
    assert built.funnel.contradictions == 1
    assert len(built.users[0].pairs) == 7
    assert len({p.split for p in built.users[0].pairs if p.context[0].content == "question 0"}) == 1
    assert len({p.pair_id for p in built.users[0].pairs}) == 7


def test_order_is_time_where_all_have_one() -> None:
    rows = [row("u", n, timestamp=100 - n, conversation_id=f"c{n}") for n in range(6)]
    assert [p.conversation_id for p in build(rows).users[0].pairs] == ["c5", "c4", "c3", "c2", "c1", "c0"]


def test_order_is_time_where_all_that_are_left_have_one() -> None:
    rows = [row("u", n, timestamp=100 - n, conversation_id=f"c{n}") for n in range(6)]
    repeat = without(rows[2], "timestamp") | {"conversation_id": "c9"}
    assert [p.conversation_id for p in build([*rows, repeat]).users[0].pairs] == ["c5", "c4", "c3", "c2", "c1", "c0"]


def test_order_without_time_compares_digits_as_numbers_then_turns() -> None:
    places = [("c10", 0), ("c2", 10), ("c2", 2), ("c1", 0), ("d", 0)]
    rows = [row("u", n, conversation_id=c, turn=t) for n, (c, t) in enumerate(places)]
    pairs = build(rows).users[0].pairs
    assert [(p.conversation_id, p.turn) for p in pairs] == [("c1", 0), ("c2", 2), ("c2", 10), ("c10", 0), ("d", 0)]
    assert [p.order for p in pairs] == [0, 1, 2, 3, 4]


def test_survey_is_merged_and_the_newest_answer_stands() -> None:
    rows = [row("u", n, timestamp=n, survey={"age": "1" if n < 3 else "2", f"q{n}": "x"}) for n in range(5)]
    built = build(rows)
    assert built.users[0].survey == {"age": "2", "q0": "x", "q1": "x", "q2": "x", "q3": "x", "q4": "x"}
    assert built.funnel.survey_conflicts == 1


def test_which_of_two_rows_that_differ_in_the_coin_stays_does_not_depend_on_their_sequence() -> None:
    coins = [row("u1", 0, flip=flip) for flip in (True, False, None)]
    rest = rows_of("u1", 4)[1:]
    one, *others = (build([*given, *rest], min_pairs=3) for given in itertools.permutations(coins))
    assert all(other == one for other in others)


def test_pair_ids_must_be_unique() -> None:
    rows = [*rows_of("a", 5), *rows_of("b", 5)]
    rows[2]["pair_id"] = rows[7]["pair_id"] = "x"
    message = r"line 8, field pair_id, user 'b': 'x' is also the id of line 3 \(user 'a'\)"
    with pytest.raises(DataError, match=message):
        build(rows)
    # Only pairs of the benchmark need ids of their own: not those of other users, nor later ones.
    assert len(build(rows, users=["b"]).users[0].pairs) == 5
    timed = [each | {"timestamp": line % 5} for line, each in enumerate(rows)]
    with pytest.raises(DataError, match=message):
        build(timed, max_pairs=3)
    timed[7]["timestamp"] = 9
    assert [len(user.pairs) for user in build(timed, max_pairs=3).users] == [3, 3]


def test_pair_ids_must_be_unique_within_a_user() -> None:
    rows = rows_of("a", 5)
    rows[1]["pair_id"] = rows[4]["pair_id"] = "x"
    with pytest.raises(
        DataError, match=r"line \d, field pair_id, user 'a': 'x' is also the id of line \d \(user 'a'\)"
    ):
        build(rows)


def test_planted_taste_and_users_known_from_elsewhere() -> None:
    built = build(rows_of("a", 5), planted={"a": "brief", "z": "long"}, seen={"a", "lost"})
    assert [(user.user_id, user.planted_taste, user.excluded) for user in built.users] == [
        ("a", "brief", None),
        ("lost", None, "0 pairs, fewer than 5"),
    ]


def test_listed_users_only_and_a_missing_one_is_an_error() -> None:
    rows = [*rows_of("a", 5), *rows_of("b", 5), *rows_of("c", 2)]
    built = build(rows, users=["c", "a"])
    assert [(user.user_id, user.excluded) for user in built.users] == [("a", None), ("c", "2 pairs, fewer than 5")]
    assert built.funnel.steps[1].pairs == 7
    assert sum(built.funnel.dropped.values()) == 0
    with pytest.raises(DataError, match=r"datasets\.d\.users: no vote of 'zed'"):
        build(rows, users=["a", "zed"])


def test_max_users_takes_the_first_by_hash_among_those_with_enough_pairs() -> None:
    rows = [each for n in range(12) for each in rows_of(f"u{n}", 5 if n % 2 else 3)]
    picked = [[user.user_id for user in build(rows, max_users=m).users] for m in (1, 2, 3, 6, 50)]
    for fewer, more in pairwise(picked):
        assert set(fewer) <= set(more)
    assert [len(users) for users in picked] == [1, 2, 3, 6, 6]
    assert picked[-1] == sorted(f"u{n}" for n in range(1, 12, 2))
    # The choice rests on the id alone, not on its place in the file or on who else is there.
    alone = [each for each in rows if each["user_id"] in picked[1]]
    assert [user.user_id for user in build(alone[::-1], max_users=2).users] == picked[1]


def test_max_pairs_keeps_the_oldest_so_that_later_votes_change_nothing() -> None:
    rows = [row("a", number, timestamp=number) for number in range(12)]
    early, all_rows = (build(given[::-1], max_pairs=6) for given in (rows[:9], rows))
    assert [pair.timestamp for pair in all_rows.users[0].pairs] == [0, 1, 2, 3, 4, 5]
    assert early.users == all_rows.users
    both = build([*rows, *rows_of("b", 12)], max_users=1, max_pairs=6).funnel.steps[-3:]
    assert [(step.step, step.pairs) for step in both] == [
        ("users with at least 5 pairs", 24),
        ("first 1 users by hash", 12),
        ("first 6 pairs of each user", 6),
    ]


def test_level_a_exists_from_twenty_users_on_and_depends_on_the_user_alone() -> None:
    def parts(count: int) -> dict[str, str | None]:
        rows = [each for number in range(count) for each in rows_of(f"u{number}", 5)]
        return {user.user_id: user.user_split for user in build(rows).users}

    assert set(parts(19).values()) == {None}
    twenty, forty = parts(20), parts(40)
    assert set(forty.values()) == {"train", "validation", "test"}
    assert twenty.items() <= forty.items()


def test_a_release_keeps_its_own_parts() -> None:
    votes = [
        replace(parse_vote(row("a", n)), user_split="validation", pair_split=part) for n, part in enumerate(RELEASED)
    ]
    dataset = LocalDataset(name="d", path=Path("votes.jsonl"))
    user = build_users(votes, dataset).users[0]
    assert user.user_split == "validation"
    assert sorted(pair.split or "" for pair in user.pairs) == sorted(RELEASED)
    # With a part missing, or a vote without one, the split is ours.
    for changed in (None, "context"):
        mixed = [replace(vote, pair_split=changed) if vote.pair_split == "test" else vote for vote in votes]
        mine = build_users(mixed, dataset)
        assert {pair.split for pair in mine.users[0].pairs} == set(RELEASED)
        assert "release" not in mine.funnel.split_grain


def test_min_pairs_below_three_is_refused() -> None:
    with pytest.raises(ValueError, match="greater than or equal to 3"):
        build([], min_pairs=2)


def test_conversations_are_counted_by_id_else_by_context() -> None:
    rows = [row("a", number, conversation_id="c1" if number < 3 else None) for number in range(5)]
    steps = build([*rows, *rows_of("b", 5, conversation_id="c1")]).funnel.steps
    assert (steps[0].users, steps[0].conversations, steps[0].pairs) == (2, 4, 10)


def test_pick_users_without_limits_keeps_all_sorted() -> None:
    assert pick_users({"b": 0, "a": 9}, None, None, 5) == ["a", "b"]
    assert pick_users({"b": 0, "a": 9}, ["b"], None, 5) == ["b"]
    assert pick_users({"b": 0, "a": 9}, ["b"], 3, 5) == []


def test_max_users_is_decided_by_hash_not_by_name() -> None:
    users = [f"u{number}" for number in range(9)]
    by_hash = sorted(users, key=lambda user: hashlib.sha256(f'["max_users","{user}"]'.encode()).hexdigest())
    assert by_hash[:3] != users[:3]
    assert pick_users(dict.fromkeys(users, 9), None, 3, 5) == sorted(by_hash[:3])
