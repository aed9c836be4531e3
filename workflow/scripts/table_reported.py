"""Make the table of reported numbers: every number reported of SynthesizeMe beside ours.

| snakemake field      | content                                                                        |
|----------------------|--------------------------------------------------------------------------------|
| input.verdicts       | verdicts.parquet of `collect_scores`                                           |
| input.numbers        | resources/reported/synthesizeme.csv                                            |
| input.models         | resources/reported/models.csv: who serves the reported models                  |
| params.answers_to    | data set to the reported set that it answers to                                |
| params.differs       | data set to what makes it another than that set                                |
| params.models        | model to its id and snapshot in the config                                     |
| params.seed          | seed of the bootstrap over users                                               |
| params.n_resamples   | number of its resamples                                                        |
| output.csv           | all columns of `reported_table.REPORTED_COLUMNS`; units as `statistic` says    |
| output.md, tex, html | the same for people; must stand beside the csv under the same name             |
"""

from pathlib import Path
from typing import TYPE_CHECKING

from personalrm.results.scores import read_frame
from personalrm.results.table_formats import write_table
from personalrm.studies.synthesizeme.results.reported_matching import RunIdentity
from personalrm.studies.synthesizeme.results.reported_numbers import read_numbers, read_served
from personalrm.studies.synthesizeme.results.reported_table import (
    REPORTED_CAPTION,
    reported_blocks,
    reported_notes,
    reported_table,
)

if TYPE_CHECKING:
    from snakemake.script import Snakemake


def main(snakemake: "Snakemake") -> None:
    """Compute the table and write its four formats."""
    params = snakemake.params
    table = reported_table(
        read_numbers(Path(snakemake.input.numbers)),
        read_frame(Path(snakemake.input.verdicts)),
        RunIdentity(
            dict(params.answers_to),
            dict(params.differs),
            dict(params.models),
            read_served(Path(snakemake.input.models)),
        ),
        seed=int(params.seed),
        n_resamples=int(params.n_resamples),
    )
    write_table(
        table,
        Path(snakemake.output.csv).with_suffix(""),
        caption=REPORTED_CAPTION,
        notes=reported_notes(table),
        blocks=reported_blocks(table),
    )


if "snakemake" in globals():
    main(globals()["snakemake"])
