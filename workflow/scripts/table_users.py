"""Make the table of users: every user under every way of judging, from the verdicts alone.

| snakemake field      | content                                                                        |
|----------------------|--------------------------------------------------------------------------------|
| input.verdicts       | verdicts.parquet of `collect_scores`                                           |
| params.model_order   | models in the order of listing (optional)                                      |
| output.csv           | all columns of `users_table.USER_COLUMNS`; percent, differences in points      |
| output.html          | all rows, to sort and to filter; must stand beside the csv under the same name |
| output.md, tex       | the first rows                                                                 |
"""

from pathlib import Path
from typing import TYPE_CHECKING

from personalrm.results.scores import read_frame
from personalrm.results.sortable_page import sortable_page
from personalrm.results.table_formats import write_table
from personalrm.results.tables.users_table import (
    USERS_CAPTION,
    print_note,
    users_blocks,
    users_notes,
    users_table,
    users_texts,
)

if TYPE_CHECKING:
    from snakemake.script import Snakemake


def main(snakemake: "Snakemake") -> None:
    """Compute the table and write its four formats."""
    table = users_table(
        read_frame(Path(snakemake.input.verdicts)),
        model_order=list(snakemake.params.get("model_order", [])),
    )
    texts, notes = users_texts(table), users_notes(table)
    write_table(
        table,
        Path(snakemake.output.csv).with_suffix(""),
        caption=USERS_CAPTION,
        notes=[*print_note(table), *notes],
        blocks=users_blocks(texts),
        page=sortable_page(texts, USERS_CAPTION, notes),
    )


if "snakemake" in globals():
    main(globals()["snakemake"])
