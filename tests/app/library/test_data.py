"""Rows as people hold them: every form of the same preference is the same pair, and what is wrong is named."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from personalrm import VoteDict
from personalrm.app.library.data import (
    one_pair,
    split_by_ratio,
    to_item,
    transcript,
    usable_pairs,
    user_data,
    user_of,
)
from personalrm.core.errors import DataError
from personalrm.core.records import Turn

from .conftest import Item, item, items

WORDS = st.text(st.characters(blacklist_categories=("Cs",)), min_size=1, max_size=30).filter(
    lambda words: words.strip() and words == words.strip("\r\n") and "[" not in words
)


@given(st.lists(WORDS, min_size=1, max_size=4), WORDS, WORDS)
def test_dicts_and_strings_of_the_same_content_are_the_same_pair(turns: list[str], one: str, two: str) -> None:
    roles = ["user" if (len(turns) - place) % 2 else "assistant" for place in range(len(turns))]
    context = [{"role": role, "content": words} for role, words in zip(roles, turns, strict=True)]
    published = [{**turn, "role": turn["role"].replace("assistant", "model")} for turn in context]
    answer = {"role": "model", "content": one}
    pair = one_pair(context, answer, {"role": "assistant", "content": two}, "u")
    assert one_pair(published, one, two, "u") == pair
    assert one_pair(transcript(pair.context), one, two, "u") == pair
    if len(turns) == 1:
        assert one_pair(turns[0], one, two, "u") == pair
    assert (pair.chosen, pair.rejected) == (one, two)


@given(st.integers(1, 40), st.floats(0.01, 1))
def test_the_split_is_a_prefix_with_something_to_learn_from(count: int, ratio: float) -> None:
    pairs = usable_pairs(items(count), "data").pairs
    split = split_by_ratio(pairs, ratio)
    parts = [pair.split for pair in split]
    assert parts[0] == "context"
    assert parts == sorted(parts)
    assert parts.count("context") == max(1, int(count * ratio))
    assert [pair.pair_id for pair in split] == [pair.pair_id for pair in pairs]


def test_what_a_data_frame_makes_of_a_row_is_understood() -> None:
    row = item(1, turn=float("nan"), timestamp=None, survey=3, type="unguided", chosen_score=99)
    row["context"] = np.array(row["context"], dtype=object)
    (made,) = usable_pairs([row], "data").pairs
    assert made.conversation_type == "unguided"
    assert (made.model_copy(update={"conversation_type": None}),) == usable_pairs([item(1)], "data").pairs
    for stored, flip in ((np.bool_(True), True), (0.0, False), (float("nan"), None)):
        assert [pair.flip for pair in usable_pairs([item(1, flip=stored)], "data").pairs] == [flip]


def test_a_data_frame_that_was_a_table_between_is_the_same_pairs(tmp_path: Path) -> None:
    frame = pd.DataFrame([to_item(pair) for pair in usable_pairs(items(4), "data").pairs])
    frame.to_csv(tmp_path / "votes.csv", index=False)
    assert usable_pairs(pd.read_csv(tmp_path / "votes.csv"), "data") == usable_pairs(frame, "data")


def test_a_pair_made_a_dict_is_the_pair_again() -> None:
    pairs = usable_pairs(items(4, user_id="ann", timestamp=12.5, turn=2), "data").pairs
    assert [pair.flip for pair in pairs] == [False, True, False, True]
    assert usable_pairs([to_item(pair) for pair in pairs], "data").pairs == pairs


def test_rows_without_a_preference_and_repeats_are_left_out_and_counted() -> None:
    rows = [item(0), item(0), item(1, rejected="GOOD answer 1"), item(2)]
    pairs, events = usable_pairs(rows, "data")
    assert [pair.context[0].content for pair in pairs] == ["question 0?", "question 2?"]
    assert events == ("data: 1 rows left out (equal answers)", "data: 1 rows left out (repeats)")


WRONG: list[tuple[Any, str]] = [
    ([*items(2), item(3, context=[])], r"data\[2\], field context: is \[\], not a list"),
    ([item(0, context=[{"role": "user"}])], r"data\[0\], field context\[0\].content: is missing"),
    ([item(0, context=[{"role": "judge", "content": "x"}])], "role unknown"),
    ([item(0, context="   ")], r"field context\[0\].content: is empty or blank"),
    ([item(0, context=7)], "field context: is 7, not a list"),
    ([item(0, chosen="")], "field chosen: is empty or blank"),
    ([item(0, chosen=None)], "field chosen: is null"),
    ([item(0, rejected={"role": "user", "content": "x"})], "field rejected.role"),
    ([{"context": "x", "chosen": "y"}], "field chosen|field rejected: is missing"),
    (["text"], r"data\[0\]: is no dict"),
    ("text", "data: is no list"),
    (item(0), "data: is no list"),
    ([item(0, pair_id="p"), item(1, pair_id="p")], "two different votes have pair_id 'p'"),
]


@pytest.mark.parametrize(("data", "said"), WRONG)
def test_what_is_wrong_is_named(data: Any, said: str) -> None:  # noqa: ANN401
    with pytest.raises(DataError, match=said):
        usable_pairs(data, "data")


def test_options_are_named_as_the_caller_knows_them() -> None:
    with pytest.raises(DataError, match="predict_pairwise, option2: is empty"):
        one_pair("Which?", "a", " ", None)


CONTAINERS: dict[str, Callable[[list[Item]], Any]] = {
    "generator": lambda rows: (row for row in rows),
    "pandas": pd.DataFrame,
    "arrow": pa.Table.from_pylist,
    "datasets": datasets.Dataset.from_list,
    "pandas of a data set": lambda rows: datasets.Dataset.from_list(rows).to_pandas(),
}


@pytest.mark.parametrize("kind", CONTAINERS)
def test_every_container_of_votes_is_as_good_as_their_list(kind: str) -> None:
    rows = [*items(3, turn=2, user_id=7), *items(2, first=3, user_id=7)]
    wanted = user_data(rows, items(2, first=9, user_id=7), None, 0.5)
    container = CONTAINERS[kind]
    assert user_data(container(rows), container(items(2, first=9, user_id=7)), None, 0.5) == wanted
    assert usable_pairs(container(rows), "data") == usable_pairs(rows, "data")


def test_a_set_of_data_sets_is_answered_with_the_name_of_a_part() -> None:
    parts = datasets.DatasetDict({"train": datasets.Dataset.from_list(items(3))})
    with pytest.raises(DataError, match=r"data: is no list; give one part, such as data\['train'\]"):
        usable_pairs(parts, "data")


def test_rows_of_trl_are_votes() -> None:
    turn, (good, bad) = {"role": "user", "content": "question 0?"}, [item(0)["chosen"], item(0)["rejected"]]
    vote: VoteDict = {"prompt": [turn], "chosen": [good], "rejected": [bad], "conversation_id": "c0", "flip": False}  # type: ignore[typeddict-item]
    assert usable_pairs([vote], "data").pairs == usable_pairs(items(1), "data").pairs


def test_a_zero_next_to_dates_is_no_time() -> None:
    rows = [item(0, timestamp=0), item(1, timestamp="2025-01-31")]
    with pytest.raises(DataError, match=r"data\[0\], field timestamp: is 0, which is no date"):
        usable_pairs(rows, "data")


@pytest.mark.parametrize("ids", [False, True])
def test_a_vote_in_both_parts_is_learned_from_only(ids: bool) -> None:
    data, val = items(4), items(6)[2:]
    if ids:
        data = [{**row, "pair_id": f"d{place}"} for place, row in enumerate(data)]
        val = [{**row, "pair_id": f"v{place}"} for place, row in enumerate(val)]
    user, events = user_data(data, val, "u", 0.7)
    assert [pair.split for pair in user.pairs] == ["context"] * 4 + ["validation"] * 2
    assert len({(pair.context, pair.chosen) for pair in user.pairs}) == 6
    assert events == ("val_data: 2 rows left out (they are in data, too)",)


def test_ids_that_begin_anew_in_the_second_part_are_refused() -> None:
    data, val = ([{**row, "pair_id": place} for place, row in enumerate(rows)] for rows in (items(4), items(6)[4:]))
    with pytest.raises(
        DataError, match=r"^val_data: '0' is also the pair_id of a different vote in data; make the ids"
    ):
        user_data(data, val, "u", 0.7)


def test_votes_of_several_users_are_not_fitted_as_one() -> None:
    rows: list[Item] = [*items(2, user_id="ann"), *items(2, first=5, user_id="bo")]
    with pytest.raises(DataError, match="2 users"):
        user_of(rows)
    assert {pair.user_id for pair in usable_pairs(rows, "data", "all of them").pairs} == {"all of them"}


def test_text_that_only_mentions_a_role_is_one_turn() -> None:
    said = "What does [user]: mean?\n[assistant]: what?"
    assert one_pair(said, "a", "b", None).context == (Turn(role="user", content=said),)
