"""Windows of votes, and the prompt that shows them. Needs no torch."""

from __future__ import annotations

import pytest
from support.models import pair

from personalrm.core.records import PreferencePair, Turn
from personalrm.methods.reward.shots import (
    Window,
    answer_prompt,
    apart,
    chronological,
    description_prompt,
    latest,
    windows,
)


def votes(count: int, user: str = "u") -> list[PreferencePair]:
    """Votes of a user, the first the oldest; each is a conversation of its own."""
    return [
        pair(f"p{n}").model_copy(update={"user_id": user, "pair_id": f"{user} {n}", "order": n}) for n in range(count)
    ]


def places(found: list[Window], known: list[PreferencePair]) -> list[tuple[list[int], int]]:
    return [([known.index(shot) for shot in one.shots], known.index(one.target)) for one in found]


def test_windows_have_so_many_shots_and_each_pair_as_target_equally_often() -> None:
    known = votes(5)
    found = places(windows(known, 3, 10, 1, mixed=False), known)
    assert sorted(target for _, target in found) == sorted([0, 1, 2, 3, 4] * 2)
    assert {len(shots) for shots, _ in found} == {3}
    # Oldest first, each once, never the target; other windows of a target have other shots.
    assert all(shots == sorted(set(shots)) and target not in shots for shots, target in found)
    assert len({tuple(shots) for shots, _ in found}) > 3
    assert places(windows(known, 3, 10, 2, mixed=False), known) != found


def test_mixed_windows_have_all_numbers_of_shots_alike() -> None:
    counts = [len(one.shots) for one in windows(votes(9), 4, 500, 0, mixed=True)]
    assert all(70 <= counts.count(number) <= 130 for number in range(5))
    # Fewer where a user has not so many votes.
    assert max(len(one.shots) for one in windows(votes(3), 4, 100, 0, mixed=True)) == 2


def test_as_many_windows_as_the_published_code_makes() -> None:
    # Ten pairs are cut into two windows of three shots, a target and a pair that is not used, eight times.
    assert len(windows(votes(10), 3, 0, 0, mixed=True)) == 2 * (3 + 1) * 2
    assert windows(votes(4), 3, 0, 0, mixed=True) == []
    assert windows([], 3, 7, 0, mixed=True) == []


def test_a_shot_shows_nothing_of_the_choice_that_is_learned() -> None:
    target, *others = votes(6)
    same = {"pair_id": "other id", "context": target.context}
    later = Turn(role="user", content="and then?")
    others[0] = others[0].model_copy(update={**same, "chosen": target.rejected, "rejected": "third"})
    others[1] = others[1].model_copy(update={**same, "chosen": target.chosen, "rejected": target.rejected})
    others[2] = others[2].model_copy(update={"conversation_id": "c", "context": (*target.context, later)})
    target = target.model_copy(update={"conversation_id": "c"})
    # The same question with other answers, and another conversation, say nothing of it.
    others[3] = others[3].model_copy(update={"context": target.context})
    assert [apart(one, target) for one in others] == [False, False, False, True, True]
    assert not apart(target, target)
    # A conversation without an id that goes on from the answer that was chosen in it.
    answer = Turn(role="assistant", content=target.chosen)
    for said, free in ((answer, False), (Turn(role="assistant", content="else"), True)):
        assert apart(others[4].model_copy(update={"context": (*target.context, said, later)}), target) == free
    known = [target, *others]
    for shots, learned in places(windows(known, 5, 60, 0, mixed=False), known):
        assert all(apart(known[place], known[learned]) for place in shots)
        if learned == 0:
            assert shots == [4, 5]


def test_names_of_users_and_the_order_of_rows_change_no_window() -> None:
    known = votes(6)
    plain = places(windows(known, 3, 12, 4, mixed=True), known)
    named = votes(6, "somebody else")
    assert places(windows(named[::-1], 3, 12, 4, mixed=True), named) == plain
    # Without a history, texts decide the order.
    timeless = [one.model_copy(update={"order": 0}) for one in known]
    assert chronological(timeless) == chronological(timeless[::-1])


@pytest.mark.parametrize("room", range(6))
def test_the_oldest_shots_are_dropped_each_as_a_whole(room: int) -> None:
    known = tuple(votes(4))
    assert latest(known, lambda kept: len(kept) <= room) == known[max(0, 4 - room) :]


def test_prompts_by_hand() -> None:
    shot, target = pair("p1", chosen="Good.", rejected="Bad."), pair("p2", chosen="SECRET", rejected="SECRET")
    example = "## Example 1\nQuestion:\nquestion p1\nPreferred:\nGood. p1\nOther:\nBad. p1\n\n"
    asked = "Question:\nquestion p2\n"
    assert answer_prompt([shot], target.context) == (
        f"{example}## Task\nAnswer the question as the user of these examples would prefer.\n{asked}Preferred:\n"
    )
    assert answer_prompt([], target.context) == f"## Task\nAnswer the question.\n{asked}Preferred:\n"
    assert answer_prompt([shot], target.context, "Likes lists.") == (
        f"{example}## Task\nAnswer the question as the user of these examples, who is described below, would prefer.\n"
        f"{asked}User:\nLikes lists.\nPreferred:\n"
    )
    assert answer_prompt([], target.context, "Likes lists.").startswith(
        "## Task\nAnswer the question as the user who is described below would prefer.\n"
    )
    assert description_prompt([shot]) == f"{example}## Task\nDescribe what the user of these examples prefers.\nUser:\n"
    turns = (
        Turn(role="user", content="Hi"),
        Turn(role="assistant", content="Ho"),
        Turn(role="user", content="{{ x }}"),
    )
    several = target.model_copy(update={"context": turns})
    assert "\nQuestion:\n[user]: Hi\n[assistant]: Ho\n[user]: {{ x }}\nPreferred:\n" in answer_prompt(
        [], several.context
    )


def test_the_latest_shot_stands_last() -> None:
    said = answer_prompt(chronological(votes(3)[::-1]), pair("p9").context)
    assert said.index("question p0") < said.index("question p1") < said.index("question p2") < said.index("question p9")
