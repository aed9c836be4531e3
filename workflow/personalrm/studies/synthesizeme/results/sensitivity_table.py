"""The table of the filters' thresholds: what each filter that asks models would leave at every one.

Frame, blocks and notes are made from the records that the stage `filter` writes (`benchmark.filters.Sensitivity`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from personalrm.core.errors import DataError
from personalrm.core.records import read_records
from personalrm.data.filters.filters import Sensitivity
from personalrm.results.columns import Columns
from personalrm.results.spec import Table, TableResult
from personalrm.results.table_formats import EMPTY, Block

if TYPE_CHECKING:
    import pandas as pd

SENSITIVITY_NAMES: tuple[str, ...] = ("dataset", "filter")
SENSITIVITY_COUNTS: tuple[str, ...] = ("users", "pairs", "undecided", "base_users", "base_pairs")
SENSITIVITY_COLUMNS = Columns(
    (
        *SENSITIVITY_NAMES,
        "threshold",
        "is_default",
        *SENSITIVITY_COUNTS,
        "pairs_share",
    ),
    texts=SENSITIVITY_NAMES,
    whole=SENSITIVITY_COUNTS,
    flags=("is_default",),
)
FILTER_LABELS: dict[str, str] = {
    "query": "Query: pairs rated below the threshold go",
    "responses": "Responses: pairs rated below the threshold go",
    "panel": "Panel: pairs on which it agrees as much as the threshold, or more, go",
}
DIGITS = 4


def read_sensitivity(paths: Iterable[Path]) -> list[Sensitivity]:
    """Read `filter_sensitivity.jsonl` files, in their order. Raises DataError for a line that is no such record, or is
    of a filter that is not known."""
    records = []
    for path in paths:
        for record in read_records(path, Sensitivity):
            if record.filter not in FILTER_LABELS:
                raise DataError(
                    f"{path}: {record.filter!r} is no filter (there are: {', '.join(FILTER_LABELS)}). The file was "
                    f"not written by this version of personalrm; delete it and run again."
                )
            records.append(record)
    return records


def sensitivity_table(records: Iterable[Sensitivity]) -> pd.DataFrame:
    """One row a data set, filter and threshold, in the order of the records; columns `SENSITIVITY_COLUMNS`.

    - users, pairs: left by the filter alone, users with too few pairs taken out again.
    - undecided: those of `pairs` that stay because nobody (or too few of the panel) answered.
    - base_users, base_pairs: what went into the filter.
    - pairs_share: `pairs` in percent of `base_pairs`; empty where nothing went in.
    - is_default: whether the threshold is the config's.
    """
    rows = []
    for record in records:
        share = round(100 * record.pairs / record.base_pairs, DIGITS) if record.base_pairs else None
        rows.append(record.model_dump(exclude={"schema_version"}) | {"pairs_share": share})
    return SENSITIVITY_COLUMNS.frame(rows)


read_sensitivity_table = SENSITIVITY_COLUMNS.read


def records_of(table: pd.DataFrame) -> list[Sensitivity]:
    """The records that the table was made from."""
    rows = table.drop(columns="pairs_share").to_dict(orient="records")
    return [Sensitivity.model_validate(row) for row in rows]


def sensitivity_blocks(table: pd.DataFrame) -> tuple[Block, ...]:
    """The table for people: a block a filter, the config's threshold marked."""
    import pandas as pd

    blocks = []
    for name, title in FILTER_LABELS.items():
        rows = [_cells(record) for record in records_of(table) if record.filter == name]
        if rows:
            blocks.append(Block(title, pd.DataFrame(rows), 3))
    return tuple(blocks) or (Block("", pd.DataFrame(columns=["Data set", "Threshold"]), 1),)


def _cells(record: Sensitivity) -> dict[str, str]:
    share = f"{100 * record.pairs / record.base_pairs:.1f}" if record.base_pairs else EMPTY
    return {
        "Data set": record.dataset,
        "Threshold": f"{record.threshold:g}",
        "In the config": "yes" if record.is_default else "",
        "Users": f"{record.users:,}",
        "of users": f"{record.base_users:,}",
        "Pairs": f"{record.pairs:,}",
        "of pairs": f"{record.base_pairs:,}",
        "Pairs %": share,
        "Undecided pairs": f"{record.undecided:,}",
    }


