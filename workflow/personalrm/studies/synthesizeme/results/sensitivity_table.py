"""The table of the filters' thresholds: what each filter that asks models would leave at each threshold.

It is made from the records that the stage `filter` writes (`data.filters.filters.Sensitivity`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from personalrm.core.errors import DataError
from personalrm.core.records import read_records
from personalrm.data.filters.filters import Sensitivity
from personalrm.results.columns import Columns
from personalrm.results.lazy import pd
from personalrm.results.spec import Table, TableResult
from personalrm.results.table_formats import EMPTY, Block, plain, table_rows

COUNTS = ("users", "pairs", "undecided", "base_users", "base_pairs")
SENSITIVITY_COLUMNS = Columns(
    ("dataset", "filter", "threshold", "is_default", *COUNTS, "pairs_share"),
    texts=("dataset", "filter"),
    whole=COUNTS,
    flags=("is_default",),
)
FILTER_LABELS: dict[str, str] = {
    "query": "Query: pairs rated below the threshold go",
    "responses": "Responses: pairs rated below the threshold go",
    "panel": "Panel: pairs on which it agrees as much as the threshold, or more, go",
}
DIGITS = 4
read_sensitivity_table = SENSITIVITY_COLUMNS.read


def read_sensitivity(paths: Iterable[Path]) -> list[Sensitivity]:
    """Read `filter_sensitivity.jsonl` files, in their order. Raises DataError for a line that is no such record, or
    names an unknown filter."""
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
    """One row per data set, filter and threshold, in the order of the records; columns `SENSITIVITY_COLUMNS`.

    - users, pairs: left by the filter alone, after users with too few pairs are removed as well.
    - undecided: those of `pairs` that stay because there is no answer (panel: too few votes).
    - base_users, base_pairs: what went into the filter.
    - pairs_share: `pairs` in percent of `base_pairs`; empty where nothing went in.
    - is_default: whether the threshold is the config's.
    """
    return SENSITIVITY_COLUMNS.frame(
        record.model_dump()
        | {"pairs_share": round(100 * record.pairs / record.base_pairs, DIGITS) if record.base_pairs else None}
        for record in records
    )


def sensitivity_blocks(table: pd.DataFrame) -> tuple[Block, ...]:
    """The table for people: one block per filter, the config's threshold marked."""

    def cells(row: Mapping[str, Any]) -> dict[str, str]:
        return {
            "Data set": row["dataset"],
            "Threshold": f"{row['threshold']:g}",
            "In the config": "yes" if row["is_default"] else "",
            "Users": plain(row["users"]),
            "of users": plain(row["base_users"]),
            "Pairs": plain(row["pairs"]),
            "of pairs": plain(row["base_pairs"]),
            "Pairs %": f"{100 * row['pairs'] / row['base_pairs']:.1f}" if row["base_pairs"] else EMPTY,
            "Undecided pairs": plain(row["undecided"]),
        }

    blocks = []
    for name, title in FILTER_LABELS.items():
        rows = table_rows(table[table["filter"] == name])
        blocks += [Block(title, pd.DataFrame(map(cells, rows)), 3)] if rows else []
    return tuple(blocks) or (Block("", pd.DataFrame(columns=["Data set", "Threshold"]), 1),)


def sensitivity_notes(
    table: pd.DataFrame, apply: Mapping[str, bool], samples: Mapping[str, int | None], min_pairs: Mapping[str, int]
) -> list[str]:
    """What a reader of the table must know.

    Args:
        table: see `sensitivity_table`.
        apply: data set to whether its filters remove anything.
        samples: data set to the number of pairs of each user that models were asked about; None for all.
        min_pairs: data set to the smallest number of pairs with which a user stays.
    """
    notes = [
        "No model was asked again to make this table: it counts ratings and votes that the run keeps.",
        "Each filter is tried alone. query and responses: each on all pairs asked about. panel: on the pairs that the "
        "ratings leave at the thresholds of the config, since it was asked about no others.",
        "Users and pairs are counted after the user filter, which takes out users with too few pairs left.",
        "Undecided pairs have no answer (panel: too few votes). They stay at every threshold, and are among the pairs.",
    ]
    for dataset, rows in table.groupby("dataset", sort=False):
        name = str(dataset)
        least, sample = min_pairs.get(name, 0), samples.get(name)
        gone = f"; users with fewer than {least} pairs left are taken out" if least else ""
        notes.append(f"{name}: {went_in(rows)}{gone}.")
        if apply[name]:
            continue
        asked = "about all pairs" if sample is None else f"about at most {_counted(sample, 'pair')} of each user"
        notes.append(
            f"{name}: nothing was removed (apply: false); models were asked {asked}, and the filters only tried."
        )
        if sample is not None and sample < least:
            notes.append(
                f"{name}: the user filter wants {least} pairs and no user has more than the {sample} asked about, so "
                f"none is left at any threshold; a sample of {least} or more would show what the filters do."
            )
    applied = [name for name in table.loc[table["filter"] == "panel", "dataset"].unique() if apply[name]]
    if applied:
        notes.append(
            "The panel at the threshold of the config leaves what all filters leave together, and what the run goes on "
            f"with: {', '.join(applied)}."
        )
    return notes


def went_in(rows: pd.DataFrame) -> str:
    """What went into the filters of one data set: `30 pairs of 4 users went into query and responses, …`."""
    filters: dict[tuple[int, int], list[str]] = {}
    for row in rows.drop_duplicates("filter").to_dict(orient="records"):
        name = "the panel" if row["filter"] == "panel" else row["filter"]
        filters.setdefault((row["base_pairs"], row["base_users"]), []).append(name)
    return ", ".join(
        f"{_counted(pairs, 'pair')} of {_counted(users, 'user')} went into {' and '.join(names)}"
        for (pairs, users), names in filters.items()
    )


def _counted(count: int, noun: str) -> str:
    return f"{count:,} {noun}" + ("" if count == 1 else "s")


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
    caption=(
        "Users and pairs that each filter which asks models would leave at every threshold, from the ratings and votes"
        " that the run keeps."
    ),
    when="filters",
    mem_mb=500,
    runtime=10,
    build=build,
)
