"""A method that applies to nobody, beside one that applies to some, in every table of methods."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from support.comparison_cases import EXEMPT, default, frame_of, learned, row_of

from personalrm.results.tables.differences_table import differences_blocks, differences_notes, differences_table
from personalrm.results.tables.outcomes_table import outcomes_blocks, outcomes_table
from personalrm.results.tables.position_bias_table import position_bias_table
from personalrm.results.tables.users_table import users_table
from personalrm.studies.synthesizeme.results.ablation_table import ablation_table
from personalrm.studies.synthesizeme.results.families_table import families_table
from personalrm.studies.synthesizeme.results.power_table import power_table

NOWHERE = "not applicable"


@pytest.fixture
def frame(tmp_path: Path) -> pd.DataFrame:
    """`both` applies to nobody in d; in e to u alone. `persona` has a verdict for nobody for want of pairs."""
    said, nobody = {"u": "10", "v": "11"}, {"u": EXEMPT, "v": EXEMPT}
    cells = [(default(dataset=name), said) for name in ("d", "e")]
    cells += [(learned(), nobody), (learned(dataset="e"), {"u": "11", "v": EXEMPT})]
    cells += [(learned("persona", dataset=name), {"u": "", "v": ""}) for name in ("d", "e")]
    return frame_of(tmp_path, cells)


def test_differences_say_so_and_count_who_is_left_out(frame: pd.DataFrame) -> None:
    table = differences_table(frame, seed=0, n_resamples=99)
    for reference in ("default", "persona", "demos"):
        row = row_of(table, dataset="d", method="both", reference=reference)
        assert (row["status"], row["n_judgments"]) == (NOWHERE, 0)
    partly = row_of(table, dataset="e", method="both", reference="default")
    assert (partly["status"], partly["difference"], partly["n_users"], partly["users_left_out"]) == ("ok", 50, 1, 1)
    assert row_of(table, dataset="d", method="persona")["status"] == "nothing in common"
    assert NOWHERE in set(differences_blocks(table)[0].texts["Difference, points [95 % CI]"])
    assert any(note.startswith(f"{NOWHERE}: ") for note in differences_notes(table))


def test_every_other_table_says_so(frame: pd.DataFrame) -> None:
    families = families_table(frame, seed=0, n_resamples=99)
    assert list(families["cell"]) == list(families["status"]) == [NOWHERE, "ok"]
    power = power_table(frame, [], datasets=["d", "e"], answers_to={})
    assert row_of(power, dataset="d", method="both")["status"] == NOWHERE
    assert row_of(power, dataset="d", method="persona")["status"] == "nothing in common"
    position = position_bias_table(frame)
    assert row_of(position, dataset="d", method="both")["status"] == NOWHERE
    assert row_of(position, dataset="d", method="persona")["status"] == "no verdicts"
    outcomes = outcomes_table(frame)
    assert list(outcomes.loc[outcomes["method"] != "default", "status"]) == [
        "no verdicts",
        NOWHERE,
        "no verdicts",
        "ok",
    ]
    assert list(outcomes_blocks(outcomes)[0].texts["Correct"]).count(NOWHERE) == 1
    ablation = ablation_table(frame, seed=0, n_resamples=99)
    held = ablation[(ablation["dataset"] == "d") & (ablation["method"] == "both")]
    assert list(held["cell"]) == [NOWHERE]


def test_users_to_whom_it_does_not_apply_are_told_from_those_without_a_verdict(frame: pd.DataFrame) -> None:
    table = users_table(frame)
    mine = table[table["dataset"] == "e"]
    assert {(row.user_id, row.method): row.status for row in mine.itertuples() if row.method != "default"} == {
        ("u", "both"): "ok",
        ("v", "both"): NOWHERE,
        ("u", "persona"): "no verdicts",
        ("v", "persona"): "no verdicts",
    }