def sensitivity_notes(
    table: pd.DataFrame,
    apply: Mapping[str, bool],
    samples: Mapping[str, int | None] | None = None,
    min_pairs: Mapping[str, int] | None = None,
) -> list[str]:
    """What a reader of the table must know.

    Args:
        table: see `sensitivity_table`.
        apply: data set to whether its filters remove anything.
        samples: data set to how many pairs of each user were asked about; None for all.
        min_pairs: data set to the least number of pairs of a user that stays.
    """
    by_dataset: dict[str, list[Sensitivity]] = {}
    for record in records_of(table):
        by_dataset.setdefault(record.dataset, []).append(record)
    notes = [
        "No model was asked again to make this table: it counts ratings and votes that the run keeps.",
        "Each filter is tried alone. query and responses: each on all pairs asked about. panel: on the pairs that the "
        "ratings leave at the thresholds of the config, since it was asked about no others.",
        "Users and pairs are counted after the user filter, which takes out users with too few pairs left.",
        "Undecided pairs have no answer (panel: too few votes). They stay at every threshold, and are among the pairs.",
    ]
    for name, records in by_dataset.items():
        least = (min_pairs or {}).get(name, 0)
        gone = f"; users with fewer than {least} pairs left are taken out" if least else ""
        notes.append(f"{name}: {went_in(records)}{gone}.")
        notes += _warnings(name, apply[name], (samples or {}).get(name), least)
    with_panel = dict.fromkeys(table.loc[table["filter"] == "panel", "dataset"])
    applied = [name for name in with_panel if apply[name]]
    if applied:
        notes.append(
            "The panel at the threshold of the config leaves what all filters leave together, and what the run goes on "
            f"with: {', '.join(applied)}."
        )
    return notes


def went_in(records: Sequence[Sensitivity]) -> str:
    """What went into the filters of one data set: `30 pairs of 4 users went into query and responses, …`."""
    filters: dict[tuple[int, int], list[str]] = {}
    for name in dict.fromkeys(record.filter for record in records):
        first = next(record for record in records if record.filter == name)
        shown = "the panel" if name == "panel" else name
        filters.setdefault((first.base_pairs, first.base_users), []).append(shown)
    return ", ".join(
        f"{_counted(pairs, 'pair')} of {_counted(users, 'user')} went into {' and '.join(names)}"
        for (pairs, users), names in filters.items()
    )


def _counted(count: int, noun: str) -> str:
    return f"{count:,} {noun}" + ("" if count == 1 else "s")


def _warnings(name: str, applied: bool, sample: int | None, least: int) -> list[str]:
    """Why the numbers of a data set are not what the run goes on with."""
    if applied:
        return []
    asked = "about all pairs" if sample is None else f"about at most {_counted(sample, 'pair')} of each user"
    notes = [f"{name}: nothing was removed (apply: false); models were asked {asked}, and the filters only tried."]
    if sample is not None and sample < least:
        notes.append(
            f"{name}: the user filter wants {least} pairs and no user has more than the {sample} asked about, so none "
            f"is left at any threshold; a sample of {least} or more would show what the filters do."
        )
    return notes


def build(
    sensitivity: list[Path],
    *,
    filters_apply: Mapping[str, bool],
    filters_sample: Mapping[str, int | None],
    pairs_to_stay: Mapping[str, int],
) -> Table:
    """Make the table from the files of a run."""
    table = sensitivity_table(read_sensitivity(sensitivity))
    notes = sensitivity_notes(table, filters_apply, filters_sample, pairs_to_stay)
    return Table(table, sensitivity_blocks(table), notes)


RESULT = TableResult(
    name="filter_sensitivity",
    order=200,
    title="What each filter alone would leave at every threshold",
    message="Making the table of the filters' thresholds",
    caption=(
        "Users and pairs that each filter which asks models would leave at every threshold, from the ratings and votes"
        " that the run keeps."
    ),
    when="filters",
    mem_mb=500,
    runtime=10,
    build=build,
)
