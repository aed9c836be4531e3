"""Draw the figure of transfer from its published table alone.

| snakemake field      | content                                                       |
|----------------------|---------------------------------------------------------------|
| input.csv            | transfer.csv of `table_transfer`                              |
| params.title_note    | text under the title (optional), e.g. what run this is        |
| output.pdf, svg, png | the figure; all under one name                                |
| output.caption       | its caption as plain text (optional)                          |
"""

from pathlib import Path
from typing import TYPE_CHECKING

from personalrm.core.files import atomic_write_text
from personalrm.results.figure_style import save_figure
from personalrm.results.figures.transfer_figure import transfer_caption, transfer_figure
from personalrm.results.tables.transfer_table import read_transfer_table

if TYPE_CHECKING:
    from snakemake.script import Snakemake


def main(snakemake: "Snakemake") -> None:
    """Draw and save the figure, and its caption where the rule asks for it."""
    table = read_transfer_table(Path(snakemake.input.csv))
    figure = transfer_figure(table, title_note=str(snakemake.params.get("title_note", "")))
    save_figure(figure, Path(snakemake.output.pdf).with_suffix(""))
    caption = snakemake.output.get("caption")
    if caption:
        atomic_write_text(Path(caption), transfer_caption(table) + "\n")


if "snakemake" in globals():
    main(globals()["snakemake"])
