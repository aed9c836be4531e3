"""Whether the results of a run reach what somebody expects of them, for their own continuous integration."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path

from personalrm.core.errors import ConfigError, DataError

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
        ConfigError: `least` is no percentage, or is a share.
        DataError: no main table, no row with these values, or a row without a number.
    """
    if not 0 <= least <= 100 or 0 < least <= 1:
        raise ConfigError(f"--min-accuracy: is {least:g}; give percent, such as 60")
    path = run / "tables" / "main.csv"
    if not path.is_file():
        raise DataError(f"{run}: no tables/main.csv; run the workflow first")
    with path.open(encoding="utf-8", newline="") as stream:
        every = list(csv.DictReader(stream))
    asked = {key: value for key, value in wanted.items() if value is not None}
    rows = [row for row in every if all(row[key] == value for key, value in asked.items())]
    if not rows:
        shown = ", ".join(f"{key} {value}" for key, value in asked.items()) or "a result"
        there = "; ".join(f"{key}: {', '.join(dict.fromkeys(row[key] for row in every))}" for key in asked)
        raise DataError(f"{path}: no row with {shown}; there are {there or 'none'}")
    # What tells rows apart, besides what can be asked for.
    told = [*NAMES, *(key for key in ("variant", "profile_model") if len({row.get(key) for row in rows}) > 1)]
    column = "ci_low" if lower_bound else "accuracy"
    lines, held = [], True
    for row in rows:
        name = " · ".join(row[key] for key in told if row[key] != "-")
        if not row[column]:
            raise DataError(f"{path}: {name}: no accuracy ({row['status']})")
        lost = 100 * int(row["provider_error"]) / (int(row["n_judgments"]) + int(row["provider_error"]))
        problems = [f"below {least:g}"] * (float(row[column]) < least) + [f"{lost:.1f} % lost"] * (lost > largest_loss)
        held &= not problems
        interval = f"{float(row['accuracy']):.1f} [{float(row['ci_low']):.1f}, {float(row['ci_high']):.1f}]"
        lines.append(f"{'FAILED' if problems else 'ok':<7} {name}: {interval}{''.join(f'; {one}' for one in problems)}")
    return held, "\n".join(lines) + "\n"
