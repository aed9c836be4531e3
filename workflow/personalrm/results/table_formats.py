"""A table in four formats: csv with everything, and md, tex, html with what a person reads.

The readable formats show `Block`s: frames of texts, each with a title. All texts are escaped for their format,
and bytes depend on the content alone.
"""

from __future__ import annotations

import html
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from personalrm.core.files import atomic_write_text
from personalrm.results.html_tables import html_page, html_table
from personalrm.results.lazy import pd

EMPTY = "–"
_NO_FORMULA = re.compile(r"|-|\+[A-Za-z][\w.-]*")
_FORMULA = "=+-@\t\r\n\uff1d\uff0b\uff0d\uff20"


class Block(NamedTuple):
    """Part of a table as people read it: a title, a frame of texts, and how many columns name the row."""

    title: str
    texts: pd.DataFrame
    n_names: int


def write_table(
    df: pd.DataFrame,
    stem: Path,
    *,
    caption: str,
    notes: Sequence[str] = (),
    blocks: Sequence[Block] | None = None,
    page: str | None = None,
) -> tuple[Path, ...]:
    r"""Write `stem`.csv, .md, .tex and .html; returns their paths.

    The csv has all of `df`, empty fields for missing values. The others show `blocks` (all columns of `df`
    when None), the caption above, the notes below; `page` is the html where given. The tex is a
    `table` to `\input`; it needs `booktabs` and `graphicx`.
    """
    shown = blocks or (Block("", df.map(plain), 1),)
    texts = {
        ".csv": _without_formulas(df).to_csv(index=False, lineterminator="\n"),
        ".md": to_markdown(shown, caption, notes),
        ".tex": to_tex(shown, caption, notes, label=f"tab:{_slug(stem.name)}"),
        ".html": page or to_html(shown, caption, notes),
    }
    paths = []
    for suffix, text in texts.items():
        path = stem.with_name(stem.name + suffix)
        atomic_write_text(path, text)
        paths.append(path)
    return tuple(paths)


def _without_formulas(df: pd.DataFrame) -> pd.DataFrame:
    """The table with its texts as spreadsheets show them."""
    texts = df.select_dtypes(exclude=["number", "bool", "boolean"]).columns
    return df.assign(**{str(name): df[name].astype("object").map(without_formula) for name in texts})


def without_formula(value: object) -> object:
    """A text as a spreadsheet shows it: one that would be read as a formula has an apostrophe before it.

    The names of optimised prompts (`+<theta>`), which can do nothing, stay as they are.

    >>> without_formula("=HYPERLINK(1)"), without_formula("+1"), without_formula("+ours"), without_formula(-1.5)
    ("'=HYPERLINK(1)", "'+1", '+ours', -1.5)
    """
    is_formula = isinstance(value, str) and value[:1] in _FORMULA and not _NO_FORMULA.fullmatch(value)
    return f"'{value}" if is_formula else value


def table_rows(table: pd.DataFrame) -> list[dict[str, Any]]:
    """The rows of a table, each by column name."""
    return [{str(name): value for name, value in row.items()} for row in table.to_dict(orient="records")]


def plain(value: object) -> str:
    """A value as people read it: two decimals, thousands apart, a dash where there is none."""
    if value is None or str(value) in ("nan", "<NA>"):
        return EMPTY
    if isinstance(value, float):
        return f"{value:.2f}"
    return str(value) if isinstance(value, str) else f"{value:,}"


def to_markdown(blocks: Sequence[Block], caption: str, notes: Sequence[str]) -> str:
    """Blocks as pipe tables; columns of numbers are right-aligned."""
    parts = [f"**{_md(caption)}**"]
    for block in blocks:
        headers = list(block.texts.columns)
        marks = ["---" if i < block.n_names else "---:" for i in range(len(headers))]
        rows = [[_md(str(header)) for header in headers], marks]
        rows += [[_md(text) for text in row] for row in block.texts.itertuples(index=False)]
        lines = ["| " + " | ".join(row) + " |" for row in rows]
        parts += ([f"### {_md(block.title)}"] if block.title else []) + ["\n".join(lines)]
    parts += ["\n".join(f"- {_md(note)}" for note in notes)] if notes else []
    return "\n\n".join(parts) + "\n"


def _md(text: str) -> str:
    return re.sub(r"([\\`*_{}\[\]<>|#~$])", r"\\\1", " ".join(text.split()))


