"""Make the table of paired differences, each method against the unpersonalised judge, from the verdicts alone.

| snakemake field      | content                                                                        |
|----------------------|--------------------------------------------------------------------------------|
| input.verdicts       | verdicts.parquet of `collect_scores`                                           |
| params.seed          | seed of the bootstrap over users                                               |
| params.n_resamples   | number of its resamples                                                        |
| params.model_order   | models in the order of listing (optional)                                      |
| output.csv           | all columns of `differences_table.DIFFERENCE_COLUMNS`; differences in points   |
| output.md, tex, html | the same for people; must stand beside the csv under the same name             |
"""

from pathlib import Path
from typing import TYPE_CHECKING

from personalrm.results.differences_table import (
    DIFFERENCES_CAPTION,
    differences_blocks,
    differences_notes,
    differences_table,
)
from personalrm.results.scores import read_frame
from personalrm.results.table_formats import write_table

if TYPE_CHECKING:
    from snakemake.script import Snakemake


def main(snakemake: "Snakemake") -> None:
    """Compute the table and write its four formats."""
    table = differences_table(
        read_frame(Path(snakemake.input.verdicts)),
        seed=int(snakemake.params.seed),
        n_resamples=int(snakemake.params.n_resamples),
        model_order=list(snakemake.params.get("model_order", [])),
    )
    write_table(
        table,
        Path(snakemake.output.csv).with_suffix(""),
        caption=DIFFERENCES_CAPTION,
        notes=differences_notes(table),
        blocks=differences_blocks(table),
    )


if "snakemake" in globals():
    main(globals()["snakemake"])
