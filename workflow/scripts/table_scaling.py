"""Make the table of scaling: accuracy against the number of context pairs, its slope, and where it beats Default.

| snakemake field      | content                                                                        |
|----------------------|--------------------------------------------------------------------------------|
| input.verdicts       | verdicts.parquet of `collect_scores`                                           |
| input.users          | files of users (JSON lines of `UserData`): numbers of their labelled pairs     |
| params.seed          | seed of the bootstrap over users                                               |
| params.n_resamples   | number of its resamples                                                        |
| params.model_order   | models in the order of listing (optional)                                      |
| output.csv           | all columns of `scaling_table.SCALING_COLUMNS`; percent, and points per pair   |
| output.md, tex, html | the same for people; must stand beside the csv under the same name             |
"""

from pathlib import Path
from typing import TYPE_CHECKING

from personalrm.results.scores import read_frame
from personalrm.results.table_formats import write_table
from personalrm.results.tables.scaling_table import (
    SCALING_CAPTION,
    read_labelled_pairs,
    scaling_blocks,
    scaling_notes,
    scaling_table,
)

if TYPE_CHECKING:
    from snakemake.script import Snakemake


def main(snakemake: "Snakemake") -> None:
    """Compute the table and write its four formats."""
    table = scaling_table(
        read_frame(Path(snakemake.input.verdicts)),
        read_labelled_pairs(Path(path) for path in snakemake.input.users),
        seed=int(snakemake.params.seed),
        n_resamples=int(snakemake.params.n_resamples),
        model_order=list(snakemake.params.get("model_order", [])),
    )
    write_table(
        table,
        Path(snakemake.output.csv).with_suffix(""),
        caption=SCALING_CAPTION,
        notes=scaling_notes(table),
        blocks=scaling_blocks(table),
    )


if "snakemake" in globals():
    main(globals()["snakemake"])
