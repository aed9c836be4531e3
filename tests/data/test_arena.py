"""Chatbot Arena's raw release: rows of ours in its columns, with votes computed by hand."""

from __future__ import annotations

import json
import random
import tempfile
from collections.abc import Iterable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from personalrm.core.errors import DataError
from personalrm.data.settings import ArenaDataset
from personalrm.data.sources.battles import read_arena, shared_beginning, transcript
from personalrm.data.sources.reading import ReadReport
from personalrm.data.sources.votes import Vote

from .vote_rows import assert_refused

Row = dict[str, object]

MESSAGES = pa.list_(pa.struct([("content", pa.string()), ("role", pa.string())]))
SCHEMA = pa.schema(
    [(name, pa.string()) for name in ("question_id", "model_a", "model_b", "winner", "judge")]
    + [("conversation_a", MESSAGES), ("conversation_b", MESSAGES), ("turn", pa.int64()), ("anony", pa.bool_())]
    + [("language", pa.string()), ("tstamp", pa.float64())]
    + [("openai_moderation", pa.struct([("flagged", pa.bool_())]))]
    + [("toxic_chat_tag", pa.struct([("flagged", pa.bool_())]))]
)


def said(*texts: object) -> list[Row]:
    return [{"content": text, "role": "user" if n % 2 == 0 else "assistant"} for n, text in enumerate(texts)]


def battle(a: list[Row], b: list[Row], **changes: object) -> Row:
    return {
        "question_id": "q1",
        "model_a": "larch-7b",
        "model_b": "rowan-13b",
        "winner": "model_a",
        "judge": "judge_1",
        "conversation_a": a,
        "conversation_b": b,
        "turn": len(a) // 2,
        "anony": True,
        "language": "English",
        "tstamp": 1683000000.25,
        "openai_moderation": {"flagged": False},
        "toxic_chat_tag": {"flagged": False},
    } | changes


def single(**changes: object) -> Row:
    return battle(said("Tea or coffee?", "Tea, of course."), said("Tea or coffee?", "Coffee."), **changes)


def parquet(path: Path, rows: Iterable[Row], schema: pa.Schema = SCHEMA) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(list(rows), schema=schema), path)
    return path


def jsonl(path: Path, rows: Iterable[Row]) -> Path:
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows), encoding="utf-8", newline="\n")
    return path


def read(folder: Path, report: ReadReport | None = None, **changes: object) -> list[Vote]:
    entry = ArenaDataset.model_validate({"name": "arena", "source": "arena", "path": folder, **changes})
    return list(read_arena(entry, ReadReport() if report is None else report))


def test_single_turn(tmp_path: Path) -> None:
    parquet(tmp_path / "train-00000-of-00001.parquet", [single(winner="model_b")])
    assert read(tmp_path) == [
        Vote(
            user_id="judge_1",
            context=(("user", "Tea or coffee?"),),
            chosen="Coffee.",
            rejected="Tea, of course.",
            pair_id="q1",
            conversation_id="q1",
            turn=1,
            timestamp=1683000000.25,
            line=1,
        )
    ]


@pytest.mark.parametrize("winner", ["tie", "tie (bothbad)"])
def test_ties_are_votes(tmp_path: Path, winner: str) -> None:
    jsonl(tmp_path / "votes.jsonl", [single(winner=winner)])
    vote = read(tmp_path)[0]
    assert (vote.tie, vote.chosen, vote.rejected) == (True, "Tea, of course.", "Coffee.")


def test_different_first_answers_make_transcripts(tmp_path: Path) -> None:
    row = battle(said("Hi", "Hello!", "Shorter", "Hey"), said("Hi", "Good day.", "Shorter", "Yo"), winner="model_b")
    parquet(tmp_path / "a.parquet", [row])
    vote = read(tmp_path)[0]
    assert vote.context == (("user", "Hi"),)
    assert vote.chosen == "[assistant]: Good day.\n\n[user]: Shorter\n\n[assistant]: Yo"
    assert vote.rejected == "[assistant]: Hello!\n\n[user]: Shorter\n\n[assistant]: Hey"
    assert vote.turn == 2


def test_equal_first_answers_are_context(tmp_path: Path) -> None:
    row = battle(said("Hi", "Hello!", "Shorter", "Hey"), said("Hi", "Hello!", "Shorter", "Yo"))
    parquet(tmp_path / "a.parquet", [row])
    vote = read(tmp_path)[0]
    assert vote.context == (("user", "Hi"), ("assistant", "Hello!"), ("user", "Shorter"))
    assert (vote.chosen, vote.rejected) == ("Hey", "Yo")


