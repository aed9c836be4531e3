"""The main table: one row for each way of judging, with accuracy, its uncertainty, and what it cost."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from personalrm.core.files import stable_hash
from personalrm.core.records import OUTCOMES, READABLE
from personalrm.results.columns import Columns
from personalrm.results.conditions import CONDITION_COLUMNS, ROW_KEY, Condition, by_condition
from personalrm.results.labels import (
    METHOD_LABELS,
    METHOD_ORDER,
    NO_ANSWERS,
    NOT_APPLICABLE,
    OK,
    UNUSED,
    exempt_note,
    k_rank,
    labels_note,
    method_label,
    method_rank,
)
from personalrm.results.marks import FLAG_NAMES, RETRY, Flags, flags_of, marked, notes_of
from personalrm.results.scores import (
    Counts,
    accuracy_of,
    answered,
    count_right,
    lossy_profiles,
    outcome_counts,
    percent,
    row_status,
    share_first,
)
from personalrm.results.table_formats import EMPTY, Block, dollars_shown, plain, table_rows

if TYPE_CHECKING:
    import pandas as pd

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
CALLS_READ: tuple[str, ...] = (*CONDITION_COLUMNS, *CALL_SUMS[1:], "cost_usd")
"""What the table needs of the frame of calls: not their keys, which are most of its memory."""
WHOLE_NUMBERS: tuple[str, ...] = (*COUNT_COLUMNS, *FAILURE_COLUMNS, "lossy_profiles", "n_draws", *CALL_SUMS)
COLUMNS = Columns(
    (
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
    ),
    texts=NAMES,
    whole=WHOLE_NUMBERS,
)

COST_DIGITS = 8


Value = str | int | float | None


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
    calls_of = dict(by_condition(calls))
    return COLUMNS.frame(
        condition.row
        | _judgments(group, int(stable_hash(str(seed), *condition.names)[:15], 16), n_resamples)
        | _spent(calls_of.get(condition))
        for condition, group in listed(verdicts, method_order, model_order)
    )


def listed(
    verdicts: pd.DataFrame, method_order: Sequence[str], model_order: Sequence[str]
) -> list[tuple[Condition, pd.DataFrame]]:
    """Conditions and their verdicts in the order of rows: data set, method, variant, judge, profile model, k."""

    def order(condition: Condition) -> tuple[object, ...]:
        models = [
            (model_order.index(model) if model in model_order else len(model_order), model)
            for model in (condition.judge_model, condition.profile_model)
        ]
        rank = method_rank(str(condition.method), method_order)
        return condition.dataset, rank, str(condition.variant), models, k_rank(condition.k)

    return sorted(by_condition(verdicts), key=lambda group: order(group[0]))


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


def _accuracy(counts: Counts, n_pairs: int, seed: int, n_resamples: int) -> dict[str, Value]:
    import numpy as np

    from personalrm.results.stats.exact_statistics import independent_interval
    from personalrm.results.stats.statistics import share_interval

    clustered = share_interval(*counts, seed=seed, n_resamples=n_resamples, units=n_pairs)
    independent = independent_interval(int(counts.correct.sum()), int(counts.judged.sum()))
    by_draw = counts.correct.sum(axis=0) / counts.judged.sum(axis=0)
    by_user = np.divide(
        counts.correct, counts.judged, out=np.full_like(counts.correct, np.nan), where=counts.judged > 0
    )
    return {
        "accuracy": percent(clustered.estimate),
        "ci_low": percent(clustered.low),
        "ci_high": percent(clustered.high),
        "ci_low_independent": percent(independent.low),
        "ci_high_independent": percent(independent.high),
        "accuracy_user_mean": percent(float(np.nanmean(by_user, axis=0).mean())),
        "draw_sd": percent(float(by_draw.std(ddof=1))) if len(by_draw) > 1 else None,
    }


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


read_main_table = COLUMNS.read


def row_flags(row: Mapping[str, object]) -> Flags:
    """What spoils a row's numbers."""
    judged, lost, unparsed, lossy = (
        int(str(row[name])) for name in ("n_judgments", "provider_error", "unparsed", "lossy_profiles")
    )
    return flags_of(judged=judged, lost=lost, unparsed=unparsed, lossy_profiles=lossy)


def is_outage(row: Mapping[str, object]) -> bool:
    """Whether more than 1 % of a row's judgments were lost to provider errors, so that its accuracy says little."""
    return row_flags(row).outage


def gaps(verdicts: pd.DataFrame) -> list[str]:
    """One sentence for each row of the table in which users have no verdict at all, with how many and why."""
    notes: list[str] = []
    for condition, group in by_condition(verdicts):
        missing = group[group["pair_id"].isna()]
        if missing.empty:
            continue
        reasons = missing.groupby("status", observed=True)["user_id"].nunique()
        counts = ", ".join(f"{count} {str(status).replace('_', ' ')}" for status, count in reasons.items())
        name = " / ".join(condition.names)
        notes.append(f"{name}: no verdict for {counts} of {group['user_id'].nunique()} users.")
    return notes


