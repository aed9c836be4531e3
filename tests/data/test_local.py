from __future__ import annotations

import gzip
import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from personalrm.core.errors import DataError
from personalrm.data.sources import rows
from personalrm.data.sources.fields import FieldError
from personalrm.data.sources.open import read_votes
from personalrm.data.sources.reading import OnBad, ReadReport
from personalrm.data.sources.rows import read_rows
from personalrm.data.sources.votes import Vote, parse_vote

from .vote_rows import Row, row, without, write_rows

USER_TURN = {"role": "user", "content": "hi"}
LONE = '{"user_id": "u1", "context": [{"role": "user", "content": "q"}], "chosen": "x\\ud800y", "rejected": "r"}'

# (bad row or raw line, field named in the message, what the message must say)
BAD: list[tuple[Row | list[int] | str, str, str]] = [
    (without(row(), "user_id"), "user_id", "is missing"),
    (row(user=None), "user_id", "is null, not a string"),
    (row(user=True), "user_id", "is true, not a string"),
    (row(user=1.5), "user_id", "is 1.5, not a string"),
    (row(user=["a"]), "user_id", 'is ["a"], not a string'),
    (row(user=""), "user_id", "is empty or blank"),
    (row(user="  "), "user_id", "is empty or blank"),
    (without(row(), "context"), "context", "is missing"),
    (row(context=None), "context", "is null, not a list"),
    (row(context=7), "context", "is 7, not a list"),
    (row(context=" "), "context[0].content", "is empty or blank"),
    (row(context=[]), "context", "is [], not a list with something in it"),
    (row(context=["hi"]), "context[0]", "is 'hi', not an object"),
    (row(context=[{"content": "hi"}]), "context[0].role", "is missing"),
    (row(context=[{"role": "user"}]), "context[0].content", "is missing"),
    (row(context=[{"role": "user", "content": None}]), "context[0].content", "is null"),
    (row(context=[{"role": "user", "content": ["hi"]}]), "context[0].content", 'is ["hi"], not a string'),
    (row(context=[{"role": "user", "content": " \n\t"}]), "context[0].content", "is empty or blank"),
    (row(context=[{"role": "tool", "content": "x"}, USER_TURN]), "context[0].role", "is 'tool', a role unknown"),
    (row(context=[{"role": 3, "content": "x"}]), "context[0].role", "is 3, not a string"),
    (row(context=[USER_TURN, {"role": "model", "content": "x"}]), "context[1].role", "does not end with a turn"),
    (row(context=[{"role": "system", "content": "x"}]), "context[0].role", "does not end with a turn"),
    (without(row(), "chosen"), "chosen", "is missing"),
    (without(row(), "rejected"), "rejected", "is missing"),
    (without(row(), "chosen", "rejected"), "chosen", "is missing"),
    (row(flip="yes"), "flip", "is 'yes', not true or false"),
    (row(flip=1), "flip", "is 1, not true or false"),
    (row(user_split="dev"), "user_split", "is 'dev', not train, validation or test"),
    (row(chosen=""), "chosen", "is empty or blank"),
    (row(rejected=" \u3000\n"), "rejected", "is empty or blank"),
    (row(chosen=None), "chosen", "is null"),
    (row(chosen=7), "chosen", "is 7, not a string"),
    (row(chosen={"role": "user", "content": "x"}), "chosen.role", "an answer is the assistant's"),
    (row(chosen={"role": "assistant", "content": ""}), "chosen.content", "is empty or blank"),
    (row(chosen={"role": "assistant"}), "chosen.content", "is missing"),
    (row(rejected={"content": "x"}), "rejected.role", "is missing"),
    (row(winner="a"), "chosen", "stands next to"),
    (without(row(response_a="x", response_b="y"), "chosen", "rejected"), "winner", "is missing"),
    (without(row(response_a="x", winner="a"), "chosen", "rejected"), "response_b", "is missing"),
    (without(row(response_a="x", response_b="y", winner="C"), "chosen", "rejected"), "winner", "is 'C'"),
    (without(row(response_a="x", response_b="y", winner=[1]), "chosen", "rejected"), "winner", "is [1], not a, b"),
    (row(timestamp="yesterday"), "timestamp", "not a time"),
    (row(timestamp=True), "timestamp", "is true, not a time"),
    (row(timestamp=10**400), "timestamp", "not a time"),
    (json.dumps(row(timestamp=0)).replace('"timestamp": 0', '"timestamp": 1e999'), "timestamp", "is Infinity"),
    (row(turn=-1), "turn", "is -1, not a whole number from 0"),
    (row(turn="two"), "turn", "is 'two'"),
    (row(turn=True), "turn", "is true"),
    (row(conversation_id=""), "conversation_id", "is empty or blank"),
    (row(pair_id={"a": 1}), "pair_id", 'is {"a": 1}, not a string'),
    (row(survey=["x"]), "survey", 'is ["x"], not an object'),
    (row(survey={"age": [1]}), "survey.age", "is [1], which no string stands for"),
    (LONE, "chosen", "half of a surrogate pair (\\ud800, character 1)"),
    ('{"user_id": "u1", "chosen": "a", "chosen": "b"}', "chosen", "stands twice"),
    ('{"user_id": "u1", "timestamp": NaN}', "", "holds NaN, which is not JSON"),
    ('{"user_id": "u1", "turn": -Infinity}', "", "holds -Infinity"),
    ('{"user_id": "u1", "turn": ' + "1" * 5000 + "}", "", "is not JSON"),
    ("{'user_id': 'u1'}", "", "is not JSON"),
    ('{"user_id": "a\x00b"}', "", "is not JSON"),
    ([1, 2], "", "is not a JSON object"),
    ("[" * 100_000, "", "nested too deeply"),
]  # fmt: skip


