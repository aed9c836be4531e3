"""Accuracy against context pairs: the table against answers worked out by hand, and the figure."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from support.comparison_cases import EXEMPT, assert_readable, default, frame_of, learned, texts_of
from support.generated_verdicts import Cell, write_cells
from support.result_cases import written_twice

from personalrm.core.errors import DataError
from personalrm.core.records import PreferencePair, Split, UserData, write_records
from personalrm.results.figures.scaling_figure import panels_of, scaling_caption, scaling_figure
from personalrm.results.labels import METHOD_LABELS
from personalrm.results.scores import collect_calls, collect_verdicts, write_frame
from personalrm.results.tables.main_table import main_table
from personalrm.results.tables.scaling_table import (
    SCALING_COLUMNS,
    Labelled,
    read_labelled_pairs,
    read_scaling_table,
    scaling_blocks,
    scaling_notes,
    scaling_table,
)

CONTEXT = {(dataset, user): 8 for dataset in ("d", "e") for user in ("u", "v", "w", "x")}


def labelled(context: dict[tuple[str, str], int], validation: int = 0) -> dict[tuple[str, str], Labelled]:
    return {user: Labelled(pairs, validation) for user, pairs in context.items()}


def table_of(frame: pd.DataFrame, context: dict[tuple[str, str], int] | None = None) -> pd.DataFrame:
    return scaling_table(frame, labelled(context or CONTEXT), seed=3, n_resamples=199)


def right(count: int, of: int = 10) -> str:
    return "1" * count + "0" * (of - count)


def test_a_linear_scaling_gives_its_slope(tmp_path: Path) -> None:
    cells = [(learned(k=k), {"u": right(3 + k), "v": right(3 + k) * 2}) for k in (1, 2, 5)]
    table = table_of(frame_of(tmp_path, cells))
    assert list(table["accuracy"]) == [40, 50, 80]
    assert list(table["context_pairs"]) == [1, 2, 5]
    assert any("all validation pairs choose the winner" in note for note in scaling_notes(table))
    # All users agree, so that every resample has the same slope, 10 points a pair; 30 pairs leave some open.
    (slope,) = table[["slope", "slope_low", "slope_high"]].drop_duplicates().to_numpy().tolist()
    assert slope[0] == 10
    assert 3 < slope[1] < 4
    assert 11 < slope[2] < 17
    assert set(table["slope_users"]) == {2}


def test_the_slope_is_that_of_weighted_least_squares_on_common_judgments(tmp_path: Path) -> None:
    said = {1: {"u": "0110", "v": "01", "w": "1"}, 2: {"u": "1110", "v": "11"}, 8: {"u": "111.", "v": "11", "w": "1"}}
    table = table_of(frame_of(tmp_path, [(learned(k=k), users) for k, users in said.items()]))
    # u's first three pairs and v's two have a verdict at every k; w has none at k = 2.
    accuracies = [3 / 5, 5 / 5, 5 / 5]
    expected = 100 * np.polyfit([1, 2, 8], accuracies, 1)[0]
    assert table["slope"].iloc[0] == pytest.approx(expected, abs=1e-4)
    assert (table["slope_users"].iloc[0], table["slope_users_left_out"].iloc[0]) == (2, 1)
    assert list(table["n_users"]) == [3, 2, 3]
    assert table["slope_low"].iloc[0] <= table["slope"].iloc[0] <= table["slope_high"].iloc[0]


def test_draws_of_a_pair_share_its_weight(tmp_path: Path) -> None:
    cells = [
        (learned(k=1), {"u": ["10", "00"]}),
        (learned(k=2), {"u": ["11"]}),
        (learned(k="all"), {"u": ["10", "01", "11"]}),
    ]
    table = table_of(frame_of(tmp_path, cells))
    expected = 100 * np.polyfit([1, 2, 8], [1 / 4, 1, 4 / 6], 1)[0]
    assert table["slope"].iloc[0] == pytest.approx(expected, abs=1e-4)
    assert list(table["n_draws"]) == [2, 1, 3]
    assert table["slope_low"].isna().all()  # one user


def test_k_and_all_stand_at_the_mean_number_of_context_pairs(tmp_path: Path) -> None:
    frame = frame_of(
        tmp_path, [(learned(k=k), {"u": "10", "v": "11", "w": "" if k == "all" else "1"}) for k in (3, "all")]
    )
    table = table_of(frame, {("d", "u"): 2, ("d", "v"): 9, ("d", "w"): 100})
    assert list(table["k"]) == ["3", "all"]
    # u has 2 of the 3; w, with 100, has no verdict on all.
    assert list(table["context_pairs"]) == [round(8 / 3, 4), 5.5]
    assert list(table["users_below_k"]) == [1, 0]
    with pytest.raises(DataError, match=r"user 'v' and 1 more have verdicts"):
        table_of(frame, {("d", "u"): 2})


PAPER_K = (1, 2, 5, 10, 20, 30, 0)
OWN_PAIRS = (1, 2, 3, 3, 4, 4, 4, 5, 6, 8, 12, 31)
"""Median 4."""


def grown(points: float, tests: int = 125) -> pd.DataFrame:
    """Users without noise: 40 % without a pair, and so many points more with each pair that they have."""
    cells = []
    for k in PAPER_K:
        had = {f"u{n:02d}": min(k or own, own) for n, own in enumerate(OWN_PAIRS)}
        said = {user: right(round(tests * (40 + points * pairs) / 100), tests) for user, pairs in had.items()}
        cells.append((learned(k=k), said))
    return cells


OWN: dict[tuple[str, str], int] = {("d", f"u{n:02d}"): own for n, own in enumerate(OWN_PAIRS)}


def test_users_who_gain_08_points_a_pair_have_that_slope_with_the_papers_k(tmp_path: Path) -> None:
    table = table_of(frame_of(tmp_path, grown(0.8)), OWN)
    assert table["slope"].iloc[0] == pytest.approx(0.8, abs=1e-3)
    assert table["slope_low"].iloc[0] < 0.8 < table["slope_high"].iloc[0]
    # k = 30 is 6.83 pairs: only one user has so many.
    assert list(table["context_pairs"]) == [1, 1.9167, 3.8333, 5, 6, 6.8333, 6.9167]


def test_the_slope_is_that_of_the_users_own_pairs_where_they_have_unequal_numbers_of_judgments(tmp_path: Path) -> None:
    cells = [
        (cell, {user: text * (1 + 2 * (OWN["d", user] > 4)) for user, text in said.items()})
        for cell, said in grown(0.8)
    ]
    table = table_of(frame_of(tmp_path, cells), OWN)
    assert table["slope"].iloc[0] == pytest.approx(0.8, abs=1e-3)


def test_labels_used_count_validation_pairs_for_methods_that_search(tmp_path: Path) -> None:
    said = {"u": "10", "v": "11"}
    frame = frame_of(tmp_path, [(learned(method, k=2), said) for method in ("memory", "demos", "persona", "both")])
    context = {("d", "u"): 1, ("d", "v"): 9}
    table = scaling_table(frame, labelled(context, validation=3), seed=3, n_resamples=9)
    used = dict(zip(table["method"], table["labels_used"], strict=True))
    assert used == {"memory": 1.5, "demos": 4.5, "persona": 4.5, "both": 4.5}
    shown = scaling_blocks(table)[0].texts
    assert list(shown["Labels used"]) == ["1.5", "4.5", "4.5", "4.5"]
    assert any("validation pairs" in note for note in scaling_notes(table))


def test_other_models_profiles_are_left_to_the_table_of_transfer(tmp_path: Path) -> None:
    said = {"u": "10", "v": "11"}
    cells = [(learned(k="all"), said), (learned(k="all", profile="n"), said)]
    history = Cell("history", 0.5, "m", None, 3, variant="baseline", dataset="d")
    table = table_of(frame_of(tmp_path, [*cells, (history, said), (default(), said)]))
    assert list(table["method"]) == ["history", "both"]
    assert set(table["profile_model"]) == {"-", "m"}


def test_one_k_has_no_slope_and_says_so(tmp_path: Path) -> None:
    table = table_of(frame_of(tmp_path, [(learned(k="all"), {"u": "10", "v": "11"})]))
    assert table["slope"].isna().all()
    figure = scaling_figure(table)
    assert "no slope (one k)" in texts_of(figure)
    assert_readable(figure)


def test_numbers_stand_behind_the_longest_name(tmp_path: Path) -> None:
    said = {"u": "10", "v": "11"}
    longest = sorted(METHOD_LABELS, key=lambda name: -len(METHOD_LABELS[name]))[:6]
    cells = [(learned(name, k), said) for name in longest for k in (1, "all")]
    assert_readable(scaling_figure(table_of(frame_of(tmp_path, cells))))


def test_outages_are_marked_and_a_dead_k_does_not_enter_the_slope(tmp_path: Path) -> None:
    said = {1: {"u": right(4), "v": right(4)}, 2: {"u": "e" * 10, "v": "e" * 10}, 3: {"u": right(8), "v": right(8)}}
    table = table_of(frame_of(tmp_path, [(learned(k=k), users) for k, users in said.items()]))
    assert table["accuracy"].isna().tolist() == [False, True, False]
    assert list(table["outage"]) == [False, True, False]
    assert set(table["slope"]) == {20}
    figure = scaling_figure(table)
    assert any("no result: 2" in text and "(!)" in text for text in texts_of(figure))
    assert "(!)" in scaling_blocks(table)[1].texts.to_csv()
    assert any("provider errors" in note for note in scaling_notes(table))


def test_an_outage_of_default_marks_default_and_the_difference_alone(tmp_path: Path) -> None:
    cells = [(default(), {"u": "e" + right(5, 50)}), (learned(k=1), {"u": right(20, 51)})]
    table = table_of(frame_of(tmp_path, cells))
    assert (table["outage"].iloc[0], table["default_outage"].iloc[0]) == (False, True)
    shown = scaling_blocks(table)[0].texts.iloc[0]
    marked = [str(column) for column, text in shown.items() if "(!)" in text]
    assert marked == ["Default %", "Difference [95 % CI]"]
    assert "(!)" in scaling_caption(table)
    assert any(text.startswith("Default") and text.endswith("(!)") for text in texts_of(scaling_figure(table)))
    assert any("provider errors" in note for note in scaling_notes(table))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Verdict files of two data sets, two judges, four values of k."""
    cells = []
    for dataset in ("d", "e"):
        for judge in ("Llama-3.1-8B", "Llama-3.3-70B"):
            cells.append(default(judge, dataset=dataset))
            for k, gain in ((1, 0.02), (2, 0.04), (10, 0.2), ("all", 0)):
                cells += [
                    Cell(m, 0.5 + gain, judge, judge, k, dataset=dataset, draws=2 if k == 1 else 1)
                    for m in ("demos", "persona", "both")
                ]
    path = tmp_path_factory.mktemp("scaling")
    write_cells(path, cells, [2, 3, 1, 4])
    return path


