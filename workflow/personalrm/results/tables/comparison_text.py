"""Cells of tables as people read them: numbers with bounds, names of rows, and the blocks made of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

from personalrm.core.conditions import MethodId
from personalrm.personas.records import PersonaReading
from personalrm.results.comparisons import ACCURACY
from personalrm.results.labels import OK, UNUSED, k_label, method_label
from personalrm.results.lazy import pd
from personalrm.results.marks import marked
from personalrm.results.table_formats import EMPTY, Block, plain, table_rows

Row = Mapping[str, Any]
Shown = Mapping[str, str | Callable[[Row], str]]
"""Heading to the column that it shows (`plain`), or to the text of a row."""
HEADINGS: dict[str, str] = {
    "dataset": "Data set",
    "judge_model": "Judge",
    "profile_model": "Profile by",
    "variant": "Variant",
    "method": "Method",
    "k": "k",
}
READER_KEY: tuple[str, ...] = ("dataset", "variant", "profile_model", "judge_model", "k")
"""Columns that name a row of the tables of fidelity and recovery: who wrote the personas and who read them."""
Reading = TypeVar("Reading", bound=PersonaReading)
DIFFERENCE = ("difference", "ci_low", "ci_high")


def number(value: object, form: str) -> str:
    """A number in a format as `+.2f`; a dash where there is none.

    >>> number(3.14159, ".1f"), number(-0.0, "+.2f"), number(None, ".1f")
    ('3.1', '+0.00', '–')
    """
    return EMPTY if plain(value) == EMPTY else format(float(str(value)) + 0.0, form)


def decimals(column: str, form: str = ".1f") -> Callable[[Row], str]:
    """Shows a column in a format."""
    return lambda row: number(row[column], form)


def bounds(
    row: Mapping[str, object], name: str, low: str, high: str, *, signed: bool, digits: tuple[int, int] = (2, 1)
) -> str:
    """A number with its bounds, so many digits each: `+4.40 [+0.2, +8.6]`; `[–]` where there are none."""
    sign = "+" if signed else ""
    text, *ends = (number(row[n], f"{sign}.{d}f") for n, d in ((name, digits[0]), (low, digits[1]), (high, digits[1])))
    return text if text == EMPTY else f"{text} [–]" if EMPTY in ends else f"{text} [{', '.join(ends)}]"


def interval(*columns: str, signed: bool = False, digits: tuple[int, int] = (2, 1)) -> Callable[[Row], str]:
    """Shows a number with its bounds, from three columns."""
    return lambda row: bounds(row, *columns, signed=signed, digits=digits)


def shown_accuracy(row: Mapping[str, object]) -> str:
    """Accuracy of a cell (`comparisons.describe_cell`) with its bounds, or why there is none."""
    if row["cell"] != OK:
        return str(row["cell"])
    return marked(bounds(row, *ACCURACY, signed=False), row, "cell_")


def shown_difference(row: Mapping[str, object]) -> str:
    """A difference in points (`comparisons.compare`) with its bounds, or why there is none."""
    if row["status"] != OK:
        return str(row["status"])
    return marked(bounds(row, *DIFFERENCE, signed=True), row)


def probability(value: object) -> str:
    """A p-value with three digits; the smallest ones as a bound.

    >>> probability(0.0004), probability(0.0412), probability(None)
    ('< 0.001', '0.041', '–')
    """
    text = number(value, ".3f")
    return text if text == EMPTY or float(str(value)) >= 0.001 else "< 0.001"


def chance(column: str) -> Callable[[Row], str]:
    """Shows a column of p-values."""
    return lambda row: probability(row[column])


def shown_names(row: Mapping[str, object], columns: Mapping[str, str]) -> dict[str, str]:
    """Cells that name a row, by heading; a dash where a method has no such thing."""
    texts = {heading: (column, str(row[column])) for column, heading in columns.items()}
    return {
        heading: EMPTY if text == UNUSED else method_label(text) if column in ("method", "reference") else text
        for heading, (column, text) in texts.items()
    }


def block_of(
    table: pd.DataFrame | Sequence[Row],
    columns: Mapping[str, str],
    cells: Shown | Callable[[Row], Mapping[str, str]],
    title: str = "",
    n_names: int | None = None,
) -> Block:
    """A table as people read it: the columns that name a row (`shown_names`), then its `cells`."""

    def texts(row: Row) -> Mapping[str, str]:
        if callable(cells):
            return cells(row)
        return {head: plain(row[what]) if isinstance(what, str) else what(row) for head, what in cells.items()}

    rows = table_rows(table) if isinstance(table, pd.DataFrame) else table
    shown = [{**shown_names(row, columns), **texts(row)} for row in rows]
    heads = list(columns.values())
    return Block(title, pd.DataFrame(shown, columns=None if shown else heads), n_names or len(heads))


def with_verdict(table: pd.DataFrame) -> list[dict[str, Any]]:
    """The rows of a table, with how the verdicts of their method are read as `verdict`."""
    return [row | {"verdict": MethodId.parse(str(row["method"])).verdict} for row in table_rows(table)]


def by_reader(rows: Iterable[Reading]) -> list[tuple[tuple[str, ...], list[Reading]]]:
    """Values of `READER_KEY` with their readings, sorted by key and user."""
    groups: dict[tuple[str, ...], list[Reading]] = {}
    for row in sorted(rows, key=lambda row: row.user_id):
        key = (row.dataset, row.variant, row.profile_model, row.judge_model, k_label(row.k))
        groups.setdefault(key, []).append(row)
    return sorted(groups.items())


def persona_headings(table: pd.DataFrame, **more: str) -> dict[str, str]:
    """Columns that name a row of a table of personas, and their headings; the variant only where there are several."""
    variant = {"variant": "Variant"} if table["variant"].nunique() > 1 else {}
    return {"dataset": "Data set", **variant, **more}


def headings_of(table: pd.DataFrame, *more: str) -> dict[str, str]:
    """Columns that name a row, and their headings; the data set only where there are several."""
    several = table["dataset"].nunique() != 1
    named = HEADINGS | dict.fromkeys(more, "Against")
    return {column: text for column, text in named.items() if several or column != "dataset"}


def notes_where(*notes: tuple[object, str]) -> list[str]:
    """Those notes whose condition holds."""
    return [text for holds, text in notes if holds]


def dataset_note(table: pd.DataFrame) -> list[str]:
    """The data set, where it is the same in all rows and has no column."""
    return [f"Data set of all rows: {table['dataset'].iloc[0]}."] if table["dataset"].nunique() == 1 else []