@pytest.mark.parametrize(("bad", "field", "said"), BAD)
def test_bad_line_is_refused_with_file_line_field_and_reason(
    tmp_path: Path, bad: Row | list[int] | str, field: str, said: str
) -> None:
    path = write_rows(tmp_path / "votes.jsonl", [row(number=1), "", bad, row(number=2)])
    with pytest.raises(DataError) as caught:
        list(read_votes(path))
    message = str(caught.value)
    assert message.startswith(f"{path}, line 3")
    assert said in message
    assert (f", field {field}, user " in message) if field else ("field" not in message.split(", user ", maxsplit=1)[0])
    # What to do stands after the reason.
    assert len(message.rsplit("; ", 1)[1]) > 5


@pytest.mark.parametrize(("bad", "field", "said"), BAD)
def test_bad_line_is_dropped_and_counted_on_request(
    tmp_path: Path, bad: Row | list[int] | str, field: str, said: str
) -> None:
    path = write_rows(tmp_path / "votes.jsonl", [row(number=1), bad, row(number=2)])
    report = ReadReport()
    votes = list(read_votes(path, on_bad="drop", report=report))
    assert [vote.chosen for vote in votes] == ["good answer 1", "good answer 2"]
    assert (report.lines, report.votes, report.bad) == (3, 2, 1)
    assert said in report.problems[0]
    assert str(tmp_path) not in report.problems[0]


def test_the_user_is_named_where_known(tmp_path: Path) -> None:
    path = write_rows(tmp_path / "votes.jsonl", [row(user="ann", chosen=""), row(user="x" * 300, chosen="")])
    report = ReadReport()
    list(read_votes(path, on_bad="drop", report=report))
    assert "user 'ann':" in report.problems[0]
    assert "user 'xxx" in report.problems[1]
    assert len(report.problems[1]) < 200
    assert report.users == {"ann", "x" * 300}


def test_all_bad_lines_up_to_twenty_are_listed_at_once(tmp_path: Path) -> None:
    three = write_rows(tmp_path / "3.jsonl", [row(chosen="")] * 3 + [row()])
    with pytest.raises(DataError) as caught:
        list(read_votes(three))
    assert [line.split(",")[0] for line in str(caught.value).splitlines()[1:]] == ["line 1", "line 2", "line 3"]
    many = write_rows(tmp_path / "many.jsonl", [row(), *[row(chosen="")] * 50])
    with pytest.raises(DataError) as caught:
        list(read_votes(many))
    assert len(str(caught.value).splitlines()) == 21
    assert "the first 20" in str(caught.value)


