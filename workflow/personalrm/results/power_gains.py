"""Gains over Default that the paper reports, for the table of power."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from personalrm.errors import DataError

GAIN_DIGITS = 4


class Gain(NamedTuple):
    """A reported gain over Default in points. `methods` are our ids that it may stand for (several where unsaid)."""

    dataset: str
    model: str
    methods: tuple[str, ...]
    points: float
    source: str
    confidence: str
    note: str

    @property
    def label(self) -> str:
        """Where it was reported, and how large."""
        return f"{self.dataset} {self.model} {'/'.join(self.methods)} {self.points:+.2f}"


def read_gains(path: Path) -> tuple[Gain, ...]:
    """Read `resources/reported/gains.csv`. Raises DataError for a row without its columns or numbers."""
    gains = []
    with path.open(encoding="utf-8", newline="") as stream:
        rows = csv.DictReader(stream)
        for row in rows:
            try:
                points = round(float(row["accuracy"]) - float(row["default_accuracy"]), GAIN_DIGITS)
                methods = tuple(row["method"].split())
                texts = [row[name] or "" for name in ("source", "confidence", "note")]
                gains.append(Gain(row["dataset"], row["model"], methods, points, *texts))
            except (KeyError, TypeError, ValueError, AttributeError) as error:
                raise DataError(
                    f"{path}, line {rows.line_num}: needs dataset, model, method, source, confidence, note, and "
                    "numbers as accuracy and default_accuracy; correct the row"
                ) from error
    return tuple(gains)


def gains_for(gains: Iterable[Gain], method: str, answers_to: str | None) -> list[Gain]:
    """Reported gains of a method: on the data set that ours answers to, or on any where ours is other data."""
    return [gain for gain in gains if method in gain.methods and answers_to in (None, gain.dataset)]
