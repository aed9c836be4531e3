"""The tables of a run as the report shows them: read from their html files, without columns that say one thing."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from html.parser import HTMLParser
from pathlib import Path
from typing import NamedTuple

from markupsafe import Markup

from personalrm.core.errors import DataError
from personalrm.results.html_tables import html_table
from personalrm.results.table_formats import EMPTY

MOST_ROWS = 500
"""Rows of a table in the report; a longer one is linked, and lies beside the report."""
_WHOLE = re.compile(rf"[\d,]+|{EMPTY}")


class PageTable(NamedTuple):
    """A table of texts. `n_names` columns name a row; `same` are columns that hold one text in all rows: (heading,
    text)."""

    title: str
    heads: Sequence[str]
    rows: Sequence[Sequence[str]]
    n_names: int
    same: Sequence[tuple[str, str]] = ()

    def html(self, result: str) -> Markup:
        """The table as the page shows it, named by its result."""
        label = ": ".join(filter(None, (result, self.title)))
        return Markup(html_table(self.heads, self.rows, self.n_names, label))


class TableFile(NamedTuple):
    """A file of one result: its title, tables and notes; `n_rows` of a table that is too long to be shown."""

    title: str
    tables: Sequence[PageTable]
    notes: Sequence[str]
    n_rows: int = 0


def read_table_file(path: Path) -> TableFile:
    """The html file of a table.

    Raises DataError for a file that `table_formats.write_table` did not write.
    """
    reader = _Reader()
    reader.feed(path.read_text(encoding="utf-8"))
    reader.close()
    if not reader.title or not (reader.tables or reader.data):
        raise DataError(f"{path}: not a table that this version wrote; delete it and run again")
    if not reader.data:
        return TableFile(reader.title, [without_constants(table) for table in reader.tables], reader.notes)
    # A page that draws its rows by itself (`results/sortable_page.py`).
    held = json.loads(reader.data)
    table = PageTable("", held["heads"], held["rows"], held["names"])
    if len(table.rows) > MOST_ROWS:
        return TableFile(reader.title, [], reader.notes, len(table.rows))
    return TableFile(reader.title, [without_constants(table)], reader.notes)


def without_constants(table: PageTable) -> PageTable:
    """The table without columns that hold one text in all of its rows. The first column stays, and so do numbers that
    are measured: names, counts and dashes alone are taken out, and only of two rows or more."""
    if len(table.rows) < 2:
        return table
    columns = list(zip(*table.rows, strict=True))
    same = [
        place
        for place, column in enumerate(columns)
        if place and len(set(column)) == 1 and (place < table.n_names or _WHOLE.fullmatch(column[0]))
    ]
    kept = [place for place in range(len(columns)) if place not in same]
    return table._replace(
        heads=[table.heads[place] for place in kept],
        rows=[[row[place] for place in kept] for row in table.rows],
        n_names=sum(place < table.n_names for place in kept),
        same=[(table.heads[place], columns[place][0]) for place in same],
    )


class _Reader(HTMLParser):
    """Texts of a page by the elements that they stand in."""

    def __init__(self) -> None:
        super().__init__()
        self.title, self.data = "", ""
        self.tables: list[PageTable] = []
        self.notes: list[str] = []
        self._heads: list[str] = []
        self._rows: list[list[str]] = []
        self._caption, self._left = "", 0
        self._text: list[str] | None = None
        self._is_head = self._is_ours = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        if tag == "table":
            self._heads, self._rows, self._left = [], [], 0
            self._is_ours = found.get("class") == "data"
        elif tag in ("thead", "tbody"):
            self._is_head = tag == "thead"
        elif tag == "tr":
            self._rows.append([])
        elif tag in ("h1", "h2", "li", "th", "td") or (tag == "script" and found.get("id") == "data"):
            self._text = []
            self._left += self._is_head and found.get("class") == "name"

    def handle_data(self, data: str) -> None:
        if self._text is not None:
            self._text.append(data)

    def handle_endtag(self, tag: str) -> None:
        if tag == "table":
            rows = [row for row in self._rows if row]
            if self._is_ours and self._heads:
                self.tables.append(PageTable(self._caption, self._heads, rows, self._left))
            self._caption = ""
            return
        if self._text is None:
            return
        text = "".join(self._text)
        self._text = None
        if tag == "h1":
            self.title = text
        elif tag == "li":
            self.notes.append(text)
        elif tag == "script":
            self.data = text
        elif tag == "h2":
            self._caption = text
        elif self._is_head:
            self._heads.append(text)
        else:
            self._rows[-1].append(text)
