"""The table of what the paper reports of persona tailoring, with the numbers of this run beside."""

from __future__ import annotations

import csv
import math
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from personalrm.results.columns import Columns
from personalrm.results.labels import NOT_RUN
from personalrm.results.lazy import pd
from personalrm.results.spec import Table, TableResult
from personalrm.results.table_formats import table_rows
from personalrm.results.tables.comparison_text import DIFFERENCE, Shown, block_of, decimals, notes_where
from personalrm.studies.tailoring.results.persona_accuracy_table import reading
from personalrm.studies.tailoring.results.tailoring_table import (
    BOTH,
    FLAGS,
    PQ,
    SHARES,
    difference_shown,
    flag_notes,
    read_tailoring_table,
)

NOT_COMPARABLE, SAME_JUDGE = "not comparable", "same judge"
REPORTED: tuple[str, ...] = (*(f"{rubric}_{name}" for rubric in PQ for name in SHARES), "delta_pq")
NAMES: tuple[str, ...] = ("comparison", "dataset", "certainty", "source", "test", "base", "judge", "verdict", "status")
REPORTED_COLUMNS = Columns(
    (*NAMES, *REPORTED, "n_pairs", *DIFFERENCE, *FLAGS), texts=NAMES, whole=("n_pairs",), flags=FLAGS
)


def reported_table(
    table: pd.DataFrame,
    reported: Path,
    *,
    datasets: Mapping[str, str],
    comparisons: Collection[tuple[str, str, str]],
    paper_judges: Sequence[str],
) -> pd.DataFrame:
    """One row for each reported comparison and each of this run's that the config names so; columns
    `REPORTED_COLUMNS`.

    - reported columns in percent, delta_pq x100; difference and its bounds: ΔPQ of this run, over n_pairs.
    - status: `same judge` for Prometheus 2 by its own prompt, else `not comparable`; or `not run`.
    """
    with reported.open(encoding="utf-8", newline="") as stream:
        known = [row for row in csv.DictReader(stream) if row["dataset"] in datasets.values()]
    mine = [row for row in table_rows(table) if row["rubric"] == BOTH]
    found = []
    for row in known:
        paper = {name: row[name] for name in ("comparison", "dataset", "certainty", "source")}
        paper |= {name: float(row[name]) if row[name] else math.nan for name in REPORTED}
        ours = [
            one
            for one in mine
            if datasets.get(one["dataset"]) == row["dataset"]
            and (one["test"], one["base"], row["comparison"]) in comparisons
        ]
        for one in ours:
            same = SAME_JUDGE if one["judge"] in paper_judges else NOT_COMPARABLE
            found.append({**one, **paper, "status": same})
        if not ours:
            absent = dict.fromkeys(("test", "base", "judge", "verdict"), "-")
            found.append({**paper, **absent, "status": NOT_RUN, "n_pairs": 0, "outage": False, "unread": False})
    return REPORTED_COLUMNS.frame({name: row.get(name) for name in REPORTED_COLUMNS} for row in found)


def build(
    table_tailoring: Path,
    reported_answers: Path,
    *,
    reported_datasets: Mapping[str, str],
    reported_comparisons: Collection[tuple[str, str, str]],
    paper_judges: Sequence[str],
) -> Table:
    """Make the table from that of persona tailoring and the reported numbers."""
    table = reported_table(
        read_tailoring_table(table_tailoring),
        reported_answers,
        datasets=reported_datasets,
        comparisons=reported_comparisons,
        paper_judges=paper_judges,
    )
    names = {"dataset": "Data set", "comparison": "Comparison"}
    ran = table[table["status"] != NOT_RUN]
    shown: Shown = {
        "Paper: personalization W / T / L %": lambda row: _shares(row, PQ[0]),
        "Paper: quality W / T / L %": lambda row: _shares(row, PQ[1]),
        "Paper: ΔPQ": decimals("delta_pq", "+.1f"),
        "ΔPQ here [95 % CI]": lambda row: NOT_RUN if row["status"] == NOT_RUN else difference_shown(row),
        "Judge here": "judge",
        "Read from": lambda row: "-" if row["status"] == NOT_RUN else reading(row["verdict"]),
        "Pairs": "n_pairs",
        "Status": "status",
    }
    ours = [row for row in table_rows(ran) if not math.isnan(row["difference"]) and row["delta_pq"]]
    agree = sum((row["difference"] > 0) == (row["delta_pq"] > 0) for row in ours)
    same, other = (bool((table["status"] == status).any()) for status in (SAME_JUDGE, NOT_COMPARABLE))
    notes = [
        "The paper's judge is Prometheus 2 (7B) at temperature 1. Its W / T / L are of the authors' poster; rows "
        "without them are known from third-party notes alone, and what they were compared with is likely, not certain.",
        *notes_where(
            (other, f"{NOT_COMPARABLE}: another judge, a stronger one included, is no replication of the value."),
            (
                same,
                f"{SAME_JUDGE}: the paper's judge, asked by its own prompt. The rubrics are in our words, and the "
                "answers and their clean-up may not be the paper's.",
            ),
            (ours, f"The sign of ΔPQ is the paper's in {agree} of {len(ours)} comparisons."),
        ),
        *flag_notes(ran),
    ]
    return Table(table, (block_of(table, names, shown),), notes)


def _shares(row: Mapping[str, Any], rubric: str) -> str:
    return " / ".join(decimals(f"{rubric}_{name}")(row) for name in SHARES)


RESULT = TableResult(
    name="tailoring_reported",
    order=50,
    title="What does the paper report of tailored answers?",
    caption="The paper's comparisons of tailored answers, and ΔPQ of this run where the config names the comparison.",
    when="reported_answers",
    build=build,
)
