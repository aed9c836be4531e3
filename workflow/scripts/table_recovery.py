"""Make the table of recovery: which facts of the planted tastes the users' own and others' personas state.

| snakemake field      | content                                                                        |
|----------------------|--------------------------------------------------------------------------------|
| input.recovery       | files of the stage `recovery`                                                  |
| params.seed          | seed of the bootstrap over users                                               |
| params.n_resamples   | number of its resamples                                                        |
| params.others        | how many other users' personas were read with a user's facts                   |
| output.csv           | all columns of `recovery_table.RECOVERY_COLUMNS`; percent and points           |
| output.md, tex, html | the same for people; must stand beside the csv under the same name             |
"""

from pathlib import Path
from typing import TYPE_CHECKING

from personalrm.results.table_formats import write_table
from personalrm.results.tables.recovery_table import (
    RECOVERY_CAPTION,
    read_recovery,
    recovery_blocks,
    recovery_notes,
    recovery_table,
)

if TYPE_CHECKING:
    from snakemake.script import Snakemake


def main(snakemake: "Snakemake") -> None:
    """Compute the table and write its four formats."""
    table = recovery_table(
        read_recovery(Path(path) for path in snakemake.input.recovery),
        seed=int(snakemake.params.seed),
        n_resamples=int(snakemake.params.n_resamples),
    )
    write_table(
        table,
        Path(snakemake.output.csv).with_suffix(""),
        caption=RECOVERY_CAPTION,
        notes=recovery_notes(table, int(snakemake.params.others)),
        blocks=recovery_blocks(table),
    )


if "snakemake" in globals():
    main(globals()["snakemake"])
