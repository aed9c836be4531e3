"""Make the table of profiles: how many there are of each variant, and how many show no demonstration.

| snakemake field      | content                                                                        |
|----------------------|--------------------------------------------------------------------------------|
| input.profiles       | files of profiles (JSON lines of `Profile`)                                    |
| params.variants      | variants in the order of listing (optional)                                    |
| params.model_order   | models in the order of listing (optional)                                      |
| params.pools         | data sets that were asked for in folds, each with its folds (optional)         |
| output.csv           | all columns of `profiles_table.PROFILE_COLUMNS`; shares are percent            |
| output.md, tex, html | the same for people; must stand beside the csv under the same name             |
"""

from pathlib import Path
from typing import TYPE_CHECKING

from personalrm.results.table_formats import write_table
from personalrm.results.tables.profiles_table import (
    PROFILES_CAPTION,
    profiles_blocks,
    profiles_notes,
    profiles_table,
    read_profiles,
)

if TYPE_CHECKING:
    from snakemake.script import Snakemake


def main(snakemake: "Snakemake") -> None:
    """Compute the table and write its four formats."""
    table = profiles_table(
        read_profiles(Path(path) for path in snakemake.input.profiles),
        pools=snakemake.params.get("pools", {}),
        variants=list(snakemake.params.get("variants", [])),
        model_order=list(snakemake.params.get("model_order", [])),
    )
    write_table(
        table,
        Path(snakemake.output.csv).with_suffix(""),
        caption=PROFILES_CAPTION,
        notes=profiles_notes(table),
        blocks=profiles_blocks(table),
    )


if "snakemake" in globals():
    main(globals()["snakemake"])
