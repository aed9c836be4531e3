"""Make the table of outcomes: what became of the judgments behind every row of the main table.

| snakemake field      | content                                                                        |
|----------------------|--------------------------------------------------------------------------------|
| input.verdicts       | verdicts.parquet of `collect_scores`                                           |
| params.model_order   | models in the order of listing (optional)                                      |
| output.csv           | all columns of `outcomes_table.OUTCOME_COLUMNS`; shares are percent            |
| output.md, tex, html | the same for people; must stand beside the csv under the same name             |
"""

from pathlib import Path
from typing import TYPE_CHECKING

from personalrm.results.scores import read_frame
from personalrm.results.table_formats import write_table
from personalrm.results.tables.outcomes_table import OUTCOMES_CAPTION, outcomes_blocks, outcomes_notes, outcomes_table

if TYPE_CHECKING:
    from snakemake.script import Snakemake


def main(snakemake: "Snakemake") -> None:
    """Compute the table and write its four formats."""
    table = outcomes_table(
        read_frame(Path(snakemake.input.verdicts)),
        model_order=list(snakemake.params.get("model_order", [])),
    )
    write_table(
        table,
        Path(snakemake.output.csv).with_suffix(""),
        caption=OUTCOMES_CAPTION,
        notes=outcomes_notes(table),
        blocks=outcomes_blocks(table),
    )


if "snakemake" in globals():
    main(globals()["snakemake"])
