"""The numbers that the paper reports (`resources/reported/fspo.csv`)."""

from __future__ import annotations

import csv
from pathlib import Path


def reported_rows(path: Path, quantity: str) -> list[dict[str, str]]:
    """Rows of a quantity, in the order of the file."""
    with path.open(encoding="utf-8", newline="") as stream:
        return [row for row in csv.DictReader(stream) if row["quantity"] == quantity]


def reported_values(path: Path, quantity: str) -> str:
    """Values of a quantity in words, each with what it is of: "0.64 (before refinement), 0.13 (after refinement)"."""
    return ", ".join(f"{row['value']} ({row['method']})" for row in reported_rows(path, quantity))
