"""JSON lines as Parquet: the same rows under the same numbers, good and bad, whatever stands in them."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.raw_prism import generate_raw_prism

from personalrm.core.errors import DataError
from personalrm.core.files import sha256_file
from personalrm.data.hub.hub import CHECKSUMS
from personalrm.data.hub.hub_parquet import check_parquet, convert_files, write_parquet
from personalrm.data.settings import HubSource, PrismDataset, parquet_of
from personalrm.data.sources.rows import LINE_COLUMNS, raw_rows
from personalrm.data.sources.votes import FieldError

from .prism_fixtures import read_settings


def without_nulls(value: object) -> object:
    """A value without fields that are null: a field that other rows have is null in a row that lacks it."""
    if isinstance(value, dict):
        return {name: without_nulls(inner) for name, inner in value.items() if inner is not None}
    return [without_nulls(inner) for inner in value] if isinstance(value, list) else value


def seen(path: Path) -> list[tuple[int, str]]:
    """Number of each row, and its values (with their types: JSON tells 1, 1.0 and true apart) or what is wrong."""
    found = []
    for raw in raw_rows(path):
        try:
            said = json.dumps(without_nulls(raw.parse()), sort_keys=True)
        except FieldError as error:
            said = f"{error.field}: {error}; {error.advice}"
        found.append((raw.number, said))
    return found


def converted(path: Path) -> Path:
    made = parquet_of(path)
    write_parquet(path, made)
    return made


LINES = [
    b'{"a": 1, "text": "caf\xc3\xa9 \xf0\x9f\x98\x80\\r\\n\\u0000", "list": [{"x": 1}, {"y": [1.5, null]}],'
    b' "n": null}\r\n',
    b'{"a": 2, "text": "half \\ud83d", "list": []}\n',
    b"\n",
    b'{"a": "3", "text": "number as text"}\n',
    b'{"a": 4.0, "text": "", "later": {"deep": {"deeper": true}}}\n',
    b'{"a": 99999999999999999999999}\n',
    b'{"a": 1, "a": 2}\n',
    b"not JSON \xff\n",
    b'{"a": NaN}\n',
    b"[]\n",
    b"{}\n",
    b'{"list": {}, "later": {}}\n',
    b'{"_line": "theirs", "_number": 7}\n',
    b'{"a": true, "text": "\xef\xbb\xbf"}\n',
    b'{"deep": ' + b"[" * 60 + b"]" * 60 + b"}\n",
    b'{"a": 5, "text": "cut off',
]


def test_every_line_by_hand(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    path.write_bytes(b"".join(LINES))
    made = converted(path)
    assert seen(made) == seen(path)
    table = pq.read_table(made)
    assert table.column_names[:3] == list(LINE_COLUMNS)
    assert set(table.column_names[3:]) == {"a", "text", "list", "n", "later", "deep"}
    kept = {row["_number"]: row["_line"] for row in table.to_pylist()}
    # What a column holds is in the column, and only the rest as its line.
    assert [number for number, line in kept.items() if line is None] == [1]
    assert kept[2] == LINES[1]
    assert table["text"][0].as_py() == "café 😀\r\n\x00"
    assert table["list"][0].as_py() == [{"x": 1, "y": None}, {"x": None, "y": [1.5, None]}]


NUMBERS = st.integers(-(2**70), 2**70) | st.floats(allow_nan=False, allow_infinity=False)
# Halves of surrogate pairs included.
TEXTS = st.text(st.characters(exclude_categories=()))
VALUES = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    max_leaves=6,
)
ROWS = st.dictionaries(st.sampled_from(["a", "b", "c", "_line"]), VALUES, max_size=4)


@settings(max_examples=80, deadline=None)
@given(st.lists(ROWS, min_size=1, max_size=6), st.booleans())
def test_any_rows_come_back(rows: list[dict[str, object]], ascii_only: bool) -> None:
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "x.jsonl"
        text = "".join(json.dumps(row, ensure_ascii=ascii_only) + "\n" for row in rows)
        path.write_bytes(text.encode("utf-8", "surrogatepass"))
        assert seen(converted(path)) == seen(path)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.text(st.characters(codec="utf-8"), max_size=20), min_size=1, max_size=8))
def test_texts_stand_in_columns_unaltered(texts: list[str]) -> None:
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "x.jsonl"
        path.write_text("".join(json.dumps({"t": {"u": [text]}}) + "\n" for text in texts), encoding="utf-8")
        table = pq.read_table(converted(path))
        assert table["_line"].null_count == len(texts)
        assert [row["t"]["u"][0] for row in table.to_pylist()] == texts


def test_equal_lines_give_equal_bytes_and_gzip_is_read(tmp_path: Path) -> None:
    import gzip

    plain, packed = tmp_path / "x.jsonl", tmp_path / "y.jsonl.gz"
    plain.write_bytes(LINES[0] * 600)
    packed.write_bytes(gzip.compress(LINES[0] * 600))
    assert converted(plain).read_bytes() == converted(packed).read_bytes()
    assert pq.ParquetFile(parquet_of(plain)).num_row_groups == 3


def test_a_truncated_file_is_no_parquet(tmp_path: Path) -> None:
    import gzip

    path = tmp_path / "x.jsonl.gz"
    path.write_bytes(gzip.compress(LINES[0] * 9)[:-20])
    with pytest.raises(DataError, match="the file is truncated"):
        converted(path)
    assert [each.name for each in tmp_path.iterdir()] == ["x.jsonl.gz"]


def test_damage_to_the_parquet_file_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    path.write_text("".join(json.dumps({"t": f"some text {n}"}) + "\n" for n in range(500)), encoding="utf-8")
    made = converted(path)
    raw = bytearray(made.read_bytes())
    raw[len(raw) // 3] ^= 0xFF
    made.write_bytes(bytes(raw))
    with pytest.raises(DataError, match=r"no sound Parquet file|cannot be read"):
        list(raw_rows(made))


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> HubSource:
    monkeypatch.chdir(tmp_path)
    made = HubSource(repo="some/set", revision="main", files=["a.jsonl", "data/b.parquet"])
    (made.folder / "data").mkdir(parents=True)
    (made.folder / "a.jsonl").write_bytes(LINES[0])
    (made.folder / "data/b.parquet").write_bytes(b"as released")
    return made


def sums(source: HubSource) -> dict[str, str]:
    return {name: sha256_file(source.folder / name) for name in source.files}


def test_files_are_made_once_and_again_where_the_source_differs(source: HubSource) -> None:
    with pytest.raises(DataError, match=r"a\.jsonl\.parquet is not there"):
        check_parquet("prism", source, sums(source))
    notes: list[str] = []
    convert_files("prism", source, notes.append)
    check_parquet("prism", source, sums(source))
    assert {path.name for path in source.folder.rglob("*") if path.is_file()} == {
        "a.jsonl",
        "a.jsonl.parquet",
        "b.parquet",
    }
    convert_files("prism", source, notes.append)
    assert len(notes) == 1
    (source.folder / "a.jsonl").write_bytes(LINES[0] * 2)
    with pytest.raises(DataError, match=r"or not made of a\.jsonl as it is"):
        check_parquet("prism", source, sums(source))
    convert_files("prism", source, notes.append)
    check_parquet("prism", source, sums(source))
    assert len(notes) == 2
    (source.folder / "a.jsonl.parquet").write_bytes(b"damaged")
    convert_files("prism", source, notes.append)
    assert len(list(raw_rows(source.folder / "a.jsonl.parquet"))) == 2
    assert CHECKSUMS not in {path.name for path in source.folder.iterdir()}


def test_prism_is_the_same_from_lines_and_from_parquet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    hub = HubSource(repo="some/prism", revision="main", files=["conversations.jsonl", "survey.jsonl"])
    generate_raw_prism(hub.folder, conversations=40)
    path = hub.folder / "conversations.jsonl"
    lines = path.read_text(encoding="utf-8").splitlines()
    bad = json.loads(lines[3])
    bad["conversation_history"][1]["score"] = "7"
    lines[3:4] = [json.dumps(bad), "no JSON", ""]
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    convert_files("prism", hub, str)
    entry = {"name": "prism", "source": "prism", "shards": 1, "on_bad": "drop"}
    from_lines, from_parquet = (
        read_settings(PrismDataset.model_validate(entry | place)) for place in ({"path": hub.folder}, {"hub": hub})
    )
    assert len(from_lines[0]) > 100
    assert from_parquet == from_lines
    assert from_parquet[1].problems[0].startswith("line 4, field conversation_history[1].score")
    assert from_parquet[1].problems[1].startswith("line 5, user unknown: is not JSON")
