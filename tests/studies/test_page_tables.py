"""Tables of the report: read from the files that the run has, without columns that say one thing."""

from __future__ import annotations

import html
from pathlib import Path

import pandas as pd
import pytest

from personalrm.core.errors import DataError
from personalrm.results.html_tables import column_kinds
from personalrm.results.sortable_page import sortable_page
from personalrm.results.table_formats import Block, write_table
from personalrm.studies.report import page_tables
from personalrm.studies.report.page_tables import PageTable, read_table_file, without_constants

HOSTILE = '<b>&amp; "x" </script>\''


def table(*rows: str, n_names: int = 2) -> PageTable:
    cells = [row.split() for row in rows]
    return PageTable("", [f"h{place}" for place in range(len(cells[0]))], cells, n_names)


def test_columns_that_say_one_thing_are_taken_out_and_told() -> None:
    found = without_constants(table("m a 4 1,000 50.0 – x", "m b 4 1,000 50.0 – y"))
    # The first column names the row, and 50.0 is measured: both stay.
    assert found.heads == ["h0", "h1", "h4", "h6"]
    assert found.rows == [["m", "a", "50.0", "x"], ["m", "b", "50.0", "y"]]
    assert found.same == [("h2", "4"), ("h3", "1,000"), ("h5", "–")]
    assert found.n_names == 2
    named = without_constants(table("a m m 1", "b m m 2", n_names=3))
    assert (named.heads, named.n_names, named.same) == (["h0", "h3"], 1, [("h1", "m"), ("h2", "m")])


def test_one_row_keeps_all_columns() -> None:
    assert without_constants(table("a b 4")).heads == ["h0", "h1", "h2"]


def test_a_column_of_long_texts_is_no_column_of_numbers() -> None:
    long = "x" * 33
    rows = table(f"a b 93.8[65.8,100.0](!~) {long}", "a b 1 –").rows
    assert column_kinds(rows, 2) == ["name", "name", "number", "long"]


def test_texts_blocks_and_notes_are_those_that_were_written(tmp_path: Path) -> None:
    frame = pd.DataFrame({HOSTILE: [HOSTILE, "b"], "n": ["1", "2"]})
    blocks = [Block("One", frame, 1), Block("", frame.assign(m=["3", "4"]), 2)]
    write_table(frame, tmp_path / "t", caption=HOSTILE, notes=[HOSTILE, "second"], blocks=blocks)
    found = read_table_file(tmp_path / "t.html")
    assert (found.title, list(found.notes), found.n_rows) == (HOSTILE, [HOSTILE, "second"], 0)
    assert [(one.title, one.n_names) for one in found.tables] == [("One", 1), ("", 2)]
    assert found.tables[0].heads == [HOSTILE, "n"]
    assert found.tables[0].rows == [[HOSTILE, "1"], ["b", "2"]]
    assert f'aria-label="{html.escape(HOSTILE)}: One"' in (tmp_path / "t.html").read_text(encoding="utf-8")


@pytest.mark.parametrize("most", [2, 1])
def test_a_table_that_draws_itself_is_shown_while_it_is_short(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, most: int
) -> None:
    monkeypatch.setattr(page_tables, "MOST_ROWS", most)
    frame = pd.DataFrame({"User": [HOSTILE, "b"], "n": ["1", "2"]})
    page = sortable_page(Block("", frame, 1), "All", ["note"])
    write_table(frame, tmp_path / "t", caption="All", page=page)
    found = read_table_file(tmp_path / "t.html")
    assert (found.title, list(found.notes)) == ("All", ["note"])
    assert [list(one.rows) for one in found.tables] == ([[[HOSTILE, "1"], ["b", "2"]]] if most == 2 else [])
    assert found.n_rows == (0 if most == 2 else 2)


@pytest.mark.parametrize(
    "text", ["", "<h1>Title</h1>", '<h1>a</h1><table class="gt_table"><thead><tr><th>a</th></tr></thead></table>']
)
def test_a_page_of_another_program_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "t.html").write_text(text)
    with pytest.raises(DataError, match=r"t\.html: not a table that this version wrote"):
        read_table_file(tmp_path / "t.html")
