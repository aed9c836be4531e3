"""The main figure: what is drawn where, equal bytes, and files that need nothing else."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from matplotlib.text import Text
from support.comparison_cases import assert_readable
from support.generated_verdicts import LEARNED_FROM, Cell, judged, judged_users, outage, paper_cells, quickstart_cells

from personalrm.core.records import JudgedUser, write_records
from personalrm.results.figure_style import limits, save_figure
from personalrm.results.figures.main_figure import layout_of, main_caption, main_figure, points_of
from personalrm.results.scores import collect_calls, collect_verdicts
from personalrm.results.tables.main_table import main_table


def tabled(folder: Path, rows: list[JudgedUser]) -> pd.DataFrame:
    path = folder / "rows.jsonl"
    write_records(path, rows)
    return main_table(collect_verdicts([path]), collect_calls([path]), seed=1, n_resamples=99)


def rows_of(cells: list[Cell], sizes: tuple[int, ...] = (3, 4, 2)) -> list[JudgedUser]:
    return [row for cell in cells for row in judged_users(cell, sizes)]


def said(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.findobj(Text) if isinstance(text, Text)]


@pytest.fixture
def quickstart(tmp_path: Path) -> pd.DataFrame:
    return tabled(tmp_path, rows_of(quickstart_cells()))


def test_a_panel_a_data_set_and_a_line_a_row(tmp_path: Path) -> None:
    table = tabled(tmp_path, rows_of(paper_cells()))
    figure = main_figure(table)
    assert len(figure.axes) == 2
    layout = layout_of(points_of(table))
    assert len(layout.heights) == len(table) / 2
    assert len(set(layout.heights.values())) == len(layout.heights)
    assert {"chatbot_arena", "prism", "chance 50"} <= set(said(figure))


def test_every_row_is_drawn_at_its_accuracy_with_both_intervals(quickstart: pd.DataFrame) -> None:
    axes = main_figure(quickstart).axes[0]
    drawn = {tuple(np.asarray(line.get_xdata()).tolist()) for line in axes.get_lines()}
    for row in quickstart.itertuples():
        assert (row.accuracy,) in drawn
        assert (row.ci_low, row.ci_high) in drawn
        assert (row.ci_low_independent, row.ci_high_independent) in drawn


def test_reference_lines_stand_at_chance_and_at_the_longer_answer(quickstart: pd.DataFrame) -> None:
    figure = main_figure(quickstart)
    longer = quickstart.loc[quickstart["method"] == "longer", "accuracy"].iloc[0]
    styles = {line.get_linestyle(): np.asarray(line.get_xdata()).tolist() for line in figure.axes[0].get_lines()}
    assert styles["--"] == [50, 50]
    assert styles[":"] == [longer, longer]
    assert f"longer answer {longer:.1f}" in said(figure)
    without = main_figure(quickstart[quickstart["method"] != "longer"])
    assert not any("longer" in text.lower() for text in said(without))


def test_k_stands_at_each_row_or_once_for_all(quickstart: pd.DataFrame) -> None:
    texts = said(main_figure(quickstart))
    assert sum(text.endswith(" · k = 2") for text in texts) == sum(text.endswith(" · k = all") for text in texts) == 6
    one = said(main_figure(quickstart[quickstart["k"] != "2"], title_note="a note"))
    assert not any("k = all" in text for text in one if "context pairs" not in text)
    assert "generated · variant corrected · log-prob, each order · k = all context pairs · a note" in one


def test_the_judge_stands_at_each_row_or_once_for_all(quickstart: pd.DataFrame) -> None:
    texts = said(main_figure(quickstart))
    assert sum(text.startswith("SmolLM2-135M") for text in texts) == 7
    assert sum(text.startswith("Qwen2.5-0.5B ← SmolLM2-135M") for text in texts) == 6
    assert "judge ← model that wrote the profiles" in texts
    one = said(main_figure(quickstart[quickstart["judge_model"] != "Qwen2.5-0.5B"]))
    assert any(" · SmolLM2-135M judges · " in text for text in one)
    assert not any("←" in text for text in one)


def test_the_variant_stands_once_or_in_the_legend(quickstart: pd.DataFrame) -> None:
    both = quickstart.assign(variant=["-", "-", *["corrected", "as_published"] * 7])
    texts = said(main_figure(both))
    assert {"SmolLM2-135M · as_published · k = all", "SmolLM2-135M · corrected · k = 2"} <= set(texts)
    assert {"Random", "Longer answer"} <= set(texts)
    assert not any("variant" in text for text in texts)
    one = quickstart.assign(variant=["-", "-", *["corrected"] * 14])
    assert any("variant corrected" in text for text in said(main_figure(one)))


def test_missing_rows_and_outages_say_so(tmp_path: Path) -> None:
    rows = rows_of([Cell("default", 0.6), Cell("default", 0.6, dataset="other")])
    rows += judged_users(Cell("history", 0.6), [3, 3], rule=outage)
    rows.append(judged(Cell("persona", 0.6), "u", []))
    table = tabled(tmp_path, rows)
    texts = said(main_figure(table))
    assert texts.count("no result") == texts.count("no answers") == 1
    assert texts.count("not run") == 2
    assert "Not a result" in main_caption(table)
    table["provider_error"] = 1
    assert any(text.endswith(" (!)") for text in said(main_figure(table)))


def test_a_row_that_does_not_apply_says_so_in_the_figure_and_its_caption(tmp_path: Path) -> None:
    rows = rows_of([Cell("default", 0.6), Cell("default", 0.6, dataset="other"), Cell("demographics", 0.6)])
    exempt = Cell("demographics", 0.6, dataset="other")
    rows += [judged(exempt, user, []).model_copy(update={"status": "not_applicable"}) for user in "uv"]
    table = tabled(tmp_path, rows)
    texts = said(main_figure(table))
    assert texts.count("not applicable") == 1
    assert "no result" not in texts
    lone = judged(Cell("criteria", 0.6, "j", "j", 0), "u", []).model_copy(update={"status": "not_applicable"})
    assert_readable(main_figure(tabled(tmp_path, [*rows_of([Cell("both", 0.6, "j", "j", 0)]), lone])))
    for k in LEARNED_FROM:
        rows += rows_of([Cell("both", 0.6, "j", "j", k, dataset=dataset) for dataset in ("generated", "other")])
        exempt = Cell("criteria", 0.6, "j", "j", k, dataset="other")
        rows += [judged(exempt, user, []).model_copy(update={"status": "not_applicable"}) for user in "uv"]
    assert_readable(main_figure(tabled(tmp_path, rows)))
    caption = main_caption(table)
    assert "other: 3 users" in caption
    assert "Not applicable: " in caption


def test_the_axis_holds_all_intervals_within_0_to_100(quickstart: pd.DataFrame) -> None:
    low, high = main_figure(quickstart).axes[0].get_xlim()
    assert low < quickstart["ci_low"].min()
    assert high > quickstart["ci_high"].max()
    wild = quickstart.assign(ci_low_independent=-25.0, ci_high_independent=112.5)
    assert main_figure(wild).axes[0].get_xlim() == (-1, 101)
    assert limits([float("nan")]) == (45, 55)


def test_nothing_is_drawn_outside_the_figure(tmp_path: Path, quickstart: pd.DataFrame) -> None:
    both = quickstart.assign(variant=["-", "-", *["corrected", "as_published"] * 7])
    long = {"Qwen2.5-0.5B": "qwen2.5-coder-0.5b-in-words", "SmolLM2-135M": "qwen2.5-coder-1.5b-instruct"}
    tables = ((quickstart, {}), (tabled(tmp_path, rows_of(paper_cells())), {}), (both, long))
    for table, labels in tables:
        figure = main_figure(table.replace(labels), title_note="synthetic")
        figure.draw_without_rendering()
        width, height = figure.get_size_inches() * figure.dpi
        for text in figure.findobj(Text):
            assert isinstance(text, Text)
            if text.get_text() and text.get_visible():
                box = text.get_window_extent()
                assert box.x0 >= 0, text
                assert box.x1 <= width, text
                assert 0 <= box.y0 <= box.y1 <= height, text


def test_saved_files_are_equal_undated_and_whole(tmp_path: Path, quickstart: pd.DataFrame) -> None:
    first = save_figure(main_figure(quickstart), tmp_path / "a" / "main")
    second = save_figure(main_figure(quickstart), tmp_path / "b" / "main")
    assert [path.name for path in first] == ["main.pdf", "main.svg", "main.png"]
    for one, other in zip(first, second, strict=True):
        assert one.read_bytes() == other.read_bytes(), one.name
    pdf, svg, png = (path.read_bytes() for path in first)
    assert b"CreationDate" not in pdf
    assert b"<dc:date>" not in svg
    assert b"FontFile2" in pdf
    assert not re.search(rb"<(image|text)\b", svg)
    assert png.startswith(b"\x89PNG")
    assert not list(tmp_path.rglob("*.tmp"))


def test_caption_counts_what_is_shown(quickstart: pd.DataFrame) -> None:
    caption = main_caption(quickstart)
    assert "generated: 3 users, 9 test pairs, 18 judgments a row" in caption
    assert "resamples users" in caption
    assert "not a result" not in caption


def test_an_empty_table_is_an_empty_figure(quickstart: pd.DataFrame) -> None:
    figure = main_figure(quickstart.iloc[:0])
    assert len(figure.axes) == 1
