"""Pairs without users: which rows are read, and what of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pydantic import ValidationError

from personalrm.core.errors import DataError
from personalrm.core.persona_pairs import PersonaPair
from personalrm.data.pair_sets import PairSet, in_shards, read_pairs, without_markers
from personalrm.data.sharding import shard_names

ROW = {"prompt": "Why?", "chosen": "So.", "rejected": "No."}


def written(folder: Path, *rows: object, name: str = "pairs.jsonl") -> Path:
    path = folder / name
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def pairs(path: Path, **settings: object) -> list[PersonaPair]:
    return read_pairs(PairSet.model_validate({"name": "d", "path": path, **settings}))


@pytest.mark.parametrize(
    ("text", "response", "plain"),
    [
        ("\n\nHuman: Why?\n\n", False, "Why?"),
        ("Human: Why?\n\nAssistant:", False, "Why?"),
        ("Human: A\n\nAssistant: B\n\nHuman: C", False, "A\n\nAssistant: B\n\nHuman: C"),
        ("Assistant: So.", True, "So."),
        ("Human: So.", True, "Human: So."),
        (" So. Assistant: no ", True, "So. Assistant: no"),
    ],
)
def test_speakers_around_a_text_are_taken_away_and_those_inside_stay(text: str, response: bool, plain: str) -> None:
    assert without_markers(text, response=response) == plain


def test_an_empty_persona_is_none_and_a_pair_without_responses_decides_nothing(tmp_path: Path) -> None:
    gold = {"chosen_persona_gold": " ", "rejected_persona_gold": "The user is x.", "chosen_persona_retr": "Near."}
    (full, bare) = pairs(written(tmp_path, ROW | gold, ROW | {"chosen": "", "rejected": "", "chosen_persona_gold": ""}))
    assert full.gold == {"rejected": "The user is x."}
    assert full.retrieved == {"chosen": "Near."}
    assert full.decides
    assert bare.gold == {}
    assert not bare.decides


def test_rows_of_a_config_and_split_alone_without_worked_examples(tmp_path: Path) -> None:
    rows = [
        ROW | {"config": config, "split": split, "row_id": 3}
        for config in ("A", "B")
        for split in ("fewshot", "test", "train")
    ]
    path = written(tmp_path, *rows)
    assert [pair.pair_id for pair in pairs(path, config="A")] == ["test-3", "train-3"]
    assert [pair.pair_id for pair in pairs(path, config="B", splits=["fewshot"])] == ["fewshot-3"]
    with pytest.raises(DataError, match=r"no pair of datasets\.d; correct its config"):
        pairs(path, config="C")
    with pytest.raises(DataError, match="two pairs of a split have the same id"):
        pairs(path)


def test_parquet_is_read_with_the_split_of_its_name(tmp_path: Path) -> None:
    pq.write_table(pa.Table.from_pylist([ROW, ROW | {"prompt": "How?"}]), tmp_path / "dpo_val-00000-of-00001.parquet")
    assert [(pair.split, pair.pair_id) for pair in pairs(tmp_path)] == [
        ("dpo_val", "dpo_val-0"),
        ("dpo_val", "dpo_val-1"),
    ]


def test_files_of_one_split_are_numbered_as_one(tmp_path: Path) -> None:
    for number in range(2):
        rows = [ROW | {"prompt": f"Why {number}?"}, ROW]
        pq.write_table(pa.Table.from_pylist(rows), tmp_path / f"train-{number:05}-of-00002.parquet")
    written(tmp_path, ROW, name="test.jsonl")
    assert [pair.pair_id for pair in pairs(tmp_path)] == ["test-0", "train-0", "train-1", "train-2", "train-3"]


def test_a_split_that_no_row_has_is_named(tmp_path: Path) -> None:
    path = written(tmp_path, ROW | {"split": "test"})
    with pytest.raises(DataError, match=r"no pair of split tset; correct datasets\.d\.splits"):
        pairs(path, splits=["test", "tset"])


def test_ties_of_rows_with_a_prompt_are_left_out_too(tmp_path: Path) -> None:
    (pair,) = pairs(written(tmp_path, ROW | {"tie": True}, ROW | {"tie": False, "prompt": "How?"}))
    assert pair.prompt == "How?"


def test_votes_of_our_own_format_are_pairs_and_ties_are_left_out(tmp_path: Path) -> None:
    turns = [{"role": "user", "content": "A"}, {"role": "assistant", "content": "B"}, {"role": "user", "content": "C"}]
    vote = {"user_id": "u", "pair_id": "p", "context": turns, "response_a": "x", "response_b": "y"}
    (pair,) = pairs(written(tmp_path, vote | {"winner": "b"}, vote | {"winner": "tie", "pair_id": "q"}))
    assert (pair.user_id, pair.prompt, pair.chosen, pair.rejected) == ("u", "A\n\nAssistant: B\n\nHuman: C", "y", "x")
    (pair,) = pairs(written(tmp_path, vote | {"winner": "a", "user_id": None}))
    assert (pair.user_id, pair.chosen) == (None, "x")


def test_the_first_pairs_by_hash_do_not_depend_on_the_order_of_rows(tmp_path: Path) -> None:
    rows = [ROW | {"prompt": f"Why {number}?", "id": str(number)} for number in range(9)]
    few = {pair.prompt for pair in pairs(written(tmp_path, *rows), max_pairs=4)}
    assert len(few) == 4
    assert {pair.prompt for pair in pairs(written(tmp_path, *reversed(rows)), max_pairs=4)} == few


def test_shards_hold_each_pair_once(tmp_path: Path) -> None:
    read = pairs(written(tmp_path, *(ROW | {"id": number} for number in range(20))))
    spread = in_shards(read, 3, shard_names(3))
    assert len(spread) == 3
    assert all(spread.values())
    assert sorted(pair.pair_id for mine in spread.values() for pair in mine) == sorted(pair.pair_id for pair in read)


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"prompt": "Why?", "chosen": "So."}, "line 1, field rejected: is missing; a row has prompt"),
        (ROW | {"prompt": " "}, "line 1, field prompt: is empty or blank"),
        (ROW | {"chosen": 3}, "line 1, field chosen: is 3, not a string"),
        (ROW | {"id": ["x"]}, "line 1, field id: is"),
        (ROW | {"tie": "no"}, "line 1, field tie: is"),
        (ROW | {"context": ["x"]}, r"line 1, field context"),
    ],
)
def test_a_broken_row_is_named_with_what_to_do(row: dict[str, Any], said: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=said):
        pairs(written(tmp_path, row))


def test_a_row_that_is_no_object_is_named_by_its_line(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="line 2: is not a JSON object; write one JSON object per line"):
        pairs(written(tmp_path, ROW, "x"))


def test_a_set_has_one_place() -> None:
    with pytest.raises(ValidationError, match="give path"):
        PairSet(name="d")
