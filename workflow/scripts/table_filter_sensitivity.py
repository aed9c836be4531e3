"""Make the table of the filters' thresholds: users and pairs that each filter alone would leave at every one.

| snakemake field      | content                                                                        |
|----------------------|--------------------------------------------------------------------------------|
| input.sensitivity    | filter_sensitivity.jsonl of each filtered data set, in the order of listing    |
| params.apply         | data set to whether its filters remove anything                                |
| params.samples       | data set to how many pairs a user were asked about, None for all (optional)    |
| params.min_pairs     | data set to the least number of pairs of a user that stays (optional)          |
| output.csv           | all columns of `sensitivity_table.SENSITIVITY_COLUMNS`; shares are percent     |
| output.md, tex, html | the same for people; must stand beside the csv under the same name             |
"""

from pathlib import Path
from typing import TYPE_CHECKING

from personalrm.results.table_formats import write_table
from personalrm.studies.synthesizeme.results.sensitivity_table import (
    SENSITIVITY_CAPTION,
    read_sensitivity,
    sensitivity_blocks,
    sensitivity_notes,
    sensitivity_table,
)

if TYPE_CHECKING:
    from snakemake.script import Snakemake


def main(snakemake: "Snakemake") -> None:
    """Make the table and write its four formats."""
    params = snakemake.params
    table = sensitivity_table(read_sensitivity(Path(path) for path in snakemake.input.sensitivity))
    write_table(
        table,
        Path(snakemake.output.csv).with_suffix(""),
        caption=SENSITIVITY_CAPTION,
        notes=sensitivity_notes(
            table, dict(params.apply), dict(params.get("samples", {})), dict(params.get("min_pairs", {}))
        ),
        blocks=sensitivity_blocks(table),
    )


if "snakemake" in globals():
    main(globals()["snakemake"])
