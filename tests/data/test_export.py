"""Our export in the columns of the authors' processed sets: the way there and back, byte for byte."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from personalrm.core.errors import DataError
from personalrm.core.records import PreferencePair, Turn, UserData, UserPart
from personalrm.data.export import export_processed
from personalrm.data.settings import ProcessedDataset
from personalrm.data.sources.processed import FILTER_COLUMNS, OTHER_COLUMNS, OWN_COLUMNS, PAIR_COLUMNS, read_processed
from personalrm.data.sources.reading import ReadReport
from personalrm.data.users import build_users

from .processed_rows import GEMINI, pair_row, read, shard, write


def some_user(name: str, user_split: str | None = "test", pairs: int = 4) -> UserData:
    parts = ["context", "context", "validation", "test"]
    made = [
        PreferencePair.model_validate(
            {
                "user_id": name,
                "pair_id": f"{name}-{n}",
                "context": [
                    {"role": "system", "content": "Be kind"},
                    {"role": "user", "content": "Hi\r\n"},
                    {"role": "assistant", "content": ""},
                    {"role": "user", "content": f" 😀 {n}"},
                ],
                "chosen": f"a\r\n{n} ",
                "rejected": f"\tb {n}",
                "conversation_id": f"{name}-c{n}",
                "turn": n,
                "timestamp": 1.5 + n,
                "conversation_type": "values guided",
                "order": n,
                "split": parts[n],
            }
        )
        for n in range(pairs)
    ]
    return UserData.model_validate({"dataset": "demo", "user_id": name, "pairs": made, "user_split": user_split})


USERS = [
    some_user("u1", "train"),
    some_user("u2", "validation"),
    some_user("u3", "test"),
    some_user("u4", None),
    some_user("u5").model_copy(update={"excluded": "4 pairs, fewer than 5"}),
]


def content(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def rebuilt(folder: Path) -> list[UserData]:
    entry = ProcessedDataset.model_validate(
        {"name": "demo", "source": "personalrewardbench", "path": folder, "min_pairs": 3}
    )
    return build_users(read_processed(entry, ReadReport()), entry).users


def test_there_and_back(tmp_path: Path) -> None:
    assert export_processed(USERS, tmp_path) == {"train": 4, "validation": 4, "test": 8}
    expected = [user.model_copy(update={"user_split": user.user_split or "test"}) for user in USERS[:4]]
    # A pair without a stored coin gets one, which the authors' loader needs.
    coins = {row["pair_id"]: row["flip"] for row in pq.read_table(tmp_path / "data").to_pylist()}
    assert set(coins.values()) == {True, False}
    assert rebuilt(tmp_path) == [with_coins(user, coins) for user in expected]


def with_coins(user: UserData, coins: Mapping[str, bool]) -> UserData:
    pairs = tuple(pair.model_copy(update={"flip": coins[pair.pair_id]}) for pair in user.pairs)
    return user.model_copy(update={"pairs": pairs})


def test_a_stored_coin_comes_back(tmp_path: Path) -> None:
    for coin in (True, False):
        stored = [with_coins(user, {pair.pair_id: coin for pair in user.pairs}) for user in USERS]
        export_processed(stored, tmp_path / str(coin))
        assert {row["flip"] for row in pq.read_table(tmp_path / str(coin) / "data").to_pylist()} == {coin}
        assert {pair.flip for user in rebuilt(tmp_path / str(coin)) for pair in user.pairs} == {coin}


def test_judgments_come_back(tmp_path: Path) -> None:
    judged: dict[str, dict[str, object]] = {
        "u1-0": {f"prediction_{GEMINI}": "First", "agreement": 0.5},
        "u3-1": {"prediction_mine": 1},
    }
    export_processed(USERS, tmp_path, judgments=judged)
    votes = {vote.pair_id: vote.judgments for vote in read(tmp_path)}
    assert {pair: found for pair, found in votes.items() if found} == judged


def test_made_up_ids_stay_made_up(tmp_path: Path) -> None:
    """A hash that stands for a missing id must not order a user's pairs once it has been exported."""
    write(tmp_path / "in/test.parquet", [pair_row(number=n, conversation_id=None, turns=None) for n in range(6)])
    entry = ProcessedDataset.model_validate(
        {"name": "prb", "source": "personalrewardbench", "path": tmp_path / "in", "keep_splits": False}
    )
    users = build_users(read_processed(entry, ReadReport()), entry).users
    export_processed(users, tmp_path / "out", user_split=lambda user: "test")
    assert all(vote.pair_id is None for vote in read(tmp_path / "out"))
    again = build_users(read_processed(entry.model_copy(update={"path": tmp_path / "out"}), ReadReport()), entry).users
    assert [user.pairs for user in again] == [user.pairs for user in users]


