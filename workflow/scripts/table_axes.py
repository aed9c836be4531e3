"""Make the table of persona axes: prevalence of each axis, what sentences are about, agreement of one user's personas.

| snakemake field      | content                                                                        |
|----------------------|--------------------------------------------------------------------------------|
| input.axes, tags     | files of the stages `axes` and `tag`                                           |
| params.seed          | seed of the bootstrap over users                                               |
| params.n_resamples   | number of its resamples                                                        |
| params.k             | context pairs of the personas that are counted (0: all)                        |
| output.csv           | all columns of `axes_table.AXES_COLUMNS`; percent and points                   |
| output.md, tex, html | the same for people; must stand beside the csv under the same name             |
"""

from pathlib import Path
from typing import TYPE_CHECKING

from personalrm.results.table_formats import write_table
from personalrm.results.tables.axes_table import axes_table, read_axes_files
from personalrm.results.tables.axes_text import AXES_CAPTION, axes_blocks, axes_notes

if TYPE_CHECKING:
    from snakemake.script import Snakemake


def main(snakemake: "Snakemake") -> None:
    """Compute the table and write its four formats."""
    named, tagged = read_axes_files(map(Path, snakemake.input.axes), map(Path, snakemake.input.tags))
    table = axes_table(
        named,
        tagged,
        int(snakemake.params.k),
        seed=int(snakemake.params.seed),
        n_resamples=int(snakemake.params.n_resamples),
    )
    write_table(
        table,
        Path(snakemake.output.csv).with_suffix(""),
        caption=AXES_CAPTION,
        notes=axes_notes(table, named),
        blocks=axes_blocks(table),
    )


if "snakemake" in globals():
    main(globals()["snakemake"])
