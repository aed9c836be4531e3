"""The authors' processed sets: rows of ours in their columns, with votes computed by hand."""

from __future__ import annotations

import random
import tempfile
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from personalrm.core.errors import DataError
from personalrm.data.sources.reading import ReadReport
from personalrm.data.sources.votes import Vote

from .processed_rows import GEMINI, Row, message, pair_row, read, shard, write


def test_a_row_by_hand(tmp_path: Path) -> None:
    write(tmp_path / shard("validation"), [pair_row(split="val")])
    report = ReadReport()
    assert read(tmp_path, report) == [
        Vote(
            user_id="user7",
            context=(("user", "Hi"), ("assistant", "Hello!"), ("user", "And 0?")),
            chosen="yes 0",
            rejected="no 0",
            conversation_id="c0",
            turn=1,
            line=1,
            conversation_type="unguided",
            user_split="validation",
            pair_split="validation",
            judgments={
                "personalizable_query": 4,
                "query_reasoning": "a matter of taste",
                f"prediction_{GEMINI}": "First",
                "agreement": 0.6,
            },
            flip=True,
        )
    ]
    assert report.ignored == {}


@pytest.mark.parametrize(
    ("stored", "read_as"), [(True, True), (False, False), (None, None), (1.0, True), (0.0, False), (float("nan"), None)]
)
def test_a_stored_coin_of_presentation(tmp_path: Path, stored: object, read_as: bool | None) -> None:
    write(tmp_path / shard("test"), [pair_row(flip=stored)])
    assert [vote.flip for vote in read(tmp_path)] == [read_as]


def test_a_coin_that_is_none_is_named(tmp_path: Path) -> None:
    write(tmp_path / shard("test"), [pair_row(flip="heads")])
    with pytest.raises(DataError, match=r"field flip.* is 'heads', not true or false"):
        read(tmp_path)


def test_the_words_for_parts(tmp_path: Path) -> None:
    for part in ("train", "validation", "test"):
        write(tmp_path / shard(part), [pair_row(part, n, split=s) for n, s in enumerate(("train", "val", "test"))])
    found = {(vote.user_id, vote.user_split, vote.conversation_id, vote.pair_split) for vote in read(tmp_path)}
    inside = [("c0", "context"), ("c1", "validation"), ("c2", "test")]
    assert found == {(part, part, *each) for part in ("train", "validation", "test") for each in inside}


def test_splits_can_be_made_anew(tmp_path: Path) -> None:
    write(tmp_path / "anything.parquet", [pair_row(split="odd")])
    vote = read(tmp_path, keep_splits=False)[0]
    assert (vote.user_split, vote.pair_split) == (None, None)


@pytest.mark.parametrize("name", ["train-0.parquet", "users.parquet", "xtrain.parquet", "val.parquet"])
def test_a_name_that_is_no_part(tmp_path: Path, name: str) -> None:
    write(tmp_path / name, [pair_row()])
    with pytest.raises(DataError, match=r"not a part of the release's user split.*keep_splits: false"):
        read(tmp_path)


def test_a_shard_is_missing(tmp_path: Path) -> None:
    write(tmp_path / "data/train-00000-of-00002.parquet", [pair_row()])
    with pytest.raises(DataError, match=r"train-00001-of-00002\.parquet: is missing"):
        read(tmp_path)


def test_other_panels_and_missing_votes(tmp_path: Path) -> None:
    row = pair_row(**{"prediction_ours": "Second", "agreement": float("nan"), "surprise": 1})
    write(tmp_path / shard("train"), [row])
    report = ReadReport()
    judged = read(tmp_path, report)[0].judgments
    assert judged["prediction_ours"] == "Second"
    # A judgment that failed is missing, not a vote.
    assert "agreement" not in judged
    assert f"prediction_flip_{GEMINI}" not in judged
    assert report.ignored == {"surprise": 1}


