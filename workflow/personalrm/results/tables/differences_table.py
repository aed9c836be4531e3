"""The table of paired differences: each method against the unpersonalised judge, on the same judgments."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from personalrm.core.conditions import MethodId
from personalrm.data.cross_validation import Pools
from personalrm.methods.base import Method
from personalrm.methods.registry import METHODS, is_trained
from personalrm.results.columns import Columns
from personalrm.results.comparisons import COMPARED, NAMED, compare, key_order, with_holm
from personalrm.results.conditions import Condition
from personalrm.results.labels import NOT_RUN, OK, UNUSED, exempt_note, method_rank
from personalrm.results.lazy import pd
from personalrm.results.marks import mark_notes
from personalrm.results.pooling import pool_notes, pooled
from personalrm.results.scores import read_frame
from personalrm.results.spec import Table, TableResult
from personalrm.results.table_formats import Block
from personalrm.results.tables.comparison_text import (
    Shown,
    block_of,
    chance,
    dataset_note,
    headings_of,
    notes_where,
    shown_difference,
)
from personalrm.results.verdict_arrays import VerdictArrays, verdict_arrays_of

DIFFERENCE_COLUMNS = Columns.joined(NAMED, Columns.text("reference"), COMPARED, "p_holm")
PARTS_OF_BOTH: tuple[str, ...] = ("demos", "persona")
"""What `both` is compared with in addition to `default`: each of its parts alone."""


def differences_table(
    verdicts: pd.DataFrame, *, seed: int, n_resamples: int, model_order: Sequence[str] = ()
) -> pd.DataFrame:
    """Each method that a model judges against `default`, and `both` against its parts; columns `DIFFERENCE_COLUMNS`.

    Each method is compared with its references (`Method.references`), too: what it starts from, and its controls.

    The reference has the same data set, judge, pairs and kind of verdict, and where it is learned the same variant,
    profile model and k. A comparison that any data set of the frame has is a row of every data set: what is missing
    stays visible. `p_holm` holds within the table, over all rows with a p-value. See `comparisons.compare`.
    """
    arrays = verdict_arrays_of(verdicts)
    planned = sorted(
        _planned(arrays), key=lambda plan: (*key_order(plan[0], model_order), method_rank(str(plan[1].method)))
    )
    rows = [
        {
            **first.row,
            "reference": str(second.method),
            **compare(arrays[first.dataset], first, second, seed=seed, n_resamples=n_resamples),
        }
        for first, second in planned
    ]
    return DIFFERENCE_COLUMNS.frame(with_holm(rows))


read_differences_table = DIFFERENCE_COLUMNS.read


def _planned(arrays_by_dataset: Mapping[str, VerdictArrays]) -> Iterator[tuple[Condition, Condition]]:
    """First and second cell of every row, in every data set."""
    every = {key for arrays in arrays_by_dataset.values() for key in arrays.cells}
    known = {key for key in every if key.method.name != "default"}
    anywhere = {key._replace(dataset="") for key in every}
    for key in {key._replace(dataset=dataset) for dataset in arrays_by_dataset for key in known}:
        # Default need not judge the pairs that are left out, and a trained model has none.
        judged_alike = key.method.pairs != "loo" or key.default._replace(dataset="") in anywhere
        if key.judged and judged_alike and not is_trained(key.method.name):
            yield key, key.default
        if key.judged:
            for part in PARTS_OF_BOTH if key.method.name == "both" else ():
                yield key, key._replace(method=key.method._replace(name=part))
        for name in METHODS[key.method.name].references if key.method.name in METHODS else ():
            reference = _reference(key, METHODS[name])
            if reference._replace(dataset="") in anywhere:
                yield key, reference


def _reference(key: Condition, method: Method[Any]) -> Condition:
    """The row of a reference that a method's row is compared with: by the same judge and at the same k, if any."""
    if method.shows and method.by_k:
        # It reads the same profile.
        return key._replace(method=key.method._replace(name=method.name))
    asked = key.default._replace(k=key.k if method.by_k else UNUSED)
    pairs = key.method.pairs if method.learns else asked.method.pairs
    if method.needs == "nothing":
        return asked._replace(method=MethodId(method.name, pairs), judge_model=UNUSED)
    return asked._replace(method=asked.method._replace(name=method.name, pairs=pairs))


def differences_blocks(table: pd.DataFrame) -> tuple[Block, ...]:
    """The table for people."""
    cells: Shown = {
        "Users": "n_users",
        "Pairs": "n_pairs",
        "Left out: users": "users_left_out",
        "pairs": "pairs_left_out",
        "Difference, points [95 % CI]": shown_difference,
        "p": chance("p_value"),
        "p (Holm)": chance("p_holm"),
        "Logistic p": chance("p_logit"),
    }
    return (block_of(table, headings_of(table, "reference"), cells),)


def differences_notes(table: pd.DataFrame) -> list[str]:
    """What a reader of the table must know."""
    return [
        *dataset_note(table),
        "Difference: accuracy of the method less that of the method after it (Against), in points, on the judgments "
        "that both have; the reference has the same judge, pairs and kind of verdict, and the same profile model, "
        "variant and k where it is learned. Draws of context pairs are matched, then averaged.",
        "Left out: users and pairs that only one of the two has an answered verdict for; a judgment that one of them "
        "lost to a provider error is left out of both. Random and longer answer have no judge "
        "and so no default of their own; the main table has them.",
        "In brackets: 95 % interval from a bootstrap that resamples users, never narrower than what so few judgments "
        "leave open; p says the same: below 0.05 where the interval excludes 0. With five users or fewer it never "
        f"does. p (Holm): adjusted within this table, over its {int(table['p_value'].notna().sum())} comparisons with "
        "a p-value.",
        "Logistic p: a check of p by another road, a logistic model with cluster-robust errors (users); empty where a "
        "method is always or never right.",
        *notes_where(
            (
                (table["judge_model"] == UNUSED).any(),
                "Without a judge: a method against what it starts from (weights of other users) or against a control.",
            ),
            (
                (table["status"] != OK).any(),
                f"Rows without a number: {NOT_RUN}: one of the two is not among the verdicts; no answers: the provider "
                "answered nothing of one; nothing in common: no judgment has a verdict by both.",
            ),
        ),
        *exempt_note(table["status"]),
        *mark_notes(table),
    ]


def build(verdicts: Path, *, pools: Pools, seed: int, n_resamples: int, model_order: list[str]) -> Table:
    """Make the table from the files of a run."""
    frame = pooled(read_frame(verdicts), pools)
    table = differences_table(frame, seed=seed, n_resamples=n_resamples, model_order=model_order)
    return Table(table, differences_blocks(table), [*differences_notes(table), *pool_notes(pools)])


RESULT = TableResult(
    name="differences",
    order=20,
    title="Paired differences in accuracy on the same judgments",
    caption=(
        "Paired differences in accuracy on the same judgments, in points, each method against Default of the same "
        "judge, with 95 % intervals clustered by user and Holm's adjustment within the table."
    ),
    build=build,
)
