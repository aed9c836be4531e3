"""MT-bench-like votes: what is left out and counted, and what is an error."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest
from support.mtbench_rows import SCHEMA, Row, jsonl, judgment, parquet, read, said, without

from personalrm.core.errors import DataError
from personalrm.data.sources.reading import ReadReport

from .vote_rows import assert_refused


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"conversation_a": said("Name a tree.", " ")}, "empty_answer"),
        ({"turn": 2, "conversation_b": said("Name a tree.", "Rowan.", "Why that?", "")}, "empty_answer"),
        ({"conversation_a": said(" ", "x"), "conversation_b": said(" ", "y")}, "empty_question"),
        ({"conversation_a": said("Name a bird.", "x")}, "different_questions"),
    ],
)
def test_left_out_and_counted(tmp_path: Path, changes: Row, reason: str) -> None:
    report = ReadReport()
    path = jsonl(tmp_path / "a.jsonl", [judgment(judge="quiet", **changes), judgment()])
    assert [vote.user_id for vote in read(path, report)] == ["expert_1"]
    assert report.dropped == {reason: 1}
    assert (report.lines, report.votes, report.bad) == (2, 1, 0)
    assert report.users == {"expert_1", "quiet"}


@pytest.mark.parametrize(
    "changes",
    [
        {"conversation_a": said("Name a tree.", "Larch.", "Why that?", "")},
        {"conversation_a": said("Name a tree.", "Larch.", "Where?", "Here.")},
    ],
)
def test_what_was_not_judged_drops_no_vote(tmp_path: Path, changes: Row) -> None:
    assert len(read(jsonl(tmp_path / "a.jsonl", [judgment(**changes)]))) == 1


BAD = [
    (judgment(judge=None), "judge", "is null"),
    (judgment(judge=[]), "judge", "is an empty list"),
    (judgment(judge=[["x"]]), "judge", 'is ["x"], not a string'),
    (judgment(judge=" "), "judge", "is empty or blank"),
    (judgment(user_id=" "), "user_id", "is empty or blank"),
    (without(judgment(), "judge"), "judge", "is missing"),
    (without(judgment(), "turn"), "turn", "is missing"),
    (judgment(question_id=None), "question_id", "is null"),
    (judgment(question_id=81.5), "question_id", "is 81.5, not a string"),
    (judgment(judgment_id=""), "judgment_id", "is empty or blank"),
    (without(judgment(), "model_b"), "model_b", "is missing"),
    (judgment(model_a=None), "model_a", "is not a name, and there is no judgment_id"),
    (judgment(model_b=" ", judgment_id=None), "model_b", "is not a name"),
    (judgment(winner="model_c"), "winner", "is 'model_c'"),
    (judgment(winner=None), "winner", "is null"),
    (judgment(turn=0), "turn", "is 0"),
    (judgment(turn=3), "turn", "is 3, but conversation_a has 2 turns"),
    (judgment(turn=True), "turn", "is true"),
    (judgment(turn="1"), "turn", "is '1'"),
    (judgment(turn=2, conversation_b=said("Name a tree.", "x")), "turn", "is 2, but conversation_b has 1 turns"),
    (judgment(conversation_a=None), "conversation_a", "is not a list"),
    (judgment(conversation_b=said("Name a tree.")), "conversation_b", "ends without an answer"),
    (judgment(conversation_a=[{"role": "tool", "content": "x"}]), "conversation_a[0].role", "is 'tool'"),
    (judgment(conversation_b=said("Name a tree.", None)), "conversation_b[1].content", "is not a string"),
    (judgment(conversation_a=said("Name a tree.", "\udfff")), "conversation_a", "surrogate"),
]


@pytest.mark.parametrize(("row", "field", "problem"), BAD)
def test_bad_rows_are_named(tmp_path: Path, row: Row, field: str, problem: str) -> None:
    path = jsonl(tmp_path / "votes.jsonl", [judgment(), row])
    assert_refused(path, field, problem, lambda: read(tmp_path))


def test_bad_rows_can_be_dropped(tmp_path: Path) -> None:
    jsonl(tmp_path / "votes.jsonl", [row for row, _, _ in BAD] + [judgment()])
    report = ReadReport()
    assert len(read(tmp_path, report, on_bad="drop")) == 1
    assert report.bad == len(BAD)


@pytest.mark.parametrize("gone", ["judge", "model_a", "winner", "turn"])
def test_a_column_of_the_release_is_gone(tmp_path: Path, gone: str) -> None:
    schema = pa.schema([field for field in SCHEMA if field.name != gone])
    path = parquet(tmp_path / "a.parquet", [judgment()], schema)
    with pytest.raises(DataError, match=f"no column {gone}; the release has changed") as caught:
        read(tmp_path, on_bad="drop")
    assert str(path) in str(caught.value)


def test_other_columns_are_counted(tmp_path: Path) -> None:
    report = ReadReport()
    read(jsonl(tmp_path / "a.jsonl", [judgment(category="nature", user_id="ann", judgment_id="j")]), report)
    assert report.ignored == {"category": 1}


@pytest.mark.parametrize("suffix", [".jsonl", ".jsonl.gz", ".parquet"])
def test_a_shard_is_missing(tmp_path: Path, suffix: str) -> None:
    write = parquet if suffix == ".parquet" else jsonl
    write(tmp_path / f"human-00000-of-00002{suffix}", [judgment()])
    with pytest.raises(DataError, match=r"human-00001-of-00002.*: is missing"):
        read(tmp_path)
