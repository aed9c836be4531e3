"""Flatten the verdict files of a run into the two frames that tables and figures are made from.

| snakemake field  | content                                                                        |
|------------------|--------------------------------------------------------------------------------|
| input.verdicts   | verdict files (JSON lines of `JudgedUser`), any number, any order                |
| output.verdicts  | verdicts.parquet: a row a judgment, columns `scores.VERDICT_COLUMNS`             |
| output.calls     | calls.parquet: a row a stored response and table row, `scores.CALL_COLUMNS`      |
"""

from pathlib import Path
from typing import TYPE_CHECKING

from personalrm.results.scores import collect_calls, collect_verdicts, write_frame

if TYPE_CHECKING:
    from snakemake.script import Snakemake


def main(snakemake: "Snakemake") -> None:
    """Read all verdict files twice, once for each frame, in constant memory a file."""
    paths = [Path(path) for path in snakemake.input.verdicts]
    write_frame(collect_verdicts(paths), Path(snakemake.output.verdicts))
    write_frame(collect_calls(paths), Path(snakemake.output.calls))


if "snakemake" in globals():
    main(globals()["snakemake"])
