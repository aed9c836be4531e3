"""The table of the ablation: every combination of what a method is made of, and the effect of each part."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from personalrm.core.conditions import MethodId, VariantId
from personalrm.data.cross_validation import Pools
from personalrm.methods.registry import is_trained
from personalrm.results.columns import Columns
from personalrm.results.comparisons import (
    CELL_COLUMNS,
    COMPARED,
    COUNTS,
    NAMED,
    NUMBERS,
    Value,
    compare,
    describe_cell,
    largest_k,
    model_rank,
    p_digits,
    paired_sums,
    seed_of,
    with_holm,
)
from personalrm.results.conditions import Condition
from personalrm.results.labels import NOT_APPLICABLE, NOT_RUN, OK, UNUSED, exempt_note, method_rank
from personalrm.results.lazy import pd
from personalrm.results.marks import FLAG_NAMES, mark_notes
from personalrm.results.pooling import pool_notes, pooled
from personalrm.results.scores import percent, read_frame
from personalrm.results.spec import Table, TableResult
from personalrm.results.stats.statistics import paired_cluster_difference
from personalrm.results.table_formats import EMPTY, Block, plain
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
from personalrm.studies.synthesizeme.results.ablation_factors import (
    FACTORS,
    NOTHING,
    REFERENCES,
    SEPARATOR,
    Levels,
    changed_factor,
    fixed_levels,
    levels_of,
)

COMBINATION, EFFECT, MEAN = "combination", "effect", "mean effect"
"""Parts of the table: accuracy of a combination; effect of a factor with the others fixed; its mean over these."""
INCOMPLETE = "incomplete"
"""Status of a mean of which an effect has no number."""
EFFECT_COLUMNS: tuple[str, ...] = ("factor", "level", "reference", "fixed")
ABLATION_COLUMNS = Columns.joined(
    *(Columns.text("part"), NAMED, Columns.text(*FACTORS, *EFFECT_COLUMNS)),
    *(CELL_COLUMNS, COMPARED, "p_holm"),
)
TRAINED = (
    "Reward models: with the profiles that they were trained with; without demonstrations and persona it is the "
    "Bradley-Terry model that knows no user."
)
EMPTY_OF: dict[str, Value] = {"str": UNUSED, "bool": False}
"""Value of a column, by its type, where a row has none."""


class Group(NamedTuple):
    """Cells that are compared with each other: one data set, judge (by its own profiles, or a reward model by those
    that it was trained with), kind of verdict and k."""

    dataset: str
    judge: str
    profile: str
    method: MethodId
    k: str
    cells: dict[Condition, Levels]


class Change(NamedTuple):
    """Two cells that differ in one factor: `level` against `reference`."""

    factor: str
    level: str
    reference: str
    fixed: str
    first: Condition
    second: Condition


def ablation_table(
    verdicts: pd.DataFrame,
    *,
    seed: int,
    n_resamples: int,
    datasets: Sequence[str] = (),
    model_order: Sequence[str] = (),
) -> pd.DataFrame:
    """Combinations of factors with their accuracy, then the effects of each factor; columns `ABLATION_COLUMNS`.

    Factors are read from the names of methods and variants (`ablation_factors`). A combination that any judge and data
    set of the frame has is a row of all. Judges with their own profiles, and reward models with those that they were
    trained with, at the largest k of each.

    - part "combination": accuracy with bounds as in the main table (`comparisons.describe_cell`).
    - part "effect": paired difference of two combinations that differ in one factor (`comparisons.compare`).
    - part "mean effect": the mean of a factor's effects over what was held fixed, each on its own judgments, with
      bounds from resamples of users that the effects share; only where every one of several has a number.
    - p_holm: over the rows of the table with a p-value, the mean effects apart from the effects.

    Args:
        verdicts: frame of `collect_verdicts`.
        datasets: data sets of the run: one without verdicts has its rows, "not run".
        seed: seed of the bootstrap; each row derives its own.
        n_resamples: its resamples.
        model_order: model ids in the order of listing; others come last, by name.
    """
    arrays_by_dataset = verdict_arrays_of(verdicts, datasets)
    rows: list[dict[str, Value]] = []
    groups = _groups(arrays_by_dataset)
    for group in sorted(groups, key=lambda one: (one.dataset, model_rank(one.judge, model_order), *map(str, one[2:4]))):
        arrays = arrays_by_dataset[group.dataset]
        for key, levels in group.cells.items():
            row: dict[str, Value] = {"part": COMBINATION, **key.row, **levels}
            cell = describe_cell(arrays, key, seed=seed, n_resamples=n_resamples)
            rows.append(row | dict.fromkeys(COUNTS, 0) | cell | {name: cell[f"cell_{name}"] for name in FLAG_NAMES})
        rows += _effects(arrays, group, seed, n_resamples)
    blank = {name: EMPTY_OF[kind] for name, kind in ABLATION_COLUMNS.kinds.items() if kind in EMPTY_OF}
    return ABLATION_COLUMNS.frame(blank | row for row in with_holm(rows, "part"))


def _groups(arrays_by_dataset: Mapping[str, VerdictArrays]) -> Iterator[Group]:
    """Every judge in every data set, with all combinations of the frame; every reward model in those that it judges."""
    known = [key for arrays in arrays_by_dataset.values() for key in arrays.cells if levels_of(key) and key.judged]
    by_kind: dict[bool, list[Condition]] = {False: [], True: []}
    for key in known:
        if key.own and key.profile_model != UNUSED:
            by_kind[is_trained(key.method.name)].append(key)
    for trained, learned in by_kind.items():
        wanted = {(key.variant, key.method.name) for key in learned}
        judges = {(key.judge_model, key.profile_model, key.method._replace(name="effect")) for key in learned}
        for (judge, profile, method), dataset in itertools.product(judges, arrays_by_dataset):
            k = largest_k(key for key in learned if (*key[3:5], key.method[1:]) == (profile, judge, method[1:]))
            keys = [
                Condition(dataset, method._replace(name=name), variant, profile, judge, k) for variant, name in wanted
            ]
            nothing = keys[0].default
            nothing = nothing._replace(method=nothing.method._replace(name=NOTHING[trained]))
            ordered = [nothing, *sorted(keys, key=lambda key: (str(key.variant), method_rank(str(key.method))))]
            if not trained or any(key in arrays_by_dataset[dataset].cells for key in ordered):
                cells: dict[Condition, Levels] = {key: levels_of(key) or {} for key in ordered}
                yield Group(dataset, judge, profile, method, k, cells)


def _changes(cells: Mapping[Condition, Levels]) -> list[Change]:
    """All pairs of cells that differ in one factor, the reference second; by factor, level and what is fixed."""
    found = []
    for one, other in itertools.permutations(cells, 2):
        factor = changed_factor(cells[one], cells[other])
        if factor is None:
            continue
        level, reference = cells[one][factor], cells[other][factor]
        if reference == _reference(factor, cells) != level:
            found.append(Change(factor, level, reference, fixed_levels(cells[one], cells[other], factor), one, other))
    places = list(FACTORS)
    return sorted(
        found, key=lambda change: (places.index(change.factor), *change[1:4], change.first.names, change.second.names)
    )


def _reference(factor: str, cells: Mapping[Condition, Levels]) -> str:
    levels = {held[factor] for held in cells.values()} - {UNUSED}
    return REFERENCES[factor] if REFERENCES[factor] in levels else min(levels)


def _effects(arrays: VerdictArrays, group: Group, seed: int, n_resamples: int) -> Iterator[dict[str, Value]]:
    """Effects of every factor, and after those of a level their mean."""
    shared = Condition(group.dataset, group.method, VariantId(UNUSED), group.profile, group.judge, group.k)
    for (factor, level, reference), changes in itertools.groupby(_changes(group.cells), key=lambda change: change[:3]):
        names: dict[str, Value] = {**shared.row, "factor": factor, "level": level, "reference": reference}
        names["cell"] = UNUSED
        mine = list(changes)
        found = [compare(arrays, change.first, change.second, seed=seed, n_resamples=n_resamples) for change in mine]
        for change, row in zip(mine, found, strict=True):
            yield {"part": EFFECT, **names, "fixed": change.fixed, **row}
        if len(mine) > 1:
            spoilt = {flag: any(bool(row[flag]) for row in found) for flag in FLAG_NAMES}
            row = {"part": MEAN, **names, "fixed": f"mean of {len(mine)}", **spoilt}
            mean = _mean_effect(arrays, mine, max(int(str(row["n_pairs"])) for row in found), seed, n_resamples)
            nowhere = all(effect["status"] == NOT_APPLICABLE for effect in found)
            yield row | mean | ({"status": NOT_APPLICABLE} if nowhere else {})


def _mean_effect(
    arrays: VerdictArrays, changes: Sequence[Change], n_pairs: int, seed: int, n_resamples: int
) -> dict[str, Value]:
    """Mean over the effects, of each over its draws, users resampled together; no number where an effect has none.

    `n_pairs`: pairs of the effect that has most; the effects are on the same pairs.
    """
    sums = [paired_sums(arrays, change.first, change.second) for change in changes]
    held = [one for one in sums if one is not None]
    row: dict[str, Value] = dict.fromkeys(COUNTS, 0) | dict.fromkeys(NUMBERS, None)
    if len(held) < len(sums):
        return row | {"status": INCOMPLETE}
    # Columns are repeated so that each effect has as many: its weight is the same however many draws it has.
    draws = [one.judged.shape[1] for one in held]
    times = [int(np.lcm.reduce(draws)) // n for n in draws]
    first, second, judged = (
        np.concatenate([np.repeat(part, n, axis=1) for part, n in zip(parts, times, strict=True)], axis=1)
        for parts in zip(*held, strict=True)
    )
    own = seed_of(
        seed, "mean effect", *(part for change in changes for part in (*change.first.names, *change.second.names))
    )
    found = paired_cluster_difference(first, second, judged, seed=own, n_resamples=n_resamples, units=n_pairs)
    return row | {
        "status": OK,
        "n_users": int((judged.sum(axis=1) > 0).sum()),
        "n_judgments": int(sum(one.judged.sum() for one in held)),
        "difference": percent(found.estimate),
        "ci_low": percent(found.low),
        "ci_high": percent(found.high),
        "p_value": p_digits(found.p_value),
    }


def ablation_blocks(table: pd.DataFrame) -> tuple[Block, Block]:
    """Accuracy of each combination, and the effect of each factor; factors with one level are named in a note."""
    columns = {name: head for name, head in headings_of(table).items() if name in ("dataset", "judge_model", "k")}
    varied = {name: head for name, head in FACTORS.items() if name in _varied(table)}
    columns["verdict"] = "Verdict"
    rows = with_verdict(table)
    combinations = [row for row in rows if row["part"] == COMBINATION]
    effects = [row for row in rows if row["part"] != COMBINATION]

    def accuracy(row: Mapping[str, Any]) -> dict[str, str]:
        counts = {"Users": plain(row["cell_users"]), "Judgments": plain(row["cell_judgments"])}
        return {**counts, "Accuracy % [95 % CI]": shown_accuracy(row)}

    def effect(row: Mapping[str, Any]) -> dict[str, str]:
        return {
            "Factor": FACTORS[row["factor"]],
            "From": row["reference"],
            "To": row["level"],
            "Held fixed": _fixed(row["fixed"], varied),
            "Users": plain(row["n_users"]),
            "Effect, points [95 % CI]": shown_difference(row),
            "p": probability(row["p_value"]),
            "p (Holm)": probability(row["p_holm"]),
        }

    n_names = len(columns) + (4 if effects else 0)
    return (
        block_of(combinations, columns | varied if combinations else columns, accuracy, "Combinations"),
        block_of(effects, columns, effect, "Effects", n_names),
    )


def _fixed(fixed: str, varied: Mapping[str, str]) -> str:
    """What is held fixed, without the factors that no combination varies."""
    parts = [part for part in fixed.split(SEPARATOR) if ": " not in part or part.split(": ")[0] in varied.values()]
    return SEPARATOR.join(parts) or EMPTY


def _varied(table: pd.DataFrame) -> list[str]:
    """Factors of which the run has more than one level."""
    held = table[table["part"] == COMBINATION]
    return [name for name in FACTORS if len(set(held[name]) - {UNUSED}) > 1]


def ablation_notes(table: pd.DataFrame) -> list[str]:
    """What a reader of the table must know."""
    held = table[table["part"] == COMBINATION]
    fixed = [
        f"{head}: {level}"
        for name, head in FACTORS.items()
        if name not in _varied(table)
        for level in set(held[name]) - {UNUSED}
    ]
    notes = [
        *dataset_note(table),
        *([f"The same in all combinations: {'; '.join(fixed)}."] if fixed else []),
        "Judges with their own profiles, at the largest k. Combinations: accuracy as in the main table; without "
        "demonstrations and persona it is Default.",
        *([TRAINED] if any(is_trained(MethodId.parse(str(name)).name) for name in held["method"]) else []),
        "Effects: accuracy at To less accuracy at From in points, on the judgments that both have, with everything "
        "else as under Held fixed. Mean: of these effects, each with the same weight.",
        "In brackets: 95 % intervals from a bootstrap that resamples users; p: from the same resamples. p (Holm): "
        "adjusted within this table, among the effects and among the means.",
    ]
    if bool((table[["cell", "status"]] == NOT_RUN).any(axis=None)):
        notes.append(f"{NOT_RUN}: a combination that the run has elsewhere is not among the verdicts here.")
    if bool((table["status"] == INCOMPLETE).any()):
        notes.append(
            f"{INCOMPLETE}: one of the effects has no number, so that there is no {MEAN.split(maxsplit=1)[0]}."
        )
    return notes + exempt_note(table["cell"]) + mark_notes(table, "cell_", "")


def build(
    verdicts: Path, *, pools: Pools, seed: int, n_resamples: int, model_order: list[str], compared: list[str]
) -> Table:
    """Make the table from the files of a run."""
    table = ablation_table(
        pooled(read_frame(verdicts), pools),
        seed=seed,
        n_resamples=n_resamples,
        datasets=compared,
        model_order=model_order,
    )
    return Table(table, ablation_blocks(table), [*ablation_notes(table), *pool_notes(pools)])


RESULT = TableResult(
    name="ablation",
    order=110,
    title="Ablation: what each part of SynthesizeMe adds",
    caption=(
        "Accuracy of every combination of demonstrations, persona and their variants, and the paired effect of each "
        "factor with the others held fixed, with 95 % intervals clustered by user."
    ),
    build=build,
)
