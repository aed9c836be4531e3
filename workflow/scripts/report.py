"""Make the report of a run: one page with summary, tables, figures, what was not run, and the manifest.

| snakemake field    | content                                                                          |
|--------------------|----------------------------------------------------------------------------------|
| input.manifest     | manifest.json                                                                    |
| input.verdicts     | verdicts.parquet of `collect_scores`                                             |
| input.main         | csv of the main table                                                            |
| input.differences  | csv of the table of paired differences                                           |
| input.profiles     | csv of the table of profiles                                                     |
| input.tables       | html of all tables of the run, in the order of listing                           |
| input.figures      | svg of all figures of the run; each caption beside it                            |
| input.captions     | workflow/report/*.rst: captions of all that the workflow can make                |
| params.pools       | data sets that were asked for in folds, each with its folds (optional)           |
| output[0]          | report.html; opens offline                                                       |
"""

import json
from pathlib import Path
from typing import TYPE_CHECKING

from personalrm.core.files import atomic_write_text
from personalrm.results.scores import read_frame
from personalrm.results.tables.differences_table import read_differences_table
from personalrm.results.tables.main_table import read_main_table
from personalrm.results.tables.profiles_table import read_profiles_table
from personalrm.studies.report.page import Scores, report_page

if TYPE_CHECKING:
    from snakemake.script import Snakemake


def main(snakemake: "Snakemake") -> None:
    """Put the page together and write it."""
    given = snakemake.input
    scores = Scores(
        read_main_table(Path(given.main)),
        read_differences_table(Path(given.differences)),
        read_frame(Path(given.verdicts)),
        snakemake.params.get("pools", {}),
        read_profiles_table(Path(given.profiles)),
    )
    page = report_page(
        json.loads(Path(given.manifest).read_text(encoding="utf-8")),
        scores,
        [Path(path) for path in given.tables],
        [Path(path) for path in given.figures],
        [Path(path) for path in given.captions],
    )
    atomic_write_text(Path(snakemake.output[0]), page)


if "snakemake" in globals():
    main(globals()["snakemake"])
