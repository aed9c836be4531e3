"""Make the table of position bias: what the order of showing does to a verdict, from the verdicts alone.

| snakemake field      | content                                                                        |
|----------------------|--------------------------------------------------------------------------------|
| input.verdicts       | verdicts.parquet of `collect_scores`                                           |
| params.model_order   | models in the order of listing (optional)                                      |
| output.csv           | all columns of `position_bias_table.POSITION_COLUMNS`; percent                 |
| output.md, tex, html | the same for people; must stand beside the csv under the same name             |
"""

from pathlib import Path
from typing import TYPE_CHECKING

from personalrm.results.scores import read_frame
from personalrm.results.table_formats import write_table
from personalrm.results.tables.position_bias_table import (
    POSITION_CAPTION,
    position_bias_blocks,
    position_bias_notes,
    position_bias_table,
)

if TYPE_CHECKING:
    from snakemake.script import Snakemake


def main(snakemake: "Snakemake") -> None:
    """Compute the table and write its four formats."""
    table = position_bias_table(
        read_frame(Path(snakemake.input.verdicts)),
        model_order=list(snakemake.params.get("model_order", [])),
    )
    write_table(
        table,
        Path(snakemake.output.csv).with_suffix(""),
        caption=POSITION_CAPTION,
        notes=position_bias_notes(table),
        blocks=position_bias_blocks(table),
    )


if "snakemake" in globals():
    main(globals()["snakemake"])
