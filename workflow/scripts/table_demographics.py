"""Make the table of demographics: accuracy by survey group, type of conversation and turn.

| snakemake field      | content                                                                        |
|----------------------|--------------------------------------------------------------------------------|
| input.verdicts       | verdicts.parquet of `collect_scores`                                           |
| input.users          | files of users (JSON lines of `UserData`): surveys, and where a pair stood     |
| params.methods       | bases of method ids to show (optional: default and both)                       |
| params.model_order   | models in the order of listing (optional)                                      |
| output.csv           | all columns of `demographics_table.GROUP_COLUMNS`; percent                     |
| output.md, tex, html | the same for people; must stand beside the csv under the same name             |
"""

from pathlib import Path
from typing import TYPE_CHECKING

from personalrm.results.scores import read_frame
from personalrm.results.table_formats import write_table
from personalrm.results.tables.demographic_groups import read_facts
from personalrm.results.tables.demographics_table import (
    DEMOGRAPHICS_CAPTION,
    METHODS,
    demographics_blocks,
    demographics_notes,
    demographics_table,
)

if TYPE_CHECKING:
    from snakemake.script import Snakemake


def main(snakemake: "Snakemake") -> None:
    """Compute the table and write its four formats."""
    table = demographics_table(
        read_frame(Path(snakemake.input.verdicts)),
        read_facts(Path(path) for path in snakemake.input.users),
        methods=list(snakemake.params.get("methods", METHODS)),
        model_order=list(snakemake.params.get("model_order", [])),
    )
    write_table(
        table,
        Path(snakemake.output.csv).with_suffix(""),
        caption=DEMOGRAPHICS_CAPTION,
        notes=demographics_notes(table),
        blocks=demographics_blocks(table),
    )


if "snakemake" in globals():
    main(globals()["snakemake"])
