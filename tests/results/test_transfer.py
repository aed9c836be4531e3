"""Profiles of one model shown to another judge: the table against answers worked out by hand, and the heat map."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.colors import to_hex, to_rgb
from matplotlib.patches import Rectangle
from support.comparison_cases import EXEMPT, assert_readable, default, frame_of, learned, row_of, texts_of
from support.generated_verdicts import write_cells
from support.result_cases import written_twice

from personalrm.results.figures.transfer_figure import MISSING, transfer_caption, transfer_figure
from personalrm.results.scores import collect_calls, collect_verdicts, write_frame
from personalrm.results.tables.main_table import main_table
from personalrm.results.tables.transfer_table import (
    TRANSFER_COLUMNS,
    read_transfer_table,
    transfer_blocks,
    transfer_notes,
    transfer_table,
)

MODELS = ("Llama-3.1-8B", "Llama-3.2-3B", "Llama-3.3-70B")


def table_of(frame: pd.DataFrame) -> pd.DataFrame:
    return transfer_table(frame, seed=3, n_resamples=199)


def test_a_transfer_that_ruins_every_judgment_is_exactly_minus_100(tmp_path: Path) -> None:
    own, other = {"u": "111", "v": "1"}, {"u": "000", "v": "0"}
    table = table_of(frame_of(tmp_path, [(learned(), own), (learned(profile="n"), other), (default(), own)]))
    row = row_of(table, profile_model="n", judge_model="m")
    assert (row["accuracy"], row["difference"], row["ci_low"]) == (0, -100, -100)
    # Two users who both lose are one chance in two.
    assert row["ci_high"] > 0
    mine = row_of(table, profile_model="m", judge_model="m")
    assert (mine["accuracy"], mine["status"], mine["cell"]) == (100, "own", "ok")
    assert len(table) == 2


def test_the_difference_is_on_common_judgments(tmp_path: Path) -> None:
    frame = frame_of(
        tmp_path, [(learned(), {"u": "110", "v": "0"}), (learned(profile="n"), {"u": "01.", "v": "", "w": "1"})]
    )
    row = row_of(table_of(frame), profile_model="n")
    # On u's first two pairs: 1 of 2 against 2 of 2. The accuracy is of all its own judgments.
    assert (row["difference"], row["accuracy"]) == (-50, pytest.approx(66.6667))
    assert (row["n_users"], row["users_left_out"], row["pairs_left_out"]) == (1, 2, 3)


def test_every_pair_of_models_is_a_row_and_what_was_not_run_says_so(tmp_path: Path) -> None:
    said = {"u": "10", "v": "11"}
    cells = [(learned(judge=m, profile=m, dataset=d), said) for m in ("m", "n") for d in ("d", "e")]
    cells += [(learned(judge="n", profile="m"), said), (learned(judge="o", profile="m"), said)]
    table = table_of(frame_of(tmp_path, cells))
    assert len(table) == 2 * 2 * 3
    assert row_of(table, dataset="d", profile_model="n", judge_model="m")["cell"] == "not run"
    assert row_of(table, dataset="e", profile_model="m", judge_model="n")["cell"] == "not run"
    stranger = row_of(table, dataset="d", profile_model="m", judge_model="o")
    assert (stranger["cell"], stranger["status"], stranger["accuracy"]) == ("ok", "not run", 75)
    shown = transfer_blocks(table)[0].texts
    assert "no own profile" in set(shown["Difference to own, points [95 % CI]"])
    figure = transfer_figure(table)
    assert texts_of(figure).count("no own profile") == 1
    assert any("not run" in note for note in transfer_notes(table))


def test_failed_and_unanswered_cells_have_no_accuracy(tmp_path: Path) -> None:
    said = {"u": "10", "v": "11"}
    cells = [(learned(judge=m, profile=m), said) for m in ("m", "n")]
    cells += [
        (learned(judge="n", profile="m"), {"u": "", "v": ""}),
        (learned(judge="m", profile="n"), {"u": "ee", "v": "ee"}),
    ]
    table = table_of(frame_of(tmp_path, cells))
    failed, dead = (row_of(table, judge_model=judge, profile_model=p) for judge, p in (("n", "m"), ("m", "n")))
    assert (failed["cell"], failed["status"]) == ("no verdicts", "nothing in common")
    assert (dead["cell"], dead["status"], dead["outage"]) == ("no answers", "no answers", True)
    assert pd.isna([failed["accuracy"], dead["accuracy"], failed["difference"], dead["difference"]]).all()
    texts = texts_of(transfer_figure(table))
    assert "no verdicts" in texts
    assert texts.count("no answers") == 2


def test_what_applies_to_nobody_says_so_and_its_map_is_left_out(tmp_path: Path) -> None:
    said, nobody = {"u": "10", "v": "11"}, {"u": EXEMPT, "v": EXEMPT}
    cells = [(learned(profile=profile), said) for profile in ("m", "n")]
    cells += [(learned("criteria", profile=profile), nobody) for profile in ("m", "n")]
    cells += [(learned("criteria", profile=p, dataset="e"), {"u": "1", "v": EXEMPT}) for p in ("m", "n")]
    table = table_of(frame_of(tmp_path, cells))
    row = row_of(table, dataset="d", method="criteria", profile_model="n")
    assert (row["cell"], row["status"], row["cell_users"]) == ("not applicable", "not applicable", 0)
    partly = row_of(table, dataset="e", method="criteria", profile_model="n")
    assert (partly["cell"], partly["status"], partly["cell_users"], partly["users_left_out"]) == ("ok", "ok", 1, 1)
    assert any(note.startswith("not applicable: ") for note in transfer_notes(table))
    figure = transfer_figure(table)
    heads = [text for text in texts_of(figure) if "k = all" in text]
    assert heads == [
        "d · SynthesizeMe: persona + demonstrations · k = all",
        "e · SynthesizeMe: persona + demonstrations · k = all",
        "e · Criteria judge (opt-in) · k = all",
    ]
    assert "not applicable" not in texts_of(figure)
    assert "Left out, as not applicable: d · Criteria judge (opt-in) · k = all." in transfer_caption(table)
    assert "Left out" not in transfer_caption(table[table["method"] == "both"])


def test_an_outage_of_the_own_profiles_marks_the_difference_and_not_the_other_accuracy(tmp_path: Path) -> None:
    cells = [(learned(), {"u": "e" + "10" * 20}), (learned(profile="n"), {"u": "1" * 41})]
    shown = transfer_blocks(table_of(frame_of(tmp_path, cells)))[0].texts.set_index("Profile by")
    accuracy, difference = shown["Accuracy % [95 % CI]"], shown["Difference to own, points [95 % CI]"]
    assert ("(!)" in accuracy["m"], "(!)" in accuracy["n"]) == (True, False)
    assert ("(!)" in difference["m"], "(!)" in difference["n"]) == (False, True)


def test_only_methods_and_k_with_a_transfer_are_in_the_table(tmp_path: Path) -> None:
    said = {"u": "10", "v": "11"}
    cells = [(learned(name, k), said) for name in ("demos", "both") for k in (1, "all")]
    frame = frame_of(tmp_path, [*cells, (learned("both", 0, profile="n"), said)])
    table = table_of(frame)
    assert set(zip(table["method"], table["k"], strict=True)) == {("both", "all")}
    alone = table_of(frame[frame["profile_model"] == "m"])
    assert alone.empty
    assert list(alone.columns) == list(TRANSFER_COLUMNS)
    assert "There is no transfer among the verdicts." in transfer_notes(alone)
    assert transfer_blocks(alone)[0].texts.empty
    assert transfer_caption(alone)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three models, two data sets, one direction not run."""
    cells = []
    for dataset in ("d", "e"):
        for judge in MODELS:
            profiles = MODELS if judge != MODELS[1] else MODELS[1:]
            cells += [learned(judge=judge, profile=profile, dataset=dataset) for profile in profiles]
    path = tmp_path_factory.mktemp("transfer")
    write_cells(path, cells, [2, 3, 1, 4])
    return path


