"""Make the table of persona fidelity: own persona against another user's, judged against what the user stated.

| snakemake field      | content                                                                        |
|----------------------|--------------------------------------------------------------------------------|
| input.fidelity       | files of the stage `fidelity`                                                  |
| params.seed          | seed of the bootstrap over users                                               |
| params.n_resamples   | number of its resamples                                                        |
| params.others        | how many other users each persona was compared with                            |
| output.csv           | all columns of `fidelity_table.FIDELITY_COLUMNS`; percent and points           |
| output.md, tex, html | the same for people; must stand beside the csv under the same name             |
"""

from pathlib import Path
from typing import TYPE_CHECKING

from personalrm.results.table_formats import write_table
from personalrm.results.tables.fidelity_table import (
    FIDELITY_CAPTION,
    fidelity_blocks,
    fidelity_notes,
    fidelity_table,
    read_fidelity,
)

if TYPE_CHECKING:
    from snakemake.script import Snakemake


def main(snakemake: "Snakemake") -> None:
    """Compute the table and write its four formats."""
    table = fidelity_table(
        read_fidelity(Path(path) for path in snakemake.input.fidelity),
        seed=int(snakemake.params.seed),
        n_resamples=int(snakemake.params.n_resamples),
    )
    write_table(
        table,
        Path(snakemake.output.csv).with_suffix(""),
        caption=FIDELITY_CAPTION,
        notes=fidelity_notes(table, int(snakemake.params.others)),
        blocks=fidelity_blocks(table),
    )


if "snakemake" in globals():
    main(globals()["snakemake"])