@pytest.fixture(scope="module")
def frame(folder: Path) -> pd.DataFrame:
    return collect_verdicts(sorted(folder.glob("*.jsonl")))


def context_of(frame: pd.DataFrame) -> dict[tuple[str, str], Labelled]:
    return {
        (d, u): Labelled(3 + 4 * i)
        for d in ("d", "e")
        for i, u in enumerate(sorted(map(str, frame["user_id"].unique())))
    }


@settings(max_examples=8, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_the_order_of_rows_does_not_matter(frame: pd.DataFrame, seed: int) -> None:
    mixed = scaling_table(frame.sample(frac=1, random_state=seed), context_of(frame), seed=0, n_resamples=9)
    pd.testing.assert_frame_equal(mixed, scaling_table(frame, context_of(frame), seed=0, n_resamples=9))


@settings(max_examples=20, deadline=None)
@example(counts=[[4, 0, 0], [4, 0, 0]])
@example(counts=[[0, 4, 4], [0, 0, 4]])
@given(counts=st.lists(st.lists(st.integers(0, 4), min_size=3, max_size=3), min_size=2, max_size=4))
def test_the_interval_of_the_slope_holds_what_users_differ_by(
    tmp_path_factory: pytest.TempPathFactory, counts: list[list[int]]
) -> None:
    said = [{f"u{user}": right(row[k], 4) for user, row in enumerate(counts)} for k in range(3)]
    frame = frame_of(tmp_path_factory.mktemp("slopes"), [(learned(k=k + 1), users) for k, users in enumerate(said)])
    row = table_of(frame, {("d", f"u{user}"): 8 for user in range(4)}).iloc[0]
    slopes = [100 * (row_counts[2] - row_counts[0]) / 4 / 2 for row_counts in counts]
    assert row["slope"] == pytest.approx(np.mean(slopes), abs=1e-3)
    # 50 points a pair, all wrong at k = 1 and all right at k = 3, is the end of the scale: nothing lies beyond it.
    assert row["slope_low"] < row["slope"] or row["slope_low"] == row["slope"] == -50
    assert row["slope"] < row["slope_high"] or row["slope"] == row["slope_high"] == 50
    # Points a pair: three quarters of the largest slope are left open by 16 pairs of 4 users at most.
    assert row["slope_high"] - row["slope_low"] <= 100


def test_accuracies_are_those_of_the_main_table(folder: Path, frame: pd.DataFrame) -> None:
    calls = collect_calls(sorted(folder.glob("*.jsonl")))
    main = main_table(frame, calls, seed=5, n_resamples=99)
    ours = scaling_table(frame, context_of(frame), seed=5, n_resamples=99)
    keys = ["dataset", "judge_model", "method", "k"]
    both = ours.merge(main, on=keys, suffixes=("", "_main"))
    assert len(both) == len(ours) == 48
    assert both["accuracy"].equals(both["accuracy_main"])
    assert both["accuracy_low"].equals(both["ci_low_main"].rename("accuracy_low"))
    assert both["accuracy_high"].equals(both["ci_high_main"].rename("accuracy_high"))


def test_the_reported_claims_stand_in_a_note_with_their_source_only(frame: pd.DataFrame) -> None:
    table = scaling_table(frame, context_of(frame), seed=0, n_resamples=9)
    (note,) = [note for note in scaling_notes(table) if "0.8" in note]
    assert note.startswith("Reported, not ours")
    assert "talk" in note
    assert "account of the paper" in note
    assert any("random effect" in note for note in scaling_notes(table))


def user_file(path: Path) -> None:
    def pair(user: str, number: int, split: Split) -> PreferencePair:
        return PreferencePair(
            user_id=user, pair_id=f"{user}-{number}", context=(), chosen="a", rejected="b", split=split
        )

    users = []
    for dataset in ("d", "e"):
        for number in range(4):
            user = f"u{number}"
            pairs = [pair(user, i, "context") for i in range(2 + number)] + [pair(user, 99, "test")]
            users.append(UserData(dataset=dataset, user_id=user, pairs=tuple(pairs)))
    write_records(path, users)


def test_table_and_figure_have_equal_bytes_each_time(tmp_path: Path, frame: pd.DataFrame) -> None:
    user_file(tmp_path / "users.jsonl")
    assert read_labelled_pairs([tmp_path / "users.jsonl"])["e", "u3"] == (5, 0)
    write_frame(frame, tmp_path / "verdicts.parquet")
    files = {"verdicts": tmp_path / "verdicts.parquet", "users": [tmp_path / "users.jsonl"]}
    stem = written_twice("table_scaling", tmp_path, **files)
    written_twice("figure_scaling", tmp_path, table_scaling=stem.with_suffix(".csv"))
    # Read again, the table is the one that was made.
    context = read_labelled_pairs([tmp_path / "users.jsonl"])
    table = scaling_table(frame, context, seed=1, n_resamples=50)
    pd.testing.assert_frame_equal(read_scaling_table(tmp_path / "one" / "scaling.csv"), table)
    assert set(table.loc[table["k"] == "all", "context_pairs"]) == {3.5}


def test_the_figure_draws_what_the_table_says_and_can_be_read(frame: pd.DataFrame) -> None:
    table = scaling_table(frame, context_of(frame), seed=0, n_resamples=99)
    figure = scaling_figure(table, title_note="run $x$")
    assert len(figure.axes) == 4
    drawn = [np.asarray(line.get_ydata()).tolist() for line in figure.axes[0].get_lines()]
    mine = table[(table["dataset"] == "d") & (table["judge_model"] == "Llama-3.1-8B")]
    for method in ("demos", "persona", "both"):
        rows = mine[mine["method"] == method].sort_values("context_pairs")
        for column in ("accuracy", "accuracy_low", "accuracy_high"):
            assert list(rows[column]) in drawn
    texts = texts_of(figure)
    assert {"corrected · run $x$", "d · Llama-3.1-8B", "persona + demos", "\nall (9.0)"} <= set(texts)
    assert_readable(figure)
    caption = scaling_caption(table)
    assert "d: 4 users, up to 2 draws" in caption
    assert "mean number of context pairs" in caption


def test_what_applies_to_nobody_says_so_and_its_panel_is_left_out(tmp_path: Path) -> None:
    nobody = {"u": EXEMPT, "v": EXEMPT}
    cells = [(default(judge=judge), {"u": "10", "v": "01"}) for judge in ("m", "n")]
    cells += [(learned(k=k), {"u": "11", "v": "01"}) for k in (1, "all")]
    cells += [(learned("criteria", k=k), nobody) for k in (1, "all")]
    cells += [(learned(k=k, judge="n", profile="n"), nobody) for k in (1, "all")]
    table = table_of(frame_of(tmp_path, cells))
    assert set(table.loc[table["method"] == "criteria", "status"]) == {"not applicable"}
    points, slopes = (block.texts for block in scaling_blocks(table))
    shown = points[points["Method"] == "Criteria judge (opt-in)"]
    assert list(shown["Accuracy % [95 % CI]"]) == ["not applicable"] * 2
    assert list(shown["Context pairs"]) == ["–", "–"]
    assert list(slopes["Points per pair [95 % CI]"]).count("not applicable") == 2
    assert any(note.startswith("not applicable: ") for note in scaling_notes(table))
    figure = scaling_figure(table)
    assert_readable(figure)
    assert len(figure.axes) == 1
    assert "Criteria judge" not in texts_of(figure)
    assert "Left out, as not applicable: d · n; Criteria judge (opt-in) (d · m)." in scaling_caption(table)
    assert "d: 2 users" in scaling_caption(table)
    alone = table[table["judge_model"] == "n"]
    assert "not applicable" in texts_of(scaling_figure(alone))


def test_cells_that_were_not_run_and_empty_tables_are_drawn_as_such(tmp_path: Path, frame: pd.DataFrame) -> None:
    cut = frame[(frame["dataset"] == "d") | (frame["judge_model"] == "Llama-3.1-8B")]
    table = scaling_table(cut, context_of(frame), seed=0, n_resamples=9)
    assert "not run" in texts_of(scaling_figure(table))
    empty = scaling_table(frame.iloc[:0], {}, seed=0, n_resamples=9)
    assert list(empty.columns) == list(SCALING_COLUMNS)
    assert "not run" in texts_of(scaling_figure(empty))
    assert scaling_blocks(empty)[0].texts.empty
    assert scaling_notes(empty)
    assert scaling_caption(empty)


def test_what_no_model_judges_stands_beside_judges_and_leave_one_out_in_no_panel(tmp_path: Path) -> None:
    cells = [
        Cell("words", 0.6, None, k="all", variant="baseline", dataset="d"),
        Cell("words@loo", 0.6, None, k="all", variant="baseline", dataset="d"),
        Cell("default", 0.5, "m", variant="baseline", dataset="d"),
        Cell("attributes", 0.7, "m", k="all", variant="baseline", dataset="d"),
        Cell("both", 0.7, "m", "m", "all", dataset="d"),
    ]
    frame = collect_verdicts(write_cells(tmp_path, cells, [3, 3]))
    labelled = {("d", user): Labelled(4, 2) for user in ("u0", "u1")}
    table = scaling_table(frame, labelled, seed=0, n_resamples=9)
    ((place, lines),) = panels_of(table)[0].items()
    assert (place.judge, place.variant, sorted(lines)) == ("m", "corrected", ["attributes", "both", "words"])
    texts = texts_of(scaling_figure(table))
    assert "not run" not in texts
    assert "Default: no result" not in texts
