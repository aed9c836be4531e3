"""Tables as html: the pages that hold one result alone, and the style that they share with the report.

A page opens alone: styles inside, nothing fetched, every text escaped. Bytes depend on the content alone.
"""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence
from pathlib import Path

LONGEST_NUMBER = 32
"""Characters of a number with its interval and mark; a longer text may break into lines."""


def page_style(*names: str) -> str:
    """Style sheets of `styles/` in this folder, one after the other."""
    return "".join(
        (Path(__file__).parent / "styles" / f"{name}.css").read_text(encoding="utf-8") for name in ("base", *names)
    )


def column_kinds(rows: Iterable[Sequence[str]], n_names: int) -> list[str]:
    """What each column of texts holds: a `name` of the row, a `number`, or `long` texts. At least one row is needed."""
    lengths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "name" if place < n_names else "number" if length <= LONGEST_NUMBER else "long"
        for place, length in enumerate(lengths)
    ]


def html_table(heads: Sequence[str], rows: Sequence[Sequence[str]], n_names: int, label: str) -> str:
    """A table in a frame of its own that scrolls; `label` names it for those who do not see it."""
    kinds = column_kinds(rows or [heads], n_names)

    def line(cells: Sequence[str]) -> str:
        first, *rest = map(html.escape, cells)
        others = (f'<td class="{kind}">{text}</td>' for kind, text in zip(kinds[1:], rest, strict=True))
        return f'<tr><th scope="row">{first}</th>{"".join(others)}</tr>'

    named = zip(kinds, map(html.escape, heads), strict=True)
    first = "".join(f'<th scope="col" class="{kind}">{text}</th>' for kind, text in named)
    return "\n".join([open_frame(label), f"<thead><tr>{first}</tr></thead>", "<tbody>", *map(line, rows), CLOSE_FRAME])


def open_frame(label: str) -> str:
    """The beginning of a table."""
    name = html.escape(label)
    return f'<div class="block" role="region" tabindex="0" aria-label="{name}"><table class="data">'


CLOSE_FRAME = "</tbody></table></div>"


def html_page(caption: str, notes: Sequence[str], parts: Iterable[str]) -> str:
    """A page of one result: its caption, its parts, and the notes below."""
    title = html.escape(caption)
    listed = "".join(f"<li>{html.escape(note)}</li>" for note in notes)
    return "\n".join(
        [
            "<!DOCTYPE html>",
            '<html lang="en"><head><meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<title>{title}</title><style>\n{page_style('tables')}</style></head>",
            f'<body class="alone"><h1>{title}</h1>',
            *parts,
            f'<ul class="notes">{listed}</ul>' if notes else "",
            "</body></html>\n",
        ]
    )