def test_last_answers_are_never_context() -> None:
    same = [("user", "q"), ("assistant", "x"), ("user", "r"), ("assistant", "x")]
    assert shared_beginning(same, same) == 3
    assert transcript(same[3:]) == "x"


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (battle(said("Hi", ""), said("Hi", "Hello")), "empty_answer"),
        (battle(said("Hi", "Hello"), said("Hi", " \n")), "empty_answer"),
        (battle(said("Hi", "a", "and?", " "), said("Hi", "b", "and?", "c")), "empty_answer"),
        (battle(said(" ", "Hello"), said(" ", "Yo")), "empty_question"),
        (battle(said("Hi", "Hello"), said("Ho", "Yo")), "different_questions"),
        (battle(said("Hi", "Hello"), said("Hi", "Yo", "and?", "No")), "different_questions"),
    ],
)
def test_left_out_and_counted(tmp_path: Path, row: Row, reason: str) -> None:
    parquet(tmp_path / "a.parquet", [row | {"judge": "quiet"}, single()])
    report = ReadReport()
    assert [vote.user_id for vote in read(tmp_path, report)] == ["judge_1"]
    assert report.dropped == {reason: 1}
    assert (report.lines, report.votes, report.bad) == (2, 1, 0)
    # A user without a vote left is still one of the data's users.
    assert report.users == {"judge_1", "quiet"}


def test_empty_answer_in_the_middle_stays(tmp_path: Path) -> None:
    parquet(tmp_path / "a.parquet", [battle(said("Hi", "", "Well?", "Hey"), said("Hi", "b", "Well?", "c"))])
    assert read(tmp_path)[0].chosen == "[assistant]: \n\n[user]: Well?\n\n[assistant]: Hey"


BAD = [
    (single(judge=None), "judge", "is null"),
    (single(judge=" "), "judge", "is empty or blank"),
    (single(question_id=None), "question_id", "is null"),
    (single(question_id=""), "question_id", "is empty or blank"),
    (single(tstamp=None), "tstamp", "is null"),
    (single(tstamp="soon"), "tstamp", "not a time"),
    (single(winner="model_c"), "winner", "is 'model_c'"),
    (single(winner=None), "winner", "is null"),
    (single(winner=["tie"]), "winner", 'is ["tie"]'),
    (single(turn=2), "turn", "is 2, but conversation_a has 1 turns"),
    (single(turn=None), "turn", "is null"),
    (single(turn=True), "turn", "is true"),
    (single(conversation_a=None), "conversation_a", "is not a list"),
    (single(conversation_b=[]), "conversation_b", "is not a list"),
    (single(conversation_a=[{"role": "assistant", "content": "x"}]), "conversation_a[0].role", "where 'user' is due"),
    (single(conversation_b=[{"role": "tool", "content": "x"}]), "conversation_b[0].role", "is 'tool'"),
    (single(conversation_b=["x"]), "conversation_b[0].role", "is null"),
    (single(conversation_a=said("Hi", None)), "conversation_a[1].content", "is not a string"),
    (single(conversation_a=said("Hi")), "conversation_a", "ends without an answer"),
    (battle(said("\ud800", "x"), said("\ud800", "y")), "conversation_a[0].content", "surrogate"),
    (battle(said("Hi", "x"), said("Hi", "\udfff")), "conversation_b", "surrogate"),
    ({name: value for name, value in single().items() if name != "judge"}, "judge", "is missing"),
]


@pytest.mark.parametrize(("row", "field", "problem"), BAD)
def test_bad_rows_are_named(tmp_path: Path, row: Row, field: str, problem: str) -> None:
    path = jsonl(tmp_path / "votes.jsonl", [single(), row])
    assert_refused(path, field, problem, lambda: read(tmp_path))


def test_bad_rows_can_be_dropped(tmp_path: Path) -> None:
    jsonl(tmp_path / "votes.jsonl", [row for row, _, _ in BAD] + [single()])
    report = ReadReport()
    assert len(read(tmp_path, report, on_bad="drop")) == 1
    assert report.bad == len(BAD)


@pytest.mark.parametrize("on_bad", ["error", "drop"])
def test_a_column_of_the_release_is_gone(tmp_path: Path, on_bad: str) -> None:
    schema = pa.schema([field for field in SCHEMA if field.name not in ("judge", "tstamp")])
    path = parquet(tmp_path / "a.parquet", [single()], schema)
    with pytest.raises(DataError, match="no column judge, tstamp; the release has changed") as caught:
        read(tmp_path, on_bad=on_bad)
    assert str(path) in str(caught.value)


