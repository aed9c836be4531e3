"""Readings of personas, grouped by who wrote and who read them: what the tables of fidelity and recovery share."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeVar

from personalrm.personas.records import PersonaReading
from personalrm.results.labels import k_label

READER_KEY: tuple[str, ...] = ("dataset", "variant", "profile_model", "judge_model", "k")
"""Columns of a table that name a group."""
Reading = TypeVar("Reading", bound=PersonaReading)


def by_reader(rows: Iterable[Reading]) -> list[tuple[tuple[str, ...], list[Reading]]]:
    """Values of `READER_KEY` with their rows, sorted by key and user."""
    groups: dict[tuple[str, ...], list[Reading]] = {}
    for row in rows:
        key = (row.dataset, row.variant, row.profile_model, row.judge_model, k_label(row.k))
        groups.setdefault(key, []).append(row)
    return [(key, sorted(groups[key], key=lambda row: row.user_id)) for key in sorted(groups)]
