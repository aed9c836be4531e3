"""Make the table of cost: calls, tokens, list price and wall time, by stage and model and by method.

| snakemake field      | content                                                                        |
|----------------------|--------------------------------------------------------------------------------|
| input.calls          | calls.parquet of `collect_scores`                                              |
| input.main           | main.csv of `table_main`: accuracies                                           |
| input.ratings        | files of ratings of the data sets' filters (none where nothing is rated)       |
| input.panels         | files of panel votes of the filters (none without a panel)                     |
| input.profiles       | files of profiles whose personas are analysed (none without analyses)          |
| input.fidelity, recovery, axes, tags | files of the analyses of personas                              |
| params.benchmarks    | folder of Snakemake's benchmark files: seconds of the jobs                     |
| params.store         | store of responses: cached tokens; it may be gone                              |
| params.jobs          | how benchmark files of the stages are named (`StagePlan.job_patterns`)         |
| params.pools         | data sets that were asked for in folds (optional)                              |
| output.csv           | all columns of `cost_table.COST_COLUMNS`; dollars, seconds, percent            |
| output.md, tex, html | the same for people; must stand beside the csv under the same name             |

Seconds and cached tokens differ from run to run, and so do these files.
"""

from pathlib import Path
from typing import TYPE_CHECKING

from personalrm.results.pooling import without_pools
from personalrm.results.scores import read_frame
from personalrm.results.table_formats import write_table
from personalrm.results.tables.cost_sources import analysis_calls, cached_tokens, filter_calls, job_times
from personalrm.results.tables.cost_table import cost_table
from personalrm.results.tables.cost_text import COST_CAPTION, cost_blocks, cost_notes
from personalrm.results.tables.main_table import read_main_table

if TYPE_CHECKING:
    from snakemake.script import Snakemake


def main(snakemake: "Snakemake") -> None:
    """Compute the table and write its four formats."""
    files, params = snakemake.input, snakemake.params
    calls = read_frame(Path(files.calls))
    filters = (map(Path, files.get(name, [])) for name in ("ratings", "panels"))
    analyses = (map(Path, files.get(name, [])) for name in ("profiles", "fidelity", "recovery", "axes", "tags"))
    others = [*filter_calls(*filters), *analysis_calls(*analyses)]
    keys = sorted({*calls["key"].astype(str), *(call.ref.key for call in others)})
    table = cost_table(
        calls,
        without_pools(read_main_table(Path(files.main)), params.get("pools", {})),
        others=others,
        times=job_times(Path(params.benchmarks), list(params.jobs)),
        cached=cached_tokens(Path(params.store), keys),
    )
    write_table(
        table,
        Path(snakemake.output.csv).with_suffix(""),
        caption=COST_CAPTION,
        notes=cost_notes(table),
        blocks=cost_blocks(table),
    )


if "snakemake" in globals():
    main(globals()["snakemake"])
