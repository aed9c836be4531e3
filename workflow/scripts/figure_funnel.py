"""Draw the funnel from its published table alone.

| snakemake field      | content                                                       |
|----------------------|---------------------------------------------------------------|
| input.csv            | funnel.csv of `table_funnel`                                  |
| params.title_note    | text under the title (optional), e.g. what run this is        |
| output.pdf, svg, png | the figure; all under one name                                |
| output.caption       | its caption as plain text (optional)                          |
"""

from pathlib import Path
from typing import TYPE_CHECKING

from personalrm.core.files import atomic_write_text
from personalrm.results.figure_style import save_figure
from personalrm.studies.synthesizeme.results.benchmark_tables import read_funnel_table
from personalrm.studies.synthesizeme.results.funnel_figure import funnel_caption, funnel_figure

if TYPE_CHECKING:
    from snakemake.script import Snakemake


def main(snakemake: "Snakemake") -> None:
    """Draw and save the figure, and its caption where the rule asks for it."""
    table = read_funnel_table(Path(snakemake.input.csv))
    figure = funnel_figure(table, title_note=str(snakemake.params.get("title_note", "")))
    save_figure(figure, Path(snakemake.output.pdf).with_suffix(""))
    caption = snakemake.output.get("caption")
    if caption:
        atomic_write_text(Path(caption), funnel_caption(table) + "\n")


if "snakemake" in globals():
    main(globals()["snakemake"])
