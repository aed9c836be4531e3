"""The table of the funnel: what is left after each step from votes to the benchmark, and what was dropped."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from pydantic import ValidationError

from personalrm.core.errors import DataError
from personalrm.data.filters.funnel import Funnel
from personalrm.results.columns import Columns
from personalrm.results.lazy import pd
from personalrm.results.spec import Table, TableResult
from personalrm.results.table_formats import Block, plain, table_rows

COUNTS = ("users", "conversations", "pairs")
GONE = tuple(f"removed_{name}" for name in COUNTS)
FUNNEL_COLUMNS = Columns(
    ("dataset", "kind", "step", *COUNTS, *GONE), texts=("dataset", "kind", "step"), whole=(*COUNTS, *GONE)
)
read_funnel_table = FUNNEL_COLUMNS.read


def read_funnels(paths: Iterable[Path]) -> list[Funnel]:
    """Read `funnel.json` files. Raises DataError for a file that is not a funnel."""
    funnels = []
    for path in paths:
        try:
            funnels.append(Funnel.model_validate_json(path.read_text(encoding="utf-8")))
        except (ValidationError, UnicodeDecodeError) as error:
            raise DataError(
                f"{path}: is no funnel of this version of personalrm; delete it and run again ({error})"
            ) from error
    return funnels


def funnel_table(funnels: Iterable[Funnel]) -> pd.DataFrame:
    """What is left after each step, in the order of the funnels; columns `FUNNEL_COLUMNS`.

    A row of kind "step" has the users, conversations and pairs that are left, and what the step removed (empty for the
    first). Beneath a data set's steps, a row of kind "drop" has a reason and how many votes it dropped
    (`removed_pairs`); a vote that could not be read was never among the votes of the first step.
    """
    rows: list[dict[str, object]] = []
    for funnel in funnels:
        before: dict[str, int] = {}
        for step in funnel.steps:
            left = {name: int(getattr(step, name)) for name in COUNTS}
            removed = {f"removed_{name}": count - left[name] for name, count in before.items()}
            rows.append({"dataset": funnel.dataset, "kind": "step", "step": step.step, **left, **removed})
            before = left
        for reason, count in funnel.dropped.items():
            rows.append({"dataset": funnel.dataset, "kind": "drop", "step": reason, "removed_pairs": count})
    return FUNNEL_COLUMNS.frame(rows)


def funnel_blocks(table: pd.DataFrame) -> tuple[Block, ...]:
    """The funnel for people: steps, then reasons."""
    steps, drops = [], []
    for row in table_rows(table):
        names = {"Data set": row["dataset"]}
        if row["kind"] == "step":
            cells = {name.capitalize(): plain(row[name]) for name in COUNTS}
            cells |= {f"{name.capitalize()} removed": plain(row[f"removed_{name}"]) for name in COUNTS}
            steps.append(names | {"Step": row["step"]} | cells)
        else:
            drops.append(names | {"Reason": row["step"].replace("_", " "), "Votes": plain(row["removed_pairs"])})
    blocks = (Block("What is left", pd.DataFrame(steps), 2), Block("Votes dropped, by reason", pd.DataFrame(drops), 2))
    return blocks if drops else blocks[:1]


def funnel_notes() -> list[str]:
    """What a reader of the funnel must know."""
    return [
        "Each step takes what the step above left. A conversation without an id is counted by its context.",
        "Reasons repeat what a step removed where it has one reason (ties, equal answers, repeats). Lines that could "
        "not be read, and what a reader drops while it makes votes, were never among the votes of the first step.",
    ]


def build(funnels: list[Path]) -> Table:
    """Make the table from the files of a run."""
    table = funnel_table(read_funnels(funnels))
    return Table(table, funnel_blocks(table), funnel_notes())


RESULT = TableResult(
    name="funnel",
    order=190,
    title="From votes to the benchmark: what is left after each step, and what was dropped",
    caption=(
        "Users, conversations and pairs after each step from votes to the benchmark, and what was dropped, by reason."
    ),
    mem_mb=500,
    runtime=10,
    build=build,
)
