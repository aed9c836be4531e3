"""The folder of a benchmark in the documents: csv, figure, and the tables of its page."""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from personalrm.core.files import atomic_write_text
from personalrm.results.figure_style import save_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def write_folder(
    folder: Path, name: str, fields: Sequence[str], rows: Iterable[Sequence[Any]], figure: Figure, lines: Iterable[str]
) -> None:
    """Write csv and figure (png), both called `name`, and the page `README.md` with `lines` between two marks.

    Text outside the marks stays as it is. Numbers that are missing (nan) are empty in the csv.
    """
    begin, end = f"<!-- made by benchmarks/{name}.py -->", "<!-- end of what it made -->"
    folder.mkdir(parents=True, exist_ok=True)
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(fields)
    writer.writerows(["" if isinstance(v, float) and math.isnan(v) else v for v in row] for row in rows)
    atomic_write_text(folder / f"{name}.csv", stream.getvalue())
    for path in save_figure(figure, folder / name):
        if path.suffix != ".png":
            path.unlink()
    page = folder / "README.md"
    text = page.read_text(encoding="utf-8") if page.exists() else f"{begin}\n{end}\n"
    made = "\n".join([begin, "", *lines, "", end])
    atomic_write_text(page, re.sub(f"(?s){begin}.*{end}", lambda _: made, text))
