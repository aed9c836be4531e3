"""Make the table of the ablation: combinations of factors, and the effect of each, from the verdicts alone.

| snakemake field      | content                                                                        |
|----------------------|--------------------------------------------------------------------------------|
| input.verdicts       | verdicts.parquet of `collect_scores`                                           |
| params.seed          | seed of the bootstrap over users                                               |
| params.datasets      | names of the data sets of the run                                              |
| params.n_resamples   | number of its resamples                                                        |
| params.model_order   | models in the order of listing (optional)                                      |
| params.pools         | data sets that were asked for in folds, each with its folds (optional)         |
| output.csv           | all columns of `ablation_table.ABLATION_COLUMNS`; percent and points           |
| output.md, tex, html | the same for people; must stand beside the csv under the same name             |
"""

from pathlib import Path
from typing import TYPE_CHECKING

from personalrm.results.pooling import pool_notes, pooled
from personalrm.results.scores import read_frame
from personalrm.results.table_formats import write_table
from personalrm.studies.synthesizeme.results.ablation_table import ablation_table
from personalrm.studies.synthesizeme.results.ablation_text import ABLATION_CAPTION, ablation_blocks, ablation_notes

if TYPE_CHECKING:
    from snakemake.script import Snakemake


def main(snakemake: "Snakemake") -> None:
    """Compute the table and write its four formats."""
    pools = snakemake.params.get("pools", {})
    table = ablation_table(
        pooled(read_frame(Path(snakemake.input.verdicts)), pools),
        seed=int(snakemake.params.seed),
        n_resamples=int(snakemake.params.n_resamples),
        datasets=list(snakemake.params.datasets),
        model_order=list(snakemake.params.get("model_order", [])),
    )
    write_table(
        table,
        Path(snakemake.output.csv).with_suffix(""),
        caption=ABLATION_CAPTION,
        notes=[*ablation_notes(table), *pool_notes(pools)],
        blocks=ablation_blocks(table),
    )


if "snakemake" in globals():
    main(globals()["snakemake"])
