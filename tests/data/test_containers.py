"""Kinds of files, recognised by content: each kind gives the same votes, and one line says what is none."""

from __future__ import annotations

import bz2
import csv
import gzip
import io
import json
import lzma
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from personalrm.core.errors import DataError
from personalrm.data.sources.open import read_votes
from personalrm.data.sources.reading import OnBad, ReadReport
from personalrm.data.sources.votes import Vote

from .vote_rows import Row, row

ROWS = [row(f"u{n}", n, turn=n, timestamp=1_700_000_000 + n, conversation_id=f"c{n}") for n in range(5)]
LINES = "".join(f"{json.dumps(each)}\n" for each in ROWS).encode()
COLUMNS = list(ROWS[0])


def table(separator: str, rows: list[Row] = ROWS) -> bytes:
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, delimiter=separator)
    writer.writeheader()
    writer.writerows({**each, "context": f"question {n}"} for n, each in enumerate(rows))
    return text.getvalue().encode()


def parquet() -> bytes:
    sink = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(ROWS), sink)
    return sink.getvalue()


def arrow(opener: Callable[..., pa.RecordBatchWriter]) -> bytes:
    sink, rows = io.BytesIO(), pa.Table.from_pylist(ROWS)
    with opener(sink, rows.schema) as writer:
        writer.write_table(rows, max_chunksize=2)
    return sink.getvalue()


def zipped(files: dict[str, bytes]) -> bytes:
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return sink.getvalue()


def tarred() -> bytes:
    sink = io.BytesIO()
    with tarfile.open(fileobj=sink, mode="w") as archive:
        info = tarfile.TarInfo("votes.jsonl")
        info.size = len(LINES)
        archive.addfile(info, io.BytesIO(LINES))
    return sink.getvalue()


def locked() -> bytes:
    """A zip whose file is marked as encrypted, in its own header and in the list of files."""
    data = bytearray(zipped({"votes": LINES}))
    data[6] |= 1
    data[data.index(b"PK\x01\x02") + 8] |= 1
    return bytes(data)


def zstd(data: bytes) -> bytes:
    return bytes(pa.compress(data, "zstd", asbytes=True))


PLAIN = {
    "lines": LINES,
    "list": json.dumps(ROWS).encode(),
    "indented list": b"\xef\xbb\xbf \n" + json.dumps(ROWS, indent=1).encode() + b"\n",
    "csv": table(","),
    "csv with mark": b"\xef\xbb\xbf" + table(","),
    "semicolons": table(";"),
    "tsv": table("\t"),
    "parquet": parquet(),
}
WRAPPED: dict[str, Callable[[bytes], bytes]] = {
    "plain": lambda data: data,
    "gz": gzip.compress,
    "zst": zstd,
    "two frames of zst": lambda data: zstd(data[:50]) + zstd(data[50:]),
    "bz2": bz2.compress,
    "xz": lzma.compress,
    "zip": lambda data: zipped({"folder/votes": data, "__MACOSX/folder/._votes": b"x"}),
    "zip of gz": lambda data: zipped({"votes.gz": gzip.compress(data)}),
}


def votes(tmp_path: Path, data: bytes, name: str = "votes.data") -> list[Vote]:
    path = tmp_path / name
    path.write_bytes(data)
    return list(read_votes(path))


def content(found: list[Vote]) -> list[tuple[object, ...]]:
    return [(v.user_id, v.context, v.chosen, v.rejected, v.turn, v.timestamp, v.conversation_id) for v in found]


@pytest.mark.parametrize("wrapping", WRAPPED)
@pytest.mark.parametrize("kind", PLAIN)
def test_every_kind_of_file_gives_the_same_votes_whatever_its_name(tmp_path: Path, kind: str, wrapping: str) -> None:
    expected = content(votes(tmp_path, LINES))
    assert content(votes(tmp_path, WRAPPED[wrapping](PLAIN[kind]))) == expected


