"""A figure of which a run has nothing is a sentence, in its picture and in its caption, and no empty panel."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from support.result_cases import write_result

from personalrm.results.columns import Columns
from personalrm.results.scores import collect_verdicts, write_frame
from personalrm.results.tables.calibration_table import COLUMNS as CALIBRATION_COLUMNS
from personalrm.results.tables.demographics_table import GROUP_COLUMNS
from personalrm.results.tables.differences_table import DIFFERENCE_COLUMNS
from personalrm.results.tables.scaling_table import SCALING_COLUMNS
from personalrm.results.tables.tastes_table import COLUMNS as TASTE_COLUMNS
from personalrm.results.tables.training_table import COLUMNS as TRAINING_COLUMNS
from personalrm.results.tables.transfer_table import TRANSFER_COLUMNS
from personalrm.results.tables.users_table import USER_COLUMNS
from personalrm.studies.run_results import all_results
from personalrm.studies.tailoring.results.persona_accuracy_table import ACCURACY_COLUMNS
from personalrm.studies.tailoring.results.persona_saliency_table import SALIENCY_COLUMNS
from personalrm.studies.tailoring.results.tailoring_table import TAILORING_COLUMNS

TABLES: dict[str, tuple[str, Columns]] = {
    "calibration": ("calibration", CALIBRATION_COLUMNS),
    "demographics": ("demographics", GROUP_COLUMNS),
    "dumbbells": ("users", USER_COLUMNS),
    "forest": ("differences", DIFFERENCE_COLUMNS),
    "scaling": ("scaling", SCALING_COLUMNS),
    "scaling_labels": ("scaling", SCALING_COLUMNS),
    "tastes": ("tastes", TASTE_COLUMNS),
    "training": ("training", TRAINING_COLUMNS),
    "transfer": ("transfer", TRANSFER_COLUMNS),
}


def assert_says_so(stem: Path) -> None:
    caption = stem.with_suffix(".txt").read_text(encoding="utf-8")
    assert caption.startswith("Nothing to draw: ")
    assert caption.endswith(".\n")
    assert stem.with_suffix(".png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("figure", TABLES)
def test_an_empty_table_gives_a_sentence(tmp_path: Path, figure: str) -> None:
    table, columns = TABLES[figure]
    columns.frame([]).to_csv(tmp_path / "table.csv", index=False)
    assert_says_so(write_result(f"figure_{figure}", tmp_path, **{f"table_{table}": tmp_path / "table.csv"}))


def test_no_profiles_and_no_verdicts_give_a_sentence(tmp_path: Path) -> None:
    write_frame(collect_verdicts([]), tmp_path / "verdicts.parquet")
    assert_says_so(write_result("figure_search", tmp_path, profiles=[]))
    assert_says_so(write_result("figure_orders", tmp_path, verdicts=tmp_path / "verdicts.parquet"))


@pytest.mark.parametrize(
    ("name", "frame"),
    [
        ("persona_accuracy", ACCURACY_COLUMNS.frame([])),
        ("persona_saliency", SALIENCY_COLUMNS.frame([])),
        ("tailoring", TAILORING_COLUMNS.frame([])),
        # Answers that were compared, but in no rubric of ΔPQ.
        ("tailoring", TAILORING_COLUMNS.frame([{"dataset": "d", "rubric": "description", "n_pairs": 3}])),
    ],
)
def test_an_empty_table_of_the_second_study_gives_a_sentence(tmp_path: Path, name: str, frame: pd.DataFrame) -> None:
    (figure,) = (one for one in all_results("tailoring") if one.rule == f"figure_{name}")
    frame.to_csv(tmp_path / "table.csv", index=False)
    figure.write(tmp_path / name, {f"table_{name}": str(tmp_path / "table.csv")}, {"title_note": "run x"})
    assert_says_so(tmp_path / name)
