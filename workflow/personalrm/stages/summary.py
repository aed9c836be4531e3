"""What a person sees at the end of a run: the main table, and where the results are."""

from __future__ import annotations

import csv
from pathlib import Path

from personalrm.errors import DataError
from personalrm.results.labels import method_label

COLUMNS = (
    "dataset",
    "profile model",
    "judge model",
    "method",
    "k",
    "users",
    "judgments",
    "accuracy %",
    "95 % interval",
)


def summarise(run: Path) -> str:
    """Main table as plain text, and the paths of the results. Raises DataError if there is none yet."""
    table = run / "tables" / "main.csv"
    if not table.is_file():
        raise DataError(f"{table}: no main table yet; run the workflow first")
    with table.open(encoding="utf-8", newline="") as stream:
        rows = [_cells(row) for row in csv.DictReader(stream)]
    widths = [max(len(row[i]) for row in [list(COLUMNS), *rows]) for i in range(len(COLUMNS))]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in [list(COLUMNS), ["-" * width for width in widths], *rows]
    ]
    places = [
        f"Main table   {table.with_suffix('.md')} (also .csv, .tex, .html)",
        f"Main figure  {run / 'figures' / 'main.pdf'} (also .svg, .png)",
        f"Benchmark    {run / 'tables' / 'benchmark.md'}, {run / 'tables' / 'funnel.md'}",
        f"Report       {run / 'report.html'}, {run / 'transcripts.html'}",
        f"Manifest     {run / 'manifest.json'}",
    ]
    return "\n".join([*lines, "", *places]) + "\n"


def _cells(row: dict[str, str]) -> list[str]:
    accuracy = f"{float(row['accuracy']):.1f}" if row["accuracy"] else "-"
    interval = f"[{float(row['ci_low']):.1f}, {float(row['ci_high']):.1f}]" if row["ci_low"] else "-"
    return [
        row["dataset"],
        row["profile_model"] or "-",
        row["judge_model"] or "-",
        method_label(row["method"]),
        row["k"],
        row["n_users"],
        row["n_judgments"],
        accuracy,
        interval,
    ]