def test_whole_numbers_that_became_floats(tmp_path: Path) -> None:
    write(tmp_path / shard("train"), [pair_row(number=0, turns=2.0), pair_row(number=1, turns=float("nan"))])
    assert [vote.turn for vote in read(tmp_path)] == [2, None]


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"chosen": message(" \n")}, "empty_answer"),
        ({"rejected": message("")}, "empty_answer"),
        ({"context": [message(" ", "user")]}, "empty_question"),
    ],
)
def test_left_out_and_counted(tmp_path: Path, changes: Row, reason: str) -> None:
    write(tmp_path / shard("train"), [pair_row("quiet", **changes), pair_row()])
    report = ReadReport()
    assert [vote.user_id for vote in read(tmp_path, report)] == ["user7"]
    assert report.dropped == {reason: 1}
    assert report.users == {"quiet", "user7"}


BAD: list[tuple[Row, str, str]] = [
    ({"user_id": None}, "user_id", "is null"),
    ({"user_id": ""}, "user_id", "is empty or blank"),
    ({"split": "validation"}, "split", "is 'validation'"),
    ({"split": None}, "split", "is null"),
    ({"context": None}, "context", "is null"),
    ({"context": []}, "context", "is [], not a list"),
    ({"context": [message("Hi")]}, "context[0].role", "does not end with a turn"),
    ({"context": [message("x", "tool"), message("Hi", "user")]}, "context[0].role", "is 'tool'"),
    ({"chosen": None}, "chosen", "is null"),
    ({"chosen": message("x", "user")}, "chosen.role", "an answer is the assistant's"),
    ({"rejected": message(None)}, "rejected.content", "is null"),
    ({"turns": -1}, "turns", "is -1, not a whole number"),
    ({"turns": 1.5}, "turns", "is 1.5, not a whole number"),
    ({"type": 3}, "type", "is 3, not a string"),
]


@pytest.mark.parametrize(("changes", "field", "problem"), BAD)
def test_bad_rows_are_named(tmp_path: Path, changes: Row, field: str, problem: str) -> None:
    path = write(tmp_path / shard("train"), [pair_row(**changes)])
    with pytest.raises(DataError) as caught:
        read(tmp_path)
    assert str(caught.value).startswith(f"{path}, line 1, field {field}, user ")
    assert problem in str(caught.value)
    report = ReadReport()
    assert read(tmp_path, report, on_bad="drop") == []
    assert report.bad == 1


def test_a_user_in_two_parts(tmp_path: Path) -> None:
    for part in ("train", "test"):
        write(tmp_path / shard(part), [pair_row()])
    with pytest.raises(DataError, match="field user_id, user 'user7': stands in train, but also in test"):
        read(tmp_path)
    assert len(read(tmp_path, keep_splits=False)) == 2


def test_a_column_is_gone(tmp_path: Path) -> None:
    write(tmp_path / shard("train"), [{name: pair_row()[name] for name in ("user_id", "context", "chosen")}])
    with pytest.raises(DataError, match="no column conversation_id, rejected, split; the release has changed"):
        read(tmp_path, on_bad="drop")


def test_truncated_and_missing_files(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no file of the release"):
        read(tmp_path)
    path = write(tmp_path / shard("train"), [pair_row(number=n) for n in range(50)])
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(DataError, match="not a sound Parquet file"):
        read(tmp_path)


@settings(max_examples=20, deadline=None)
@given(st.randoms(use_true_random=False))
def test_the_sequence_of_rows_changes_nothing(chance: random.Random) -> None:
    rows = [pair_row(f"user{n % 3}", n, split=("train", "val", "test")[n // 3]) for n in range(9)]
    rows.append(pair_row("user0", 9, chosen=message("")))
    results = []
    for order in (rows, chance.sample(rows, len(rows))):
        with tempfile.TemporaryDirectory() as name:
            write(Path(name) / shard("test"), order)
            report = ReadReport()
            votes = read(Path(name), report)
        # The line is for messages; all else must be the same.
        found = sorted((replace(vote, line=0) for vote in votes), key=lambda vote: vote.own_id)
        results.append((found, report.users, report.dropped))
    assert results[0] == results[1]
