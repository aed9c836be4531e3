"""Invented users for tests: the files of `personalrm synthesise --scripted`, made once for equal options, and read."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import numpy as np

from personalrm.data.scripted.settings import ScriptedSettings
from personalrm.data.scripted.synthesise import AXES, TASTES, VOTES, synthesise
from personalrm.data.scripted.texts import axes

NAMES = [axis.name for axis in axes()]
Row = dict[str, Any]
Array = np.ndarray[Any, Any]


class Made(NamedTuple):
    """The files of a call, read."""

    card: Row
    votes: list[Row]
    tastes: dict[str, Row]
    axes: list[Row]

    def of(self, *kinds: str) -> list[str]:
        """Users of these kinds."""
        return [user for user, taste in self.tastes.items() if taste["kind"] in kinds]

    def differences(self) -> Array:
        """Values of the chosen answer minus those of the rejected one, (pairs, axes)."""
        return np.array([[row["chosen"][name] - row["rejected"][name] for name in NAMES] for row in self.axes])

    def weights(self, kind: str = "weights") -> Array:
        """Weights of each pair's user, (pairs, axes)."""
        return np.array([[self.tastes[row["user_id"]][kind].get(name, 0) for name in NAMES] for row in self.axes])


@cache
def made(**options: object) -> Made:
    with TemporaryDirectory() as folder:
        return read(Path(folder), synthesise(ScriptedSettings(**options), Path(folder)))


def read(folder: Path, card: Row) -> Made:
    votes, values = ([json.loads(line) for line in (folder / name).open(encoding="utf-8")] for name in (VOTES, AXES))
    return Made(card, votes, json.loads((folder / TASTES).read_text(encoding="utf-8")), values)
