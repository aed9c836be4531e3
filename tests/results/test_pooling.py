"""Folds pooled again: the same numbers as if one data set had held all of the test pairs."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import pandas as pd
from hypothesis import given, settings
from hypothesis import strategies as st
from support.comparison_cases import EXEMPT, Said, default, learned, row_of, users_of
from support.generated_verdicts import Cell

from personalrm.core.records import JudgedUser, write_records
from personalrm.results.pooling import pool_notes, pooled, with_pools, without_folds, without_pools
from personalrm.results.scores import collect_calls, collect_verdicts
from personalrm.results.tables.differences_table import differences_table
from personalrm.results.tables.main_table import gaps, main_table

POOLS = {"d": ["d-fold1", "d-fold2"]}


def frames_of(folder: Path, rows: list[JudgedUser]) -> tuple[pd.DataFrame, pd.DataFrame]:
    write_records(folder / "rows.jsonl", rows)
    return collect_verdicts([folder / "rows.jsonl"]), collect_calls([folder / "rows.jsonl"])


def fold_of(cell: Cell, said: Said, number: int, first: int = 0) -> list[JudgedUser]:
    """Rows of one fold; its pairs are numbered from `first`, so that folds have other pairs."""
    rows = users_of(cell._replace(dataset=f"d-fold{number}"), said)
    return [
        row.model_copy(
            update={
                "verdicts": tuple(
                    verdict.model_copy(update={"pair_id": f"{row.user_id}-{first + place}"})
                    for place, verdict in enumerate(row.verdicts)
                )
            }
        )
        for row in rows
    ]


def test_a_user_is_one_cluster_with_the_pairs_of_all_folds(tmp_path: Path) -> None:
    rows = [*fold_of(learned(), {"u": "110", "v": "1"}, 1), *fold_of(learned(), {"u": "0", "v": "11"}, 2, first=3)]
    verdicts, calls = frames_of(tmp_path, rows)
    table = main_table(with_pools(verdicts, POOLS), with_pools(calls, POOLS), seed=1, n_resamples=99)
    assert list(table["dataset"]) == ["d", "d-fold1", "d-fold2"]
    whole = table.iloc[0]
    # u is right on 2 of 4 pairs, v on 3 of 3.
    assert (whole["n_users"], whole["n_pairs"], whole["n_judgments"], whole["calls"]) == (2, 7, 7, 7)
    assert (whole["accuracy"], whole["accuracy_user_mean"]) == (round(500 / 7, 4), 75)
    assert list(without_pools(table, POOLS)["dataset"]) == ["d-fold1", "d-fold2"]
    assert list(without_folds(table, POOLS)["dataset"]) == ["d"]


@settings(deadline=None, max_examples=12)
@given(
    st.dictionaries(st.sampled_from("uvwx"), st.text("10te", min_size=2, max_size=6), min_size=1),
    st.integers(1, 5),
)
def test_pooled_folds_are_what_the_undivided_set_is(said: dict[str, str], cut: int) -> None:
    cells = (default(), learned())
    whole = [row for cell in cells for row in users_of(cell, said)]
    first = {user: text[:cut] for user, text in said.items()}
    second = {user: text[cut:] for user, text in said.items()}
    folds = [row for cell in cells for row in (*fold_of(cell, first, 1), *fold_of(cell, second, 2, first=cut))]
    with TemporaryDirectory() as folder:
        expected, calls = frames_of(Path(folder), whole)
        found, _ = frames_of(Path(folder), folds)
    options = {"seed": 3, "n_resamples": 49}
    pd.testing.assert_frame_equal(
        differences_table(pooled(found, POOLS), **options),  # type: ignore[arg-type]
        differences_table(expected, **options),  # type: ignore[arg-type]
    )
    calls = calls.iloc[:0]
    pd.testing.assert_frame_equal(
        main_table(pooled(found, POOLS), calls, **options),  # type: ignore[arg-type]
        main_table(expected, calls, **options),  # type: ignore[arg-type]
    )


def test_what_every_fold_has_alike_stands_once(tmp_path: Path) -> None:
    cell = default(method="default@all")
    same = {"u": "10", "v": "11"}
    verdicts, calls = frames_of(tmp_path, [*fold_of(cell, same, 1), *fold_of(cell, same, 2)])
    calls["key"] = calls["key"].astype("str").str.replace("d-fold2", "d-fold1")
    table = main_table(pooled(verdicts, POOLS), pooled(calls, POOLS), seed=1, n_resamples=9)
    assert (table["n_judgments"][0], table["accuracy"][0], table["calls"][0]) == (4, 75, 4)


def test_a_user_without_a_verdict_in_one_fold_is_there_with_the_others(tmp_path: Path) -> None:
    rows = [
        *fold_of(learned(), {"u": "", "v": "", "w": EXEMPT}, 1),
        *fold_of(learned(), {"u": "1", "v": "", "w": EXEMPT}, 2),
    ]
    verdicts, calls = frames_of(tmp_path, rows)
    together = pooled(verdicts, POOLS)
    assert len(together) == 3
    assert gaps(together) == [
        "d / corrected / m / m / both / all: no verdict for 1 failed, 1 not applicable of 3 users."
    ]
    exempt = pooled(verdicts[verdicts["user_id"] == "w"], POOLS)
    table = main_table(exempt, calls.iloc[:0], seed=0, n_resamples=9)
    assert list(table["status"]) == ["not applicable"]


def test_other_data_sets_stay_and_without_folds_nothing_changes(tmp_path: Path) -> None:
    cell = default(dataset="e")
    frame, calls = frames_of(tmp_path, users_of(cell, {"u": "10"}))
    assert pooled(frame, {}) is frame is with_pools(frame, {})
    assert pooled(frame, POOLS).equals(frame.assign(dataset="e"))
    assert pool_notes({}) == []
    (note,) = pool_notes(POOLS)
    assert note.startswith("d: 2 leave-out folds pooled (d-fold1 to d-fold2).")
    table = differences_table(pooled(frame, POOLS), seed=0, n_resamples=9)
    assert table.empty
    assert row_of(main_table(frame, calls.iloc[:0], seed=0, n_resamples=9), dataset="e")["n_pairs"] == 2
