"""The main table as plain text, which is printed at the end of a run, and the places of the results."""

from __future__ import annotations

import csv
from pathlib import Path

from tabulate import tabulate

from personalrm.core.errors import DataError
from personalrm.results.labels import NO_ANSWERS, method_label
from personalrm.results.marks import FLAG_NAMES, RETRY, marked, notes_of
from personalrm.results.tables.main_table import row_flags

COLUMNS = [
    *("dataset", "profile model", "judge model", "method", "k"),
    *("users", "judgments", "accuracy %", "95 % interval"),
]


def summarise(run: Path) -> str:
    """Main table as plain text, and the paths of the results. Raises DataError if there is none yet."""
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
    return "\n".join([*lines, *notes, "", *places]) + "\n"


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
