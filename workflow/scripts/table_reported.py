"""Make the table of reported numbers: every number reported of SynthesizeMe beside ours.

| snakemake field      | content                                                                        |
|----------------------|--------------------------------------------------------------------------------|
| input.verdicts       | verdicts.parquet of `collect_scores`                                           |
| input.numbers        | resources/reported/synthesizeme.csv                                            |
| input.models         | resources/reported/models.csv: who serves the reported models                  |
| input.missing        | resources/reported/not_recovered.csv: what of the paper could not be read      |
| input.main           | main.csv of `table_main`                                                       |
| input.scaling        | scaling.csv of `table_scaling`                                                 |
| input.fidelity       | fidelity.csv of `table_fidelity`; none where the run does not judge fidelity   |
| params.answers_to    | data set to the reported set that it answers to                                |
| params.differs       | data set to what makes it another than that set                                |
| params.models        | model to its id and snapshot in the config                                     |
| params.thetas        | variant to where its Theta is from (`reported_matching.ThetaOrigin`)           |
| params.seed          | seed of the bootstrap over users                                               |
| params.n_resamples   | number of its resamples                                                        |
| output.csv           | all columns of `reported_table.REPORTED_COLUMNS`; units as `statistic` says    |
| output.md, tex, html | the same for people; must stand beside the csv under the same name             |
"""

from pathlib import Path
from typing import TYPE_CHECKING

from personalrm.results.scores import read_frame
from personalrm.results.table_formats import write_table
from personalrm.results.tables.fidelity_table import fidelity_table, read_fidelity_table
from personalrm.results.tables.main_table import read_main_table
from personalrm.results.tables.scaling_table import read_scaling_table
from personalrm.studies.synthesizeme.results.reported_claims import Tables
from personalrm.studies.synthesizeme.results.reported_matching import RunIdentity, ThetaOrigin
from personalrm.studies.synthesizeme.results.reported_numbers import read_not_recovered, read_numbers, read_served
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
    params, given = snakemake.params, snakemake.input
    fidelity = Path(str(given.fidelity)) if given.get("fidelity") else None
    tables = Tables(
        read_main_table(Path(given.main)),
        read_scaling_table(Path(given.scaling)),
        read_fidelity_table(fidelity) if fidelity else fidelity_table([], seed=0, n_resamples=1),
    )
    table = reported_table(
        read_numbers(Path(given.numbers)),
        read_frame(Path(given.verdicts)),
        RunIdentity(
            dict(params.answers_to),
            dict(params.differs),
            dict(params.models),
            read_served(Path(given.models)),
            {name: ThetaOrigin(*origin) for name, origin in params.thetas.items()},
        ),
        tables,
        seed=int(params.seed),
        n_resamples=int(params.n_resamples),
    )
    write_table(
        table,
        Path(snakemake.output.csv).with_suffix(""),
        caption=REPORTED_CAPTION,
        notes=reported_notes(table),
        blocks=reported_blocks(table, read_not_recovered(Path(given.missing))),
    )


if "snakemake" in globals():
    main(globals()["snakemake"])
