"""Rows in the columns of the authors' processed sets, all invented, and how to write and read them."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from personalrm.data.settings import ProcessedDataset
from personalrm.data.sources.processed import read_processed
from personalrm.data.sources.reading import ReadReport
from personalrm.data.sources.votes import Vote

Row = dict[str, object]
GEMINI = "gemini/gemini-1.5-pro"


def message(content: object, role: str = "model") -> Row:
    return {"content": content, "role": role}


def pair_row(user: object = "user7", number: object = 0, **changes: object) -> Row:
    return {
        "conversation_id": f"c{number}",
        "user_id": user,
        "context": [message("Hi", "user"), message("Hello!"), message(f"And {number}?", "user")],
        "chosen": message(f"yes {number}"),
        "rejected": message(f"no {number}"),
        "chosen_score": 90,
        "rejected_score": 12,
        "turns": 1,
        "type": "unguided",
        "dataset": "prism",
        "split": "train",
        "flip": True,
        "personalizable_query": 4,
        "query_reasoning": "a matter of taste",
        f"prediction_{GEMINI}": "First",
        f"prediction_flip_{GEMINI}": None,
        "agreement": 0.6,
    } | changes


def write(path: Path, rows: Iterable[Row]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(list(rows)), path)
    return path


def read(folder: Path, report: ReadReport | None = None, **changes: object) -> list[Vote]:
    entry = ProcessedDataset.model_validate(
        {"name": "prb", "source": "personalrewardbench", "path": folder, **changes},
    )
    return list(read_processed(entry, ReadReport() if report is None else report))


def shard(part: str) -> str:
    return f"data/{part}-00000-of-00001.parquet"
