"""Every reported number of SynthesizeMe beside ours."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from personalrm.results.columns import Columns
from personalrm.results.comparisons import (
    Value,
    accuracy_of,
    compare,
)
from personalrm.results.scores import percent, read_frame
from personalrm.results.spec import Table, TableResult
from personalrm.results.table_formats import EMPTY, Block, plain, table_rows
from personalrm.results.tables.fidelity_table import fidelity_table, read_fidelity_table
from personalrm.results.tables.main_table import read_main_table
from personalrm.results.tables.scaling_table import read_scaling_table
from personalrm.results.verdict_arrays import VerdictArrays, verdict_arrays_of
from personalrm.studies.synthesizeme.results.reported_claims import WON, Tables, claims
from personalrm.studies.synthesizeme.results.reported_matching import (
    COMPARABLE,
    COMPUTED,
    SHOWN,
    Match,
    RunIdentity,
    ThetaOrigin,
    match,
)
from personalrm.studies.synthesizeme.results.reported_numbers import (
    INDEPENDENT,
    NOT_STATED,
    NotRecovered,
    ReportedNumber,
    read_not_recovered,
    read_numbers,
    read_served,
)

if TYPE_CHECKING:
    import pandas as pd

NUMBER_NAMES: tuple[str, ...] = ("table", "data_set", "revision", "model", "label", "statistic")
MATCH_NAMES: tuple[str, ...] = ("status", "reason", "our_data_set", "our_model", "our_method", "our_variant")
INSIDE: tuple[str, ...] = ("ours_in_reported", "reported_in_ours")
REPORTED_NAMES: tuple[str, ...] = (
    *NUMBER_NAMES,
    *("reported", "reported_low", "reported_high", "interval", "n"),
    *("certainty", "confidence", "source", "note"),
    *MATCH_NAMES,
    *("ours", "ours_low", "ours_high", "our_users", "our_judgments", "difference"),
    *INSIDE,
)
TEXTS: tuple[str, ...] = (
    *NUMBER_NAMES,
    *("interval", "certainty", "confidence", "source", "note"),
    *MATCH_NAMES,
    *INSIDE,
)
REPORTED_COLUMNS = Columns(REPORTED_NAMES, texts=TEXTS, whole=("n", "our_users", "our_judgments"))
SYNTHETIC = "synthetic"
"""Watermark of what is made from generated verdicts. No script passes it, so that no run can carry it by accident."""

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
"""Statistic to the words that people read."""


def reported_table(
    numbers: Sequence[ReportedNumber],
    verdicts: pd.DataFrame,
    run: RunIdentity,
    tables: Tables,
    *,
    seed: int,
    n_resamples: int,
) -> pd.DataFrame:
    """One row a reported number, in the order of the file, columns `REPORTED_COLUMNS`; several for a number whose
    source does not say what it is about, one for each condition of the run that it may mean.

    Ours is the accuracy of the main table, or the paired difference of two methods on the same judgments, with a 95 %
    interval from a bootstrap that resamples users, or what `reported_claims` reads from other tables; empty unless
    `status` is `comparable` or `set beside` (`reported_matching`).
    `difference` is ours minus reported. `ours_in_reported`: our number lies in the reported interval (which `interval`
    names); `reported_in_ours`: the reported number lies in our interval. Yes, no, or empty without an interval.

    Args:
        numbers: the reported numbers.
        verdicts: frame of `collect_verdicts`.
        run: what the run says of its data sets and models.
        tables: its main table and those of scaling and fidelity.
        seed: seed of the bootstrap.
        n_resamples: its resamples.
    """
    arrays_by_dataset = verdict_arrays_of(verdicts)
    rows = []
    for number in numbers:
        if number.statistic not in COMPUTED:
            rows += [_row(number, *claim) for claim in claims(number, run, tables, arrays_by_dataset)]
            continue
        found = match(number, run, arrays_by_dataset)
        ours = _ours(arrays_by_dataset, found, seed, n_resamples) if found.status in SHOWN else {}
        rows.append(_row(number, found.status, found.reason, ours))
    return REPORTED_COLUMNS.frame(rows)


def _row(number: ReportedNumber, status: str, reason: str, ours: Mapping[str, Value]) -> dict[str, Value]:
    """A row of the table; `ours` is empty where nothing of ours stands beside the number."""
    low, high = number.bounds or (None, None)
    row: dict[str, Value] = {name: getattr(number, name) for name in NUMBER_NAMES}
    row |= {"reported": number.value, "reported_low": low, "reported_high": high, "interval": number.interval}
    row |= {"n": number.n, "certainty": number.certainty, "confidence": number.confidence}
    row |= {"source": number.source, "note": number.note, "status": status, "reason": reason}
    row |= dict.fromkeys((*MATCH_NAMES[2:], *INSIDE), "") | dict(ours)
    if not ours or (number.statistic == WON and status != COMPARABLE):
        # So many settings out of fewer than the paper's differ from its number by what was not run.
        return row
    return row | _beside(number, *(float(str(row.get(name, "nan"))) for name in ("ours", "ours_low", "ours_high")))


def _ours(
    arrays_by_dataset: Mapping[str, VerdictArrays], found: Match, seed: int, n_resamples: int
) -> dict[str, Value]:
    first = found.cells[0]
    arrays = arrays_by_dataset[first.dataset]
    row: dict[str, Value] = {
        "our_data_set": first.dataset,
        "our_model": first.judge_model,
        "our_method": " - ".join(str(key.method) for key in found.cells),
        "our_variant": str(first.variant),
    }
    if len(found.cells) == 2:
        paired = compare(arrays, *found.cells, seed=seed, n_resamples=n_resamples)
        names = {"ours": "difference", "ours_low": "ci_low", "ours_high": "ci_high"}
        counts = {"our_users": "n_users", "our_judgments": "n_judgments"}
        return row | {name: paired[theirs] for name, theirs in (names | counts).items()}
    cell = arrays.cells[first]
    values = accuracy_of(arrays, cell, seed=seed, n_resamples=n_resamples)
    users = int((cell.by_user(arrays.user_of)[1].sum(axis=1) > 0).sum())
    row |= zip(("ours", "ours_low", "ours_high"), values, strict=True)
    return row | {"our_users": users, "our_judgments": cell.n_judgments}


def _beside(number: ReportedNumber, ours: float, low: float, high: float) -> dict[str, Value]:
    """Difference, and who lies in whose interval; a comparison with nan bounds is left empty."""
    row: dict[str, Value] = {"difference": percent((ours - number.value) / 100)}
    if number.bounds is not None:
        row["ours_in_reported"] = "yes" if number.bounds[0] <= ours <= number.bounds[1] else "no"
    if low <= high:
        row["reported_in_ours"] = "yes" if low <= number.value <= high else "no"
    return row


read_reported_table = REPORTED_COLUMNS.read


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
    import pandas as pd

    blocks = []
    for name, rows in table.groupby("table", sort=False):
        shown = []
        for row in table_rows(rows):
            difference = plain(row["difference"])
            shown.append(
                {"Data set": str(row["data_set"]), "Model": str(row["model"]), "Method or claim": str(row["label"])}
                | {"Number": UNITS[str(row["statistic"])], "Reported": shown_reported(row)}
                | {"Certainty": str(row["certainty"]), "Ours [95 % CI]": _shown_ours(row)}
                | {"Difference": difference if difference == EMPTY else f"{float(str(row['difference'])):+.2f}"}
                | {"Ours in theirs": str(row["ours_in_reported"]) or EMPTY}
                | {"Theirs in ours": str(row["reported_in_ours"]) or EMPTY, "Why, or note": _why(row)}
            )
        blocks.append(Block(str(name)[:1].upper() + str(name)[1:], pd.DataFrame(shown), 4))
    if missing:
        lacking = [{"Not recovered from the paper": each.item, "What is known of it": each.known} for each in missing]
        blocks.append(Block("Not recovered", pd.DataFrame(lacking), 1))
    return tuple(blocks)


def _why(row: Mapping[str, object]) -> str:
    """Reason or note; behind the names of our data set and model where the number has none."""
    unnamed = row["data_set"] == NOT_STATED and str(row["our_data_set"])
    return (f"{row['our_data_set']}, {row['our_model']}: " if unnamed else "") + str(row["reason"]) or EMPTY


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
        "is not known of them. Points per context pair and the first k above Default (here the first k whose interval "
        "lies above 0, as context pairs) are those of the table of scaling, matches those of the table of fidelity.",
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
    message="Setting reported numbers beside ours",
    caption=(
        "Every number reported of SynthesizeMe, with its certainty, beside ours. Ours is filled only where data set, "
        "release, model, method and variant are those of the number. ±: the reported interval. [ ]: our 95 % interval,"
        " users resampled."
    ),
    runtime=30,
    build=build,
)
