"""The table of model families: for every model, Default and SynthesizeMe (persona + demonstrations)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from personalrm.core.conditions import MethodId, VariantId
from personalrm.data.cross_validation import Pools
from personalrm.results.columns import Columns
from personalrm.results.comparisons import (
    CELL_COLUMNS,
    COMPARED,
    NAMED,
    Value,
    compare,
    describe_cell,
    key_order,
    largest_k,
    with_holm,
)
from personalrm.results.conditions import Condition
from personalrm.results.labels import NOT_RUN, UNUSED, exempt_note
from personalrm.results.lazy import pd
from personalrm.results.marks import mark_notes
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
    with_verdict,
)
from personalrm.results.verdict_arrays import VerdictArrays, verdict_arrays_of

SHOWN_METHOD = "both"
PREFIXES = ("cell_", "default_cell_", "")
FAMILY_COLUMNS = Columns.joined(NAMED, CELL_COLUMNS.prefixed("default_"), CELL_COLUMNS, COMPARED, "p_holm")


def families_table(
    verdicts: pd.DataFrame, *, models: Sequence[str] = (), datasets: Sequence[str] = (), seed: int, n_resamples: int
) -> pd.DataFrame:
    """One row for each data set, model and kind of verdict, at the model's largest k; columns `FAMILY_COLUMNS`.

    A model is any that judges, and any of `models`: one without verdicts is a row, "not run". Cells as
    `comparisons.describe_cell` has them (those of Default with `default_` before), the difference as
    `comparisons.compare`. `p_holm` holds within the table.

    Args:
        verdicts: frame of `collect_verdicts`.
        models: models in the order of listing; others come last, by name.
        datasets: data sets of the run: one without verdicts has its rows, "not run".
        seed: seed of the bootstrap; each row derives its own.
        n_resamples: its resamples.
    """
    arrays_by_dataset = verdict_arrays_of(verdicts, datasets)
    keys = sorted(set(_planned(arrays_by_dataset, models)), key=lambda key: key_order(key, models))
    rows = [_row(arrays_by_dataset[key.dataset], key, seed, n_resamples) for key in keys]
    return FAMILY_COLUMNS.frame(with_holm(rows))


def _planned(arrays_by_dataset: Mapping[str, VerdictArrays], models: Sequence[str]) -> Iterator[Condition]:
    """The cell of SynthesizeMe of every row; each model has a row in every data set."""
    known = [key for arrays in arrays_by_dataset.values() for key in arrays.cells if key.judged]
    shown = [key for key in known if key.method.name == SHOWN_METHOD and key.profile_model == key.judge_model]
    variants = {key.variant for key in shown} or {VariantId(UNUSED)}
    for model in {*models, *(key.judge_model for key in known)}:
        methods = {
            key.method._replace(name=SHOWN_METHOD)
            for key in known
            if key.judge_model == model and key.method.name in ("default", SHOWN_METHOD) and key.method.pairs == "test"
        }
        for method in methods or {MethodId(SHOWN_METHOD)}:
            k = largest_k([key for key in shown if key.judge_model == model and key.method == method] or shown)
            for variant in variants:
                for dataset in arrays_by_dataset:
                    yield Condition(dataset, method, variant, model, model, k)


def _row(arrays: VerdictArrays, key: Condition, seed: int, n_resamples: int) -> dict[str, Value]:
    default = describe_cell(arrays, key.default, seed=seed, n_resamples=n_resamples)
    return {
        **key.row,
        **{f"default_{name}": value for name, value in default.items()},
        **describe_cell(arrays, key, seed=seed, n_resamples=n_resamples),
        **compare(arrays, key, key.default, seed=seed, n_resamples=n_resamples),
    }


def families_blocks(table: pd.DataFrame) -> tuple[Block, ...]:
    """The table for people."""
    columns = {name: head for name, head in headings_of(table).items() if name not in ("profile_model", "method")}
    columns["judge_model"] = "Model"
    columns["verdict"] = "Verdict"

    def cells(row: Mapping[str, object]) -> dict[str, str]:
        return {
            "Default % [95 % CI]": shown_accuracy({name: row[f"default_{name}"] for name in CELL_COLUMNS}),
            "SynthesizeMe % [95 % CI]": shown_accuracy(row),
            "Difference, points [95 % CI]": shown_difference(row),
            "p": probability(row["p_value"]),
            "p (Holm)": probability(row["p_holm"]),
            "Users": plain(row["n_users"]),
            "Pairs": plain(row["n_pairs"]),
            "Left out: users": plain(row["users_left_out"]),
        }

    return (block_of(with_verdict(table), columns, cells),)


def families_notes(table: pd.DataFrame) -> list[str]:
    """What a reader of the table must know."""
    notes = [
        *dataset_note(table),
        "SynthesizeMe: persona and demonstrations, learned and judged by the model itself, at its largest k. Default: "
        "the same model without them. Difference: on the judgments that both have, in points (Users, Pairs); left out: "
        "users that only one of the two has an answered verdict for.",
        "In brackets: 95 % intervals with users as clusters (resampled), never narrower than what so few judgments "
        "leave open; p: below 0.05 where the interval of the difference excludes 0, and adjusted within this table "
        "(Holm).",
    ]
    if bool((table[["cell", "default_cell", "status"]] == NOT_RUN).any(axis=None)):
        notes.append(f"{NOT_RUN}: the model is listed in the run, and the verdicts are not there.")
    return notes + exempt_note(table["cell"]) + mark_notes(table, *PREFIXES)


def build(
    verdicts: Path, *, pools: Pools, seed: int, n_resamples: int, model_order: list[str], compared: list[str]
) -> Table:
    """Make the table from the files of a run."""
    table = families_table(
        pooled(read_frame(verdicts), pools), seed=seed, n_resamples=n_resamples, datasets=compared, models=model_order
    )
    return Table(table, families_blocks(table), [*families_notes(table), *pool_notes(pools)])


RESULT = TableResult(
    name="families",
    order=100,
    title="Model families: Default and SynthesizeMe (persona + demonstrations) of every model",
    caption=(
        "Default and SynthesizeMe (persona and demonstrations) of every model with its own profiles, and their paired "
        "difference, with 95 % intervals clustered by user."
    ),
    build=build,
)
