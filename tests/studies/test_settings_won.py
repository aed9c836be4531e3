"""In how many settings a method with demonstrations is best: by hand, with ties, lost judgments and pools."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from support.comparison_cases import EXEMPT, Said, default, frame_of, learned
from support.generated_verdicts import Cell, write_cells
from support.result_cases import write_result

from personalrm.results.scores import collect_calls, collect_verdicts, write_frame
from personalrm.results.tables.main_table import main_table
from personalrm.studies.synthesizeme.results.settings_won import REPORTED_WON, settings_of, won_notes


def right(count: int, lost: int = 0) -> dict[str, str]:
    """One user with so many of ten right."""
    return {"u": "e" * lost + "1" * count + "0" * (10 - count)}


def main_of(folder: Path, cells: list[tuple[Cell, Said]]) -> pd.DataFrame:
    return main_table(frame_of(folder, cells), collect_calls([]), seed=1, n_resamples=9)


def setting(counts: dict[str, int], dataset: str = "d", judge: str = "m", suffix: str = "") -> list[tuple[Cell, Said]]:
    """Accuracies in tenths by method, with the judge's own profiles of all context pairs."""
    return [
        (
            default(judge, method + suffix, dataset)
            if method in ("default", "oracle", "history")
            else learned(method + suffix, 0, judge, judge, dataset),
            right(count),
        )
        for method, count in counts.items()
    ]


def sentence(table: pd.DataFrame) -> str:
    """What the note counts, by variant."""
    (note,) = won_notes(table)
    assert note.endswith(REPORTED_WON)
    return note.partition("whatever the intervals: ")[2].partition(". A setting is")[0]


@pytest.mark.parametrize(
    ("counts", "outcome"),
    [
        ({"default": 5, "persona": 6, "demos": 7, "both": 4}, "won"),
        ({"default": 5, "persona": 6, "demos": 5, "both": 7}, "won"),
        ({"default": 5, "persona": 8, "demos": 7, "both": 7}, "lost"),
        ({"default": 8, "demos": 7}, "lost"),
        ({"history": 8, "demos": 7}, "lost"),
        ({"memory": 7, "demos": 7, "both": 7}, "tied"),
        ({"default": 5, "criteria": 8, "both": 7}, "lost"),
        # It is told the taste: a ceiling, no rival.
        ({"oracle": 10, "default": 5, "demos": 7}, "won"),
    ],
)
def test_who_is_best_in_a_setting(tmp_path: Path, counts: dict[str, int], outcome: str) -> None:
    (found,), voided = settings_of(main_of(tmp_path, setting(counts)))
    assert (found.outcome, found.dataset, found.judge, found.variant, voided) == (outcome, "d", "m", "corrected", 0)


def test_settings_are_data_sets_and_judges(tmp_path: Path) -> None:
    won, tied, lost = {"default": 5, "demos": 7}, {"default": 7, "demos": 7}, {"default": 8, "demos": 7}
    cells = [*setting(won), *setting(tied, judge="n"), *setting(lost, "e"), *setting(won, "e", "n")]
    assert sentence(main_of(tmp_path, cells)) == "corrected: 2 of 4 (1 tied)"


def test_variants_and_kinds_of_verdict_are_counted_apart(tmp_path: Path) -> None:
    cells = [*setting({"default": 5, "demos": 7}), *setting({"default": 8, "demos": 7}, suffix=".logprob")]
    cells.append((learned("both")._replace(variant="as_published"), right(4)))
    expected = "as_published: 0 of 1; corrected: 1 of 1; corrected · log-prob, each order: 0 of 1"
    assert sentence(main_of(tmp_path, cells)) == expected


def test_rivals_are_of_the_same_k_and_profiles_and_random_is_one_everywhere(tmp_path: Path) -> None:
    cells = setting({"default": 5, "demos": 7})
    cells += [(learned("persona", k=2), right(9)), (learned("persona", judge="m", profile="n"), right(9))]
    cells += [(default(method="default@all"), right(9)), (default("n"), right(9))]
    assert sentence(main_of(tmp_path / "others", cells)) == "corrected: 1 of 1"
    random = Cell("random", 0.5, None, variant="baseline", dataset="d")
    table = main_of(tmp_path / "random", [*cells, *setting({"demos": 7}, suffix=".logprob"), (random, right(8))])
    assert sentence(table) == "corrected: 0 of 1; corrected · log-prob, each order: 0 of 1"


def test_nothing_is_said_without_methods_of_both_kinds(tmp_path: Path) -> None:
    assert won_notes(main_of(tmp_path / "with", setting({"demos": 7, "both": 5}))) == []
    assert won_notes(main_of(tmp_path / "without", setting({"default": 7, "persona": 5}))) == []
    assert won_notes(main_of(tmp_path / "k", [(default(), right(5)), (learned("demos", k=3), right(7))])) == []


def test_a_setting_with_lost_judgments_is_left_out_and_a_method_for_nobody_is_no_rival(tmp_path: Path) -> None:
    won = setting({"default": 5, "demos": 7})
    exempt = (learned("persona"), {"u": EXEMPT})
    lost = [(default("n"), right(5, lost=1)), *setting({"demos": 7}, judge="n")]
    dead = [(default("o"), {"u": "eeee"}), *setting({"demos": 7}, judge="o")]
    table = main_of(tmp_path, [*won, exempt, *lost, *dead])
    assert sentence(table) == "corrected: 1 of 1"
    assert "Left out, as a row lost judgments to provider errors or has none: 2." in won_notes(table)[0]


def test_the_sentence_stands_under_the_main_table_and_pools_stand_for_their_folds(tmp_path: Path) -> None:
    cells = []
    for fold in ("d-1", "d-2"):
        cells.append(Cell("default", 0.1, "m", variant="baseline", dataset=fold))
        cells.append(Cell("demos", 0.9, "m", "m", 0, dataset=fold))
    paths = write_cells(tmp_path / "v", cells, [6, 6])
    write_frame(collect_verdicts(paths), tmp_path / "verdicts.parquet")
    write_frame(collect_calls(paths), tmp_path / "calls.parquet")
    given: dict[str, object] = {name: tmp_path / f"{name}.parquet" for name in ("verdicts", "calls")}
    given |= {"n_resamples": 9, "evaluated": "test"}
    for name, pools, counted in (("apart", {}, "2 of 2"), ("pooled", {"d": ["d-1", "d-2"]}, "1 of 1")):
        text = write_result("table_main", tmp_path / name, **given, pools=pools).with_suffix(".md").read_text()
        assert f"corrected: {counted}" in text
        assert "Users: those of the level-A part test" in text
