"""Typed columns: a frame and the same frame read from its csv."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from personalrm.results.columns import Columns

COLUMNS = Columns(("name", "n", "share", "spoilt"), texts=("name",), whole=("n",), flags=("spoilt",))


def test_a_frame_is_the_same_when_it_is_read_again(tmp_path: Path) -> None:
    rows = [
        {"spoilt": True, "name": "NA", "n": 2**60, "share": 0.5},
        {"spoilt": False, "name": "1e5", "n": None},
        {"spoilt": False, "name": "", "share": float("nan"), "n": 0},
    ]
    frame = COLUMNS.frame(rows)
    assert tuple(frame.columns) == COLUMNS
    assert [str(kind) for kind in frame.dtypes] == ["str", "Int64", "float64", "bool"]
    assert frame["n"].tolist() == [2**60, pd.NA, 0]
    frame.to_csv(tmp_path / "t.csv", index=False)
    pd.testing.assert_frame_equal(COLUMNS.read(tmp_path / "t.csv"), frame)
    COLUMNS.frame([]).to_csv(tmp_path / "t.csv", index=False)
    pd.testing.assert_frame_equal(COLUMNS.read(tmp_path / "t.csv"), COLUMNS.frame([]))


def test_a_type_of_no_column_is_refused() -> None:
    with pytest.raises(ValueError, match="no such columns: b, c"):
        Columns(("a",), whole=("a",), flags=("a",), texts=("b", "c"))
