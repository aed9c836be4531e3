"""Draw the main figure from the published table alone: no verdicts, no model.

| snakemake field      | content                                                       |
|----------------------|---------------------------------------------------------------|
| input.csv            | main.csv of `table_main`                                      |
| params.title_note    | text under the title (optional), e.g. what data this is       |
| params.pools         | data sets that were asked for in folds (optional): pools are drawn, their folds are not |
| output.pdf, svg, png | the figure; all under one name                                |
| output.caption       | its caption as plain text (optional)                          |
"""

from pathlib import Path
from typing import TYPE_CHECKING

from personalrm.core.files import atomic_write_text
from personalrm.results.figure_style import save_figure
from personalrm.results.figures.main_figure import main_caption, main_figure
from personalrm.results.labels import METHOD_LABELS
from personalrm.results.pooling import pool_notes, without_folds
from personalrm.results.tables.main_table import read_main_table

if TYPE_CHECKING:
    from snakemake.script import Snakemake


def main(snakemake: "Snakemake") -> None:
    """Draw and save the figure, and its caption where the rule asks for it."""
    pools = snakemake.params.get("pools", {})
    table = without_folds(read_main_table(Path(snakemake.input.csv)), pools)
    note = str(snakemake.params.get("title_note", ""))
    save_figure(
        main_figure(table, labels=METHOD_LABELS, title_note=note),
        Path(snakemake.output.pdf).with_suffix(""),
    )
    caption = snakemake.output.get("caption")
    if caption:
        atomic_write_text(Path(caption), " ".join([main_caption(table), *pool_notes(pools)]) + "\n")


if "snakemake" in globals():
    main(globals()["snakemake"])
