"""Whether the results of a run reach what somebody expects of them, for their own continuous integration."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path

from personalrm.core.errors import DataError

NAMES = ("dataset", "method", "judge_model", "k")


def check(
    run: Path,
    least: float,
    wanted: Mapping[str, str | None],
    *,
    lower_bound: bool = False,
    largest_loss: float = 1.0,
) -> tuple[bool, str]:
    """Whether all rows of the main table reach `least` percent, and a line on each row.

    Args:
        run: folder of the run.
        least: in percent.
        wanted: values of `NAMES` that rows must have; None for any.
        lower_bound: ask it of the lower end of the 95 % interval, not of the accuracy.
        largest_loss: percentage of verdicts that provider errors may have lost in a row.

    Raises:
        DataError: no main table, no row with these values, or a row without a number.
    """
    path = run / "tables" / "main.csv"
    if not path.is_file():
        raise DataError(f"{run}: no tables/main.csv; run the workflow first")
    with path.open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    rows = [row for row in rows if all(value in (None, row[key]) for key, value in wanted.items())]
    asked = ", ".join(f"{key} {value}" for key, value in wanted.items() if value is not None)
    if not rows:
        raise DataError(f"{path}: no row with {asked}")
    column = "ci_low" if lower_bound else "accuracy"
    lines, held = [], True
    for row in rows:
        name = " · ".join(row[key] for key in NAMES if row[key] != "-")
        if not row[column]:
            raise DataError(f"{path}: {name}: no accuracy ({row['status']})")
        lost = 100 * int(row["provider_error"]) / (int(row["n_judgments"]) + int(row["provider_error"]))
        problems = [f"below {least:g}"] * (float(row[column]) < least) + [f"{lost:.1f} % lost"] * (lost > largest_loss)
        held &= not problems
        interval = f"{float(row['accuracy']):.1f} [{float(row['ci_low']):.1f}, {float(row['ci_high']):.1f}]"
        lines.append(f"{'FAILED' if problems else 'ok':<7} {name}: {interval}{''.join(f'; {one}' for one in problems)}")
    return held, "\n".join(lines) + "\n"
