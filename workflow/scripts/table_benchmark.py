"""Make the table of the benchmark: what each data set holds, whole and by split, beside the paper's counts.

| snakemake field      | content                                                                    |
|----------------------|----------------------------------------------------------------------------|
| input.users          | files of users (JSON lines of `UserData`) of all data sets                 |
| input.reported       | resources/reported/benchmark.csv                                           |
| params.datasets      | names of the data sets in the order of listing                             |
| params.answers_to    | data set to the reported set that it answers to, or None                   |
| params.limits        | data set to what limits it in the config (optional)                        |
| output.csv           | all columns of `benchmark_tables.BENCHMARK_COLUMNS`; shares are percent    |
| output.md, tex, html | the same for people; must stand beside the csv under the same name         |
"""

from pathlib import Path
from typing import TYPE_CHECKING

from personalrm.results.table_formats import write_table
from personalrm.studies.synthesizeme.results.benchmark_reported import read_reported
from personalrm.studies.synthesizeme.results.benchmark_table_text import (
    BENCHMARK_CAPTION,
    benchmark_blocks,
    benchmark_notes,
)
from personalrm.studies.synthesizeme.results.benchmark_tables import benchmark_table

if TYPE_CHECKING:
    from snakemake.script import Snakemake


def main(snakemake: "Snakemake") -> None:
    """Compute the table, one user in memory at a time, and write its four formats."""
    answers_to = dict(snakemake.params.answers_to)
    table = benchmark_table(
        [Path(path) for path in snakemake.input.users],
        list(snakemake.params.datasets),
        answers_to,
        read_reported(Path(snakemake.input.reported)),
    )
    write_table(
        table,
        Path(snakemake.output.csv).with_suffix(""),
        caption=BENCHMARK_CAPTION,
        notes=benchmark_notes(table, answers_to, dict(snakemake.params.get("limits", {}))),
        blocks=benchmark_blocks(table),
    )


if "snakemake" in globals():
    main(globals()["snakemake"])