@pytest.fixture(scope="module")
def frame(folder: Path) -> pd.DataFrame:
    return collect_verdicts(sorted(folder.glob("*.jsonl")))


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_the_order_of_rows_does_not_matter(frame: pd.DataFrame, seed: int) -> None:
    pd.testing.assert_frame_equal(table_of(frame.sample(frac=1, random_state=seed)), table_of(frame))


def test_accuracies_are_those_of_the_main_table(folder: Path, frame: pd.DataFrame) -> None:
    main = main_table(frame, collect_calls(sorted(folder.glob("*.jsonl"))), seed=3, n_resamples=199)
    ours = table_of(frame)
    both = ours.merge(main, on=["dataset", "judge_model", "profile_model"], suffixes=("", "_main"))
    assert len(both) == 16
    assert len(ours) == 18
    assert both["accuracy"].equals(both["accuracy_main"])
    assert both["accuracy_low"].equals(both["ci_low_main"].rename("accuracy_low"))


def test_the_map_has_a_cell_a_pair_and_grey_where_nothing_was_run(frame: pd.DataFrame) -> None:
    table = transfer_table(frame, seed=3, n_resamples=99, model_order=MODELS[::-1])
    figure = transfer_figure(table, title_note="run $x$")
    assert len(figure.axes) == 4
    for axes in figure.axes[:2]:
        faces = {
            patch.get_xy(): to_hex(patch.get_facecolor()) for patch in axes.patches if isinstance(patch, Rectangle)
        }
        assert len(faces) == 9
        # 70B, 3B, 8B in the order of listing: judge 3B was not shown the profiles of 8B.
        assert [place for place, face in faces.items() if face == MISSING] == [(1, 2)]
    texts = texts_of(figure)
    assert texts.count("not run") == 4
    assert texts.count("own") == 6
    row = row_of(table, dataset="d", judge_model=MODELS[0], profile_model=MODELS[2])
    assert f"{row['difference']:+.2f}".replace("-", "−") in texts
    assert f"[{row['accuracy_low']:.1f}, {row['accuracy_high']:.1f}]" in texts
    assert_readable(figure)
    assert "d: 4 users" in transfer_caption(table)