def test_cells_of_a_table_hold_what_pandas_and_people_write(tmp_path: Path) -> None:
    turns = [{"role": "system", "content": "Be kind."}, {"role": "user", "content": 'Say "hi",\nthen go.'}]
    rows = [row("007", context=turns, survey={"age": 3}, flip=True, tie=None), row("u2", context=turns, chosen="[{x")]
    for index, printed in ((False, [{**each, "context": json.dumps(turns)} for each in rows]), (True, rows)):
        frame = pd.DataFrame(printed)
        found = votes(tmp_path, frame.to_csv(index=index).encode())
        assert [vote.user_id for vote in found] == ["007", "u2"]
        assert found[0].context == (("system", "Be kind."), ("user", 'Say "hi",\nthen go.'))
        assert (found[0].survey, found[0].flip, found[1].chosen) == ({"age": "3"}, True, "[{x")


def test_a_line_of_a_table_is_named_by_where_it_begins(tmp_path: Path) -> None:
    data = b'user_id,context,chosen,rejected\nu1,"two\nlines",a,b\nu2,q,only three\nu3,q,,b\n'
    path = tmp_path / "votes.csv"
    path.write_bytes(data)
    report = ReadReport()
    assert [vote.line for vote in read_votes(path, on_bad="drop", report=report)] == [2]
    assert "line 4, user unknown: has 3 cells, but the table has 4 columns" in report.problems[0]
    assert "line 5, field chosen, user 'u3': is null" in report.problems[1]


@pytest.mark.parametrize(
    "cell", ['"cut', '"bad"\nu1,q,good,"cut', '"he said "no" to me"\n'], ids=["cut", "cut later", "quote inside"]
)
@pytest.mark.parametrize("on_bad", ["error", "drop"])
def test_a_quote_that_is_not_closed_is_an_error_and_no_shorter_answer(tmp_path: Path, cell: str, on_bad: OnBad) -> None:
    path = tmp_path / "votes.csv"
    path.write_text(f"user_id,context,chosen,rejected\nu1,q,good,{cell}", encoding="utf-8")
    line = 2 + cell[:-1].count("\n")
    with pytest.raises(DataError, match=rf"votes.csv, line {line}: the row is broken .*; double each quote"):
        list(read_votes(path, on_bad=on_bad))


def test_turns_that_numpy_printed_are_not_taken_for_a_question(tmp_path: Path) -> None:
    data = b"user_id,context,chosen,rejected\nu1,\"[{'role': 'user'}\n {'role': 'user'}]\",a,b\n"
    with pytest.raises(DataError, match=r"line 2, field context.*: begins like a list of turns, but is not JSON"):
        votes(tmp_path, data)


