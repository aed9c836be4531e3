"""Make the table of the funnel: users, conversations and pairs after each step, and drops by reason.

| snakemake field      | content                                                                    |
|----------------------|----------------------------------------------------------------------------|
| input.funnels        | funnel.json of each data set, in the order of listing                      |
| output.csv           | all columns of `benchmark_tables.FUNNEL_COLUMNS`                           |
| output.md, tex, html | the same for people; must stand beside the csv under the same name         |
"""

from pathlib import Path
from typing import TYPE_CHECKING

from personalrm.results.table_formats import write_table
from personalrm.studies.synthesizeme.results.benchmark_table_text import FUNNEL_CAPTION, funnel_blocks, funnel_notes
from personalrm.studies.synthesizeme.results.benchmark_tables import funnel_table, read_funnels

if TYPE_CHECKING:
    from snakemake.script import Snakemake


def main(snakemake: "Snakemake") -> None:
    """Make the table and write its four formats."""
    table = funnel_table(read_funnels(Path(path) for path in snakemake.input.funnels))
    write_table(
        table,
        Path(snakemake.output.csv).with_suffix(""),
        caption=FUNNEL_CAPTION,
        notes=funnel_notes(),
        blocks=funnel_blocks(table),
    )


if "snakemake" in globals():
    main(globals()["snakemake"])
