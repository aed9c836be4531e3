from __future__ import annotations

import random
from collections import Counter, defaultdict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from personalrm.core.records import PreferencePair, Turn
from personalrm.data.settings import KeepTogether
from personalrm.data.splits import PARTS, UserSplit, split_user, user_split


def pair(order: int, conversation: str | None = None, turn: int | None = None, prompt: str = "") -> PreferencePair:
    return PreferencePair(
        user_id="u",
        pair_id=f"p{order}",
        context=(Turn(role="user", content=prompt or f"prompt {order}"),),
        chosen="a",
        rejected="b",
        conversation_id=conversation,
        turn=turn,
        order=order,
    )


def parts(split: UserSplit) -> str:
    """The parts in history order, one letter a pair."""
    return "".join((p.split or "?")[0] for p in split.pairs)


@st.composite
def histories(draw: st.DrawFn) -> list[PreferencePair]:
    size = draw(st.integers(3, 40))
    return [
        pair(
            order,
            draw(st.sampled_from([None, "c1", "c2", "c3", "c4", "c5"])),
            draw(st.sampled_from([None, 0, 1, 2])),
            draw(st.sampled_from(["", "", "", "Same prompt", "same  PROMPT ", "other"])),
        )
        for order in range(size)
    ]


keeps = st.sampled_from(["turn", "conversation", "none"])


@given(histories(), keeps)
def test_split_is_a_partition_with_something_in_each_part(history: list[PreferencePair], keep: KeepTogether) -> None:
    split = split_user(history, keep_together=keep)
    assert [p.pair_id for p in split.pairs] == [p.pair_id for p in history]
    assert {p.split for p in split.pairs} == set(PARTS)
    assert [p.model_copy(update={"split": None}) for p in split.pairs] == history


@given(histories(), keeps)
def test_nothing_straddles_at_the_grain_that_is_reported(history: list[PreferencePair], keep: KeepTogether) -> None:
    split = split_user(history, keep_together=keep)
    seen: dict[object, set[str | None]] = defaultdict(set)
    for p in split.pairs:
        if split.grain != "pair":
            seen["prompt", " ".join(p.context[-1].content.casefold().split())].add(p.split)
            if p.conversation_id is not None and p.turn is not None:
                seen["turn", p.conversation_id, p.turn].add(p.split)
        if split.grain == "conversation" and p.conversation_id is not None:
            seen["conversation", p.conversation_id].add(p.split)
    assert all(len(found) == 1 for found in seen.values())


@given(histories(), keeps, st.randoms(use_true_random=False))
def test_sequence_of_the_input_does_not_matter(
    history: list[PreferencePair], keep: KeepTogether, rng: random.Random
) -> None:
    shuffled = list(history)
    rng.shuffle(shuffled)
    assert split_user(shuffled, keep_together=keep) == split_user(history, keep_together=keep)


@given(histories())
def test_finer_grain_only_where_the_coarser_has_too_few_groups(history: list[PreferencePair]) -> None:
    split = split_user(history, keep_together="conversation")
    distinct = {p.conversation_id or p.pair_id for p in history}
    if len(distinct) < 3:
        assert split.grain != "conversation"
    if all(p.conversation_id is None and p.context[0].content.startswith("prompt") for p in history):
        assert split.grain == "conversation"


def test_fourteen_conversations_are_split_seven_three_four_in_time_order() -> None:
    split = split_user([pair(n, f"c{n}") for n in range(14)])
    assert parts(split) == "ccccccc" + "vvv" + "tttt"
    assert split.grain == "conversation"


@pytest.mark.parametrize(
    ("size", "expected"),
    [(3, "cvt"), (4, "ccvt"), (5, "ccvtt"), (6, "cccvtt"), (10, "cccccvvttt"), (20, "c" * 10 + "v" * 4 + "t" * 6)],
)
def test_small_users_by_hand(size: int, expected: str) -> None:
    assert parts(split_user([pair(n) for n in range(size)])) == expected


def test_other_fractions() -> None:
    assert parts(split_user([pair(n) for n in range(10)], (0.1, 0.1, 0.8))) == "cv" + "t" * 8
    assert parts(split_user([pair(n) for n in range(10)], (0.8, 0.1, 0.1))) == "c" * 8 + "vt"
    # Every part keeps a group even where its share rounds to none.
    assert parts(split_user([pair(n) for n in range(4)], (0.02, 0.96, 0.02))) == "cvvt"


