"""The main table of a run, with what the paper reports of the settings that demonstrations win."""

from __future__ import annotations

from pathlib import Path

from personalrm.data.cross_validation import Pools
from personalrm.results.pooling import pool_notes, with_pools, without_folds
from personalrm.results.scores import read_frame
from personalrm.results.spec import Table, TableResult
from personalrm.results.tables.main_table import CALLS_READ, cuts, gaps, main_blocks, main_notes, main_table
from personalrm.studies.synthesizeme.results.settings_won import won_notes


def build(
    verdicts: Path, calls: Path, *, pools: Pools, seed: int, n_resamples: int, model_order: list[str], evaluated: str
) -> Table:
    """Make the table from the files of a run."""
    # Folds share responses, which only their keys show.
    columns = None if pools else CALLS_READ
    judged = with_pools(read_frame(verdicts), pools)
    table = main_table(
        judged,
        with_pools(read_frame(calls, columns), pools),
        seed=seed,
        n_resamples=n_resamples,
        model_order=model_order,
    )
    won = won_notes(without_folds(table, pools))
    notes = [*main_notes(table, evaluated), *won, *pool_notes(pools), *cuts(judged), *gaps(judged)]
    return Table(table, main_blocks(table), notes)


RESULT = TableResult(
    name="main",
    order=10,
    title="Accuracy of personalised judges on the test pairs of each user (main table)",
    caption=(
        "Accuracy of each method on the test pairs, both orders of showing, with 95 % intervals clustered by user and "
        "the paper's independent interval beside them. Outcomes that are no verdict are counted apart; judgments lost "
        "to provider errors are in no accuracy."
    ),
    build=build,
)
