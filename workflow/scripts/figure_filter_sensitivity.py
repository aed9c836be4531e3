"""Draw what each filter alone would leave at every threshold, from the published table.

| snakemake field      | content                                                                   |
|----------------------|---------------------------------------------------------------------------|
| input.csv            | filter_sensitivity.csv of `table_filter_sensitivity`                      |
| params.apply         | data set to whether its filters remove anything                           |
| params.title_note    | text under the title (optional), e.g. what run this is                    |
| output.pdf, svg, png | the figure; all under one name                                            |
| output.caption       | its caption as plain text (optional)                                      |
"""

from pathlib import Path
from typing import TYPE_CHECKING

from personalrm.core.files import atomic_write_text
from personalrm.results.figure_style import save_figure
from personalrm.studies.synthesizeme.results.sensitivity_figure import sensitivity_caption, sensitivity_figure
from personalrm.studies.synthesizeme.results.sensitivity_table import read_sensitivity_table

if TYPE_CHECKING:
    from snakemake.script import Snakemake


def main(snakemake: "Snakemake") -> None:
    """Draw and save the figure, and its caption where the rule asks for it."""
    table = read_sensitivity_table(Path(snakemake.input.csv))
    apply = dict(snakemake.params.apply)
    figure = sensitivity_figure(table, apply, title_note=str(snakemake.params.get("title_note", "")))
    save_figure(figure, Path(snakemake.output.pdf).with_suffix(""))
    caption = snakemake.output.get("caption")
    if caption:
        atomic_write_text(Path(caption), sensitivity_caption(table, apply) + "\n")


if "snakemake" in globals():
    main(globals()["snakemake"])
