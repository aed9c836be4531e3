"""What tests of results share: a table or figure made as the workflow makes it, once or twice."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from personalrm.results.scores import write_frame
from personalrm.results.spec import Result
from personalrm.studies.run_results import all_results

RESULTS: dict[str, Result] = {result.rule: result for result in all_results()}
USUAL: dict[str, object] = {"seed": 1, "n_resamples": 50, "pools": {}, "model_order": [], "title_note": "run x"}
"""Settings that most results read."""


def write_result(rule: str, folder: Path, **given: object) -> Path:
    """Make the files of a result in `folder`, from the inputs and settings of its `build`; returns their stem."""
    result = RESULTS[rule]
    unknown = given.keys() - {*result.inputs, *result.settings}
    assert not unknown, f"{rule} does not read {unknown}"
    inputs = {name: given[name] for name in result.inputs if name in given or name in result.needed}
    settings = {name: (USUAL | given)[name] for name in result.settings}
    stem = folder / result.name
    result.write(stem, inputs, settings)  # type: ignore[arg-type]
    return stem


def written_twice(rule: str, folder: Path, **given: object) -> Path:
    """Make a result in the folders `one` and `two`: its files must be all there, and equal. Returns the first stem."""
    stem, again = (write_result(rule, folder / run, **given) for run in ("one", "two"))
    for suffix in RESULTS[rule].files.values():
        first, second = (path.with_name(path.name + suffix) for path in (stem, again))
        assert first.read_bytes() == second.read_bytes(), suffix
    return stem


def made_twice(
    folder: Path, name: str, frame: pd.DataFrame, inputs: Mapping[str, object], params: Mapping[str, object]
) -> Path:
    """`written_twice` of a table that is made from verdicts; returns the csv."""
    write_frame(frame, folder / "verdicts.parquet")
    given = {"verdicts": folder / "verdicts.parquet", **inputs, **params}
    return written_twice(f"table_{name}", folder, **given).with_suffix(".csv")