def test_a_new_column_is_counted(tmp_path: Path) -> None:
    parquet(tmp_path / "a.parquet", [single() | {"mood": "good"}], SCHEMA.append(pa.field("mood", pa.string())))
    report = ReadReport()
    read(tmp_path, report)
    assert report.ignored == {"mood": 1}


@pytest.mark.parametrize("on_bad", ["error", "drop"])
def test_truncated_parquet(tmp_path: Path, on_bad: str) -> None:
    path = parquet(tmp_path / "a.parquet", [single(question_id=f"q{n}") for n in range(50)])
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(DataError, match="not a sound Parquet file"):
        read(tmp_path, on_bad=on_bad)


def test_no_files(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no file of the release.*correct datasets\.arena\.path"):
        read(tmp_path)


def test_a_shard_is_missing(tmp_path: Path) -> None:
    for number in (0, 2):
        parquet(tmp_path / f"data/train-0000{number}-of-00003.parquet", [single(question_id=f"q{number}")])
    with pytest.raises(DataError, match=r"train-00001-of-00003\.parquet: is missing"):
        read(tmp_path)


def test_all_files_are_read(tmp_path: Path) -> None:
    for number in (1, 0):
        parquet(tmp_path / f"data/train-0000{number}-of-00002.parquet", [single(question_id=f"q{number}")])
    report = ReadReport()
    assert [vote.pair_id for vote in read(tmp_path, report)] == ["q0", "q1"]
    assert report.lines == 2


# Everything that a file can hold, with what is often lost on the way: line ends, blanks, signs beyond the BMP.
TEXT = st.text(st.characters(codec="utf-8"), max_size=12) | st.sampled_from(["a\r\nb", "\r", " x ", "😀\u200d", "\x00"])
SPOKEN = TEXT.filter(lambda text: bool(text.strip()))


@settings(max_examples=40, deadline=None)
@given(SPOKEN, SPOKEN, SPOKEN, st.booleans())
def test_texts_are_never_altered(question: str, first: str, second: str, as_parquet: bool) -> None:
    row = battle(said(question, first), said(question, second))
    with tempfile.TemporaryDirectory() as name:
        if as_parquet:
            parquet(Path(name) / "a.parquet", [row])
        else:
            jsonl(Path(name) / "a.jsonl", [row])
        vote = read(Path(name))[0]
    assert (vote.context, vote.chosen, vote.rejected) == ((("user", question),), first, second)


CONVERSATIONS = st.integers(1, 3).flatmap(
    lambda turns: st.tuples(
        st.lists(st.sampled_from(["p", "q"]), min_size=turns, max_size=turns),
        *[st.lists(st.sampled_from(["x", "y", "z"]), min_size=turns, max_size=turns)] * 2,
    )
)


@given(CONVERSATIONS)
def test_nothing_is_lost_between_context_and_answers(drawn: tuple[list[str], list[str], list[str]]) -> None:
    """The context is shared, ends with the user, and is as long as it can be; the rest is the answer, whole."""
    asked, *answered = drawn
    a, b = (
        [turn for q, answer in zip(asked, answers, strict=True) for turn in (("user", q), ("assistant", answer))]
        for answers in answered
    )
    shared = shared_beginning(a, b)
    assert a[:shared] == b[:shared]
    assert a[shared - 1][0] == "user"
    assert shared == len(a) - 1 or a[shared] != b[shared]
    for whole in (a, b):
        told = transcript(whole[shared:])
        assert all(text in told for _, text in whole[shared:])


@settings(max_examples=20, deadline=None)
@given(st.randoms(use_true_random=False))
def test_the_sequence_of_rows_changes_nothing(chance: random.Random) -> None:
    rows = [single(question_id=f"q{n}", judge=f"j{n % 3}", winner=w) for n, w in enumerate(["model_a", "tie"] * 4)]
    rows.append(battle(said("Hi", ""), said("Hi", "x"), question_id="q9", judge="j9"))
    shuffled = chance.sample(rows, len(rows))
    results = []
    for order in (rows, shuffled):
        with tempfile.TemporaryDirectory() as name:
            parquet(Path(name) / "a.parquet", order)
            report = ReadReport()
            votes = read(Path(name), report)
        # The line is for messages; all else must be the same.
        found = sorted((vote.own_id, vote.user_id, vote.tie, vote.content_hash) for vote in votes)
        results.append((found, report.users, report.dropped, report.votes))
    assert results[0] == results[1]
