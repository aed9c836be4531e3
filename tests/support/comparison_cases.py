"""Verdicts spelt out by hand for the tests of differences, scaling and transfer."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Text

from personalrm.core.conditions import K
from personalrm.core.records import JudgedUser, Outcome, Verdict, write_records
from personalrm.results.scores import collect_verdicts
from support.generated_verdicts import Cell, judged

CODES: dict[str, Outcome] = {"1": "correct", "0": "wrong", "t": "tie", "e": "provider_error"}
Said = Mapping[str, str | Sequence[str]]
"""User to outcomes of the user's pairs, a letter a pair ("." for none); several texts are several draws. `EXEMPT`
stands for a user to whom the method does not apply."""
EXEMPT = "-"


def default(judge: str = "m", method: str = "default", dataset: str = "d") -> Cell:
    return Cell(method, 0.5, judge, variant="baseline", dataset=dataset)


def learned(method: str = "both", k: K = "all", judge: str = "m", profile: str = "m", dataset: str = "d") -> Cell:
    return Cell(method, 0.5, judge, profile, k, dataset=dataset)


def users_of(cell: Cell, said: Said) -> list[JudgedUser]:
    rows = []
    for user, texts in said.items():
        for draw, text in enumerate([texts] if isinstance(texts, str) else texts):
            verdicts = [
                Verdict(pair_id=f"{user}-{number}", swapped=None, outcome=CODES[letter])
                for number, letter in enumerate(text)
                if letter not in (".", EXEMPT)
            ]
            row = judged(cell, user, verdicts, draw)
            rows.append(row.model_copy(update={"status": "not_applicable"}) if text == EXEMPT else row)
    return rows


def frame_of(folder: Path, cells: Sequence[tuple[Cell, Said]]) -> pd.DataFrame:
    """The frame of verdicts that the cells' files give."""
    paths = []
    for number, (cell, said) in enumerate(cells):
        paths.append(folder / f"{number}.jsonl")
        write_records(paths[-1], users_of(cell, said))
    return collect_verdicts(paths)


def row_of(table: pd.DataFrame, **values: str) -> dict[str, object]:
    """The one row that has these values."""
    for column, value in values.items():
        table = table[table[column] == value]
    assert len(table) == 1, values
    return {str(column): value for column, value in table.iloc[0].items()}


def texts_of(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.findobj(Text) if isinstance(text, Text) and text.get_text()]


def assert_readable(figure: Figure) -> None:
    """No text leaves the figure, and no two texts meet."""
    figure.draw_without_rendering()
    width, height = figure.get_size_inches() * figure.dpi
    boxes = []
    for text in figure.findobj(Text):
        assert isinstance(text, Text)
        if text.get_text().strip() and text.get_visible():
            box = text.get_window_extent()
            boxes.append((text.get_text(), box))
            assert box.x0 >= 0, text
            assert box.x1 <= width, text
            assert 0 <= box.y0 <= box.y1 <= height, text
    for (one, box), (other, beside) in itertools.combinations(boxes, 2):
        assert not box.overlaps(beside), (one, other)


def points_of(axes: Axes) -> list[tuple[str, float, float]]:
    """Marker and place of all lines of one point, in the order of drawing."""
    dots = [line for line in axes.lines if np.size(line.get_xdata()) == 1]
    places = [tuple(float(np.ravel(part)[0]) for part in dot.get_data()) for dot in dots]
    return [(str(dot.get_marker()), x, y) for dot, (x, y) in zip(dots, places, strict=True)]
