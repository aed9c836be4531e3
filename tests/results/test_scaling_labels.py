"""Accuracy against labels used: a figure of its own, since methods that search use more labels at the same k."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes
from support.comparison_cases import EXEMPT, assert_readable, default, frame_of, learned, texts_of
from support.generated_verdicts import Cell, write_cells
from support.result_cases import write_result

from personalrm.core.conditions import K
from personalrm.results.figures.scaling_figure import scaling_caption, scaling_figure
from personalrm.results.labels import labels_note
from personalrm.results.scores import collect_verdicts
from personalrm.results.tables.scaling_table import Labelled, scaling_table

METHODS = ("memory", "history", "demos", "persona", "both", "criteria")


def drawn(axes: Axes, column: str = "x") -> list[list[float]]:
    """Places of the lines with several points that are not bounds of a band: those of the methods."""
    lines = [line for line in axes.get_lines() if line.get_linewidth() == 1.8]
    return [np.asarray(line.get_xdata() if column == "x" else line.get_ydata()).tolist() for line in lines]


def by_hand(folder: Path) -> pd.DataFrame:
    """u has 1 context and 2 validation pairs, v 9 and 4: a mean of 3 choose a winner, and k = 2 is 1.5 pairs."""
    said = {1: {"u": "10", "v": "00"}, 2: {"u": "10", "v": "10"}, 0: {"u": "11", "v": "10"}}
    cells = [(learned(method, k=k), users) for method in ("memory", "both") for k, users in said.items()]
    frame = frame_of(folder, [(default(), said[1]), *cells])
    return scaling_table(frame, {("d", "u"): Labelled(1, 2), ("d", "v"): Labelled(9, 4)}, seed=3, n_resamples=9)


def test_a_method_that_searches_stands_further_right_by_its_validation_pairs(tmp_path: Path) -> None:
    table = by_hand(tmp_path)
    axes = scaling_figure(table, axis="labels_used").axes[0]
    assert drawn(axes) == [[1, 1.5, 5], [4, 4.5, 8]]
    assert drawn(axes, "y") == [[25, 50, 75]] * 2
    assert axes.get_xlabel() == "labels used"
    # The figure over context pairs has both methods at the same places.
    pairs = scaling_figure(table).axes[0]
    assert drawn(pairs) == [[1, 1.5, 5]] * 2
    assert pairs.get_xlabel() == "context pairs"


def test_a_method_that_learns_from_validation_pairs_stands_as_far_right_and_a_note_says_so(tmp_path: Path) -> None:
    cells = [(learned(method, k=1), {"u": "10", "v": "00"}) for method in ("memory", "scorecard")]
    known = {("d", "u"): Labelled(1, 2), ("d", "v"): Labelled(9, 4)}
    table = scaling_table(frame_of(tmp_path, [(default(), {"u": "10"}), *cells]), known, seed=3, n_resamples=9)
    assert dict(zip(table["method"], table["labels_used"], strict=True)) == {"memory": 1, "scorecard": 4}
    assert labels_note(["memory"]) == []
    assert labels_note(["scorecard.logprob"]) == [
        "At every k these read all validation pairs, too: Scorecard judge (raw pairs)."
    ]
    assert len(labels_note(["both", "scorecard"])) == 2
    (note,) = labels_note(["attributes@loo.logprob", "attributes_context.logprob", "words"])
    assert note.endswith(": Attributes: own weights, Words: own weights.")
    assert len(labels_note(["both"])) == 1


def test_leave_one_conversation_out_has_no_number_of_context_pairs(tmp_path: Path) -> None:
    cells = [
        (Cell(f"words{pairs}", 0.5, None, k="all", variant="baseline", dataset="d"), {"u": "10"})
        for pairs in ("", "@loo")
    ]
    table = scaling_table(frame_of(tmp_path, cells), {("d", "u"): Labelled(5, 2)}, seed=3, n_resamples=9)
    assert table[["method", "context_pairs", "labels_used"]].to_numpy().tolist() == [["words", 5, 7]]


def test_the_legend_counts_labels_and_those_that_choose(tmp_path: Path) -> None:
    texts = texts_of(scaling_figure(by_hand(tmp_path), axis="labels_used"))
    assert {"labels used, first to last k", "of them validation pairs", "1–5", "4–8", "0", "3"} <= set(texts)
    assert not any("points per pair" in text or "above Default" in text for text in texts)


def test_the_caption_says_what_the_axis_is(tmp_path: Path) -> None:
    table = by_hand(tmp_path)
    labels, pairs = scaling_caption(table, "labels_used"), scaling_caption(table)
    assert "all validation pairs, at every k, 1 included" in labels
    assert "d: 2 users" in labels
    assert "Points per pair" not in labels
    assert "against the number of the user's context pairs" in pairs
    assert "Points per pair" in pairs


@pytest.mark.parametrize("methods", [METHODS[4:5], METHODS])
@pytest.mark.parametrize("ks", [(1, 2, 3, 5, 10, "all"), ("all",)])
def test_one_and_six_methods_can_be_read(tmp_path: Path, methods: tuple[str, ...], ks: tuple[K, ...]) -> None:
    cells = [default(judge) for judge in ("m", "n")]
    cells += [Cell(method, 0.5, judge, judge, k, dataset="d") for judge in ("m", "n") for method in methods for k in ks]
    frame = collect_verdicts(write_cells(tmp_path, cells, [4] * 8))
    users = {("d", f"u{number}"): Labelled(3 + 4 * number, 2 + number) for number in range(8)}
    figure = scaling_figure(scaling_table(frame, users, seed=0, n_resamples=9), title_note="run x", axis="labels_used")
    assert_readable(figure)
    assert len(figure.axes) == 2
    assert all(len(drawn(axes)) == len(methods) for axes in figure.axes)


def test_what_has_no_result_or_applies_to_nobody_says_so(tmp_path: Path) -> None:
    cells = [(default(), {"u": "10"}), (learned(k=1), {"u": "e"}), (learned("criteria", k=1), {"u": EXEMPT})]
    frame = frame_of(tmp_path, cells)
    table = scaling_table(frame, {("d", "u"): Labelled(4, 2)}, seed=0, n_resamples=9)
    figure = scaling_figure(table, axis="labels_used")
    texts = texts_of(figure)
    assert "no result" in texts
    assert "Criteria judge" not in texts
    assert "Left out, as not applicable: Criteria judge (opt-in) (d · m)." in scaling_caption(table, "labels_used")
    assert_readable(figure)
    empty = scaling_table(frame.iloc[:0], {}, seed=0, n_resamples=9)
    assert "not run" in texts_of(scaling_figure(empty, axis="labels_used"))


def test_each_figure_draws_its_own_axis(tmp_path: Path) -> None:
    by_hand(tmp_path).to_csv(tmp_path / "scaling.csv", index=False)
    for rule in ("figure_scaling", "figure_scaling_labels"):
        write_result(rule, tmp_path, table_scaling=tmp_path / "scaling.csv")
    assert "user's labels" in (tmp_path / "scaling_labels.txt").read_text()
    assert "user's labels" not in (tmp_path / "scaling.txt").read_text()
    assert (tmp_path / "scaling.svg").read_bytes() != (tmp_path / "scaling_labels.svg").read_bytes()