def test_colours_grow_with_accuracy_and_turn_at_no_difference(tmp_path: Path) -> None:
    cells = [(learned(judge=m, profile=m), {"u": "1100"}) for m in ("m", "n")]
    cells += [(learned(judge="m", profile="n"), {"u": "1111"}), (learned(judge="n", profile="m"), {"u": "0000"})]
    figure = transfer_figure(table_of(frame_of(tmp_path, cells)))
    accuracy, difference = (
        {p.get_xy(): to_rgb(p.get_facecolor()) for p in axes.patches if isinstance(p, Rectangle)}
        for axes in figure.axes
    )
    assert sum(accuracy[0, 1]) < sum(accuracy[0, 0]) < sum(accuracy[1, 0])
    # Red above blue where the profile of n helps m; blue above red where that of m spoils n.
    assert difference[0, 1][0] > difference[0, 1][2]
    assert difference[1, 0][0] < difference[1, 0][2]


def test_table_and_figure_have_equal_bytes_each_time(tmp_path: Path, frame: pd.DataFrame) -> None:
    write_frame(frame, tmp_path / "verdicts.parquet")
    stem = written_twice("table_transfer", tmp_path, verdicts=tmp_path / "verdicts.parquet", seed=3, n_resamples=199)
    written_twice("figure_transfer", tmp_path, table_transfer=stem.with_suffix(".csv"))
    pd.testing.assert_frame_equal(read_transfer_table(tmp_path / "one" / "transfer.csv"), table_of(frame))
