"""Rows of the local vote format, for the tests of the data side."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import pytest

from personalrm.core.errors import DataError

Row = dict[str, object]


def row(user: object = "u1", number: int = 0, **changes: object) -> Row:
    """A good row; `changes` replace fields, and None-free removal is done by the caller with `without`."""
    base: Row = {
        "user_id": user,
        "context": [{"role": "user", "content": f"question {number}"}],
        "chosen": f"good answer {number}",
        "rejected": f"bad answer {number}",
    }
    return base | changes


def without(source: Mapping[str, object], *names: str) -> Row:
    return {name: value for name, value in source.items() if name not in names}


def write_rows(path: Path, rows: Iterable[object]) -> Path:
    """Write rows as JSON lines; a `str` is written as it stands."""
    lines = [item if isinstance(item, str) else json.dumps(item, ensure_ascii=False) for item in rows]
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8", newline="\n")
    return path


def assert_refused(path: Path, field: str, problem: str, read: Callable[[], object]) -> None:
    """Reading names the second line of the file, the field, the user and the problem."""
    with pytest.raises(DataError) as caught:
        read()
    message = str(caught.value)
    assert message.startswith(f"{path}, line 2, field {field}, user ")
    assert problem in message
