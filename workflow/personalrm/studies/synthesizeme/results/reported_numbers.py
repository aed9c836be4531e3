"""The numbers that are reported of SynthesizeMe, as data: what, where it was read, and how certain it is."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Annotated, Literal, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from personalrm.core.errors import DataError
from personalrm.methods.registry import METHODS

NOT_STATED = "not stated"
BOTH = "both"
"""Data set of a number that is about Chatbot Arena and PRISM."""
NO_MODEL = "none"
"""Stands for the model of a number that no model has a part in (Random)."""

INDEPENDENT = "95 %, judgments as independent"

Statistic = Literal[
    "accuracy_percent",
    "macro_accuracy_percent",
    "validation_accuracy_percent",
    "match_own_percent",
    "match_other_percent",
    "match_difference_points",
    "difference_points",
    "points_per_pair",
    "context_pairs",
    "settings_won",
    "rouge_l",
    "seconds",
]
Certainty = Literal[
    "read in the paper", "secondary source", "derived", "by definition", "read in the authors' repository"
]


def _absent(value: object) -> object:
    return None if value == "" else value


Text = Annotated[str, Field(min_length=1)]


class _Row(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())


class ReportedNumber(_Row):
    """A row of `resources/reported/synthesizeme.csv`.

    `table` groups the numbers as their papers do. `data_set` is `prism`, `arena` or a name; `revision` the release of
    the authors' processed set (`0125`). `label` is what the source calls the method; `method` and `against` (of a
    difference, what is subtracted) are our ids of it, empty where we have none, and `variant` ours where it matters.
    `statistic` is the id of the quantity, which ends with the unit of `value`: `match_…` are columns of the table of
    fidelity, `points_per_pair` the slope and `context_pairs` the first k better than Default of the table of scaling.
    `half_width` is of the interval that `interval` names.
    `certainty`: read in the paper (which `source` names), or else how we know; `confidence`: in the number itself.
    """

    table: Text
    data_set: Text
    revision: Text
    model: Text
    label: Text
    method: str
    variant: str
    against: str
    statistic: Statistic
    value: Annotated[float, Field(allow_inf_nan=False)]
    half_width: Annotated[Annotated[float, Field(gt=0, allow_inf_nan=False)] | None, BeforeValidator(_absent)]
    interval: Literal["95 %, judgments as independent", "standard error of 5 runs", ""]
    n: Annotated[Annotated[int, Field(gt=0)] | None, BeforeValidator(_absent)]
    source: Text
    certainty: Certainty
    confidence: Text
    note: str

    @model_validator(mode="after")
    def _check(self) -> ReportedNumber:
        if (self.half_width is None) != (not self.interval):
            raise ValueError("half_width and interval belong together: give both or none")
        if self.statistic.endswith("_percent") and not 0 <= self.value <= 100:
            raise ValueError(f"value {self.value} is no percentage")
        if bool(self.against) != (self.statistic == "difference_points" and bool(self.method)):
            raise ValueError("against is for differences with a method of ours, and only for them")
        if unknown := {self.method, self.against} - {"", *METHODS}:
            raise ValueError(f"no method {min(unknown)!r} here (there are: {', '.join(METHODS)})")
        return self

    @property
    def bounds(self) -> tuple[float, float] | None:
        """Ends of the reported interval; None without one."""
        return None if self.half_width is None else (self.value - self.half_width, self.value + self.half_width)


class ServedModel(_Row):
    """A row of `resources/reported/models.csv`: `id` and `snapshot` by which a provider serves a reported `model`.

    `same` says whether a run of it may be compared with the reported number; `note` why not, or a remark.
    """

    model: Text
    id: Text
    snapshot: str
    same: Literal["yes", "no"]
    note: str

    @model_validator(mode="after")
    def _check(self) -> ServedModel:
        if self.same == "no" and not self.note:
            raise ValueError("note must say why the model is not the same")
        return self


R = TypeVar("R", bound=_Row)


def _read(path: Path, kind: type[R]) -> list[R]:
    """The rows of a csv file. Raises DataError, naming the line, for a row that is not one."""
    found = []
    with path.open(encoding="utf-8", newline="") as stream:
        lines = csv.DictReader(stream, restkey="beyond the last column")
        for row in lines:
            try:
                found.append(kind.model_validate(row))
            except ValidationError as error:
                first = error.errors()[0]
                where = ".".join(map(str, first["loc"])) or "row"
                raise DataError(f"{path}, line {lines.line_num}: {where}: {first['msg']}; correct the row") from error
    return found


def read_numbers(path: Path) -> list[ReportedNumber]:
    """The reported numbers in the order of the file. Raises DataError, naming the line, for a row that is not one."""
    return _read(path, ReportedNumber)


class NotRecovered(_Row):
    """A row of `resources/reported/not_recovered.csv`: what the paper reports and no source at hand gives."""

    item: Text
    known: Text


def read_not_recovered(path: Path) -> list[NotRecovered]:
    """What of the paper could not be read. Raises DataError, naming the line, for a row that does not say it."""
    return _read(path, NotRecovered)


def read_served(path: Path) -> list[ServedModel]:
    """Who serves the reported models. Raises DataError, naming the line, for a row that does not say it."""
    return _read(path, ServedModel)
