"""Verdict files made flat: what is in the frames, and that order and repetition do not matter."""

from __future__ import annotations

import math
from pathlib import Path

import pandas as pd
import pytest
from support.generated_verdicts import Cell, judged, quickstart_cells, write_cells

from personalrm.core.errors import DataError
from personalrm.core.records import CallRef, JudgedUser, Verdict, write_records
from personalrm.results.scores import (
    CALL_COLUMNS,
    VERDICT_COLUMNS,
    collect_calls,
    collect_verdicts,
    read_frame,
    write_frame,
)

RIGHT = Verdict(pair_id="p1", swapped=False, outcome="correct", said="first", log_odds=0.5, reasoned=True)
RIGHT = RIGHT.model_copy(update={"shots": 7, "shots_dropped": 1})
FLIPPED = Verdict(pair_id="p1", swapped=True, outcome="tie")
TOGETHER = Verdict(pair_id="p1", swapped=None, outcome="wrong", log_odds=-0.25)


def written(folder: Path, *rows: JudgedUser, name: str = "rows.jsonl") -> Path:
    write_records(folder / name, rows)
    return folder / name


def texts(column: pd.Series) -> list[object]:
    return [None if pd.isna(value) else value for value in column.astype(object)]


def test_one_row_a_judgment_with_all_that_names_it(tmp_path: Path) -> None:
    cell = Cell("both", 0.5, "judge", "profile", "all")
    frame = collect_verdicts([written(tmp_path, judged(cell, "../u", [FLIPPED, RIGHT], draw=3))])
    assert tuple(frame.columns) == VERDICT_COLUMNS
    first = frame.iloc[0].to_dict()
    assert first == {
        "dataset": "generated",
        "method": "both",
        "pairs": "test",
        "verdict": "text",
        "variant_base": "corrected",
        "repair": "-",
        "theta": "-",
        "persona_format": "text",
        "profile_model": "profile",
        "judge_model": "judge",
        "k": "all",
        "draw": 3,
        "user_id": "../u",
        "status": "ok",
        "profile_lost": 0,
        "pair_id": "p1",
        "swapped": False,
        "outcome": "correct",
        "said": "first",
        "log_odds": 0.5,
        "reasoned": True,
        "flipped": None,
        "cut": False,
        "shots": 7,
        "shots_dropped": 1,
    }
    second = frame.iloc[1]
    assert all(pd.isna(second[name]) for name in ("reasoned", "shots", "shots_dropped"))
    assert (bool(second["swapped"]), second["outcome"]) == (True, "tie")
    assert math.isnan(second["log_odds"])


def test_what_a_method_does_not_use_is_a_dash_and_both_orders_have_no_order(tmp_path: Path) -> None:
    frame = collect_verdicts([written(tmp_path, judged(Cell("longer", 0.5, None), "u", [TOGETHER]))])
    row = frame.iloc[0]
    assert (row["profile_model"], row["judge_model"], row["k"]) == ("-", "-", "-")
    assert texts(frame["swapped"]) == [None]
    assert texts(frame["said"]) == [None]


def test_a_user_without_verdicts_stays_visible(tmp_path: Path) -> None:
    frame = collect_verdicts([written(tmp_path, judged(Cell("both", 0.5, "j", "p", 2), "u", []))])
    assert len(frame) == 1
    assert texts(frame["pair_id"]) == [None]
    assert texts(frame["outcome"]) == [None]
    assert texts(frame["status"]) == ["failed"]


def test_what_is_missing_stands_first(tmp_path: Path) -> None:
    cell = Cell("both", 0.5, "j", "p", 2)
    rows = [judged(cell, "u", [RIGHT, TOGETHER]), judged(cell, "v", [])]
    frame = collect_verdicts([written(tmp_path, *rows)])
    assert texts(frame["swapped"]) == [None, False, None]
    assert texts(frame["pair_id"]) == ["p1", "p1", None]


def test_k_sorts_by_number_with_all_last(tmp_path: Path) -> None:
    cells = [Cell("both", 0.5, "j", "p", k) for k in ("all", 10, 2, None)]
    paths = [written(tmp_path, judged(cell, "u", [RIGHT]), name=f"{n}.jsonl") for n, cell in enumerate(cells)]
    assert list(collect_verdicts(paths)["k"]) == ["-", "2", "10", "all"]


