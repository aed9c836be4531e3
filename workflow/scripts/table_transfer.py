"""Make the table of transfer: profile model by judge model, and the difference to the judge's own profiles.

| snakemake field      | content                                                                        |
|----------------------|--------------------------------------------------------------------------------|
| input.verdicts       | verdicts.parquet of `collect_scores`                                           |
| params.seed          | seed of the bootstrap over users                                               |
| params.n_resamples   | number of its resamples                                                        |
| params.model_order   | models in the order of listing (optional)                                      |
| params.pools         | data sets that were asked for in folds, each with its folds (optional)         |
| output.csv           | all columns of `transfer_table.TRANSFER_COLUMNS`; percent and points           |
| output.md, tex, html | the same for people; must stand beside the csv under the same name             |
"""

from pathlib import Path
from typing import TYPE_CHECKING

from personalrm.results.pooling import pool_notes, pooled
from personalrm.results.scores import read_frame
from personalrm.results.table_formats import write_table
from personalrm.results.tables.transfer_table import TRANSFER_CAPTION, transfer_blocks, transfer_notes, transfer_table

if TYPE_CHECKING:
    from snakemake.script import Snakemake


def main(snakemake: "Snakemake") -> None:
    """Compute the table and write its four formats."""
    pools = snakemake.params.get("pools", {})
    table = transfer_table(
        pooled(read_frame(Path(snakemake.input.verdicts)), pools),
        seed=int(snakemake.params.seed),
        n_resamples=int(snakemake.params.n_resamples),
        model_order=list(snakemake.params.get("model_order", [])),
    )
    write_table(
        table,
        Path(snakemake.output.csv).with_suffix(""),
        caption=TRANSFER_CAPTION,
        notes=[*transfer_notes(table), *pool_notes(pools)],
        blocks=transfer_blocks(table),
    )


if "snakemake" in globals():
    main(globals()["snakemake"])