def test_conversations_stay_whole_and_turns_only_when_asked() -> None:
    history = [pair(n, f"c{n // 4}", n // 2 % 2) for n in range(12)]
    assert parts(split_user(history, keep_together="conversation")) == "ccccvvvvtttt"
    assert parts(split_user(history, keep_together="turn")) == "ccccccvvtttt"
    assert parts(split_user(history, keep_together="none")) == "ccccccvvtttt"


def test_one_conversation_falls_back_to_turns_then_to_pairs() -> None:
    turns = split_user([pair(n, "c", n) for n in range(5)])
    assert (parts(turns), turns.grain) == ("ccvtt", "turn")
    one_turn = split_user([pair(n, "c", 0) for n in range(5)])
    assert (parts(one_turn), one_turn.grain) == ("ccvtt", "pair")


def test_a_conversation_of_ties_alone_makes_no_part() -> None:
    tie = pair(4, "c").model_copy(update={"tie": True})
    split = split_user([pair(0, "a"), pair(1, "a"), pair(2, "b"), pair(3, "b"), tie])
    assert (parts(split), split.grain) == ("ccvtt", "turn")


def test_pairs_without_a_turn_or_a_conversation_share_none() -> None:
    unnumbered = [pair(n, "c") for n in range(10)]
    assert parts(split_user(unnumbered, keep_together="turn")) == "cccccvvttt"
    unnamed = [pair(n, None, 0) for n in range(10)]
    assert parts(split_user(unnamed, keep_together="turn")) == "cccccvvttt"


def test_near_duplicate_prompts_pull_conversations_together() -> None:
    history = [pair(n, f"c{n}") for n in range(8)]
    history[7] = pair(7, "c7", prompt="  PROMPT\n0 ")
    split = split_user(history)
    assert parts(split) == "cccvvttc"
    assert parts(split_user(history, keep_together="none")) == "ccccvvtt"


def test_two_turns_of_the_user_in_a_row_are_compared_together() -> None:
    def asked(order: int, *said: str) -> PreferencePair:
        turns = tuple(Turn(role="user", content=text) for text in said)
        return pair(order).model_copy(update={"context": turns})

    question = "How long does it take to cook a pound of brown lentils without soaking them?"
    history = [asked(n, f"{n} {'abcdefgh'[n] * 40}", f"{'hgfedcba'[n]}?") for n in range(8)]
    assert parts(split_user(history, keep_together="conversation", similarity=0.9)) == "ccccvvtt"
    history[0], history[7] = asked(0, question, "Tell me."), asked(7, question.replace("pound", "pounds"), "So?")
    assert parts(split_user(history, keep_together="conversation", similarity=0.9)) == "cccvvttc"


def test_same_context_without_any_ids_stays_together() -> None:
    history = [pair(n, prompt=f"q{n // 3}") for n in range(9)]
    assert parts(split_user(history, keep_together="turn")) == "cccvvvttt"


def test_fewer_than_three_pairs_cannot_be_split() -> None:
    with pytest.raises(ValueError, match="2 pairs"):
        split_user([pair(0), pair(1)])


def test_level_a_is_stable_and_near_its_fractions() -> None:
    fractions = (0.4, 0.2, 0.4)
    found = Counter(user_split(f"user{n}", fractions, 0) for n in range(3000))
    assert abs(found["train"] - 1200) < 120
    assert abs(found["validation"] - 600) < 100
    assert [user_split("amara", fractions, seed) for seed in range(6)] == [
        user_split("amara", fractions, seed) for seed in range(6)
    ]
    assert len({user_split("amara", fractions, seed) for seed in range(20)}) > 1
    assert {user_split(f"u{n}", (0.0, 0.0, 1.0), 1) for n in range(50)} == {"test"}


@given(histories(), keeps, st.integers(2, 5))
def test_folds_test_each_pair_once_and_have_all_parts(
    history: list[PreferencePair], keep: KeepTogether, folds: int
) -> None:
    if len(history) < max(4, folds):
        with pytest.raises(ValueError, match="cannot be split"):
            split_user(history, keep_together=keep, fold=(1, folds))
        return
    made = [split_user(history, keep_together=keep, fold=(number, folds)) for number in range(1, folds + 1)]
    tested = [p.pair_id for split in made for p in split.pairs if p.split == "test"]
    assert sorted(tested) == sorted(p.pair_id for p in history)
    assert all({p.split for p in split.pairs} == set(PARTS) for split in made)
    assert len({split.grain for split in made}) == 1


def test_folds_by_hand() -> None:
    history = [pair(n) for n in range(14)]
    found = [parts(split_user(history, fold=(number, 4))) for number in (1, 2, 3, 4)]
    # Of the 11 or 10 that are left, 5 of 7 are context: 7.9 and 7.1.
    assert found == ["tttccccccccvvv", "cccttttccccvvv", "ccccccctttcvvv", "cccccccvvvtttt"]
