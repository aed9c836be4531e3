"""Make the table of power: the smallest difference that each comparison with Default resolves, from the verdicts alone.

| snakemake field      | content                                                                        |
|----------------------|--------------------------------------------------------------------------------|
| input.verdicts       | verdicts.parquet of `collect_scores`                                           |
| input.numbers        | resources/reported/synthesizeme.csv                                            |
| params.datasets      | names of the data sets of the run                                              |
| params.answers_to    | data set to the reported set that it answers to, or None                       |
| params.model_order   | models in the order of listing (optional)                                      |
| params.pools         | data sets that were asked for in folds, each with its folds (optional)         |
| output.csv           | all columns of `power_table.POWER_COLUMNS`; points                             |
| output.md, tex, html | the same for people; must stand beside the csv under the same name             |
"""

from pathlib import Path
from typing import TYPE_CHECKING

from personalrm.results.pooling import pool_notes, pooled
from personalrm.results.scores import read_frame
from personalrm.results.table_formats import write_table
from personalrm.studies.synthesizeme.results.power_gains import gains_of
from personalrm.studies.synthesizeme.results.power_table import POWER_CAPTION, power_blocks, power_notes, power_table
from personalrm.studies.synthesizeme.results.reported_numbers import read_numbers

if TYPE_CHECKING:
    from snakemake.script import Snakemake


def main(snakemake: "Snakemake") -> None:
    """Compute the table and write its four formats."""
    pools = snakemake.params.get("pools", {})
    gains = gains_of(read_numbers(Path(snakemake.input.numbers)))
    table = power_table(
        pooled(read_frame(Path(snakemake.input.verdicts)), pools),
        gains,
        datasets=list(snakemake.params.datasets),
        answers_to=dict(snakemake.params.answers_to),
        model_order=list(snakemake.params.get("model_order", [])),
    )
    write_table(
        table,
        Path(snakemake.output.csv).with_suffix(""),
        caption=POWER_CAPTION,
        notes=[*power_notes(table), *pool_notes(pools)],
        blocks=power_blocks(table, gains),
    )


if "snakemake" in globals():
    main(globals()["snakemake"])
