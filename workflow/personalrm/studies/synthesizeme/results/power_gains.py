"""Gains over Default that the paper reports, for the table of power: made from the reported numbers."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from personalrm.studies.synthesizeme.results.reported_numbers import ReportedNumber

TABLE = "main results"
GAIN_DIGITS = 4
NOT_NAMED = "SynthesizeMe (variant not named)"
ANY_OF: tuple[str, ...] = ("demos", "persona", "both")
"""What a number of SynthesizeMe may stand for whose source does not say which."""


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


def gains_of(numbers: Sequence[ReportedNumber]) -> tuple[Gain, ...]:
    """Accuracies of the paper's main table less Default of the same set and model, in the order of the numbers.

    Numbers of methods that we have no id for, or that no Default stands beside, have none.
    """
    main = [number for number in numbers if number.table == TABLE and number.statistic == "accuracy_percent"]
    default = {(number.data_set, number.model): number.value for number in main if number.method == "default"}
    gains = []
    for number in main:
        methods = ANY_OF if number.label == NOT_NAMED else (number.method,) if number.method else ()
        beside = default.get((number.data_set, number.model))
        if beside is not None and methods not in ((), ("default",)):
            points = round(number.value - beside, GAIN_DIGITS)
            model = number.model.rpartition("/")[2]
            told = number.source, number.confidence, number.note
            gains.append(Gain(number.data_set, model, methods, points, *told))
    return tuple(gains)


def gains_for(gains: Iterable[Gain], method: str, answers_to: str | None) -> list[Gain]:
    """Reported gains of a method: on the data set that ours answers to, or on any where ours is other data."""
    return [gain for gain in gains if method in gain.methods and answers_to in (None, gain.dataset)]