def test_columns_and_words_of_the_authors(tmp_path: Path) -> None:
    export_processed(USERS, tmp_path)
    table = pq.read_table(tmp_path / shard("train"))
    theirs = [*PAIR_COLUMNS, *OTHER_COLUMNS, *FILTER_COLUMNS]
    assert table.column_names == [*theirs, *OWN_COLUMNS]
    assert len(theirs) == 37
    rows = table.to_pylist()
    assert [row["split"] for row in rows] == ["train", "train", "val", "test"]
    assert [turn["role"] for turn in rows[0]["context"]] == ["system", "user", "model", "user"]
    assert rows[0]["chosen"] == {"content": "a\r\n0 ", "role": "model"}
    assert {type(row["flip"]) for row in rows} == {bool}
    assert {row["agreement"] for row in rows} == {None}


def test_datasets_loads_it(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    export_processed(USERS, tmp_path / "set")
    loaded = datasets.load_dataset(str(tmp_path / "set"), cache_dir=str(tmp_path / "cache"))
    assert {part: len(rows) for part, rows in loaded.items()} == {"train": 4, "validation": 4, "test": 8}
    # The authors' loader removes a fixed list of columns: each must be there.
    slim = loaded.remove_columns(["chosen_score", "rejected_score", "dataset", *FILTER_COLUMNS])
    row = slim["train"][3]
    assert row["context"][3]["content"] == " 😀 3"
    assert (row["split"], row["turns"], row["user_id"], row["type"]) == ("test", 3, "u1", "values guided")


def test_a_part_without_users_is_no_file(tmp_path: Path) -> None:
    export_processed(USERS, tmp_path / "set")
    assert export_processed(USERS[3:], tmp_path / "set", licence='CC-BY-4.0: "ours"') == {"test": 4}
    assert set(content(tmp_path / "set")) == {"README.md", shard("test")}
    header = yaml.safe_load((tmp_path / "set/README.md").read_text(encoding="utf-8").split("---\n")[1])
    assert header["configs"][0]["data_files"] == [{"split": "test", "path": "data/test-*"}]
    assert header["license_name"] == 'CC-BY-4.0: "ours"'
    datasets = pytest.importorskip("datasets")
    assert list(datasets.load_dataset(str(tmp_path / "set"), cache_dir=str(tmp_path / "cache"))) == ["test"]


def test_level_a_can_be_given(tmp_path: Path) -> None:
    parts: dict[str, UserPart] = {"u1": "test", "u2": "train"}
    assert export_processed(USERS[:2], tmp_path, user_split=lambda user: parts[user.user_id]) == {"train": 4, "test": 4}
    assert {vote.user_id: vote.user_split for vote in read(tmp_path)} == parts


def test_equal_bytes_in_any_sequence(tmp_path: Path) -> None:
    export_processed(USERS, tmp_path / "a")
    export_processed(iter(USERS[::-1]), tmp_path / "b")
    assert content(tmp_path / "a") == content(tmp_path / "b")


def test_more_rows_than_a_group(tmp_path: Path) -> None:
    users = [some_user(f"u{n:03d}") for n in range(300)]
    assert export_processed(users, tmp_path) == {"test": 1200}
    assert pq.read_metadata(tmp_path / shard("test")).num_rows == 1200
    coins = {row["pair_id"]: row["flip"] for row in pq.read_table(tmp_path / "data").to_pylist()}
    assert rebuilt(tmp_path) == [with_coins(user, coins) for user in users]


def test_what_cannot_be_exported(tmp_path: Path) -> None:
    unsplit = USERS[0].model_copy(update={"pairs": (USERS[0].pairs[0].model_copy(update={"split": None}),)})
    with pytest.raises(DataError, match="'u1-0': has no part of the pair split"):
        export_processed([unsplit], tmp_path)
    with pytest.raises(DataError, match="'mood' is not a column of a filter"):
        export_processed(USERS, tmp_path, judgments={"u1-0": {"mood": 1}})
    with pytest.raises(DataError, match="'agreement' holds values of several kinds"):
        export_processed(USERS, tmp_path, judgments={"u1-0": {"agreement": 1}, "u1-1": {"agreement": "no"}})
    assert content(tmp_path) == {}


TEXT = st.text(st.characters(codec="utf-8"), max_size=12) | st.sampled_from(["a\r\nb", "\r", " x ", "😀\u200d", "\x00"])
SPOKEN = TEXT.filter(lambda text: bool(text.strip()))


@settings(max_examples=30, deadline=None)
@given(SPOKEN, SPOKEN, SPOKEN, TEXT)
def test_texts_are_never_altered(question: str, first: str, second: str, said_before: str) -> None:
    user = some_user("u1", pairs=3)
    turns = (
        Turn(role="user", content=said_before),
        Turn(role="assistant", content=said_before),
        Turn(role="user", content=question),
    )
    pair = user.pairs[0].model_copy(update={"context": turns, "chosen": first, "rejected": second})
    with tempfile.TemporaryDirectory() as name:
        export_processed([user.model_copy(update={"pairs": (pair,)})], Path(name))
        vote = read(Path(name))[0]
    assert vote.context == tuple((turn.role, turn.content) for turn in turns)
    assert (vote.chosen, vote.rejected) == (first, second)