REFUSED: dict[str, tuple[bytes, str]] = {
    "utf16.csv": (table(",").decode().encode("utf-16"), "is UTF-16; save it as UTF-8"),
    "latin.csv": (table(",").replace(b"good", b"g\xf6\xf6d"), "is not UTF-8"),
    "latin.json": (json.dumps(ROWS).encode().replace(b"good", b"g\xf6\xf6d"), "is not UTF-8"),
    "file.arrow": (arrow(pa.ipc.new_file), "is an Arrow file; write Parquet"),
    "stream.arrow": (arrow(pa.ipc.new_stream), "is an Arrow stream, as datasets.save_to_disk writes; write Parquet"),
    "method.zip": (zipped({"a": LINES}).replace(b"\x08\0", b"\x63\0"), "broken compressed data"),
    "excel.xlsx": (zipped({"xl/workbook.xml": b"", "[Content_Types].xml": b""}), "is an Excel workbook"),
    "two.zip": (zipped({"a": b"x", "b": b"y"}), r"is a zip of 2 files \(a, b\), not of one"),
    "empty.zip": (zipped({"a/": b""}), "is a zip of 0 files, not of one"),
    "locked.zip": (locked(), "is a zip with a password; unpack it"),
    "archive.tar.gz": (gzip.compress(tarred()), "is a tar archive"),
    "page.jsonl": (b"<!DOCTYPE html><html>", "is HTML or XML"),
    "lfs.jsonl": (b"version https://git-lfs.github.com/spec/v1\noid sha256:0", "is a Git LFS pointer"),
    "pickle": (b"\x80\x04\x95\x00", "is a pickle"),
    "database": (b"SQLite format 3\0", "is an SQLite database"),
    "names.csv": (b"user_id,context,chosen,chosen\nu,q,a,b\n", "two columns are named 'chosen'; rename one"),
    "greeting.txt": (b"Dear all,\nthis is no table.\n", "is text, but no table and not JSON"),
    "letter.txt": (b"Dear all\nthis is no table.\n", "is text, but no table and not JSON; give JSON lines"),
    "noise": (b"\x01\x02\0\x03" * 100, "is binary, of a kind that is not known; give JSON lines"),
    "pretty.json": (json.dumps(ROWS[0], indent=2).encode(), "is a JSON object over several lines"),
    "cut.json": (json.dumps(ROWS).encode()[:300], r"vote 2: the list is not JSON from here on"),
    "after.json": (json.dumps(ROWS[:1]).encode() * 2, "more text stands after the JSON list"),
    "ends.json": (json.dumps(ROWS).encode()[:-1], "the JSON list is cut off after vote 5"),
    "comma.json": (b"[{} {}]", "the JSON list has no comma after vote 1"),
    "twice.json": (b'[{"chosen": 1, "chosen": 2}]', "vote 1: stands twice in one object"),
    "cut.zst": (zstd(LINES)[:-9], "cannot be read .Truncated compressed stream."),
    "cut.xz": (lzma.compress(LINES)[:-9], "broken compressed data.*truncated"),
    "cut.zip": (zipped({"a": LINES})[:-9], "broken compressed data"),
    "words.csv": (b"name,answer\nx,y\nz,w\n", "no line is a vote .2 have the same fault.; line 2, field user_id"),
    "repr.jsonl": (b"{'user_id': 'u1'}\n" * 30, "holds Python's dicts, not JSON; write each with json.dumps"),
    "broken.jsonl": (b'{"user_id": u1}\n' * 30, "no line is a vote .the first 20 have .*; line 1.* is not JSON"),
    "commas.jsonl": (LINES.replace(b"}\n", b"},\n"), "has commas between its objects; remove them, or put brackets"),
    "unmarked.jsonl": (LINES.decode().encode("utf-16-le"), "is UTF-16 without a byte-order mark; save it as UTF-8"),
    "unmarked.csv": (table(",").decode().encode("utf-16-be"), "is UTF-16 without a byte-order mark; save it as UTF-8"),
    "wrapped.json": (json.dumps({"n": 5, "data": ROWS}).encode(), "is one object, whose rows stand under 'data'"),
    "columns.json": (json.dumps({"user_id": {"0": "u"}, "chosen": {"0": "a"}}).encode(), "is a table by columns"),
    "lists.json": (json.dumps({"user_id": ["u"], "chosen": ["a"]}).encode(), "is a table by columns; write one vote"),
    "old.pickle": (b"\x80\x02]q", "is a pickle"),
    "packed.lz4": (b"\x04\x22\x4d\x18,junk", "is binary, of a kind that is not known"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_file_of_votes_is_named_in_one_line(tmp_path: Path, name: str) -> None:
    data, said = REFUSED[name]
    with pytest.raises(DataError, match=said) as caught:
        votes(tmp_path, data, name)
    message = str(caught.value)
    assert message.startswith(f"{tmp_path / name}")
    assert len(message.splitlines()) == 1


def test_lines_are_read_whatever_their_file_is_called_and_beside_hidden_files(tmp_path: Path) -> None:
    for name, data in (("votes.parquet", LINES), ("votes.zip", zipped({"d/.DS_Store": b"x", "d/v.jsonl": LINES}))):
        assert len(votes(tmp_path, data, name)) == len(ROWS)


def test_a_file_of_one_vote_may_have_lists_of_its_own(tmp_path: Path) -> None:
    row = json.dumps({"user_id": "u", "context": "q", "chosen": "a", "rejected": "b", "items": [{"n": 1}]})
    assert len(votes(tmp_path, row.encode())) == 1


def test_an_empty_list_and_an_empty_file_hold_no_vote(tmp_path: Path) -> None:
    for data in (b"", b" \n", b"[]", b"[ \n ]\n", b"user_id,context,chosen,rejected\n"):
        assert votes(tmp_path, data) == []
