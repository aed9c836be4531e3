"""Invented MT-bench-like votes, in the release's columns, and their files."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from personalrm.data.settings import MtBenchDataset
from personalrm.data.sources.open import read_source
from personalrm.data.sources.reading import ReadReport
from personalrm.data.sources.votes import Vote

Row = dict[str, object]

MESSAGES = pa.list_(pa.struct([("content", pa.string()), ("role", pa.string())]))
SCHEMA = pa.schema(
    [("question_id", pa.int64())]
    + [(name, pa.string()) for name in ("model_a", "model_b", "winner", "judge")]
    + [("conversation_a", MESSAGES), ("conversation_b", MESSAGES), ("turn", pa.int64())]
)


def said(*texts: object) -> list[Row]:
    return [{"content": text, "role": "user" if n % 2 == 0 else "assistant"} for n, text in enumerate(texts)]


def judgment(**changes: object) -> Row:
    """A row as released: both turns are there, whichever was judged."""
    return {
        "question_id": 81,
        "model_a": "larch-7b",
        "model_b": "rowan-13b",
        "winner": "model_a",
        "judge": "expert_1",
        "conversation_a": said("Name a tree.", "Larch.", "Why that?", "It is soft."),
        "conversation_b": said("Name a tree.", "Rowan.", "Why that?", "It is red."),
        "turn": 1,
    } | changes


def without(row: Row, *names: str) -> Row:
    return {name: value for name, value in row.items() if name not in names}


def parquet(path: Path, rows: Iterable[Row], schema: pa.Schema = SCHEMA) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(list(rows), schema=schema), path)
    return path


def jsonl(path: Path, rows: Iterable[Row]) -> Path:
    data = "".join(f"{json.dumps(row)}\n" for row in rows).encode()
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return path


def entry(path: Path, **changes: object) -> MtBenchDataset:
    return MtBenchDataset.model_validate({"name": "mtbench", "source": "mtbench", "path": path, **changes})


def read(path: Path, report: ReadReport | None = None, **changes: object) -> list[Vote]:
    return list(read_source(entry(path, **changes), ReadReport() if report is None else report))
