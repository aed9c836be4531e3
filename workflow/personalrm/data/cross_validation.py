"""Leave-out folds: a data set with n folds becomes n data sets, and their results are pooled."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from personalrm.data.settings import MOST_FOLDS, Dataset

Pools = Mapping[str, Sequence[str]]
"""Name of a data set that the config wants in folds -> names of its folds."""


def fold_name(dataset: str, number: int) -> str:
    """Name of a fold as a data set of its own, from 1."""
    return f"{dataset}-fold{number}"


def with_folds(datasets: Mapping[str, Any]) -> dict[str, Any]:
    """Entries of `datasets` of a config file, those with `split.folds` n as n entries with the `fold`s 1 to n.

    A malformed entry is left as it is, so that its own checks report it.
    """
    made: dict[str, Any] = {}
    for name, entry in datasets.items():
        split: Any = entry.get("split") if isinstance(entry, dict) else None
        count = split.get("folds") if isinstance(split, dict) and split.get("fold") is None else None
        numbers = range(1, count + 1) if isinstance(count, int) and 2 <= count <= MOST_FOLDS else ()
        folds = {fold_name(name, n): {**entry, "split": {**split, "fold": [n, count]}} for n in numbers}
        made |= folds if folds and not folds.keys() & datasets.keys() else {name: entry}
    return made


def pools_of(datasets: Mapping[str, Dataset]) -> dict[str, list[str]]:
    """Data sets that the config wants in folds, each with its folds."""
    pools: dict[str, list[str]] = {}
    for name, entry in datasets.items():
        if entry.split.folds is not None and entry.split.fold is not None:
            pools.setdefault(name.removesuffix(fold_name("", entry.split.fold[0])), []).append(name)
    return pools


def pooled_names(datasets: Iterable[str], pools: Pools) -> list[str]:
    """Names of data sets, with pools instead of their folds."""
    pool_of = {fold: pool for pool, folds in pools.items() for fold in folds}
    return list(dict.fromkeys(pool_of.get(name, name) for name in datasets))
