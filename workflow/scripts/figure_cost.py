"""Draw accuracy against cost from the published table of cost alone.

| snakemake field      | content                                                       |
|----------------------|---------------------------------------------------------------|
| input.csv            | cost.csv of `table_cost`                                      |
| params.title_note    | text under the title (optional), e.g. what run this is        |
| output.pdf, svg, png | the figure; all under one name                                |
| output.caption       | its caption as plain text (optional)                          |
"""

from pathlib import Path
from typing import TYPE_CHECKING

from personalrm.core.files import atomic_write_text
from personalrm.results.figure_style import save_figure
from personalrm.results.figures.cost_figure import cost_caption, cost_figure
from personalrm.results.tables.cost_table import read_cost_table

if TYPE_CHECKING:
    from snakemake.script import Snakemake


def main(snakemake: "Snakemake") -> None:
    """Draw and save the figure, and its caption where the rule asks for it."""
    table = read_cost_table(Path(snakemake.input.csv))
    figure = cost_figure(table, title_note=str(snakemake.params.get("title_note", "")))
    save_figure(figure, Path(snakemake.output.pdf).with_suffix(""))
    caption = snakemake.output.get("caption")
    if caption:
        atomic_write_text(Path(caption), cost_caption(table) + "\n")


if "snakemake" in globals():
    main(globals()["snakemake"])
