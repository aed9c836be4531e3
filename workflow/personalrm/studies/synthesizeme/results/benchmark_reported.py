"""What the paper reports of its benchmark, and which data set of a run answers to it."""

from __future__ import annotations

import csv
import re
from collections.abc import Mapping
from pathlib import Path

from personalrm.core.errors import DataError
from personalrm.data.settings import ArenaDataset, Dataset, PrismDataset, ProcessedDataset

COMPARED: tuple[str, ...] = ("users", "pairs", "median_pairs")
"""Quantities that the table compares. In `resources/reported/benchmark.csv` they are those of a whole set; those with a
level-A part behind (`pairs_train`), for the users of that part."""
Reported = Mapping[str, Mapping[str, float]]
"""Reported set to quantity to value."""


def reported_set(settings: Dataset) -> str | None:
    """Which set of `resources/reported/benchmark.csv` a data set answers to; None for other data.

    The raw releases answer to the final sets of PersonalRewardBench, `prism` and `arena`. A processed release is known
    by the end of its repository's (or folder's) name: `…_0125` is the final one; an earlier one has a set of its own.
    """
    if isinstance(settings, PrismDataset):
        return "prism"
    if isinstance(settings, ArenaDataset):
        return "arena"
    if not isinstance(settings, ProcessedDataset):
        return None
    name = (settings.hub.repo if settings.hub else settings.folder.name).rpartition("/")[2].casefold()
    release = re.search(r"(prism|arena).*?(?:_(\d{4}))?$", name)
    if release is None:
        return None
    return release[1] if release[2] in (None, "0125") else f"{release[1]}_{release[2]}"


def limits_of(settings: Dataset) -> str:
    """Settings that make a run hold less than the whole of a data set, as text; empty where there are none."""
    given = {
        "users": settings.users and len(settings.users),
        "max_users": settings.max_users,
        "max_pairs": settings.max_pairs,
    }
    return ", ".join(f"{name} {value}" for name, value in given.items() if value)


def read_reported(path: Path) -> Reported:
    """Read the reported counts (columns dataset, quantity, value, …). Raises DataError for a row that has no number."""
    sets: dict[str, dict[str, float]] = {}
    with path.open(encoding="utf-8", newline="") as stream:
        rows = csv.DictReader(stream)
        for row in rows:
            try:
                sets.setdefault(row["dataset"], {})[row["quantity"]] = float(row["value"])
            except (KeyError, TypeError, ValueError) as error:
                raise DataError(
                    f"{path}, line {rows.line_num}: needs dataset, quantity and a number as value; correct the row"
                ) from error
    return sets
