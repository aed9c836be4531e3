"""The main table: one row for each way of judging, with accuracy, its uncertainty, and what it cost."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from personalrm.core.files import stable_hash
from personalrm.core.records import OUTCOMES, READABLE
from personalrm.results.labels import METHOD_ORDER, NO_ANSWERS, NO_VERDICTS, NOT_APPLICABLE, OK, k_rank, method_rank
from personalrm.results.marks import Flags, flags_of
from personalrm.results.scores import ROW_KEY, answered

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

COUNT_COLUMNS: tuple[str, ...] = ("n_users", "n_pairs", "n_judgments")
ACCURACY_COLUMNS: tuple[str, ...] = (
    "accuracy",
    "ci_low",
    "ci_high",
    "ci_low_independent",
    "ci_high_independent",
    "accuracy_user_mean",
    "accuracy_readable",
)
FAILURE_COLUMNS: tuple[str, ...] = OUTCOMES[2:]
CALL_SUMS: tuple[str, ...] = ("calls", "tokens_in", "tokens_out")
NAMES: tuple[str, ...] = (*ROW_KEY, "status")
CALLS_READ: tuple[str, ...] = (*ROW_KEY, *CALL_SUMS[1:], "cost_usd")
"""What the table needs of the frame of calls: not their keys, which are most of its memory."""
COLUMNS: tuple[str, ...] = (
    *ROW_KEY,
    *COUNT_COLUMNS,
    *ACCURACY_COLUMNS,
    *FAILURE_COLUMNS,
    "lossy_profiles",
    "share_first",
    "n_draws",
    "draw_sd",
    *CALL_SUMS,
    "cost_usd_list",
    "status",
)
WHOLE_NUMBERS: tuple[str, ...] = (*COUNT_COLUMNS, *FAILURE_COLUMNS, "lossy_profiles", "n_draws", *CALL_SUMS)

PERCENT_DIGITS = 4
COST_DIGITS = 8

Value = str | int | float | None


class Counts(NamedTuple):
    """Right judgments and judgments, each (users, draws)."""

    correct: NDArray[np.float64]
    judged: NDArray[np.float64]


def main_table(
    verdicts: pd.DataFrame,
    calls: pd.DataFrame,
    *,
    seed: int,
    n_resamples: int,
    method_order: Sequence[str] = METHOD_ORDER,
    model_order: Sequence[str] = (),
) -> pd.DataFrame:
    """The main table (paper, table 3, with what the paper leaves out), columns `COLUMNS`.

    One row for each `ROW_KEY` of `verdicts`, ordered by data set, method, variant, judge, profile and k.
    `status` is "ok", or why there is no accuracy (`row_status`).
    Percentages: the accuracies and their bounds, `share_first`, `draw_sd`; rounded to 4 digits.

    - n_users, n_pairs, n_judgments: of the judgments that the provider answered. All other columns but
      `provider_error` are of these alone: a judgment that was lost to a provider error is neither right nor wrong.
    - accuracy: right judgments over all that were answered, whatever went wrong with the others; the mean over draws
      where there are several. Empty where the provider answered none.
    - ci_low, ci_high: 95 % with users as clusters (`statistics.share_interval`); empty for one user.
    - ci_low_independent, ci_high_independent: the paper's, from all judgments of all draws.
    - accuracy_user_mean: each user counts the same.
    - accuracy_readable: right judgments over those that could be read (`READABLE`); the mean over draws.
    - tie .. context_overflow: answered judgments that were neither right nor wrong; provider_error: those that were
      lost.
    - lossy_profiles: profiles (user and draw) judged with that were learned with lost calls.
    - share_first: how often "first" was said, of verdicts on one order that name a position.
    - draw_sd: sample standard deviation of the accuracies of the draws; empty for one draw.
    - calls, tokens_in, tokens_out, cost_usd_list: the stored responses that the row rests on, each once;
      the cost is empty where the list price of any is unknown.

    Args:
        verdicts: frame of `collect_verdicts`.
        calls: frame of `collect_calls`.
        seed: seed of the bootstrap; each row derives its own, so that rows do not depend on each other.
        n_resamples: resamples of the bootstrap.
        method_order: method ids in the order of listing; others come last.
        model_order: model ids in the order of listing; others come last, by name.
    """
    import pandas as pd

    calls_of = dict(iter(calls.groupby(list(ROW_KEY), observed=True)))
    rows: list[dict[str, Value]] = []
    for key, group in verdicts.groupby(list(ROW_KEY), observed=True):
        names = tuple(str(part) for part in key)
        row: dict[str, Value] = dict(zip(ROW_KEY, names, strict=True))
        row |= _judgments(group, int(stable_hash(str(seed), *names)[:15], 16), n_resamples)
        row |= _spent(calls_of.get(key))
        rows.append(row)
    rows.sort(key=lambda row: row_order(row, method_order, model_order))
    return _typed(pd.DataFrame(rows, columns=list(COLUMNS)))


def row_order(row: Mapping[str, Value], method_order: Sequence[str], model_order: Sequence[str]) -> tuple[object, ...]:
    """Sort key of a row: data set, method, variant, judge, profile model, k."""
    text = {column: str(row[column]) for column in ROW_KEY}
    models = [
        (model_order.index(model) if model in model_order else len(model_order), model)
        for model in (text["judge_model"], text["profile_model"])
    ]
    rank = method_rank(text["method"], method_order)
    return text["dataset"], rank, text["variant"], models, k_rank(text["k"])


def _typed(table: pd.DataFrame) -> pd.DataFrame:
    """Whole numbers stay whole where some are missing, and the rest of the numbers are floats."""
    kinds = {column: "str" if column in NAMES else "float64" for column in COLUMNS}
    return table.astype(kinds | dict.fromkeys(WHOLE_NUMBERS, "Int64"))


def _judgments(group: pd.DataFrame, seed: int, n_resamples: int) -> dict[str, Value]:
    """Counts, accuracy and intervals of one row."""
    judged = answered(group)
    outcomes = outcome_counts(group)
    row: dict[str, Value] = {
        "status": row_status(group),
        "n_users": int(judged["user_id"].nunique()),
        "n_pairs": int(judged["pair_id"].nunique()),
        "n_judgments": len(judged),
        "n_draws": int(group["draw"].nunique()),
        "share_first": share_first(judged),
        "lossy_profiles": lossy_profiles(judged),
        "accuracy_readable": accuracy_of(judged[judged["outcome"].isin(READABLE)]),
    }
    row |= {outcome: outcomes[outcome] for outcome in FAILURE_COLUMNS}
    if row["status"] != OK:
        return row
    return row | _accuracy(count_right(judged), int(judged["pair_id"].nunique()), seed, n_resamples)


def row_status(group: pd.DataFrame) -> str:
    """Whether the verdicts of a row hold a number, or why none; not applicable: to none of its users."""
    if len(answered(group)):
        return OK
    if group["pair_id"].notna().any():
        return NO_ANSWERS
    return NOT_APPLICABLE if (group["status"] == "not_applicable").all() else NO_VERDICTS


def outcome_counts(judged: pd.DataFrame) -> dict[str, int]:
    """Judgments of each outcome, in the order of `OUTCOMES`; rows without a judgment have none."""
    counts = judged["outcome"].value_counts()
    return {outcome: int(counts.get(outcome, 0)) for outcome in OUTCOMES}


def count_right(judged: pd.DataFrame) -> Counts:
    """Right judgments and judgments by user (sorted) and draw."""
    right = judged.assign(right=judged["outcome"] == "correct")
    cells = right.groupby(["user_id", "draw"], observed=True)["right"].agg(["sum", "count"]).unstack(fill_value=0)
    return Counts(cells["sum"].to_numpy(dtype="float64"), cells["count"].to_numpy(dtype="float64"))


def accuracy_of(judged: pd.DataFrame) -> float | None:
    """Percent of judgments that are right, the mean over draws as in the main table; None without any."""
    from personalrm.results.stats.statistics import mean_ratio

    if judged.empty:
        return None
    counts = count_right(judged)
    return _percent(float(mean_ratio(counts.correct.sum(axis=0), counts.judged.sum(axis=0))))


def lossy_profiles(judged: pd.DataFrame) -> int:
    """Profiles, one a user and draw, that these judgments were made with and that were learned with lost calls."""
    return len(judged.loc[judged["profile_lost"] > 0, ["user_id", "draw"]].drop_duplicates())


def _accuracy(counts: Counts, n_pairs: int, seed: int, n_resamples: int) -> dict[str, Value]:
    import numpy as np

    from personalrm.results.stats.statistics import independent_interval, share_interval

    clustered = share_interval(*counts, seed=seed, n_resamples=n_resamples, units=n_pairs)
    independent = independent_interval(int(counts.correct.sum()), int(counts.judged.sum()))
    by_draw = counts.correct.sum(axis=0) / counts.judged.sum(axis=0)
    by_user = np.divide(
        counts.correct, counts.judged, out=np.full_like(counts.correct, np.nan), where=counts.judged > 0
    )
    return {
        "accuracy": _percent(clustered.estimate),
        "ci_low": _percent(clustered.low),
        "ci_high": _percent(clustered.high),
        "ci_low_independent": _percent(independent.low),
        "ci_high_independent": _percent(independent.high),
        "accuracy_user_mean": _percent(float(np.nanmean(by_user, axis=0).mean())),
        "draw_sd": _percent(float(by_draw.std(ddof=1))) if len(by_draw) > 1 else None,
    }


def _percent(share: float) -> float:
    return round(100 * share, PERCENT_DIGITS)


def share_first(judged: pd.DataFrame) -> float | None:
    """How often "first" was said, percent of the verdicts on one order that name a position; None without any."""
    said = judged.loc[judged["swapped"].notna() & judged["said"].notna(), "said"]
    return _percent(float((said == "first").sum()) / len(said)) if len(said) else None


def _spent(calls: pd.DataFrame | None) -> dict[str, Value]:
    """Calls, tokens and list cost of one row; a row without calls cost nothing."""
    if calls is None:
        return {"calls": 0, "tokens_in": 0, "tokens_out": 0, "cost_usd_list": 0.0}
    costs = [float(cost) for cost in calls["cost_usd"]]
    # fsum does not depend on the order of its terms; nan (unknown price) makes the sum nan.
    return {
        "calls": len(calls),
        "tokens_in": int(calls["tokens_in"].sum()),
        "tokens_out": int(calls["tokens_out"].sum()),
        "cost_usd_list": round(math.fsum(costs), COST_DIGITS),
    }


def read_main_table(path: Path) -> pd.DataFrame:
    """Read `main.csv` as `main_table` made it."""
    import pandas as pd

    # Ids may read "NA" or "1e5": they stay text, and only an empty field is a missing number.
    text = pd.read_csv(path, dtype="str", keep_default_na=False)
    numbers = [column for column in COLUMNS if column not in NAMES]
    text[numbers] = text[numbers].mask(text[numbers] == "")
    return _typed(text)


def row_flags(row: Mapping[str, object]) -> Flags:
    """What spoils a row's numbers."""
    judged, lost, unparsed, lossy = (
        int(str(row[name])) for name in ("n_judgments", "provider_error", "unparsed", "lossy_profiles")
    )
    return flags_of(judged=judged, lost=lost, unparsed=unparsed, lossy_profiles=lossy)


def is_outage(row: Mapping[str, object]) -> bool:
    """Whether more than 1 % of a row's judgments were lost to provider errors, so that its accuracy says little."""
    judged, lost = (int(str(row[name])) for name in ("n_judgments", "provider_error"))
    return flags_of(judged=judged, lost=lost, unparsed=0, lossy_profiles=0).outage


def gaps(verdicts: pd.DataFrame) -> list[str]:
    """One sentence for each row of the table in which users have no verdict at all, with how many and why."""
    notes: list[str] = []
    for key, group in verdicts.groupby(list(ROW_KEY), observed=True):
        missing = group[group["pair_id"].isna()]
        if missing.empty:
            continue
        reasons = missing.groupby("status", observed=True)["user_id"].nunique()
        counts = ", ".join(f"{count} {str(status).replace('_', ' ')}" for status, count in reasons.items())
        name = " / ".join(str(part) for part in key)
        notes.append(f"{name}: no verdict for {counts} of {group['user_id'].nunique()} users.")
    return notes
