"""Draw accuracy against context pairs, or against labels used, from the published table of scaling alone.

| snakemake field      | content                                                       |
|----------------------|---------------------------------------------------------------|
| input.csv            | scaling.csv of `table_scaling`                                |
| params.title_note    | text under the title (optional), e.g. what run this is        |
| params.axis          | `context_pairs` (without it) or `labels_used`                 |
| output.pdf, svg, png | the figure; all under one name                                |
| output.caption       | its caption as plain text (optional)                          |
"""

from pathlib import Path
from typing import TYPE_CHECKING

from personalrm.core.files import atomic_write_text
from personalrm.results.figure_style import save_figure
from personalrm.results.figures.scaling_figure import PAIRS, scaling_caption, scaling_figure
from personalrm.results.tables.scaling_table import read_scaling_table

if TYPE_CHECKING:
    from snakemake.script import Snakemake


def main(snakemake: "Snakemake") -> None:
    """Draw and save the figure, and its caption where the rule asks for it."""
    table = read_scaling_table(Path(snakemake.input.csv))
    axis = snakemake.params.get("axis", PAIRS)
    figure = scaling_figure(table, title_note=str(snakemake.params.get("title_note", "")), axis=axis)
    save_figure(figure, Path(snakemake.output.pdf).with_suffix(""))
    caption = snakemake.output.get("caption")
    if caption:
        atomic_write_text(Path(caption), scaling_caption(table, axis) + "\n")


if "snakemake" in globals():
    main(globals()["snakemake"])
