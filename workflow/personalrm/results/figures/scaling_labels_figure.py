"""Accuracy against labels used: the figure of scaling with another axis."""

from __future__ import annotations

from pathlib import Path

from personalrm.results.figures.scaling_figure import drawing
from personalrm.results.spec import Drawing, FigureResult
from personalrm.results.tables.scaling_table import read_scaling_table


def build(table_scaling: Path, *, title_note: str) -> Drawing:
    """Draw the figure from the published table of scaling alone."""
    return drawing(read_scaling_table(table_scaling), "labels_used", title_note)


RESULT = FigureResult(
    name="scaling_labels",
    order=31,
    caption=(
        "Accuracy against the number of labels that a profile rests on: context pairs and, for methods that choose a "
        "winner by them, all validation pairs. One panel a data set and judge. Bands: 95 % intervals, users resampled. "
        "Dashed: the unpersonalised judge."
    ),
    build=build,
)
