"""The main table: one row for each way of judging, with accuracy, its uncertainty, and what it cost."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from personalrm.core.conditions import MethodId
from personalrm.core.lazy import np
from personalrm.core.records import OUTCOMES, READABLE
from personalrm.methods.registry import is_trained
from personalrm.results.columns import Columns
from personalrm.results.comparisons import Value, model_rank, seed_of
from personalrm.results.conditions import CONDITION_COLUMNS, ROW_KEY, Condition, by_condition
from personalrm.results.labels import (
    METHOD_ORDER,
    NO_ANSWERS,
    NO_VERDICTS,
    NOT_APPLICABLE,
    OK,
    exempt_note,
    k_rank,
    labels_note,
    method_rank,
)
from personalrm.results.lazy import pd
from personalrm.results.marks import FLAG_NAMES, MOST_CUT, RETRY, Flags, flags_of, marked, notes_of
from personalrm.results.scores import accuracy_of, answered, count_right, percent, percents
from personalrm.results.stats.exact_statistics import independent_interval
from personalrm.results.stats.statistics import share_interval
from personalrm.results.table_formats import EMPTY, Block, dollars_shown, table_rows
from personalrm.results.tables.comparison_text import HEADINGS, Shown, block_of, bounds, decimals, notes_where

FAILURE_COLUMNS: tuple[str, ...] = OUTCOMES[2:]
NAMES: tuple[str, ...] = (*ROW_KEY, "status")
ACCURACY_COLUMNS: tuple[str, ...] = ("accuracy", "ci_low", "ci_high")
INDEPENDENT: tuple[str, ...] = ("ci_low_independent", "ci_high_independent")
WHOLE_NUMBERS: tuple[str, ...] = (
    *("n_users", "n_pairs", "n_judgments", *FAILURE_COLUMNS, "lossy_profiles"),
    *("n_draws", "calls", "tokens_in", "tokens_out"),
)
COLUMNS = Columns(
    (
        *(*ROW_KEY, *WHOLE_NUMBERS[:3], *ACCURACY_COLUMNS, *INDEPENDENT, "accuracy_user_mean", "accuracy_readable"),
        *(*FAILURE_COLUMNS, "lossy_profiles", "share_first", "flip_rate", "n_draws", "draw_sd"),
        *("calls", "tokens_in", "tokens_out", "cost_usd_list", "status"),
    ),
    texts=NAMES,
    whole=WHOLE_NUMBERS,
)
CALLS_READ: tuple[str, ...] = (*CONDITION_COLUMNS, "tokens_in", "tokens_out", "cost_usd")
"""What the table needs of the frame of calls: not their keys, which are most of its memory."""
COST_DIGITS = 8


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
    `status` is "ok", or why there is no accuracy (`described`). Percentages: the accuracies and their bounds,
    `share_first`, `flip_rate`, `draw_sd`; rounded to 4 digits.

    - n_users, n_pairs, n_judgments: of the judgments that the provider answered. All other columns but
      `provider_error` are of these alone: a judgment that was lost to a provider error is neither right nor wrong.
    - accuracy: right judgments over all that were answered, whatever went wrong with the others; the mean over draws
      where there are several. Empty where the provider answered none.
    - ci_low, ci_high: 95 % with users as clusters (`statistics.share_interval`); empty for one user.
    - ci_low_independent, ci_high_independent: the paper's, from all judgments of all draws; for a trained reward model
      from as many judgments as one draw has, since another seed judges the same pairs alike.
    - accuracy_user_mean: each user counts the same.
    - accuracy_readable: right judgments over those that could be read (`READABLE`); the mean over draws.
    - tie .. context_overflow: answered judgments that were neither right nor wrong; provider_error: those that were
      lost.
    - lossy_profiles: profiles (user and draw) judged with that were learned with lost calls.
    - share_first: how often "first" was said, of verdicts on one order that name a position.
    - flip_rate: of the pairs with a readable verdict in both orders, how often the two orders named different answers.
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
        {
            **condition.row,
            **described(group),
            **_accuracy(group, seed_of(seed, *condition.names), n_resamples),
            **_spent(calls_of.get(condition, calls[:0])),
        }
        for condition, group in listed(verdicts, method_order, model_order)
    )


def listed(
    verdicts: pd.DataFrame, method_order: Sequence[str], model_order: Sequence[str]
) -> list[tuple[Condition, pd.DataFrame]]:
    """Conditions and their verdicts in the order of rows: data set, method, variant, judge, profile model, k."""

    def order(group: tuple[Condition, pd.DataFrame]) -> tuple[object, ...]:
        key = group[0]
        models = [model_rank(model, model_order) for model in (key.judge_model, key.profile_model)]
        return key.dataset, method_rank(str(key.method), method_order), str(key.variant), models, k_rank(key.k)

    return sorted(by_condition(verdicts), key=order)


def described(group: pd.DataFrame) -> dict[str, Any]:
    """What the verdicts of one condition hold, by columns of the main table, all `OUTCOMES` and `FLAG_NAMES` included.

    `status` is "ok" where the provider answered anything; else "no answers", "not applicable" (to none of the users)
    or "no verdicts".
    """
    judged, outcomes = answered(group), group["outcome"].value_counts()
    status = OK if len(judged) else NO_ANSWERS
    if group["pair_id"].isna().all():
        status = NOT_APPLICABLE if (group["status"] == "not_applicable").all() else NO_VERDICTS
    said = judged.loc[judged["swapped"].notna() & judged["said"].notna(), "said"]
    row: dict[str, Any] = {
        "status": status,
        "n_users": int(judged["user_id"].nunique()),
        "n_pairs": int(judged["pair_id"].nunique()),
        "n_judgments": len(judged),
        "n_draws": int(group["draw"].nunique()),
        "share_first": percent(float((said == "first").mean())) if len(said) else None,
        "flip_rate": _flip_rate(judged),
        "lossy_profiles": len(judged.loc[judged["profile_lost"] > 0, ["user_id", "draw"]].drop_duplicates()),
        "accuracy_readable": accuracy_of(judged[judged["outcome"].isin(READABLE)]),
        **{outcome: int(outcomes.get(outcome, 0)) for outcome in OUTCOMES},
    }
    return row | row_flags(row).columns()


def _flip_rate(judged: pd.DataFrame) -> float | None:
    """Percent of pairs (times draws) on which the two orders name different answers; None where no pair has both."""
    together = judged["flipped"].dropna()
    if len(together):
        return percent(float(together.mean()))
    said = judged[judged["swapped"].notna() & judged["said"].notna()]
    named = said.groupby(["user_id", "pair_id", "draw"], observed=True)["said"].agg(["count", "nunique"])
    both = named[named["count"] == 2]
    # The same place in both orders is another answer in each.
    return percent(float((both["nunique"] == 1).mean())) if len(both) else None


def _accuracy(group: pd.DataFrame, seed: int, n_resamples: int) -> dict[str, Value]:
    """Accuracy and intervals of one row; nothing where the provider answered nothing."""
    judged = answered(group)
    if judged.empty:
        return {}
    counts = count_right(judged)
    clustered = share_interval(*counts, seed=seed, n_resamples=n_resamples, units=int(judged["pair_id"].nunique()))
    alike = counts.judged.shape[1] if is_trained(str(group["method"].iloc[0])) else 1
    independent = independent_interval(*(round(float(count.sum()) / alike) for count in counts))
    by_draw = counts.correct.sum(axis=0) / counts.judged.sum(axis=0)
    by_user = np.divide(
        counts.correct, counts.judged, out=np.full_like(counts.correct, np.nan), where=counts.judged > 0
    )
    return {
        **percents(clustered, *ACCURACY_COLUMNS),
        **percents(independent[1:], *INDEPENDENT),
        "accuracy_user_mean": percent(float(np.nanmean(by_user, axis=0).mean())),
        "draw_sd": percent(float(by_draw.std(ddof=1))) if len(by_draw) > 1 else None,
    }


def _spent(calls: pd.DataFrame) -> dict[str, Value]:
    """Calls, tokens and list cost of one row; a row without calls cost nothing."""
    return {
        "calls": len(calls),
        "tokens_in": int(calls["tokens_in"].sum()),
        "tokens_out": int(calls["tokens_out"].sum()),
        # fsum does not depend on the order of its terms; nan (unknown price) makes the sum nan.
        "cost_usd_list": round(math.fsum(calls["cost_usd"]), COST_DIGITS),
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
        reasons = group[group["pair_id"].isna()].groupby("status", observed=True)["user_id"].nunique()
        if len(reasons):
            counts = ", ".join(f"{count} {str(status).replace('_', ' ')}" for status, count in reasons.items())
            name = " / ".join(condition.names)
            notes.append(f"{name}: no verdict for {counts} of {group['user_id'].nunique()} users.")
    return notes


def cuts(verdicts: pd.DataFrame) -> list[str]:
    """One sentence for each judge whose answers in words ended at their limit of tokens on more than `MOST_CUT` of the
    judgments of a row, with the setting that allows more."""
    if "cut" not in verdicts:  # collected by an earlier version
        return []
    found: dict[str, list[tuple[float, str]]] = {}
    for condition, group in by_condition(verdicts):
        share = float(answered(group)["cut"].mean() or 0.0)
        if share > MOST_CUT:
            found.setdefault(condition.judge_model, []).append((share, " / ".join(condition.names)))
    return [
        f"{judge}: in {len(rows)} rows more than {100 * MOST_CUT:g} % of the answers were cut at their limit of tokens "
        f"(most: {100 * max(rows)[0]:.1f} %, {max(rows)[1]}); raise models.{judge}.max_tokens."
        for judge, rows in sorted(found.items())
    ]


def _shown_accuracy(row: Mapping[str, object]) -> str:
    """Accuracy, its clustered interval, and the mark of what spoils it: `61.97 [57.2, 66.0]`."""
    text = str(row["status"])
    if text not in (NOT_APPLICABLE, NO_ANSWERS):
        text = bounds(row, *ACCURACY_COLUMNS, signed=False)
    return marked(text, row_flags(row).columns())


def _half_width(row: Mapping[str, object]) -> str:
    low, high = (float(str(row[end])) for end in INDEPENDENT)
    return EMPTY if math.isnan(low) else f"± {(high - low) / 2:.2f}"


def main_blocks(table: pd.DataFrame) -> tuple[Block, Block]:
    """The main table for people: accuracy with intervals, then what was not right or wrong, and cost."""
    order = ("dataset", "method", "k", "variant", "profile_model", "judge_model")
    # What is the same in all rows is left to a note.
    names = {c: HEADINGS[c] for c in order if c not in ("dataset", "variant") or table[c].nunique() != 1}
    draws = {"Draws": "n_draws", "SD of draws": "draw_sd"} if (table["n_draws"] > 1).any() else {}
    lossy = {"Learned with lost calls": "lossy_profiles"} if (table["lossy_profiles"] > 0).any() else {}
    accuracy: Shown = {
        "Users": "n_users",
        "Pairs": "n_pairs",
        "Judgments": "n_judgments",
        "Accuracy % [95 % CI]": _shown_accuracy,
        "paper's CI": _half_width,
        "Mean of users": decimals("accuracy_user_mean"),
        "Said first %": decimals("share_first"),
        "Flips %": decimals("flip_rate"),
        **draws,
    }
    outcomes: Shown = {
        **{column.replace("_", " ").capitalize(): column for column in FAILURE_COLUMNS},
        **lossy,
        "Calls": "calls",
        "Tokens in": "tokens_in",
        "Tokens out": "tokens_out",
        "List cost $": lambda row: dollars_shown(row["cost_usd_list"]),
    }
    return block_of(table, names, accuracy, "Accuracy"), block_of(table, names, outcomes, "Outcomes and cost")


def main_notes(table: pd.DataFrame, evaluated: str) -> list[str]:
    """What a reader of the main table must know. `evaluated` is the config's `evaluate_users`."""
    flags = [row_flags(row) for row in table_rows(table)]
    return [
        *(
            f"{HEADINGS[column]} of all rows: {table[column].iloc[0]}."
            for column in ("dataset", "variant")
            if table[column].nunique() == 1
        ),
        "Accuracy: share of judgments that name the answer which the user chose; ties, unparsed answers, refusals and "
        "prompts that do not fit count as not right. A judgment that was lost to a provider error does not count: "
        "Users, Pairs and Judgments are those that were answered.",
        "In brackets: 95 % interval with users as clusters (resampled), never narrower than what so few judgments "
        "leave open; [–] with one user. ±: the paper's interval, which treats all judgments as independent.",
        'Mean of users: each user counts the same. Said first: share of "first" among verdicts on one order; '
        "50 is no position bias. Flips: share of pairs on which the two orders name different answers. Calls, tokens "
        "and list cost: the distinct stored responses that a row rests on.",
        "Users: all of each data set."
        if evaluated == "all"
        else "Users: those of the level-A part test; of data sets without level A, all.",
        *labels_note(table["method"]),
        *notes_where(
            (
                table["method"].map(lambda method: is_trained(MethodId.parse(method).name)).any(),
                "A reward model that was trained on votes has its entry in the config as judge, with the regime, which "
                "says whose pairs it saw. It gives one verdict per pair. Its draws are training seeds, each with all "
                "draws of context pairs; ± counts the judgments of one draw.",
            )
        ),
        *exempt_note(table["status"]),
        *notes_where(
            (
                (table["status"] == NO_ANSWERS).any(),
                f"{NO_ANSWERS}: the provider failed every judgment of the row, so that there is no number.",
            ),
            (
                (table["lossy_profiles"] > 0).any(),
                "Learned with lost calls: how many of the profiles judged with were.",
            ),
        ),
        *notes_of(name for name in FLAG_NAMES if any(getattr(held, name) for held in flags)),
        *notes_where(((table[["provider_error", "lossy_profiles"]] > 0).any(axis=None), RETRY)),
    ]