def test_no_vote_is_yielded_after_a_bad_line(tmp_path: Path) -> None:
    path = write_rows(tmp_path / "votes.jsonl", [row(number=1), row(chosen=""), row(number=2)])
    got: list[Vote] = []
    with pytest.raises(DataError):
        got.extend(read_votes(path))
    votes = read_votes(path)
    assert next(votes).chosen == "good answer 1"
    with pytest.raises(DataError):
        next(votes)


def test_both_forms_and_all_optional_fields(tmp_path: Path) -> None:
    full = row(
        user=7, timestamp="2025-01-31T12:00:00+01:00", conversation_id=5, turn=0, pair_id="p",
        survey={"age": 35, "x": None, "ok": True},
        chosen={"role": "model", "content": "c"}, rejected={"role": "BOT", "content": "r"}, note="ignored",
    )  # fmt: skip
    voted = [without(row(response_a="A", response_b="B", winner=w), "chosen", "rejected") for w in ("a", "b", "tie")]
    path = write_rows(tmp_path / "votes.jsonl", [full, *voted])
    report = ReadReport()
    first, a, b, tie = read_votes(path, report=report)
    assert first.user_id == "7"
    assert first.timestamp == 1738321200.0
    assert (first.conversation_id, first.turn, first.pair_id, first.own_id) == ("5", 0, "p", "p")
    assert first.survey == {"age": "35", "ok": "true"}
    assert (first.chosen, first.rejected) == ("c", "r")
    assert [(v.chosen, v.rejected, v.tie) for v in (a, b, tie)] == [
        ("A", "B", False),
        ("B", "A", False),
        ("A", "B", True),
    ]
    assert report.ignored == {"note": 1}


@pytest.fixture
def _far_from_utc(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "XYZ-9")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.usefixtures("_far_from_utc")
def test_a_time_without_zone_is_utc() -> None:
    assert parse_vote(row(timestamp="2025-01-31T12:00:00")).timestamp == 1738324800.0
    assert parse_vote(row(timestamp="2025-01-31T12:00:00Z")).timestamp == 1738324800.0
    assert parse_vote(row(timestamp=1738324800)).timestamp == 1738324800.0


