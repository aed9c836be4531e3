"""The table of position bias: does a judge point to a place, or to an answer?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from personalrm.results.columns import Columns
from personalrm.results.comparisons import Value
from personalrm.results.conditions import ROW_KEY
from personalrm.results.labels import METHOD_ORDER, NOT_APPLICABLE, OK
from personalrm.results.lazy import pd
from personalrm.results.marks import FLAG_NAMES, mark_notes, marked
from personalrm.results.scores import accuracy_of, answered, percent, percents, read_frame
from personalrm.results.spec import Table, TableResult
from personalrm.results.stats.statistics import share_interval
from personalrm.results.table_formats import Block
from personalrm.results.tables.comparison_text import Shown, block_of, bounds, dataset_note, headings_of, notes_where
from personalrm.results.tables.main_table import described, listed

SINGLE = NOT_APPLICABLE
"""Status of verdicts on both orders together, which name no position, and of methods that do not apply."""
NONE_STATED = "no position named"
COUNTS: tuple[str, ...] = ("n_users", "n_judgments", "n_stated", "n_both_orders")
SHARED: tuple[str, ...] = ("share_first", "ci_low", "ci_high")
HEADS: dict[str, str] = {
    "same_response": "Same response %",
    "same_position": "Same position %",
    "not_both_stated": "Not both named %",
    "accuracy_chosen_first": "Accuracy %, chosen first",
    "accuracy_chosen_second": "chosen second",
}
POSITION_COLUMNS = Columns(
    (*ROW_KEY, "status", *COUNTS, *SHARED, *HEADS, *FLAG_NAMES),
    texts=(*ROW_KEY, "status"),
    whole=COUNTS,
    flags=FLAG_NAMES,
)


def position_bias_table(verdicts: pd.DataFrame, *, model_order: Sequence[str] = ()) -> pd.DataFrame:
    """One row for each row of the main table, in its order; columns `POSITION_COLUMNS`, shares in percent.

    - status: "ok"; "not applicable" for a single verdict on both orders, and where the method does not apply;
      "no verdicts", "no answers" or "no position named" where there is nothing to count.
    - n_users, n_judgments and all shares: of the judgments that were answered, as in the main table.
    - share_first: as in the main table, of `n_stated` verdicts; 50 is no bias. ci_low, ci_high: 95 %, with
      users as clusters (`statistics.share_interval`).
    - same_response, same_position: of the `n_both_orders` pairs (times draws) with an answer in both orders, how often
      the two verdicts name one response, or one position. not_both_stated is the rest: one of them names nothing.
    - accuracy_chosen_first, accuracy_chosen_second: accuracy by where the chosen response stood; their mean is the main
      table's accuracy where all pairs were judged in both orders.
    """
    groups = listed(verdicts, METHOD_ORDER, model_order)
    return POSITION_COLUMNS.frame({**condition.row, **_biased(group)} for condition, group in groups)


def _biased(group: pd.DataFrame) -> dict[str, Value]:
    """Status, counts and shares of one row."""
    judged = answered(group)
    single = judged[judged["swapped"].notna()]
    stated = single[single["said"].notna()]
    row = described(group) | {"n_both_orders": 0, "n_stated": len(stated)}
    if stated.empty:
        return row if row["status"] != OK else row | {"status": NONE_STATED if len(single) else SINGLE}
    firsts = (stated["said"] == "first").groupby(stated["user_id"], observed=True).agg(["sum", "count"])
    found = share_interval(firsts["sum"], firsts["count"], units=int(stated["pair_id"].nunique()))
    swapped = single["swapped"].astype("bool")
    return (
        row
        | percents(found[1:], "ci_low", "ci_high")
        | _between_orders(single[~swapped], single[swapped])
        | {"accuracy_chosen_first": accuracy_of(single[~swapped])}
        | {"accuracy_chosen_second": accuracy_of(single[swapped])}
    )


def _between_orders(first: pd.DataFrame, second: pd.DataFrame) -> dict[str, Value]:
    """The two verdicts on a pair compared. Both orders name one response where their positions differ."""
    pair = ["user_id", "pair_id", "draw"]
    both = first[[*pair, "said"]].merge(second[[*pair, "said"]], on=pair, suffixes=("", "_swapped"))
    if both.empty:
        return {}
    stated = both["said"].notna() & both["said_swapped"].notna()
    same = stated & (both["said"].astype("str") == both["said_swapped"].astype("str"))
    hits = {"same_response": stated & ~same, "same_position": same, "not_both_stated": ~stated}
    return {"n_both_orders": len(both), **{name: percent(float(held.mean())) for name, held in hits.items()}}


def position_bias_blocks(table: pd.DataFrame) -> tuple[Block, ...]:
    """The table for people."""
    cells: Shown = {
        "Users": "n_users",
        "Verdicts": "n_stated",
        "Said first % [95 % CI]": _shown,
        **{head: column for column, head in HEADS.items()},
    }
    return (block_of(table, headings_of(table), cells),)


def _shown(row: Mapping[str, object]) -> str:
    """Share of "first" with its bounds, or why there is none."""
    return marked(bounds(row, *SHARED, signed=False) if row["status"] == OK else str(row["status"]), row)


def position_bias_notes(table: pd.DataFrame) -> list[str]:
    """What a reader of the table must know."""
    return [
        *dataset_note(table),
        'Said first: share of "first" among the verdicts on one order that name a position (Verdicts); 50 is no bias. '
        "In brackets: 95 % interval with users as clusters (linearised, Student's t); [–] with one user.",
        "Same response, same position: of the pairs with an answer in both orders, those on which the two verdicts "
        "name one response (consistent), or one position whatever stands there; not both named: a tie, a refusal, or "
        "an answer that cannot be read in one order at least. The three add up to 100. Judgments that were lost to "
        "provider errors, and the other order of these pairs, are left out.",
        "Accuracy, chosen first and second: where the answer that the user chose stood in the prompt.",
        *notes_where(
            (
                (table["status"] == SINGLE).any(),
                f"{SINGLE}: one verdict on both orders together, which names no position; or the method itself does "
                "not apply (see the main table).",
            )
        ),
        *mark_notes(table),
    ]


def build(verdicts: Path, *, model_order: list[str]) -> Table:
    """Make the table from the files of a run."""
    table = position_bias_table(read_frame(verdicts), model_order=model_order)
    return Table(table, position_bias_blocks(table), position_bias_notes(table))


RESULT = TableResult(
    name="position_bias",
    order=80,
    title="Position bias: what the order of showing does to a verdict",
    caption=(
        "How often each judge said First (with 95 % intervals, users as clusters), how often the two orders of showing"
        " name one response or one position, and accuracy by where the chosen response stood."
    ),
    build=build,
)
