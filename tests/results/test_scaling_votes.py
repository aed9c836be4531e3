"""The learning curve of models that are shown votes: it begins without votes, and counts those that prompts show."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from support.comparison_cases import assert_readable, texts_of, users_of
from support.generated_verdicts import Cell

from personalrm.core.records import JudgedUser, write_records
from personalrm.results.figures.scaling_figure import panels_of, scaling_caption, scaling_figure
from personalrm.results.scores import collect_verdicts
from personalrm.results.tables.scaling_table import Labelled, scaling_blocks, scaling_notes, scaling_table

LABELLED = {("d", "u"): Labelled(8, 2), ("d", "v"): Labelled(3, 2)}
SAID: dict[int | None, dict[str, str]] = {
    None: {"u": "1000", "v": "10"},
    1: {"u": "1100", "v": "10"},
    4: {"u": "1110", "v": "11"},
}


def counted(row: JudgedUser, shots: int, dropped: int) -> JudgedUser:
    counts = {"shots": shots, "shots_dropped": dropped}
    return row.model_copy(update={"verdicts": tuple(one.model_copy(update=counts) for one in row.verdicts)})


def rows(method: str, k: int | None, dropped: dict[str, int] | None = None) -> list[JudgedUser]:
    """Rows whose prompts show all votes that k allows but so many; None: files of an earlier version."""
    cell = Cell(method, 0.5, "fspo (unseen)", None, k, variant="baseline", dataset="d")
    found = users_of(cell, SAID[k])
    if dropped is None or k is None:
        return found
    lost = [dropped.get(row.user_id, 0) for row in found]
    allowed = [min(k, LABELLED["d", row.user_id].context) for row in found]
    return [counted(row, most - count, count) for row, most, count in zip(found, allowed, lost, strict=True)]


def table_of(folder: Path, made: list[JudgedUser]) -> pd.DataFrame:
    write_records(folder / "rows.jsonl", made)
    return scaling_table(collect_verdicts([folder / "rows.jsonl"]), LABELLED, seed=0, n_resamples=99)


def test_votes_that_prompts_do_not_show_are_no_context_pairs(tmp_path: Path) -> None:
    made = [*rows("fspo", 1, {}), *rows("fspo", 4, {"u": 1})]
    # Of u's four pairs at k = 4, one has no room for two votes.
    *others, last = made[2].verdicts
    cut = last.model_copy(update={"shots": 1, "shots_dropped": 3})
    table = table_of(tmp_path, [*made[:2], made[2].model_copy(update={"verdicts": (*others, cut)}), made[3]])
    assert list(table["k"]) == ["1", "4"]
    # Of u 3, 3, 3 and 1; of v all three that there are.
    assert list(table["context_pairs"]) == [1, (2.5 + 3) / 2]
    assert list(table["pairs_dropped"]) == [0, 0.75]
    assert list(table["labels_used"]) == list(table["context_pairs"])
    # Six judgments at both k, from 3 to 5 right; the slope is over what was shown, weighted by the judgments.
    shown = (4 * 2.5 + 2 * 3) / 6
    assert table["slope"].iloc[0] == pytest.approx(100 * (5 - 3) / 6 / (shown - 1), abs=1e-3)
    assert list(scaling_blocks(table)[0].texts["Not shown"]) == ["0", "0.75"]
    for text in (" ".join(scaling_notes(table)), scaling_caption(table)):
        assert "context pairs are the votes in the prompt" in text
        assert "earlier version" not in text


def test_files_that_do_not_count_votes_have_those_of_k_and_say_so(tmp_path: Path) -> None:
    made = [*rows("fspo", 1), *rows("fspo", 4)]
    table = table_of(tmp_path, made)
    assert list(table["context_pairs"]) == [1, 3.5]
    assert table["pairs_dropped"].isna().all()
    assert "Not shown" not in scaling_blocks(table)[0].texts
    assert any("do not say how many fitted in the prompt" in note for note in scaling_notes(table))
    other = table_of(tmp_path, [*rows("lore", 1), *rows("lore", 4)])
    frame = collect_verdicts([tmp_path / "rows.jsonl"]).drop(columns=["shots", "shots_dropped"])
    pd.testing.assert_frame_equal(other, scaling_table(frame, LABELLED, seed=0, n_resamples=99))
    for found in (other, table_of(tmp_path, [*rows("fspo", 1, {}), *rows("fspo", 4, {})])):
        notes = " ".join([*scaling_notes(found), scaling_caption(found)])
        assert "in the prompt" not in notes


def test_the_curve_begins_with_the_same_model_without_votes(tmp_path: Path) -> None:
    shown = [*rows("fspo", 1, {}), *rows("fspo", 4, {}), *rows("pref_ft", 4, {})]
    table = table_of(tmp_path, [*shown, *rows("fspo_no_shots", None), *rows("ipo", None)])
    assert list(zip(table["method"], table["k"], strict=True)) == [
        ("pref_ft", "4"),
        *(("fspo", k) for k in ("0", "1", "4")),
    ]
    mine = table[table["method"] == "fspo"]
    assert list(mine["accuracy"]) == pytest.approx([100 * n / 6 for n in (2, 3, 5)], abs=1e-3)
    assert list(mine["context_pairs"]) == [0, 1, 3.5]
    assert list(mine["labels_used"]) == [0, 1, 3.5]
    assert list(mine["users_below_k"]) == [0, 0, 1]
    # By hand: u's four judgments and v's two at 0, 1, and 4 or 3 votes.
    expected = np.polyfit([0, 1, (4 * 4 + 2 * 3) / 6], [100 * n / 6 for n in (2, 3, 5)], 1)[0]
    assert list(mine["slope"]) == pytest.approx([expected] * 3, abs=1e-3)
    for text in (" ".join(scaling_notes(table)), scaling_caption(table)):
        assert "k = 0: the same model, shown no votes" in text
    figure = scaling_figure(table)
    assert_readable(figure)
    ((_, lines),) = panels_of(table)[0].items()
    assert [row["k"] for row in lines["fspo"]] == ["0", "1", "4"]
    assert {"0", "1", "3.5"} <= set(texts_of(figure))
    without = table_of(tmp_path, shown)
    assert "0" not in set(without["k"])
    assert "k = 0" not in scaling_caption(without)