TEX_ESCAPES = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': r"\textquotedbl{}",
    "–": "--",
    "—": "---",
    "±": r"$\pm$",
    "Θ": r"$\Theta$",
    "·": r"$\cdot$",
    "−": r"$-$",
    "←": r"$\leftarrow$",
    "→": r"$\rightarrow$",
    "≥": r"$\geq$",
    "≤": r"$\leq$",
    "×": r"$\times$",
    "…": r"\dots{}",
    **{character: "\\" + character for character in "&%$#_{}"},
}


def _tex(text: str) -> str:
    """Text for LaTeX. What pdflatex cannot set is written as its code point, so that any id compiles."""
    escaped = (
        TEX_ESCAPES.get(c, c if " " <= c <= "~" or "À" <= c <= "ÿ" else f"[U+{ord(c):04X}]")
        for c in " ".join(text.split())
    )
    # "[" or "*" after "\\" would be read as its argument.
    return re.sub(r"[\[\]*]", r"{\g<0>}", "".join(escaped))


ROWS_A_PAGE = 62
"""Rows of a shrunk table that a page holds."""


def to_tex(blocks: Sequence[Block], caption: str, notes: Sequence[str], *, label: str) -> str:
    """Blocks as booktabs tabulars, shrunk to the width of the text where they are wider, in one `table`.

    Blocks that a page does not hold go on in further floats, and the notes are in the last one.
    """
    pages = _pages(blocks)
    lines = [r"% Needs \usepackage[T1]{fontenc}, \usepackage[utf8]{inputenc}, \usepackage{booktabs,graphicx}"]
    for number, page in enumerate(pages):
        first = [rf"\caption{{{_tex(caption)}}}", rf"\label{{{label}}}"]
        lines += [r"\begin{table}[p]", r"\centering\small"]
        lines += [rf"\par {_tex(caption)} (continued)\par"] if number else first
        lines += [line for block in page for line in _tex_block(block)]
        if notes and number == len(pages) - 1:
            lines += [r"\par\medskip\begin{minipage}{\linewidth}\footnotesize"]
            lines += [rf"{_tex(note)}\par" for note in notes] + [r"\end{minipage}"]
        lines.append(r"\end{table}")
    return "\n".join(lines) + "\n"


def _pages(blocks: Sequence[Block]) -> list[list[Block]]:
    """Blocks of one page, in order; a block is never cut."""
    pages: list[list[Block]] = [[]]
    for block in blocks:
        if pages[-1] and sum(len(other.texts) for other in pages[-1]) + len(block.texts) > ROWS_A_PAGE:
            pages.append([])
        pages[-1].append(block)
    return pages


def _tex_block(block: Block) -> list[str]:
    columns = "l" * block.n_names + "r" * (block.texts.shape[1] - block.n_names)
    rows = [" & ".join(_tex(text) for text in row) for row in block.texts.itertuples(index=False)]
    title = [rf"\par\medskip\textbf{{{_tex(block.title)}}}\par\smallskip"] if block.title else []
    return [
        *title,
        r"\resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%",
        rf"\begin{{tabular}}{{@{{}}{columns}@{{}}}}",
        r"\toprule",
        " & ".join(_tex(str(header)) for header in block.texts.columns) + r" \\",
        r"\midrule",
        *(row + r" \\" for row in rows),
        r"\bottomrule",
        r"\end{tabular}}",
    ]


def to_html(blocks: Sequence[Block], caption: str, notes: Sequence[str]) -> str:
    """A page that opens alone (`html_tables`)."""
    parts: list[str] = []
    for block in blocks:
        label = ": ".join(filter(None, (caption, block.title)))
        rows = block.texts.to_numpy().tolist()
        parts += [f"<h2>{html.escape(block.title)}</h2>"] if block.title else []
        parts += [html_table(list(map(str, block.texts.columns)), rows, block.n_names, label)]
    return html_page(caption, notes, parts)


def _slug(name: str) -> str:
    """A name that is safe as a LaTeX label."""
    return re.sub(r"[^A-Za-z0-9]+", "-", name).strip("-") or "table"


def dollars_shown(value: object) -> str:
    """Dollars: two decimals from a dollar up, else three significant digits."""
    if plain(value) == EMPTY:
        return EMPTY
    dollars = float(str(value))
    return f"{dollars:,.2f}" if dollars >= 1 or dollars == 0 else f"{dollars:.3g}"
