"""Make the table of model families: Default and SynthesizeMe of every model, from the verdicts alone.

| snakemake field      | content                                                                        |
|----------------------|--------------------------------------------------------------------------------|
| input.verdicts       | verdicts.parquet of `collect_scores`                                           |
| params.seed          | seed of the bootstrap over users                                               |
| params.datasets      | names of the data sets of the run                                              |
| params.n_resamples   | number of its resamples                                                        |
| params.models        | models in the order of listing; without verdicts they are rows, "not run"       |
| params.pools         | data sets that were asked for in folds, each with its folds (optional)         |
| output.csv           | all columns of `families_table.FAMILY_COLUMNS`; percent and points             |
| output.md, tex, html | the same for people; must stand beside the csv under the same name             |
"""

from pathlib import Path
from typing import TYPE_CHECKING

from personalrm.results.pooling import pool_notes, pooled
from personalrm.results.scores import read_frame
from personalrm.results.table_formats import write_table
from personalrm.studies.synthesizeme.results.families_table import (
    FAMILIES_CAPTION,
    families_blocks,
    families_notes,
    families_table,
)

if TYPE_CHECKING:
    from snakemake.script import Snakemake


def main(snakemake: "Snakemake") -> None:
    """Compute the table and write its four formats."""
    pools = snakemake.params.get("pools", {})
    table = families_table(
        pooled(read_frame(Path(snakemake.input.verdicts)), pools),
        seed=int(snakemake.params.seed),
        n_resamples=int(snakemake.params.n_resamples),
        datasets=list(snakemake.params.datasets),
        models=list(snakemake.params.models),
    )
    write_table(
        table,
        Path(snakemake.output.csv).with_suffix(""),
        caption=FAMILIES_CAPTION,
        notes=[*families_notes(table), *pool_notes(pools)],
        blocks=families_blocks(table),
    )


if "snakemake" in globals():
    main(globals()["snakemake"])
