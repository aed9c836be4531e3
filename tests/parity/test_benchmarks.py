"""The benchmarks beside the authors' package, at the smallest size: they print and keep what they should."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from parity.environment import package_python

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


def run(script: str, folder: Path, *options: str) -> tuple[str, list[dict[str, Any]]]:
    package_python()  # skips where the package cannot be had
    rows = folder / "rows.json"
    command = [sys.executable, BENCHMARKS / script, "--users", "2", "--json", rows, *options]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout, json.loads(rows.read_text(encoding="utf-8"))


@pytest.mark.timeout(600)
def test_search_counts_what_each_side_asks(tmp_path: Path) -> None:
    printed, rows = run("search.py", tmp_path, "--candidates", "2")
    assert "same winner" in printed
    by = {(row["side"], row["search"]): row for row in rows}
    package, exhaustive = by["package", "cache on"], by["as_published", "everything asked"]
    assert all(row["equal_winners"] == row["users"] == 2 for row in rows)
    assert package["share"] == 1
    assert package["sent"] >= package["distinct"] >= exhaustive["distinct"]
    for variant in ("as_published", "corrected"):
        counts = [by[variant, search]["distinct"] for search in ("1 at a time", "16 at a time", "everything asked")]
        assert counts == sorted(counts)
        assert 0 < counts[0] < counts[-1]


@pytest.mark.timeout(600)
def test_side_by_side_with_the_package(tmp_path: Path) -> None:
    printed, (package, published, corrected) = run("vs_package.py", tmp_path, "--candidates", "0", "--latency", "0.05")
    assert [row["side"] for row in (package, published, corrected)] == ["package", "as_published", "corrected"]
    assert "bar: fit" in printed
    # One model, which answers by content: the same decisions, so the same verdicts.
    assert published["accuracy"] == package["accuracy"]
    estimate, low, high = published["difference"]
    # Eight pairs of two users leave a difference open, also where all verdicts are the same.
    assert (estimate, low) == (0, -high)
    assert high > 0
    assert published["distinct"] <= package["distinct"] <= package["sent"]
    for row in (package, published, corrected):
        assert (row["users"], row["test_pairs"], row["failed"]) == (2, 8, 0)
        assert min(row["fit_s"], row["peak_mb"], row["tokens_in"], row["tokens_out"]) > 0
