"""Words and numbers that the tables of differences, scaling and transfer share."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from personalrm.core.conditions import MethodId
from personalrm.results.comparisons import ACCURACY
from personalrm.results.labels import OK, UNUSED, method_label
from personalrm.results.marks import marked
from personalrm.results.table_formats import EMPTY, Block, plain, table_rows

if TYPE_CHECKING:
    import pandas as pd


def bounds(
    row: Mapping[str, object], name: str, low: str, high: str, *, signed: bool, digits: tuple[int, int] = (2, 1)
) -> str:
    """A number with its bounds, so many digits each: `+4.40 [+0.2, +8.6]`; `[–]` where there are none."""
    if plain(row[name]) == EMPTY:
        return EMPTY
    sign = "+" if signed else ""
    text = f"{float(str(row[name])) + 0.0:{sign}.{digits[0]}f}"
    if EMPTY in (plain(row[low]), plain(row[high])):
        return f"{text} [–]"
    return text + " [{}, {}]".format(*(f"{float(str(row[end])) + 0.0:{sign}.{digits[1]}f}" for end in (low, high)))


def shown_accuracy(row: Mapping[str, object]) -> str:
    """Accuracy of a cell (`comparisons.describe_cell`) with its bounds, or why there is none."""
    if row["cell"] != OK:
        return str(row["cell"])
    return marked(bounds(row, *ACCURACY, signed=False), row, "cell_")


def shown_difference(row: Mapping[str, object]) -> str:
    """A difference in points (`comparisons.compare`) with its bounds, or why there is none."""
    if row["status"] != OK:
        return str(row["status"])
    return marked(bounds(row, "difference", "ci_low", "ci_high", signed=True), row)


def probability(value: object) -> str:
    """A p-value with three digits; the smallest ones as a bound."""
    if plain(value) == EMPTY:
        return EMPTY
    return "< 0.001" if float(str(value)) < 0.001 else f"{float(str(value)):.3f}"


def shown_names(row: Mapping[str, object], columns: Mapping[str, str]) -> dict[str, str]:
    """Cells that name a row, by heading; a dash where a method has no such thing."""
    texts = {}
    for column, heading in columns.items():
        text = str(row[column])
        label = method_label(text) if column in ("method", "reference") else text
        texts[heading] = EMPTY if text == UNUSED else label
    return texts


def block_of(
    table: pd.DataFrame | Sequence[Mapping[str, object]],
    columns: Mapping[str, str],
    cells: Callable[[Mapping[str, Any]], Mapping[str, str]],
    title: str = "",
    n_names: int | None = None,
) -> Block:
    """A table as people read it: the columns that name a row (`shown_names`), then its `cells`."""
    import pandas as pd

    rows = table_rows(table) if isinstance(table, pd.DataFrame) else table
    shown = [{**shown_names(row, columns), **cells(row)} for row in rows]
    heads = list(columns.values())
    return Block(title, pd.DataFrame(shown, columns=None if shown else heads), n_names or len(heads))


def with_verdict(table: pd.DataFrame) -> list[dict[str, Any]]:
    """The rows of a table, with how the verdicts of their method are read as `verdict`."""
    return [row | {"verdict": MethodId.parse(str(row["method"])).verdict} for row in table_rows(table)]


def persona_headings(table: pd.DataFrame, **more: str) -> dict[str, str]:
    """Columns that name a row of a table of personas, and their headings; the variant only where there are several."""
    variant = {"variant": "Variant"} if table["variant"].nunique() > 1 else {}
    return {"dataset": "Data set", **variant, **more}


HEADINGS: dict[str, str] = {
    "dataset": "Data set",
    "judge_model": "Judge",
    "profile_model": "Profile by",
    "variant": "Variant",
    "method": "Method",
    "k": "k",
}


def headings_of(table: pd.DataFrame, *more: str) -> dict[str, str]:
    """Columns that name a row, and their headings; the data set only where there are several."""
    several = table["dataset"].nunique() != 1
    named = HEADINGS | dict.fromkeys(more, "Against")
    return {column: text for column, text in named.items() if several or column != "dataset"}


def dataset_note(table: pd.DataFrame) -> list[str]:
    """The data set, where it is the same in all rows and has no column."""
    return [f"Data set of all rows: {table['dataset'].iloc[0]}."] if table["dataset"].nunique() == 1 else []
