"""Whose pairs train reward models, and who is judged: no test pair is learned, by whoever it was voted on."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import pytest
from support.models import pair

from personalrm.core.records import PreferencePair, Split, Turn, UserData
from personalrm.studies.reward_config import Regime
from personalrm.studies.synthesizeme.stages.reward_data import (
    hidden_pairs,
    lessons,
    texts_of,
    training_pairs,
    why_not_judged,
)

PARTS: tuple[Split, ...] = ("context", "validation", "test")


def people() -> list[UserData]:
    """A user of each part of the user split, and one without: two pairs of each part, a tie, and a pair of no part."""
    found = []
    for part in ("train", "validation", "test", None):
        who = str(part)
        pairs = [pair(f"{who} {split} {n}", split=split) for split in PARTS for n in range(2)]
        pairs += [pair(f"{who} tie").model_copy(update={"tie": True, "split": "context"})]
        pairs += [pair(f"{who} none").model_copy(update={"split": None})]
        found.append(UserData(dataset="d", user_id=who, user_split=part, pairs=tuple(pairs)))
    return found


def ids(pairs: Any) -> set[str]:  # noqa: ANN401
    return {" ".join(one.pair_id.split()[:2]) for one in pairs}


@pytest.mark.parametrize("regime", ["unseen", "all-but-test"])
def test_no_test_pair_of_a_judged_user_reaches_training(regime: Regime) -> None:
    users = people()
    seen = training_pairs(users, regime, hidden_pairs(users, regime))
    trained = [*seen.users, *(pairs for both in seen.held_out for pairs in both)]
    all_seen = {one.pair_id for pairs in trained for one in pairs}
    judged = [user for user in users if why_not_judged(user, regime) is None]
    assert judged
    for user in judged:
        assert not all_seen & {one.pair_id for one in user.part("test")}
        if regime == "unseen":
            assert not all_seen & {one.pair_id for one in user.pairs}
    assert not any(one.endswith((" tie", " none")) for one in all_seen)


def voted_twice(regime: Regime) -> tuple[list[UserData], set[str]]:
    """Users of each part who voted on a test pair of the test user, three of them with texts changed a little, and the
    ids of those votes that the regime would learn."""
    (test,) = (user for user in people() if user.user_split == "test")
    shown = test.part("test")[0]
    found, ids = [], set[str]()
    for number, (user, split) in enumerate(zip(people(), ("context", "validation", "context", "test"), strict=True)):
        context = (Turn(role="user", content=shown.context[0].content.upper()),)
        changed: dict[str, Any] = {
            "pair_id": f"vote {number}",
            "split": split,
            "context": context if number else shown.context,
        }
        # Another choice shows as much.
        changed |= {"chosen": f"{shown.rejected} ", "rejected": shown.chosen} if number % 2 else {}
        mine = user.user_split in ("train", "validation") or regime == "all-but-test"
        ids |= {f"vote {number}"} if mine and split != "test" else set()
        found.append(user.model_copy(update={"pairs": (*user.pairs, shown.model_copy(update=changed))}))
    return found, ids


@pytest.mark.parametrize("regime", ["unseen", "all-but-test"])
def test_votes_of_others_on_a_test_pair_are_not_learned(regime: Regime) -> None:
    users, votes = voted_twice(regime)
    hidden = hidden_pairs(users, regime)

    def learned(hidden: Collection[str]) -> tuple[set[str], int]:
        seen = training_pairs(users, regime, hidden)
        pairs = [*seen.users, *(part for both in seen.held_out for part in both)]
        return {one.pair_id for part in pairs for one in part}, seen.left_out

    def tuned(hidden: Collection[str]) -> tuple[set[str], int]:
        found = lessons(users, regime, hidden, unfiltered={user.user_id: user for user in users})
        return {one.pair_id for lesson in (*found.train, *found.held_out) for one in lesson.pairs}, found.left_out

    for of in (learned, tuned):
        free, left_out = of(hidden)
        every, none = of(())
        assert every - free == votes
        assert (left_out, none) == (len(votes), 0)


def test_texts_are_those_of_the_question_and_both_answers() -> None:
    one = pair("a")
    same = [{"chosen": one.rejected, "rejected": one.chosen}, {"chosen": one.chosen.lower() + " !"}, {"split": "test"}]
    assert {texts_of(one.model_copy(update=changes)) for changes in same} == {texts_of(one)}
    other = [{"chosen": "x"}, {"rejected": "x"}, {"context": (Turn(role="user", content="question b"),)}]
    assert len({texts_of(one.model_copy(update=changes)) for changes in (*other, {})}) == len(other) + 1
    # Numbers and what has no letters count.
    assert texts_of(pair("1")) != texts_of(pair("2"))
    assert texts_of(one.model_copy(update={"chosen": "?"})) != texts_of(one.model_copy(update={"chosen": "!"}))


def test_who_trains_and_who_is_judged() -> None:
    users = people()
    unseen = training_pairs(users, "unseen", hidden_pairs(users, "unseen"))
    assert [ids(pairs) for pairs in unseen.users] == [{"train context", "train validation", "train test"}]
    assert [(ids(context), ids(targets)) for context, targets in unseen.held_out] == [
        ({"validation context"}, {"validation validation", "validation test"})
    ]
    assert [user.user_id for user in users if why_not_judged(user, "unseen") is None] == ["test"]
    everybody = training_pairs(users, "all-but-test", hidden_pairs(users, "all-but-test"))
    assert [ids(pairs) for pairs in everybody.users] == [
        {f"{user.user_id} context", f"{user.user_id} validation"} for user in users
    ]
    assert not everybody.held_out
    assert all(why_not_judged(user, "all-but-test") is None for user in users)


def asked(name: str, split: Split | None, prompt: str, conversation: str | None = None) -> PreferencePair:
    one = pair(name).model_copy(update={"split": split, "conversation_id": conversation})
    return one.model_copy(update={"context": (Turn(role="user", content=prompt),)})


def test_pairs_that_the_filters_took_away_are_learned_apart_from_test_pairs() -> None:
    kept = [
        asked("context", "context", "How do I plant a tree?", "one"),
        asked("validation", "validation", "What is a good name for a cat?", "two"),
        asked("test", "test", "Who wrote this old song?", "three"),
    ]
    removed = [
        asked("other", None, "Where can I learn to swim?", "four"),
        asked("same conversation", None, "And the second verse?", "three"),
        asked("same prompt", None, "Who wrote this old song", "five"),
        asked("context again", None, "Is a tree thirsty?", "one"),
    ]
    user = UserData(dataset="d", user_id="u", user_split="train", pairs=tuple(kept))
    whole = {"u": user.model_copy(update={"pairs": (*kept, *removed)})}

    def learned(regime: Regime, *, before: bool = True, rests_on: tuple[str, ...] = ()) -> list[str]:
        found = lessons([user], regime, (), unfiltered=whole if before else None, rests_on=lambda _: rests_on)
        return [one.pair_id for lesson in found.train for one in lesson.pairs]

    assert learned("unseen") == [one.pair_id for one in (*kept, *removed)]
    assert learned("all-but-test") == ["context", "validation", "other", "context again"]
    assert learned("all-but-test", before=False) == ["context", "validation"]
    # What a persona was made from is not learned with it, nor what follows from there in its conversation.
    made = ("context", "validation")
    assert learned("unseen", rests_on=made) == ["test", "other", "same conversation", "same prompt"]
    assert learned("all-but-test", rests_on=made) == ["other"]
    assert learned("all-but-test", before=False, rests_on=made) == []


def test_a_pair_like_one_that_a_persona_was_made_from_is_not_learned_with_it() -> None:
    pairs = (
        asked("made", "context", "How do I plant a tree?", "one"),
        asked("same prompt", "context", "how do I plant a tree", "two"),
        asked("same conversation", "context", "And then?", "one"),
        asked("free", "context", "Where can I learn to swim?", "three"),
    )
    user = UserData(dataset="d", user_id="u", user_split="train", pairs=pairs)
    ((_, found),) = lessons([user], "unseen", (), rests_on=lambda _: ["made"]).train
    assert [one.pair_id for one in found] == ["free"]


def test_no_user_of_another_part_is_learned() -> None:
    found = lessons(people(), "unseen", ())
    assert [lesson.user.user_id for lesson in found.train] == ["train"]
    assert [lesson.user.user_id for lesson in found.held_out] == ["validation"]
    for lesson in (*found.train, *found.held_out):
        assert not any(one.tie or one.split is None for one in lesson.pairs)
    everybody = lessons(people(), "all-but-test", ())
    assert [lesson.user.user_id for lesson in everybody.train] == ["train", "validation", "test", "None"]
    assert {one.split for lesson in everybody.train for one in lesson.pairs} == {"context", "validation"}
