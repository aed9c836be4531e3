"""The table of users against numbers worked out by hand, and the page that sorts it."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pandas as pd
import pytest
from support.comparison_cases import default, frame_of, learned, row_of
from support.generated_verdicts import Cell, quickstart_cells, write_cells
from support.result_cases import made_twice

from personalrm.results.scores import collect_calls, collect_verdicts
from personalrm.results.sortable_page import sortable_page
from personalrm.results.table_formats import Block
from personalrm.results.tables.main_table import main_table
from personalrm.results.tables.users_table import (
    ROWS_IN_PRINT,
    USER_COLUMNS,
    print_note,
    users_blocks,
    users_notes,
    users_table,
    users_texts,
)


def test_counts_accuracy_and_difference_of_each_user(tmp_path: Path) -> None:
    cells = [(default(), {"u": "1010", "v": "0t"}), (learned(), {"u": "111.", "v": "10"})]
    table = users_table(frame_of(tmp_path, cells))
    assert list(table.columns) == list(USER_COLUMNS)
    assert list(zip(table["user_id"], table["method"], strict=True)) == [
        ("u", "default"),
        ("u", "both"),
        ("v", "default"),
        ("v", "both"),
    ]
    row = row_of(table, user_id="u", method="both")
    assert (row["n_pairs"], row["n_judgments"], row["n_draws"], row["accuracy"]) == (3, 3, 1, 100)
    # Default was right on two of the three that both have.
    assert (row["difference"], row["n_compared"]) == (pytest.approx(100 / 3, abs=1e-4), 3)
    row = row_of(table, user_id="v", method="default")
    assert (row["wrong"], row["tie"], row["correct"], row["accuracy"]) == (1, 1, 0, 0)
    assert pd.isna(row["difference"])
    assert row["n_compared"] == 0


def test_draws_are_averaged_as_in_the_main_table(tmp_path: Path) -> None:
    cells = [(default(), {"u": "0000"}), (learned(), {"u": ["1111", "10.."]})]
    row = row_of(users_table(frame_of(tmp_path, cells)), method="both")
    assert (row["accuracy"], row["n_judgments"], row["n_pairs"], row["n_draws"]) == (75, 6, 4, 2)
    assert (row["difference"], row["n_compared"]) == (75, 6)


def test_a_lone_user_has_the_accuracy_of_the_main_table(tmp_path: Path) -> None:
    paths = write_cells(tmp_path, [Cell("both", 0.6, "m", "m", 2, draws=3)], [7])
    frame = collect_verdicts(paths)
    main = main_table(frame, collect_calls(paths), seed=0, n_resamples=9)
    assert users_table(frame)["accuracy"].tolist() == main["accuracy"].tolist()


def test_missing_and_silent_users_stay_without_a_number(tmp_path: Path) -> None:
    cells = [(default(), {"u": "10", "v": "11", "w": "11"}), (learned(), {"u": "ee", "v": "", "w": "1e"})]
    table = users_table(frame_of(tmp_path, cells))
    silent, missing, spoilt = (row_of(table, user_id=user, method="both") for user in "uvw")
    assert (silent["status"], silent["outage"], silent["provider_error"]) == ("no answers", True, 2)
    assert (missing["status"], missing["outage"], missing["n_judgments"]) == ("no verdicts", False, 0)
    assert [row["n_pairs"] for row in (silent, missing, spoilt)] == [0, 0, 1]
    assert pd.isna([row[name] for row in (silent, missing) for name in ("accuracy", "difference")]).all()
    assert (spoilt["status"], spoilt["outage"], spoilt["accuracy"], spoilt["n_judgments"]) == ("ok", True, 100, 1)
    texts = users_texts(table).texts
    assert texts.loc[table["method"] == "both", "Accuracy %"].tolist() == [
        "no answers (!)",
        "no verdicts",
        "100.00 (!)",
    ]
    assert any("provider errors" in note for note in users_notes(table))


def test_provider_errors_only_on_one_side_give_no_difference(tmp_path: Path) -> None:
    table = users_table(frame_of(tmp_path, [(default(), {"u": "ee"}), (learned(), {"u": "11"})]))
    row = row_of(table, method="both")
    assert row["accuracy"] == 100
    assert pd.isna(row["difference"])


def test_print_holds_the_first_rows_and_says_where_the_rest_is(tmp_path: Path) -> None:
    said = {f"u{i:03d}": "10" for i in range(ROWS_IN_PRINT + 1)}
    table = users_table(frame_of(tmp_path, [(default(), said)]))
    assert len(users_blocks(users_texts(table))[0].texts) == ROWS_IN_PRINT
    assert any("users.csv" in note for note in print_note(table))
    assert print_note(table.head(ROWS_IN_PRINT)) == []


def test_no_model_and_default_stand_before_what_is_learned(tmp_path: Path) -> None:
    said = {"u": "1"}
    cells = [(learned(), said), (default(), said), (Cell("longer", 0.5, None, variant="baseline", dataset="d"), said)]
    table = users_table(frame_of(tmp_path, cells), model_order=["m"])
    assert table["method"].tolist() == ["longer", "default", "both"]


def test_no_verdicts_give_an_empty_table() -> None:
    table = users_table(collect_verdicts([]))
    assert list(table.columns) == list(USER_COLUMNS)
    assert users_texts(table).texts.empty


def test_the_page_holds_all_rows_and_runs_nothing_of_them() -> None:
    nasty = "</script><script>alert(1)</script>"
    page = sortable_page(Block("", pd.DataFrame({"User": [nasty], "Accuracy %": ["1.00"]}), 1), nasty, [nasty])
    assert page.count("<script") == page.count("</script>") == 2
    held = re.search(r'<script type="application/json" id="data">(.*?)</script>', page)
    assert held is not None
    assert json.loads(held[1]) == {"heads": ["User", "Accuracy %"], "names": 1, "rows": [[nasty, "1.00"]]}
    assert "http" not in page


def test_the_table_has_equal_bytes_each_time_and_all_rows(tmp_path: Path) -> None:
    frame = collect_verdicts(write_cells(tmp_path, quickstart_cells(), [2, 3, 1] * 4))
    csv = made_twice(tmp_path, "users", frame, {}, {"model_order": ["SmolLM2-135M"]})
    assert len(pd.read_csv(csv)) == 12 * len(quickstart_cells())
    assert csv.with_suffix(".html").read_text().count("SynthesizeMe: persona + demonstrations") == 12 * 4
    assert "users.csv" in csv.with_suffix(".tex").read_text()
