"""The table of transfer: one model's profiles shown to another judge, beside that judge's own profiles."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from personalrm.data.cross_validation import Pools
from personalrm.results.columns import Columns
from personalrm.results.comparisons import (
    CELL_COLUMNS,
    COMPARED,
    COUNTS,
    NAMED,
    Value,
    compare,
    describe_cell,
    key_order,
)
from personalrm.results.conditions import Condition
from personalrm.results.labels import NOT_RUN, OK, UNUSED, exempt_note
from personalrm.results.marks import FLAG_NAMES, mark_notes
from personalrm.results.pooling import pool_notes, pooled
from personalrm.results.scores import read_frame
from personalrm.results.spec import Table, TableResult
from personalrm.results.table_formats import Block, plain
from personalrm.results.tables.comparison_text import (
    block_of,
    dataset_note,
    headings_of,
    probability,
    shown_accuracy,
    shown_difference,
)
from personalrm.results.verdict_arrays import VerdictArrays, verdict_arrays_of

if TYPE_CHECKING:
    import pandas as pd

TRANSFER_COLUMNS = Columns.joined(NAMED, CELL_COLUMNS, COMPARED)
OWN = "own"
"""The status of the judge's own profiles, which nothing is compared with."""


def transfer_table(
    verdicts: pd.DataFrame, *, seed: int, n_resamples: int, model_order: Sequence[str] = ()
) -> pd.DataFrame:
    """Profile model by judge model, for every method, variant and k that has a transfer; columns `TRANSFER_COLUMNS`.

    Every pair of a profile model and a judge model of that method is a row, in every data set, run or not.

    - cell: "ok", "not run", "not applicable", "no verdicts" (all users failed) or "no answers" (provider errors only).
    - accuracy with bounds: percent, as in the main table.
    - status, counts, difference ..: to the judge's own profiles on the same judgments (`comparisons.compare`); status
      is "own" where the profile is the judge's own, "not run" also where the judge has no profiles of its own.
    - cell_outage .., outage ..: what spoils the cell; it or that of the judge's own profiles (`marks.Flags`).

    Args:
        verdicts: frame of `collect_verdicts`.
        seed: seed of the bootstrap; each row derives its own.
        n_resamples: its resamples.
        model_order: model ids in the order of listing; others come last, by name.
    """
    arrays_by_dataset = verdict_arrays_of(verdicts)
    keys = sorted(set(_grid(arrays_by_dataset)), key=lambda key: key_order(key, model_order))
    rows = [_row(arrays_by_dataset[key.dataset], key, seed, n_resamples) for key in keys]
    return TRANSFER_COLUMNS.frame(rows)


def _grid(arrays_by_dataset: Mapping[str, VerdictArrays]) -> Iterator[Condition]:
    """All cells of every data set, of the methods that any has a transfer of."""
    known = [key for arrays in arrays_by_dataset.values() for key in arrays.cells if key.profile_model != UNUSED]
    for part in {_shared(key) for key in known if not key.own}:
        mine = [key for key in known if _shared(key) == part]
        for dataset in arrays_by_dataset:
            for profile in {key.profile_model for key in mine}:
                for judge in {key.judge_model for key in mine}:
                    yield part._replace(dataset=dataset, profile_model=profile, judge_model=judge)


def _shared(key: Condition) -> Condition:
    return key._replace(dataset="", profile_model=UNUSED, judge_model=UNUSED)


def _row(arrays: VerdictArrays, key: Condition, seed: int, n_resamples: int) -> dict[str, Value]:
    row: dict[str, Value] = {**key.row}
    row |= describe_cell(arrays, key, seed=seed, n_resamples=n_resamples)
    if key.profile_model == key.judge_model:
        return row | dict.fromkeys(COUNTS, 0) | {"status": OWN, **{name: row[f"cell_{name}"] for name in FLAG_NAMES}}
    own = key._replace(profile_model=key.judge_model)
    return row | compare(arrays, key, own, seed=seed, n_resamples=n_resamples)


read_transfer_table = TRANSFER_COLUMNS.read


def shown_transfer(row: Mapping[str, object]) -> str:
    """Difference to the judge's own profiles with its bounds, or why there is none."""
    if row["cell"] == OK and row["status"] == NOT_RUN:
        return "no own profile"
    return shown_difference(row)


def transfer_blocks(table: pd.DataFrame) -> tuple[Block, ...]:
    """The table for people."""

    def cells(row: Mapping[str, object]) -> dict[str, str]:
        own = row["status"] == OWN
        return {
            "Users": plain(row["cell_users"]),
            "Judgments": plain(row["cell_judgments"]),
            "Accuracy % [95 % CI]": shown_accuracy(row),
            "Difference to own, points [95 % CI]": shown_transfer(row),
            "p": probability(row["p_value"]),
            "Users compared": plain(None if own else row["n_users"]),
            "Users left out": plain(None if own else row["users_left_out"]),
        }

    return (block_of(table, headings_of(table), cells),)


def transfer_notes(table: pd.DataFrame) -> list[str]:
    """What a reader of the table must know."""
    notes = [
        *dataset_note(table),
        "Difference to own: accuracy with this model's profiles less accuracy with the judge's own, in points, on the "
        "judgments that both have; own: the judge's own profiles. Transfer is judged at the largest k of the run.",
        "In brackets: 95 % intervals from a bootstrap that resamples users; p from the same resamples, not adjusted "
        "here (the table of differences has Holm's adjustment of the differences to Default).",
    ]
    if table.empty:
        notes.append("There is no transfer among the verdicts.")
    if bool((table["cell"] == NOT_RUN).any()):
        notes.append("not run: the pair of models is not among the verdicts of this run.")
    return notes + exempt_note(table["cell"]) + mark_notes(table, "cell_", "")


def build(verdicts: Path, *, pools: Pools, seed: int, n_resamples: int, model_order: list[str]) -> Table:
    """Make the table from the files of a run."""
    table = transfer_table(
        pooled(read_frame(verdicts), pools), seed=seed, n_resamples=n_resamples, model_order=model_order
    )
    return Table(table, transfer_blocks(table), [*transfer_notes(table), *pool_notes(pools)])


RESULT = TableResult(
    name="transfer",
    order=40,
    title="Profiles of one model shown to another judge",
    message="Making the table of transfer",
    caption=(
        "Accuracy of judges that are shown another model's profiles, and the paired difference to their own, with 95 %"
        " intervals clustered by user."
    ),
    when="transfer",
    build=build,
)