def test_bytes_depend_neither_on_file_order_nor_on_row_order(tmp_path: Path) -> None:
    paths = write_cells(tmp_path / "a", quickstart_cells(), [3, 1, 2])
    turned = []
    for path in reversed(paths):
        lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
        turned.append(tmp_path / "b" / path.name)
        turned[-1].parent.mkdir(exist_ok=True)
        turned[-1].write_text("".join(reversed(lines)), encoding="utf-8")
    for collect in (collect_verdicts, collect_calls):
        write_frame(collect(paths), tmp_path / "one.parquet")
        write_frame(collect(turned), tmp_path / "two.parquet")
        assert (tmp_path / "one.parquet").read_bytes() == (tmp_path / "two.parquet").read_bytes()


def test_frames_survive_the_file(tmp_path: Path) -> None:
    paths = write_cells(tmp_path, quickstart_cells(), [2, 2])
    paths.append(written(tmp_path, judged(Cell("both.logprob_both", 0.5), "u", [TOGETHER])))
    frame = collect_verdicts(paths)
    write_frame(frame, tmp_path / "frame.parquet")
    again = read_frame(tmp_path / "frame.parquet")
    assert tuple(again.columns) == VERDICT_COLUMNS
    for column in VERDICT_COLUMNS:
        assert texts(again[column]) == texts(frame[column]), column


def test_the_same_judgment_twice_is_refused(tmp_path: Path) -> None:
    row = judged(Cell("both", 0.5, "j", "p", 2), "u7", [RIGHT])
    paths = [written(tmp_path, row, name="a.jsonl"), written(tmp_path, row, name="b.jsonl")]
    with pytest.raises(DataError, match=r"more than once.*user_id u7.*pair_id p1"):
        collect_verdicts(paths)


def test_a_file_of_another_kind_is_refused_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    path.write_text('{"schema_version": 1}\n', encoding="utf-8")
    with pytest.raises(DataError, match=r"x\.jsonl, line 1"):
        collect_verdicts([path])


def calls_row(method: str, user: str, *calls: CallRef) -> JudgedUser:
    return judged(Cell(method, 0.5, "j", "p", "all"), user, [RIGHT]).model_copy(update={"calls": calls})


def test_a_call_counts_once_a_row_however_many_users_share_it(tmp_path: Path) -> None:
    shared = CallRef(key="a", stage="persona", tokens_in=10, tokens_out=2, cost_usd=0.5)
    own = CallRef(key="b", stage="judge", tokens_in=7, tokens_out=1)
    path = written(
        tmp_path,
        calls_row("both", "u", shared, own, own),
        calls_row("both", "v", shared),
        calls_row("persona", "u", shared),
    )
    frame = collect_calls([path])
    assert tuple(frame.columns) == CALL_COLUMNS
    assert list(zip(frame["method"], frame["key"], strict=True)) == [
        ("both", "a"),
        ("both", "b"),
        ("persona", "a"),
    ]
    assert frame["tokens_in"].tolist() == [10, 7, 10]
    assert math.isnan(frame["cost_usd"][1])


def test_texts_that_no_row_has_are_texts_in_the_file(tmp_path: Path) -> None:
    cell = Cell("default", 0.5, "judge")
    lost = RIGHT.model_copy(update={"outcome": "provider_error", "said": None})
    for rows in ([judged(cell, "u", [lost])], [judged(cell, "u", [])]):
        write_frame(collect_verdicts([written(tmp_path, *rows)]), tmp_path / "frame.parquet")
        frame = read_frame(tmp_path / "frame.parquet")
        assert {str(frame[name].dtype) for name in ("said", "pair_id", "outcome")} == {"category"}
        assert frame["said"].isna().all()


def test_a_response_with_a_price_in_one_file_only_keeps_the_price(tmp_path: Path) -> None:
    priced = CallRef(key="a", stage="judge", tokens_in=10, tokens_out=2, cost_usd=0.5)
    unpriced = priced.model_copy(update={"cost_usd": None})
    cell = Cell("default", 0.5, "judge")
    for refs in ((priced, unpriced), (unpriced, priced)):
        rows = [
            judged(cell, user, [RIGHT]).model_copy(update={"calls": (ref,)})
            for user, ref in zip("uv", refs, strict=True)
        ]
        assert collect_calls([written(tmp_path, *rows)])["cost_usd"].tolist() == [0.5]


def test_no_files_give_empty_frames(tmp_path: Path) -> None:
    for collect, columns in ((collect_verdicts, VERDICT_COLUMNS), (collect_calls, CALL_COLUMNS)):
        frame = collect([])
        assert len(frame) == 0
        write_frame(frame, tmp_path / "empty.parquet")
        assert tuple(read_frame(tmp_path / "empty.parquet").columns) == columns
