"""The table of transfer: one model's profiles shown to another judge, compared with that judge's own profiles."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from personalrm.data.cross_validation import Pools
from personalrm.results.columns import Columns
from personalrm.results.comparisons import CELL_COLUMNS, COMPARED, COUNTS, NAMED, compare, describe_cell, key_order
from personalrm.results.conditions import Condition
from personalrm.results.labels import NOT_RUN, OK, UNUSED, exempt_note
from personalrm.results.lazy import pd
from personalrm.results.marks import FLAG_NAMES, mark_notes
from personalrm.results.pooling import pool_notes, pooled
from personalrm.results.scores import read_frame
from personalrm.results.spec import Table, TableResult
from personalrm.results.table_formats import Block, plain
from personalrm.results.tables.comparison_text import (
    Shown,
    block_of,
    chance,
    dataset_note,
    headings_of,
    notes_where,
    shown_accuracy,
    shown_difference,
)
from personalrm.results.verdict_arrays import VerdictArrays, verdict_arrays_of

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
    """
    arrays = verdict_arrays_of(verdicts)
    rows = []
    for key in sorted(set(_grid(arrays)), key=lambda key: key_order(key, model_order)):
        mine, own = arrays[key.dataset], key._replace(profile_model=key.judge_model)
        row = {**key.row, **describe_cell(mine, key, seed=seed, n_resamples=n_resamples)}
        if key == own:
            row |= dict.fromkeys(COUNTS, 0) | {"status": OWN, **{name: row[f"cell_{name}"] for name in FLAG_NAMES}}
        else:
            row |= compare(mine, key, own, seed=seed, n_resamples=n_resamples)
        rows.append(row)
    return TRANSFER_COLUMNS.frame(rows)


def _grid(arrays_by_dataset: Mapping[str, VerdictArrays]) -> Iterator[Condition]:
    """All cells of every data set, of the methods that any has a transfer of."""
    found: dict[Condition, list[Condition]] = {}
    for key in (key for arrays in arrays_by_dataset.values() for key in arrays.cells if key.profile_model != UNUSED):
        found.setdefault(key._replace(dataset="", profile_model=UNUSED, judge_model=UNUSED), []).append(key)
    for part, mine in found.items():
        for dataset in arrays_by_dataset if any(not key.own for key in mine) else ():
            for profile in {key.profile_model for key in mine}:
                for judge in {key.judge_model for key in mine}:
                    yield part._replace(dataset=dataset, profile_model=profile, judge_model=judge)


read_transfer_table = TRANSFER_COLUMNS.read


def shown_transfer(row: Mapping[str, object]) -> str:
    """Difference to the judge's own profiles with its bounds, or why there is none."""
    return "no own profile" if row["cell"] == OK and row["status"] == NOT_RUN else shown_difference(row)


def transfer_blocks(table: pd.DataFrame) -> tuple[Block, ...]:
    """The table for people."""
    cells: Shown = {
        "Users": "cell_users",
        "Judgments": "cell_judgments",
        "Accuracy % [95 % CI]": shown_accuracy,
        "Difference to own, points [95 % CI]": shown_transfer,
        "p": chance("p_value"),
        "Users compared": lambda row: plain(None if row["status"] == OWN else row["n_users"]),
        "Users left out": lambda row: plain(None if row["status"] == OWN else row["users_left_out"]),
    }
    return (block_of(table, headings_of(table), cells),)


def transfer_notes(table: pd.DataFrame) -> list[str]:
    """What a reader of the table must know."""
    return [
        *dataset_note(table),
        "Difference to own: accuracy with this model's profiles less accuracy with the judge's own, in points, on the "
        "judgments that both have; own: the judge's own profiles. Transfer is judged at the largest k of the run.",
        "In brackets: 95 % intervals from a bootstrap that resamples users; p from the same resamples, not adjusted "
        "here (the table of differences has Holm's adjustment of the differences to Default).",
        *notes_where(
            (table.empty, "There is no transfer among the verdicts."),
            ((table["cell"] == NOT_RUN).any(), "not run: the pair of models is not among the verdicts of this run."),
        ),
        *exempt_note(table["cell"]),
        *mark_notes(table, "cell_", ""),
    ]


def build(verdicts: Path, *, pools: Pools, seed: int, n_resamples: int, model_order: list[str]) -> Table:
    """Make the table from the files of a run."""
    frame = pooled(read_frame(verdicts), pools)
    table = transfer_table(frame, seed=seed, n_resamples=n_resamples, model_order=model_order)
    return Table(table, transfer_blocks(table), [*transfer_notes(table), *pool_notes(pools)])


RESULT = TableResult(
    name="transfer",
    order=40,
    title="Profiles of one model shown to another judge",
    caption=(
        "Accuracy of judges that are shown another model's profiles, and the paired difference to their own, with 95 %"
        " intervals clustered by user."
    ),
    when="transfer",
    build=build,
)