def _shown_accuracy(row: Mapping[str, object]) -> str:
    """Accuracy, its clustered interval, and the mark of what spoils it: `61.97 [57.2, 66.0]`."""
    if row["status"] in (NOT_APPLICABLE, NO_ANSWERS):
        return marked(str(row["status"]), row_flags(row).columns())
    text = plain(row["accuracy"])
    if text != EMPTY:
        bounds = [plain(row[bound]) for bound in ("ci_low", "ci_high")]
        text += " [–]" if EMPTY in bounds else " [{:.1f}, {:.1f}]".format(*map(float, bounds))
    return marked(text, row_flags(row).columns())


def _half_width(row: Mapping[str, object]) -> str:
    low, high = (float(str(row[f"ci_{end}_independent"])) for end in ("low", "high"))
    return EMPTY if math.isnan(low) else f"± {(high - low) / 2:.2f}"


def _one_decimal(value: object) -> str:
    return EMPTY if plain(value) == EMPTY else f"{float(str(value)):.1f}"


def _names(row: Mapping[str, object], constant: Iterable[str], labels: Mapping[str, str]) -> dict[str, str]:
    """The columns that name a row; those that are the same in all rows are left to a note."""
    texts = {
        "dataset": ("Data set", str(row["dataset"])),
        "method": ("Method", method_label(str(row["method"]), labels)),
        "k": ("k", str(row["k"])),
        "variant": ("Variant", str(row["variant"])),
        "profile_model": ("Profile by", str(row["profile_model"])),
        "judge_model": ("Judge", str(row["judge_model"])),
    }
    return {
        header: EMPTY if text == UNUSED else text for column, (header, text) in texts.items() if column not in constant
    }


def main_blocks(table: pd.DataFrame, labels: Mapping[str, str] = METHOD_LABELS) -> tuple[Block, Block]:
    """The main table for people: accuracy with intervals, then what was not right or wrong, and cost."""
    import pandas as pd

    constant = [c for c in ("dataset", "variant") if table[c].nunique() == 1]
    accuracy, outcomes = [], []
    for cells in table_rows(table):
        names = _names(cells, constant, labels)
        accuracy.append(
            names
            | {"Users": plain(cells["n_users"]), "Pairs": plain(cells["n_pairs"])}
            | {"Judgments": plain(cells["n_judgments"]), "Accuracy % [95 % CI]": _shown_accuracy(cells)}
            | {"paper's CI": _half_width(cells), "Mean of users": _one_decimal(cells["accuracy_user_mean"])}
            | {"Said first %": _one_decimal(cells["share_first"])}
            | {"Draws": plain(cells["n_draws"]), "SD of draws": plain(cells["draw_sd"])}
        )
        outcomes.append(
            names
            | {column.replace("_", " ").capitalize(): plain(cells[column]) for column in FAILURE_COLUMNS}
            | {"Learned with lost calls": plain(cells["lossy_profiles"])}
            | {"Calls": plain(cells["calls"]), "Tokens in": plain(cells["tokens_in"])}
            | {"Tokens out": plain(cells["tokens_out"]), "List cost $": dollars_shown(cells["cost_usd_list"])}
        )
    first, second = pd.DataFrame(accuracy), pd.DataFrame(outcomes)
    if (table["n_draws"] <= 1).all():
        first = first.drop(columns=["Draws", "SD of draws"], errors="ignore")
    if (table["lossy_profiles"] == 0).all():
        second = second.drop(columns="Learned with lost calls", errors="ignore")
    n_names = 6 - len(constant)
    return Block("Accuracy", first, n_names), Block("Outcomes and cost", second, n_names)


def main_notes(table: pd.DataFrame, evaluated: str) -> list[str]:
    """What a reader of the main table must know. `evaluated` is the config's `evaluate_users`."""
    notes = [
        f"{name} of all rows: {table[column].iloc[0]}."
        for column, name in (("dataset", "Data set"), ("variant", "Variant"))
        if table[column].nunique() == 1
    ]
    notes += [
        "Accuracy: share of judgments that name the answer which the user chose; ties, unparsed answers, refusals and "
        "prompts that do not fit count as not right. A judgment that was lost to a provider error does not count: "
        "Users, Pairs and Judgments are those that were answered.",
        "In brackets: 95 % interval with users as clusters (resampled), never narrower than what so few judgments "
        "leave open; [–] with one user. ±: the paper's interval, which treats all judgments as independent.",
        'Mean of users: each user counts the same. Said first: share of "first" among verdicts on one order; '
        "50 is no position bias. Calls, tokens and list cost: the distinct stored responses that a row rests on.",
    ]
    notes.append(
        "Users: all of each data set."
        if evaluated == "all"
        else "Users: those of the level-A part test; of data sets without level A, all."
    )
    notes += labels_note(table["method"])
    notes += exempt_note(table["status"])
    if bool((table["status"] == NO_ANSWERS).any()):
        notes.append(f"{NO_ANSWERS}: the provider failed every judgment of the row, so that there is no number.")
    if bool((table["lossy_profiles"] > 0).any()):
        notes.append("Learned with lost calls: how many of the profiles judged with were.")
    flags = [row_flags(row) for row in table_rows(table)]
    notes += notes_of(name for name in FLAG_NAMES if any(getattr(held, name) for held in flags))
    lost = bool((table[["provider_error", "lossy_profiles"]] > 0).any(axis=None))
    return [*notes, RETRY] if lost else notes
