"""The table of outcomes: what became of the judgments behind every row of the main table."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from personalrm.core.records import OUTCOMES
from personalrm.results.columns import Columns
from personalrm.results.comparisons import Value
from personalrm.results.labels import METHOD_ORDER, NOT_APPLICABLE, exempt_note
from personalrm.results.lazy import pd
from personalrm.results.marks import FLAG_NAMES, SIGNS, mark_notes
from personalrm.results.scores import answered, percent, read_frame
from personalrm.results.spec import Table, TableResult
from personalrm.results.table_formats import EMPTY, Block, plain
from personalrm.results.tables.comparison_text import Shown, block_of, dataset_note, decimals, headings_of, number
from personalrm.results.tables.main_table import NAMES, cuts, described, listed

COUNTS: tuple[str, ...] = ("n_users", "users_without_verdict", "n_judgments", *OUTCOMES, "lossy_profiles")
SHARES: tuple[str, ...] = tuple(f"share_{outcome}" for outcome in OUTCOMES)
WITHOUT_REASONING = "share_without_reasoning"
OUTCOME_COLUMNS = Columns(
    (*NAMES, *COUNTS, *SHARES, "accuracy_readable", WITHOUT_REASONING, *FLAG_NAMES),
    texts=NAMES,
    whole=COUNTS,
    flags=FLAG_NAMES,
)
MARKED: dict[str, str] = {"provider_error": "outage", "unparsed": "unread"}
"""Outcomes that a mark is about, and its flag."""


def outcomes_table(verdicts: pd.DataFrame, *, model_order: Sequence[str] = ()) -> pd.DataFrame:
    """Counts of each outcome by row of the main table, in its order; columns `OUTCOME_COLUMNS`.

    `status`, `n_judgments` (those that were answered), `accuracy_readable` and `lossy_profiles` as in the main table.
    Shares are percent of the answered judgments, that of `provider_error` of all that were asked for; empty where there
    are none. `n_users` are those with an answered judgment, `users_without_verdict` those whose rows hold none, lost or
    not, in any draw. `share_without_reasoning`: percent of the answers in words with a readable verdict that consist of
    the verdict alone; empty where there is no such answer, as where verdicts are log-probabilities. Flags:
    `marks.Flags`.
    """
    groups = listed(verdicts, METHOD_ORDER, model_order)
    return OUTCOME_COLUMNS.frame({**condition.row, **_counted(group)} for condition, group in groups)


def _counted(group: pd.DataFrame) -> dict[str, Value]:
    row, reasoned = described(group), answered(group)["reasoned"].dropna()
    with_verdict = group.loc[group["pair_id"].notna(), "user_id"]
    row["users_without_verdict"] = int(group["user_id"].nunique() - with_verdict.nunique())
    row[WITHOUT_REASONING] = percent(1 - float(reasoned.mean())) if len(reasoned) else None
    for name in OUTCOMES:
        count, total = int(row[name]), int(row["n_judgments"])
        total += count if name == "provider_error" else 0
        row[f"share_{name}"] = percent(count / total) if total else None
    return row


def outcomes_blocks(table: pd.DataFrame) -> tuple[Block, ...]:
    """The table for people: each outcome with its share."""
    cells: Shown = {
        "Users": "n_users",
        "Without verdict": "users_without_verdict",
        "Judgments": "n_judgments",
        **{name.replace("_", " ").capitalize(): _shown(name) for name in OUTCOMES},
        "Right of those read %": "accuracy_readable",
        "Without reasoning %": lambda row: _or_exempt(decimals(WITHOUT_REASONING)(row), row),
    }
    return (block_of(table, headings_of(table), cells),)


def _shown(outcome: str) -> Callable[[Mapping[str, object]], str]:
    """Shows an outcome as `12 (3.4 %)`, with a mark on what spoils the row."""

    def text(row: Mapping[str, object]) -> str:
        share, flag = number(row[f"share_{outcome}"], ".1f"), MARKED.get(outcome)
        if share == EMPTY:
            return _or_exempt(share, row)
        return f"{plain(row[outcome])} ({share} %)" + (f" ({SIGNS[flag]})" if flag and row[flag] else "")

    return text


def _or_exempt(text: str, row: Mapping[str, object]) -> str:
    return NOT_APPLICABLE if text == EMPTY and row["status"] == NOT_APPLICABLE else text


def outcomes_notes(table: pd.DataFrame) -> list[str]:
    """What a reader of the table must know."""
    return [
        *dataset_note(table),
        "Judgments that the provider answered, of all users and draws, in each order of showing (or of both together); "
        "shares are of these. Correct: the answer that the user chose. Only correct counts for accuracy; the rest "
        "counts as not right. Provider error: judgments that were lost, with their share of all that were asked for; "
        "they count in no accuracy.",
        "Right of those read: correct of correct, wrong and tie, the mean over draws.",
        "Without reasoning: of the answers in words that state a verdict, those that state it and nothing else; "
        f"{EMPTY} where verdicts are read from log-probabilities.",
        "Without verdict: users whose rows hold no judgment at all (a failed or empty profile, or a failed job).",
        *exempt_note(table["status"]),
        *mark_notes(table),
    ]


def build(verdicts: Path, *, model_order: list[str]) -> Table:
    """Make the table from the files of a run."""
    judged = read_frame(verdicts)
    table = outcomes_table(judged, model_order=model_order)
    return Table(table, outcomes_blocks(table), [*outcomes_notes(table), *cuts(judged)])


RESULT = TableResult(
    name="outcomes",
    order=70,
    title="What became of the judgments",
    caption=(
        "What became of the judgments behind each row of the main table, counts and shares; (!) marks rows that lost "
        "more than 1 % of their judgments to provider errors, (?) rows with more than 1 % unparsed answers. Without "
        "reasoning: the share of answers in words that hold nothing but the verdict."
    ),
    build=build,
)