@pytest.mark.parametrize(
    ("role", "known"),
    [("model", "assistant"), ("bot", "assistant"), ("gpt", "assistant"), ("AI", "assistant"),
     ("Assistant", "assistant"),
     ("human", "user"), ("prompter", "user"), ("User", "user"), ("system", "system")],
)  # fmt: skip
def test_known_synonyms_of_roles(role: str, known: str) -> None:
    vote = parse_vote(row(context=[{"role": role, "content": "x"}, USER_TURN]))
    assert vote.context == ((known, "x"), ("user", "hi"))


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1).filter(str.strip))
def test_text_is_never_altered(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    path = tmp_path_factory.mktemp("raw") / "votes.jsonl"
    write_rows(path, [row(context=[{"role": "user", "content": text}], chosen=text, rejected=text + " ")])
    (vote,) = read_votes(path)
    assert (vote.context[0][1], vote.chosen, vote.rejected) == (text, text, text + " ")


@pytest.mark.parametrize("text", ["a\r\nb\rc", "nul\x00", "a\u2028b\u2029c\x85d", "\ufeffbom", " blank ", "🙂e\u0301"])
def test_awkward_text_is_kept_raw(tmp_path: Path, text: str) -> None:
    for ascii_only in (True, False):
        path = tmp_path / "votes.jsonl"
        path.write_bytes(json.dumps(row(chosen=text), ensure_ascii=ascii_only).encode() + b"\r\n")
        assert next(read_votes(path)).chosen == text


def test_long_answers_and_hostile_ids_work(tmp_path: Path) -> None:
    users = ["../../x", "a/b", "🙂", "x" * 300, "Aa", "aA", "a\x00b"]
    path = write_rows(tmp_path / "votes.jsonl", [row(user=user, chosen="y" * 200_000) for user in users])
    votes = list(read_votes(path))
    assert [vote.user_id for vote in votes] == users
    assert all(len(vote.chosen) == 200_000 for vote in votes)


def test_gzip_bom_and_missing_last_line_end_work(tmp_path: Path) -> None:
    raw = b"\xef\xbb\xbf" + json.dumps(row()).encode() + b"\n\n  \n" + json.dumps(row(number=1)).encode()
    for path, data in ((tmp_path / "a.jsonl", raw), (tmp_path / "a.jsonl.gz", gzip.compress(raw))):
        path.write_bytes(data)
        assert [vote.line for vote in read_votes(path)] == [1, 4]


@pytest.mark.parametrize("on_bad", ["error", "drop"])
def test_files_that_cannot_be_read_to_their_end(tmp_path: Path, on_bad: OnBad) -> None:
    whole = gzip.compress("".join(json.dumps(row(number=n)) + "\n" for n in range(2000)).encode())
    broken = bytearray(whole)
    broken[len(whole) // 2] ^= 0xFF
    cases = {
        "cut.jsonl.gz": (whole[: len(whole) // 2], "the file is truncated"),
        "cut_tail.jsonl.gz": (whole[:-4], "the file is truncated"),
        "flipped.jsonl.gz": (bytes(broken), "broken gzip data" if on_bad == "drop" else "is not JSON|broken gzip data"),
        "plain.jsonl.gz": (b"{}\n", "is named .gz but is not gzip"),
        "empty.jsonl.gz": (b"", "is named .gz but is not gzip"),
        "utf16.jsonl": (json.dumps(row()).encode("utf-16"), "UTF-16"),
    }
    for name, (data, said) in cases.items():
        (tmp_path / name).write_bytes(data)
        with pytest.raises(DataError, match=said) as caught:
            list(read_votes(tmp_path / name, on_bad=on_bad))
        assert name in str(caught.value)
    with pytest.raises(DataError, match="cannot be read"):
        list(read_votes(tmp_path / "absent.jsonl", on_bad=on_bad))
    with pytest.raises(DataError, match="cannot be read"):
        list(read_votes(tmp_path, on_bad=on_bad))


def test_truncated_last_line_says_so(tmp_path: Path) -> None:
    path = tmp_path / "votes.jsonl"
    path.write_text(json.dumps(row()) + "\n" + json.dumps(row())[:60], encoding="utf-8")
    with pytest.raises(DataError, match=r"line 2, user unknown: .*may be truncated"):
        list(read_votes(path))


def test_non_utf8_names_line_and_bytes(tmp_path: Path) -> None:
    first = json.dumps(row()).encode() + b"\n"
    second = json.dumps(row(chosen="caf#")).encode().replace(b"#", b"\xe9") + b"\n"
    path = tmp_path / "votes.jsonl"
    path.write_bytes(first + second)
    at = second.index(b"\xe9")
    with pytest.raises(DataError, match=rf"line 2.*byte {at} of the line, {len(first) + at} of the file, is 0xe9"):
        list(read_votes(path))


def test_bytes_are_counted_from_the_beginning_of_the_file_mark_included(tmp_path: Path) -> None:
    path = tmp_path / "votes.jsonl"
    path.write_bytes(b'\xef\xbb\xbf{"a": "\xe9"}\n')
    with pytest.raises(DataError, match="byte 7 of the line, 10 of the file, is 0xe9"):
        list(read_votes(path))


def test_a_file_without_line_ends_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rows, "MAX_LINE_BYTES", 1000)
    path = write_rows(tmp_path / "votes.jsonl", ["{" + "x" * 2000])
    with pytest.raises(DataError, match="one vote per line"):
        list(read_votes(path))


def test_read_rows_is_strict_unless_told_otherwise(tmp_path: Path) -> None:
    path = write_rows(tmp_path / "any.jsonl", [{"a": 1}, "oops", {"a": 2}])
    assert list(read_rows(path, skip_bad=True)) == [{"a": 1}, {"a": 2}]
    with pytest.raises(DataError, match="line 2"):
        list(read_rows(path))


def test_ids_depend_on_user_and_content_alone() -> None:
    vote, again = parse_vote(row(), line=1), parse_vote(row(conversation_id="c", timestamp=3, turn=1), line=9)
    other = parse_vote(row(user="u2"))
    assert vote.own_id == again.own_id
    assert len(vote.own_id) == 16
    assert vote.own_id != other.own_id
    assert vote.content_hash == other.content_hash
    assert vote.own_id != parse_vote(row(chosen=vote.rejected, rejected=vote.chosen)).own_id


def test_the_first_fault_of_a_row_is_raised() -> None:
    with pytest.raises(FieldError) as caught:
        parse_vote(row(user="", chosen=""))
    assert caught.value.field == "user_id"
