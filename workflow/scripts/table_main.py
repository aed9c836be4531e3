"""Make the main table: accuracy, intervals, outcomes and cost of every way of judging.

| snakemake field    | content                                                                      |
|--------------------|------------------------------------------------------------------------------|
| input.verdicts     | verdicts.parquet of `collect_scores`                                         |
| input.calls        | calls.parquet of `collect_scores`                                            |
| params.seed        | seed of the bootstrap over users                                             |
| params.n_resamples | number of its resamples                                                      |
| params.model_order | models in the order of listing (optional)                                    |
| params.evaluated   | the config's `evaluate_users` (optional)                                     |
| params.pools       | data sets that were asked for in folds, each with its folds (optional)       |
| output.csv         | all columns of `main_table.COLUMNS`; percentages 0-100, list cost in dollars |
| output.md, tex, html | the same for people; must stand beside the csv under the same name         |
"""

from pathlib import Path
from typing import TYPE_CHECKING

from personalrm.results.pooling import pool_notes, with_pools, without_folds
from personalrm.results.scores import read_frame
from personalrm.results.table_formats import write_table
from personalrm.results.tables.main_table import CALLS_READ, gaps, main_table
from personalrm.results.tables.main_table_text import main_blocks, main_notes
from personalrm.studies.synthesizeme.results.settings_won import won_notes

if TYPE_CHECKING:
    from snakemake.script import Snakemake

CAPTION = "Accuracy of personalised judges on the test pairs of each user (main table)"


def main(snakemake: "Snakemake") -> None:
    """Compute the table and write its four formats."""
    pools = snakemake.params.get("pools", {})
    # Folds share responses, which only keys can tell.
    columns = None if pools else CALLS_READ
    verdicts = with_pools(read_frame(Path(snakemake.input.verdicts)), pools)
    calls = with_pools(read_frame(Path(snakemake.input.calls), columns), pools)
    table = main_table(
        verdicts,
        calls,
        seed=int(snakemake.params.seed),
        n_resamples=int(snakemake.params.n_resamples),
        model_order=list(snakemake.params.get("model_order", [])),
    )
    won = won_notes(without_folds(table, pools))
    evaluated = str(snakemake.params.get("evaluated", "all"))
    write_table(
        table,
        Path(snakemake.output.csv).with_suffix(""),
        caption=CAPTION,
        notes=[
            *main_notes(table, evaluated),
            *won,
            *pool_notes(pools),
            *gaps(verdicts),
        ],
        blocks=main_blocks(table),
    )


if "snakemake" in globals():
    main(globals()["snakemake"])
