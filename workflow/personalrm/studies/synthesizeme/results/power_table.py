"""The table of power: the smallest difference that a comparison can find, and the reported gains below it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from personalrm.core.lazy import special
from personalrm.data.cross_validation import Pools
from personalrm.methods.registry import is_trained
from personalrm.results.columns import Columns
from personalrm.results.comparisons import NOTHING_COMMON, PairedSums, compared_pairs, key_order, paired_sums
from personalrm.results.conditions import ROW_KEY, Condition
from personalrm.results.labels import NO_ANSWERS, NOT_APPLICABLE, NOT_RUN, OK, UNUSED, exempt_note
from personalrm.results.lazy import pd
from personalrm.results.marks import FLAG_NAMES, Flags, mark_notes, marked
from personalrm.results.pooling import pool_notes, pooled
from personalrm.results.scores import percent, read_frame
from personalrm.results.spec import Table, TableResult
from personalrm.results.stats.statistics import cluster_standard_error, difference_spreads, mean_ratio, sign_floor
from personalrm.results.table_formats import EMPTY, Block, plain
from personalrm.results.tables.comparison_text import block_of, dataset_note, headings_of
from personalrm.results.verdict_arrays import Floats, VerdictArrays, verdict_arrays_of
from personalrm.studies.synthesizeme.results.reported_numbers import ReportedNumber, read_numbers

POWER, SIGNIFICANCE = 0.80, 0.05
ALL_EQUAL, ONE_USER, FEW = "no variation between users", "one user", "fewer than 6 users"
"""Why there is no smallest difference although the comparison has a number."""
COUNTS: tuple[str, ...] = ("n_users", "n_judgments", "n_gains", "n_below")
NUMBERS: tuple[str, ...] = ("difference", "standard_error", "smallest")
POWER_COLUMNS = Columns(
    (*ROW_KEY, "answers_to", "status", *COUNTS[:2], *NUMBERS, *COUNTS[2:], "gains", "gains_below", *FLAG_NAMES),
    texts=(*ROW_KEY, "answers_to", "status", "gains", "gains_below"),
    whole=COUNTS,
    flags=FLAG_NAMES,
)
Value = str | int | float | bool | None


def smallest_difference(
    standard_error: float, freedom: float, power: float = POWER, significance: float = SIGNIFICANCE
) -> float:
    """Smallest true difference that a two-sided t-test finds with this power, in the unit of the error.

    The noncentrality at which noncentral t exceeds the quantile of Student's t, times the error; of an error without
    estimated variance (`freedom` infinite) z_(1 - a/2) + z_power times the error. The far tail is left out: at 80 %
    power it holds less than 0.0001.
    """
    if np.isinf(freedom):
        return float(special.ndtri(1 - significance / 2) + special.ndtri(power)) * standard_error
    return float(special.nctdtrinc(freedom, 1 - power, special.stdtrit(freedom, 1 - significance / 2))) * standard_error


def resolvable(first: Floats, second: Floats, judged: Floats, *, units: float, power: float = POWER) -> float:
    """Smallest true difference that `statistics.paired_cluster_difference` finds with this power, a fraction.

    Each part of its test has one (`statistics.difference_spreads`); the largest counts. Infinite where the signs of so
    few users cannot reach p < 0.05.
    """
    if sign_floor(int((judged.sum(axis=1) > 0).sum())) >= SIGNIFICANCE:
        return float("inf")
    spreads = difference_spreads(first, second, judged, units=units)
    return max(smallest_difference(spread.error, spread.freedom, power) / spread.shrunk for spread in spreads)


TABLE = "main results"
GAIN_DIGITS = 4
NOT_NAMED = "SynthesizeMe (variant not named)"
ANY_OF: tuple[str, ...] = ("demos", "persona", "both")
"""What a number of SynthesizeMe may be of where its source does not name the variant."""


class Gain(NamedTuple):
    """A reported gain over Default in points. `methods` are our ids that it may be of (several where unnamed)."""

    dataset: str
    model: str
    methods: tuple[str, ...]
    points: float
    source: str
    confidence: str

    @property
    def label(self) -> str:
        """Where it was reported, and how large."""
        return f"{self.dataset} {self.model} {'/'.join(self.methods)} {self.points:+.2f}"


def gains_of(numbers: Sequence[ReportedNumber]) -> tuple[Gain, ...]:
    """Accuracies of the paper's main table less Default of the same set and model, in the order of the numbers.

    Numbers of methods that we have no id for, or that have no number of Default to compare with, have none.
    """
    main = [number for number in numbers if number.table == TABLE and number.statistic == "accuracy_percent"]
    default = {(number.data_set, number.model): number.value for number in main if number.method == "default"}
    gains = []
    for number in main:
        methods = ANY_OF if number.label == NOT_NAMED else (number.method,) if number.method else ()
        theirs = default.get((number.data_set, number.model))
        # A trained model has no Default of its own.
        if theirs is not None and methods not in ((), ("default",)) and not any(map(is_trained, methods)):
            points, model = round(number.value - theirs, GAIN_DIGITS), number.model.rpartition("/")[2]
            gains.append(Gain(number.data_set, model, methods, points, number.source, number.confidence))
    return tuple(gains)


def gains_for(gains: Iterable[Gain], method: str, answers_to: str | None) -> list[Gain]:
    """Reported gains of a method: on the data set that ours answers to, or on any where ours is other data."""
    return [gain for gain in gains if method in gain.methods and answers_to in (None, gain.dataset)]


def power_table(
    verdicts: pd.DataFrame,
    gains: Sequence[Gain],
    *,
    datasets: Sequence[str],
    answers_to: Mapping[str, str | None],
    model_order: Sequence[str] = (),
) -> pd.DataFrame:
    """One row for each comparison of a method with `default`; a data set without any has one row, "not run".

    Columns `POWER_COLUMNS`. `difference`, `standard_error` (users as clusters, `statistics.cluster_standard_error`) and
    `smallest` are points. `gains` are the reported gains of the method, `gains_below` those smaller in size than
    `smallest`: on the data set that ours answers to, or on any where ours is other data ("-"). `status`: as in
    `comparisons.compare`, or why there is no smallest difference.

    Args:
        verdicts: frame of `collect_verdicts`.
        gains: reported gains (`gains_of`).
        datasets: data sets of the run.
        answers_to: data set to the reported set that it answers to, or None.
        model_order: model ids in the order of listing; others come last, by name.
    """
    rows: list[dict[str, Value]] = []
    for dataset, arrays in verdict_arrays_of(verdicts, datasets).items():
        known = answers_to.get(dataset)
        keys = [key for key in arrays.cells if key.judged and key.method.name != "default"]
        keys.sort(key=lambda key: key_order(key, model_order))
        rows += [_row(arrays, key, gains, known) for key in keys or [Condition(dataset)]]
    return POWER_COLUMNS.frame(rows)


def _row(arrays: VerdictArrays, key: Condition, gains: Sequence[Gain], answers_to: str | None) -> dict[str, Value]:
    """One comparison with Default, or the row of a data set without any."""
    row: dict[str, Value] = {**key.row, "answers_to": answers_to or UNUSED, "status": NOT_RUN}
    row |= {**dict.fromkeys(COUNTS, 0), "gains": "", "gains_below": "", **Flags().columns()}
    cell, default = arrays.cells.get(key), arrays.cells.get(key.default)
    if cell is None:
        return row
    reported = gains_for(gains, key.method.name, answers_to)
    row |= {"n_gains": len(reported), "gains": "; ".join(gain.label for gain in reported)}
    row |= (cell.flags() | (default.flags() if default else Flags())).columns()
    if not cell.applies or default is None:
        return row if cell.applies else row | {"status": NOT_APPLICABLE}
    sums = paired_sums(arrays, key, default.key)
    if sums is None:
        silent = any(side.errors and not side.answered for side in (cell, default))
        return row | {"status": NO_ANSWERS if silent else NOTHING_COMMON}
    found = _resolved(sums, compared_pairs(arrays, key, default.key))
    smallest = found.get("smallest")
    below = [gain.label for gain in reported if isinstance(smallest, float) and abs(gain.points) < smallest]
    return row | found | {"n_below": len(below), "gains_below": "; ".join(below)}


def _resolved(sums: PairedSums, n_pairs: int) -> dict[str, Value]:
    """Difference, its clustered error, and what a test can resolve."""
    gain = sums.first - sums.second
    error = cluster_standard_error(gain, sums.judged)
    row: dict[str, Value] = {
        "n_users": int((sums.judged.sum(axis=1) > 0).sum()),
        "n_judgments": int(sums.judged.sum()),
        "difference": percent(float(mean_ratio(gain.sum(axis=0), sums.judged.sum(axis=0)))),
    }
    if np.isnan(error):
        return row | {"status": ONE_USER}
    # A sum of rounding errors is no variation.
    if percent(error) == 0:
        return row | {"status": ALL_EQUAL, "standard_error": 0.0}
    row["standard_error"] = percent(error)
    smallest = resolvable(*sums, units=n_pairs)
    if np.isinf(smallest):
        return row | {"status": FEW}
    return row | {"status": OK, "smallest": percent(smallest)}


def power_blocks(table: pd.DataFrame, gains: Sequence[Gain]) -> tuple[Block, ...]:
    """The table for people: each comparison, then the reported gains with where they come from."""
    columns = headings_of(table)

    def cells(row: Mapping[str, Any]) -> dict[str, str]:
        found = row["status"] == OK
        return {
            "Answers to": EMPTY if row["answers_to"] == UNUSED else str(row["answers_to"]),
            "Users": plain(row["n_users"]),
            "Judgments": plain(row["n_judgments"]),
            "Difference": EMPTY if plain(row["difference"]) == EMPTY else f"{row['difference'] + 0.0:+.2f}",
            "Standard error": plain(row["standard_error"]),
            "Smallest, points": marked(plain(row["smallest"]) if found else str(row["status"]), row),
            "Reported gains below": f"{row['n_below']} of {row['n_gains']}" if found and row["n_gains"] else EMPTY,
        }

    reported = [
        {"Set": gain.dataset, "Model": gain.model, "Method": " or ".join(gain.methods), "Certainty": gain.confidence}
        | {"Source": gain.source, "Gain, points": f"{gain.points:+.2f}"}
        for gain in gains
    ]
    heads = ["Set", "Model", "Method", "Certainty", "Source", "Gain, points"]
    second = pd.DataFrame(reported, columns=heads)
    return block_of(table, columns, cells, "Comparisons"), Block("Reported gains over Default", second, 5)


def power_notes(table: pd.DataFrame) -> list[str]:
    """What a reader of the table must know."""
    notes = [
        *dataset_note(table),
        "Smallest: the smallest true difference to Default of the same judge, in points, that the two-sided test of "
        "the table of differences finds at 5 % in 80 % of such samples. It rests on the standard error of the paired "
        "difference, users as clusters, and on noncentral t with users - 1 degrees of freedom; where few judgments "
        "differ, on the error that so few leave open. It holds for this number of users and pairs and for this "
        "method's spread between users.",
        "Reported gains below: gains over Default of the same method, as reported, whose size is below Smallest; a "
        "sample like this one would often miss them. Where the data set answers to a set of the paper, gains on that "
        "set are counted; elsewhere those of all sets, for orientation. They are from secondary sources (Certainty), "
        "and their own samples are other ones.",
    ]
    said = {
        ALL_EQUAL: "the difference is the same for all, so that its error cannot be told.",
        FEW: "even if all gain, that is chance in 1 of 16 samples or more; nothing can be resolved.",
        NOT_RUN: "no verdicts of the data set, or none of Default. Nothing is assumed in their place.",
    }
    notes += [f"{status}: {text}" for status, text in said.items() if bool((table["status"] == status).any())]
    return notes + exempt_note(table["status"]) + mark_notes(table)


def build(
    verdicts: Path,
    reported_numbers: Path,
    *,
    pools: Pools,
    compared: list[str],
    reported_sets: Mapping[str, str | None],
    model_order: list[str],
) -> Table:
    """Make the table from the files of a run."""
    gains = gains_of(read_numbers(reported_numbers))
    table = power_table(
        pooled(read_frame(verdicts), pools), gains, datasets=compared, answers_to=reported_sets, model_order=model_order
    )
    return Table(table, power_blocks(table, gains), [*power_notes(table), *pool_notes(pools)])


RESULT = TableResult(
    name="power",
    order=90,
    title="The smallest difference to Default that can be resolved at 80 % power",
    caption=(
        "The smallest difference to Default that each comparison resolves at 80 % power (two-sided 5 %, users as "
        "clusters), and which reported gains lie below it."
    ),
    build=build,
)
