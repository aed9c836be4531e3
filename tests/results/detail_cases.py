"""What the tests of the detailed tables share: scripts run twice, and their files compared."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pandas as pd
from test_result_scripts import job, script

from personalrm.results.scores import write_frame

ENDS = ("csv", "html", "md", "tex")


def made_twice(
    folder: Path, name: str, frame: pd.DataFrame, inputs: Mapping[str, object], params: Mapping[str, object]
) -> Path:
    """Run a table's script twice; its four files must have equal bytes. Returns the csv."""
    write_frame(frame, folder / "verdicts.parquet")
    for run in ("one", "two"):
        output: dict[str, object] = {"csv": str(folder / run / f"{name}.csv")}
        given = {"verdicts": str(folder / "verdicts.parquet"), **inputs}
        script(f"table_{name}").main(job(given, output, dict(params)))
    made = sorted(path.name for path in (folder / "one").glob(f"{name}.*"))
    assert made == [f"{name}.{end}" for end in ENDS]
    for file in made:
        assert (folder / "one" / file).read_bytes() == (folder / "two" / file).read_bytes(), file
    return folder / "one" / f"{name}.csv"
