"""Every reported number of SynthesizeMe, with ours."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from personalrm.results.columns import Columns
from personalrm.results.comparisons import Value
from personalrm.results.lazy import pd
from personalrm.results.scores import percent, read_frame
from personalrm.results.spec import Table, TableResult
from personalrm.results.table_formats import EMPTY, Block, plain, table_rows
from personalrm.results.tables.fidelity_table import fidelity_table, read_fidelity_table
from personalrm.results.tables.main_table import read_main_table
from personalrm.results.tables.scaling_table import FIRST_K, read_scaling_table
from personalrm.results.verdict_arrays import verdict_arrays_of
from personalrm.studies.synthesizeme.results.reported_claims import WON, Answers, Tables, claims
from personalrm.studies.synthesizeme.results.reported_matching import COMPARABLE, SHOWN, RunIdentity, ThetaOrigin
from personalrm.studies.synthesizeme.results.reported_numbers import (
    INDEPENDENT,
    NOT_STATED,
    NotRecovered,
    ReportedNumber,
    read_not_recovered,
    read_numbers,
    read_served,
)

NUMBER_NAMES: tuple[str, ...] = ("table", "data_set", "revision", "model", "label", "statistic")
SOURCE_NAMES: tuple[str, ...] = ("certainty", "confidence", "source", "note")
MATCH_NAMES: tuple[str, ...] = ("status", "reason", "our_data_set", "our_model", "our_method", "our_variant")
INSIDE: tuple[str, ...] = ("ours_in_reported", "reported_in_ours")
REPORTED_COLUMNS = Columns(
    (
        *NUMBER_NAMES,
        *("reported", "reported_low", "reported_high", "interval", "n"),
        *SOURCE_NAMES,
        *MATCH_NAMES,
        *("ours", "ours_low", "ours_high", "our_users", "our_judgments", "difference"),
        *INSIDE,
    ),
    texts=(*NUMBER_NAMES, "interval", *SOURCE_NAMES, *MATCH_NAMES, *INSIDE),
    whole=("n", "our_users", "our_judgments"),
)
read_reported_table = REPORTED_COLUMNS.read
UNITS: dict[str, str] = {
    "accuracy_percent": "accuracy, %",
    "macro_accuracy_percent": "accuracy, mean of users, %",
    "validation_accuracy_percent": "accuracy on validation pairs, %",
    "match_own_percent": "matches, %",
    "match_other_percent": "matches, %",
    "match_difference_points": "difference of matches, points",
    "difference_points": "difference, points",
    "points_per_pair": "points per context pair",
    "context_pairs": "context pairs",
    "settings_won": "settings of 6",
    "rouge_l": "ROUGE-L",
    "seconds": "seconds",
}
"""Statistic to its label."""


def reported_table(
    numbers: Sequence[ReportedNumber],
    verdicts: pd.DataFrame,
    run: RunIdentity,
    tables: Tables,
    *,
    seed: int,
    n_resamples: int,
) -> pd.DataFrame:
    """One row per reported number, in the order of the file, columns `REPORTED_COLUMNS`; several for a number whose
    source does not say what it is about, one for each condition of the run that it may mean.

    Ours is the accuracy of the main table, or the paired difference of two methods on the same judgments, with a 95 %
    interval from a bootstrap that resamples users, or what `reported_claims` reads from other tables; empty unless
    `status` is `comparable` or `set beside` (`reported_matching`).
    `difference` is ours minus reported. `ours_in_reported`: our number lies in the reported interval (which `interval`
    names); `reported_in_ours`: the reported number lies in our interval. Yes, no, or empty without an interval.

    Args:
        numbers: the reported numbers.
        verdicts: frame of `collect_verdicts`.
        run: identity of its data sets and models.
        tables: its main table and those of scaling and fidelity.
        seed: seed of the bootstrap.
        n_resamples: its resamples.
    """
    answers = Answers(run, verdict_arrays_of(verdicts), tables, seed, n_resamples)
    return REPORTED_COLUMNS.frame(_row(number, *claim) for number in numbers for claim in claims(number, answers))


def _row(number: ReportedNumber, status: str, reason: str, ours: Mapping[str, Value]) -> dict[str, Value]:
    """A row of the table; `ours` is empty where nothing of ours answers to the number."""
    low, high = number.bounds or (None, None)
    row: dict[str, Value] = {name: getattr(number, name) for name in (*NUMBER_NAMES, "interval", "n", *SOURCE_NAMES)}
    row |= {"reported": number.value, "reported_low": low, "reported_high": high, "status": status, "reason": reason}
    row |= dict.fromkeys((*MATCH_NAMES[2:], *INSIDE), "") | dict(ours)
    if not ours or (number.statistic == WON and status != COMPARABLE):
        # So many settings out of fewer than the paper's differ from its number by what was not run.
        return row
    return row | _beside(number, *(float(str(row.get(name, "nan"))) for name in ("ours", "ours_low", "ours_high")))


def _beside(number: ReportedNumber, ours: float, low: float, high: float) -> dict[str, Value]:
    """Difference, and which number lies in which interval; a comparison with nan bounds is left empty."""
    row: dict[str, Value] = {"difference": percent((ours - number.value) / 100)}
    if number.bounds is not None:
        row["ours_in_reported"] = "yes" if number.bounds[0] <= ours <= number.bounds[1] else "no"
    if low <= high:
        row["reported_in_ours"] = "yes" if low <= number.value <= high else "no"
    return row


def shown_reported(row: Mapping[str, object]) -> str:
    """A reported value with half the width of its interval, as papers print it: `61.97 ± 3.96`."""
    value = f"{float(str(row['reported'])):.4g}" if row["statistic"] == "rouge_l" else plain(row["reported"])
    if plain(row["reported_low"]) == EMPTY:
        return value.removesuffix(".00") if row["statistic"] in ("context_pairs", "settings_won", "seconds") else value
    half = float(str(row["reported_high"])) - float(str(row["reported"]))
    return f"{value} ± {half:.2f}" + (" s.e." if row["interval"] != INDEPENDENT else "")


def _shown_ours(row: Mapping[str, object]) -> str:
    if row["status"] not in SHOWN:
        return str(row["status"])
    if row["statistic"] == WON:
        return f"{float(str(row['ours'])):.0f}"
    if row["statistic"] == "context_pairs":
        return "none" if plain(row["ours"]) == EMPTY else f"{float(str(row['ours'])):.4g}"
    ends = [plain(row[name]) for name in ("ours_low", "ours_high")]
    bounds = "–" if EMPTY in ends else "{:.1f}, {:.1f}".format(*map(float, ends))
    return f"{plain(row['ours'])} [{bounds}]"


def reported_blocks(table: pd.DataFrame, missing: Sequence[NotRecovered] = ()) -> tuple[Block, ...]:
    """The table for people: a block for each group of numbers, and one of what could not be read of the paper."""
    blocks = []
    for name, rows in table.groupby("table", sort=False):
        shown = []
        for row in table_rows(rows):
            unnamed = row["data_set"] == NOT_STATED and row["our_data_set"]
            why = (f"{row['our_data_set']}, {row['our_model']}: " if unnamed else "") + row["reason"]
            shown.append(
                {
                    "Data set": row["data_set"],
                    "Model": row["model"],
                    "Method or claim": row["label"],
                    "Number": UNITS[row["statistic"]],
                    "Reported": shown_reported(row),
                    "Certainty": row["certainty"],
                    "Ours [95 % CI]": _shown_ours(row),
                    "Difference": EMPTY if plain(row["difference"]) == EMPTY else f"{row['difference']:+.2f}",
                    "Ours in theirs": row["ours_in_reported"] or EMPTY,
                    "Theirs in ours": row["reported_in_ours"] or EMPTY,
                    "Why, or note": why or EMPTY,
                }
            )
        blocks.append(Block(str(name)[:1].upper() + str(name)[1:], pd.DataFrame(shown), 4))
    if missing:
        lacking = [{"Not recovered from the paper": each.item, "What is known of it": each.known} for each in missing]
        blocks.append(Block("Not recovered", pd.DataFrame(lacking), 1))
    return tuple(blocks)


def reported_notes(table: pd.DataFrame) -> list[str]:
    """What a reader of the table must know."""
    numbers = len(table[list(NUMBER_NAMES)].drop_duplicates())
    counts = ", ".join(f"{count} {status}" for status, count in table["status"].value_counts(sort=False).items())
    return [
        f"{numbers} reported numbers in {len(table)} rows: {counts}.",
        "±: half the width of the reported interval. That of the paper is a 95 % interval that treats all judgments as "
        "independent; s.e.: standard error of 5 runs (P-GenRM). [ ]: our 95 % interval, users resampled.",
        "Ours in theirs: our number lies in the reported interval. Theirs in ours: the reported number lies in our "
        "interval. Difference: ours minus reported.",
        "Set beside: all that is known of the number's conditions is the same in ours, and the last column says what "
        "is not known of them. Points per context pair and the first k better than Default (as context pairs; "
        f"{FIRST_K}) are those of the table of scaling, matches those of the table of fidelity.",
        "Not run: this run has nothing of the kind. Not comparable: it has, but data set, release, users, splits, "
        "model, method, variant or k differ. A benchmark rebuilt from raw votes is not comparable: its filters' "
        "thresholds are not published, so that its users and pairs are others.",
        "Certainty: read in the paper that the source names, or a secondary source (notes, talks and sites of others). "
        "The csv has sources, confidence and notes.",
    ]


def build(
    verdicts: Path,
    table_main: Path,
    table_scaling: Path,
    reported_numbers: Path,
    reported_missing: Path,
    reported_models: Path,
    table_fidelity: Path | None = None,
    *,
    answering_sets: Mapping[str, str],
    differs: Mapping[str, Sequence[str]],
    identities: Mapping[str, Sequence[str]],
    theta_origins: Mapping[str, ThetaOrigin],
    seed: int,
    n_resamples: int,
) -> Table:
    """Make the table from the files of a run."""
    judged = read_fidelity_table(table_fidelity) if table_fidelity else fidelity_table([], seed=0, n_resamples=1)
    table = reported_table(
        read_numbers(reported_numbers),
        read_frame(verdicts),
        RunIdentity(answering_sets, differs, identities, read_served(reported_models), theta_origins),
        Tables(read_main_table(table_main), read_scaling_table(table_scaling), judged),
        seed=seed,
        n_resamples=n_resamples,
    )
    return Table(table, reported_blocks(table, read_not_recovered(reported_missing)), reported_notes(table))


RESULT = TableResult(
    name="reported",
    order=160,
    title="Numbers reported of SynthesizeMe beside those of this run",
    caption=(
        "Every number reported of SynthesizeMe, with its certainty, beside ours. Ours is filled only where data set, "
        "release, model, method and variant are those of the number. ±: the reported interval. [ ]: our 95 % interval,"
        " users resampled."
    ),
    runtime=30,
    build=build,
)
