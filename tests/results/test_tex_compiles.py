"""Every table's tex is set by a real pdflatex, in a document that loads what the file's first line asks for."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import pytest
from support.generated_verdicts import Cell, paper_cells, write_cells

from personalrm.results.scores import collect_calls, collect_verdicts
from personalrm.results.table_formats import TEX_ESCAPES, Block, to_tex, write_table
from personalrm.results.tables.differences_table import differences_blocks, differences_notes, differences_table
from personalrm.results.tables.main_table import main_blocks, main_notes, main_table
from personalrm.results.tables.transfer_table import transfer_blocks, transfer_notes, transfer_table

PDFLATEX = shutil.which("pdflatex")
pytestmark = pytest.mark.skipif(
    PDFLATEX is None, reason="no pdflatex (Debian: apt-get install texlive-latex-base texlive-latex-extra)"
)
N = 49


def compile_tables(folder: Path, tables: Sequence[Path]) -> str:
    """Set the tables, one a page; returns the log of pdflatex. Fails with the log's errors where it does."""
    needed = dict.fromkeys(
        use
        for table in tables
        for use in re.findall(r"\\usepackage\S*?\}", table.read_text(encoding="utf-8").splitlines()[0])
    )
    assert needed, "the first line names no package"
    body = "\n".join(rf"\input{{\detokenize{{{table}}}}}\clearpage" for table in tables)
    document = folder / "document.tex"
    document.write_text(
        "\n".join([r"\documentclass{article}", *needed, r"\begin{document}", body, r"\end{document}"]), encoding="utf-8"
    )
    command = [str(PDFLATEX), "-halt-on-error", "-interaction=nonstopmode", document.name]
    done = subprocess.run(command, cwd=folder, capture_output=True, timeout=120, check=False)
    log = (folder / "document.log").read_text(encoding="utf-8", errors="replace")
    assert done.returncode == 0, "\n".join(line for line in log.splitlines() if line.startswith(("!", "l.")))
    return log


def test_the_tables_of_a_run_compile(tmp_path: Path) -> None:
    cells = [*paper_cells(), Cell("both", 0.6, "Llama-3.1-8B", "Llama-3.2-3B", 0, dataset="prism")]
    paths = write_cells(tmp_path / "verdicts", cells, [2, 3])
    verdicts, calls = collect_verdicts(paths), collect_calls(paths)
    main = main_table(verdicts, calls, seed=1, n_resamples=N)
    differences = differences_table(verdicts, seed=1, n_resamples=N)
    transfer = transfer_table(verdicts, seed=1, n_resamples=N)
    tables = []
    for name, table, blocks, notes in (
        ("main", main, main_blocks(main), main_notes(main, "all")),
        ("differences", differences, differences_blocks(differences), differences_notes(differences)),
        ("transfer", transfer, transfer_blocks(transfer), transfer_notes(transfer)),
    ):
        write_table(table, tmp_path / name, caption="A caption: 50 % & more", notes=notes, blocks=blocks)
        tables.append(tmp_path / f"{name}.tex")
    assert "Overfull \\hbox" not in compile_tables(tmp_path, tables)


def test_any_text_compiles_wherever_it_stands(tmp_path: Path) -> None:
    texts = [
        *TEX_ESCAPES,
        "".join(TEX_ESCAPES),
        "".join(map(chr, range(32, 127))),
        "".join(map(chr, range(0xA0, 0x180))),
        r"\input{/etc/hostname} \\ & $x^2$ %",
        "[a]",
        "*",
        "?`!`---``''",
        "",
        "\u4e2d\u6587 \U0001f389 \u2028 \x00 \x07",
    ]
    rows = pd.DataFrame({"[h]": texts, "% & _": texts})
    for number, text in enumerate(texts):
        source = to_tex([Block(text, rows, 1)], text, texts, label=f"tab:{number}")
        (tmp_path / f"t_{number}.tex").write_text(source, encoding="utf-8")
    compile_tables(tmp_path, sorted(tmp_path.glob("t_*.tex")))
