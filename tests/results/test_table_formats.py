"""Tables as files: four formats, equal bytes, and texts that cannot break out of their format."""

from __future__ import annotations

import csv
import re
from html.parser import HTMLParser
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.generated_verdicts import Cell, judged, judged_users, outage, quickstart_cells

from personalrm.core.records import write_records
from personalrm.results.scores import collect_calls, collect_verdicts
from personalrm.results.table_formats import Block, to_html, to_markdown, to_tex, write_table
from personalrm.results.tables.comparison_text import number, probability
from personalrm.results.tables.main_table import main_blocks, main_notes, main_table, read_main_table

NASTY = "<script>alert('x')</script> & 5 % of $x_1$ {a} \\b ~ ^ # \"q\" | *b* `c` [d] \n é 🎉"


class Texts(HTMLParser):
    """Tags and text of a page, and what every cell of its tables says."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.cells: list[str] = []
        self.links: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.links += [value or "" for name, value in attrs if name in ("src", "href")]
        if tag in ("td", "th"):
            self.cells.append("")

    def handle_data(self, data: str) -> None:
        if self.cells and self.tags[-1] in ("td", "th"):
            self.cells[-1] += data


@pytest.fixture
def table(tmp_path: Path) -> pd.DataFrame:
    rows = [row for cell in quickstart_cells() for row in judged_users(cell, [3, 2, 4])]
    rows += judged_users(Cell("oracle", 1), [3, 3], rule=outage)
    rows.append(judged(Cell("persona", 1, "j", "p", 2), "u", []))
    write_records(tmp_path / "rows", rows)
    paths = [tmp_path / "rows"]
    return main_table(collect_verdicts(paths), collect_calls(paths), seed=1, n_resamples=99)


def shown(table: pd.DataFrame, method: str) -> dict[str, str]:
    """The row of the first block whose method has this label."""
    texts = main_blocks(table)[0].texts
    return {str(k): v for k, v in texts[texts["Method"] == method].iloc[0].to_dict().items()}


def test_four_files_with_equal_bytes_each_time(tmp_path: Path, table: pd.DataFrame) -> None:
    written = []
    for folder in ("a", "b"):
        paths = write_table(
            table,
            tmp_path / folder / "main",
            caption="Main",
            notes=main_notes(table, "all"),
            blocks=main_blocks(table),
        )
        assert [path.name for path in paths] == ["main.csv", "main.md", "main.tex", "main.html"]
        written.append([path.read_bytes() for path in paths])
    assert written[0] == written[1]
    pd.testing.assert_frame_equal(read_main_table(tmp_path / "a" / "main.csv"), table)


def test_any_frame_can_be_written_without_blocks(tmp_path: Path) -> None:
    frame = pd.DataFrame({"name": ["a_b", "c"], "value": [1.5, None], "count": [12345, 2]})
    write_table(frame, tmp_path / "t", caption="T", notes=[])
    assert "| a\\_b | 1.50 | 12,345 |" in (tmp_path / "t.md").read_text(encoding="utf-8")
    assert r"c & -- & 2 \\" in (tmp_path / "t.tex").read_text(encoding="utf-8")
    assert (tmp_path / "t.csv").read_text(encoding="utf-8") == "name,value,count\na_b,1.5,12345\nc,,2\n"


def test_accuracy_reads_with_its_interval(table: pd.DataFrame) -> None:
    row = table[table["method"] == "random"].iloc[0]
    cells = shown(table, "Random")
    assert cells["Accuracy % [95 % CI]"] == f"{row.accuracy:.2f} [{row.ci_low:.1f}, {row.ci_high:.1f}]"
    half = (row.ci_high_independent - row.ci_low_independent) / 2
    assert cells["paper's CI"] == f"± {half:.2f}"
    assert cells["Judge"] == "–"


def test_outage_and_failure_are_marked_and_explained(table: pd.DataFrame) -> None:
    assert shown(table, "Oracle (planted taste)")["Accuracy % [95 % CI]"] == "no answers (!)"
    notes = " ".join(main_notes(table, "all"))
    assert "provider errors" in notes
    clean = table[table["method"] != "oracle"]
    assert "provider errors" not in " ".join(main_notes(clean, "all"))
    failed = main_blocks(table[table["judge_model"] == "j"])[0].texts.iloc[0]
    assert (failed["Judgments"], failed["Accuracy % [95 % CI]"]) == ("0", "–")


def test_a_lone_user_has_no_interval(tmp_path: Path) -> None:
    write_records(tmp_path / "rows", judged_users(Cell("default", 0.5), [3]))
    one = main_table(collect_verdicts([tmp_path / "rows"]), collect_calls([tmp_path / "rows"]), seed=0, n_resamples=9)
    assert shown(one, "Default")["Accuracy % [95 % CI]"].endswith(" [–]")


def test_what_all_rows_share_moves_to_a_note(table: pd.DataFrame) -> None:
    assert "Data set" not in main_blocks(table)[0].texts.columns
    assert "Data set of all rows: generated." in main_notes(table, "all")
    other = table.assign(dataset=["other", *table["dataset"][1:]])
    assert "Data set" in main_blocks(other)[0].texts.columns


def block(*texts: str) -> Block:
    return Block("Title " + NASTY, pd.DataFrame({"a" + NASTY: list(texts)}), 1)


def test_html_shows_what_it_is_given_and_runs_nothing() -> None:
    page = Texts(to_html([block(NASTY)], NASTY, [NASTY]))
    assert "script" not in page.tags
    assert page.links == []
    assert any(NASTY.split(maxsplit=1)[0] in cell for cell in page.cells)


UNESCAPED = re.compile(r"(?<!\\)[&%#_]")


@given(st.text(max_size=30))
def test_tex_holds_no_bare_special_character(text: str) -> None:
    source = to_tex([Block("", pd.DataFrame({"h": [text]}), 1)], "c", [], label="l")
    row = source.splitlines()[source.splitlines().index(r"\midrule") + 1].removesuffix(r" \\")
    assert not UNESCAPED.search(row)
    bare = re.sub(r"\\[{}]", "", row)
    assert bare.count("{") == bare.count("}")
    assert re.sub(r"\$\\[a-z]+\$|\\\$", "", row).count("$") == 0
    assert all(c.isascii() or "À" <= c <= "ÿ" for c in row)


def test_tex_names_known_signs_and_spells_out_the_rest() -> None:
    source = to_tex([Block("", pd.DataFrame({"h": ["± 4 – é 🎉 [x]", "*"]}), 1)], "50 %", [], label="l")
    assert r"$\pm$ 4 -- é {[}U+1F389{]} {[}x{]} \\" in source
    # A bare star after the end of a row would be taken for a part of the command, and be gone.
    assert "\n{*} \\\\\n" in source
    assert r"\caption{50 \%}" in source


@given(st.text(max_size=30))
def test_markdown_rows_keep_their_number_of_cells(text: str) -> None:
    frame = pd.DataFrame({"h": [text], "i": ["1"]})
    lines = to_markdown([Block("", frame, 1)], "c", []).split("\n")[2:-1]
    assert len(lines) == 3
    assert all(len(re.findall(r"(?<!\\)\|", re.sub(r"\\\\", "", line))) == 3 for line in lines)


def test_blocks_that_a_page_does_not_hold_go_on_in_further_floats() -> None:
    long = [Block(name, pd.DataFrame({"Name": [f"{name}{n}" for n in range(40)]}), 1) for name in "ABC"]
    tex = to_tex(long, "What it is", ["A note."], label="tab:long")
    parts = tex.split(r"\begin{table}")[1:]
    assert [part.count(r"\begin{tabular}") for part in parts] == [1, 1, 1]
    assert [r"\caption{What it is}" in part for part in parts] == [True, False, False]
    assert ["(continued)" in part for part in parts] == [False, True, True]
    assert ["A note." in part for part in parts] == [False, False, True]
    assert to_tex([long[0], Block("", long[1].texts.iloc[:22], 1)], "c", [], label="l").count(r"\begin{table}") == 1


def test_numbers_as_people_read_them() -> None:
    assert [probability(value) for value in (0.0004, 0.001, 0.0412, None)] == ["< 0.001", "0.001", "0.041", "–"]
    assert [number(value, "+.1f") for value in (3.14, -0.0, float("nan"))] == ["+3.1", "+0.0", "–"]


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ('=HYPERLINK("http://x/","y")', False),
        ("+49 171", False),
        ("+cmd|' /C calc'!A0", False),
        ("-2+3", False),
        ("@SUM(1)", False),
        ("\t=1", False),
        ("\uff1d1", False),
        ("+ours", True),
        ("-", True),
        ("", True),
        ("a=1", True),
    ],
)
def test_no_text_of_a_csv_is_a_formula(tmp_path: Path, text: str, kept: bool) -> None:
    frame = pd.DataFrame({"id": [text, None], "kind": pd.Categorical([text, None]), "n": [-1.5, 2.0], "i": [-1, 2]})
    write_table(frame, tmp_path / "t", caption="T")
    rows = list(csv.reader((tmp_path / "t.csv").open(encoding="utf-8", newline="")))
    shown = text if kept else f"'{text}"
    assert rows == [["id", "kind", "n", "i"], [shown, shown, "-1.5", "-1"], ["", "", "2.0", "2"]]
