"""What is printed at the end of a run: the main table as plain text, what it shows, and the places of the results."""

from __future__ import annotations

import csv
from pathlib import Path

from tabulate import tabulate

from personalrm.core.errors import DataError
from personalrm.results.labels import NO_ANSWERS, method_label
from personalrm.results.marks import FLAG_NAMES, RETRY, marked, notes_of
from personalrm.results.tables.differences_table import read_differences_table
from personalrm.results.tables.main_table import read_main_table, row_flags
from personalrm.studies.synthesizeme.report_summary import headline

COLUMNS = [
    *("dataset", "profile model", "judge model", "method", "k"),
    *("users", "judgments", "accuracy %", "95 % interval"),
]


def summarise(run: Path) -> str:
    """Main table as plain text, what it shows, and the paths of the results. Raises DataError if there is none yet."""
    table = run / "tables" / "main.csv"
    if not table.is_file():
        raise DataError(f"{table}: no main table yet; run the workflow first")
    with table.open(encoding="utf-8", newline="") as stream:
        found = list(csv.DictReader(stream))
    flags = [row_flags(row) for row in found]
    notes = notes_of(name for name in FLAG_NAMES if any(getattr(held, name) for held in flags))
    notes += [RETRY] if any(held.outage or held.lossy for held in flags) else []
    lines = tabulate(map(_cells, found), COLUMNS, tablefmt="simple", disable_numparse=True).splitlines()
    places = [
        f"Main table   {table.with_suffix('.md')} (also .csv, .tex, .html)",
        f"Main figure  {run / 'figures' / 'main.pdf'} (also .svg, .png)",
        f"Benchmark    {run / 'tables' / 'benchmark.md'}, {run / 'tables' / 'funnel.md'}",
        f"Report       {run / 'report.html'}, {run / 'transcripts.html'}",
        f"Manifest     {run / 'manifest.json'}",
    ]
    return "\n".join([*lines, *notes, *_verdicts(run), "", *places]) + "\n"


def _verdicts(run: Path) -> list[str]:
    """What the report's first screen says, after an empty line; nothing where nothing was compared."""
    differences = run / "tables" / "differences.csv"
    if not differences.is_file():
        return []
    found = headline(read_main_table(run / "tables" / "main.csv"), read_differences_table(differences))
    return ["", found.verdict, *found.others] if found else []


def _cells(row: dict[str, str]) -> list[str]:
    accuracy = (
        f"{float(row['accuracy']):.1f}" if row["accuracy"] else NO_ANSWERS if row["status"] == NO_ANSWERS else "-"
    )
    interval = f"[{float(row['ci_low']):.1f}, {float(row['ci_high']):.1f}]" if row["ci_low"] else "-"
    return [
        row["dataset"],
        row["profile_model"] or "-",
        row["judge_model"] or "-",
        method_label(row["method"]),
        row["k"],
        row["n_users"],
        row["n_judgments"],
        marked(accuracy, row_flags(row).columns()),
        interval,
    ]
