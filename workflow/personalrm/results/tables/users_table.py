"""The table of users: every user under every way of judging."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import compress
from pathlib import Path

import numpy as np

from personalrm.core.records import OUTCOMES
from personalrm.results.columns import Columns
from personalrm.results.comparisons import key_order, paired_sums
from personalrm.results.conditions import ROW_KEY
from personalrm.results.labels import NO_ANSWERS, NO_VERDICTS, NOT_APPLICABLE, OK, UNUSED
from personalrm.results.lazy import pd
from personalrm.results.marks import FLAG_NAMES, MOST_SPOILT, mark_notes, signs_of
from personalrm.results.scores import PERCENT_DIGITS, read_frame
from personalrm.results.sortable_page import sortable_page
from personalrm.results.spec import Table, TableResult
from personalrm.results.stats.statistics import mean_ratio
from personalrm.results.table_formats import Block, plain
from personalrm.results.tables.comparison_text import HEADINGS, number, shown_names
from personalrm.results.verdict_arrays import Cell, VerdictArrays, sums_of, verdict_arrays_of

USERS_CAPTION = "Every user under every way of judging"
NAMES: tuple[str, ...] = ("dataset", "user_id", *ROW_KEY[1:], "status")
COUNTS: tuple[str, ...] = ("n_pairs", "n_judgments", "n_draws")
FLAGS: tuple[str, ...] = FLAG_NAMES[:2]
USER_COLUMNS = Columns(
    (*NAMES, *COUNTS, "accuracy", *OUTCOMES, "difference", "n_compared", *FLAGS),
    texts=NAMES,
    whole=(*COUNTS, *OUTCOMES, "n_compared"),
    flags=FLAGS,
)
ROWS_IN_PRINT = 100
"""Rows in the md and tex; the html and the csv have all."""
ACCURACY = "Accuracy %"
HEADS: dict[str, str] = {
    "n_pairs": "Pairs",
    "n_judgments": "Judgments",
    "accuracy": ACCURACY,
    "difference": "To Default, points",
    **{name: name.replace("_", " ").capitalize() for name in OUTCOMES[2:]},
}


def users_table(verdicts: pd.DataFrame, *, model_order: Sequence[str] = ()) -> pd.DataFrame:
    """One row for each user of each row of the main table, by data set and user; columns `USER_COLUMNS`.

    - status: "ok"; "not applicable" where the method does not apply to the user; "no verdicts" where the user's rows
      hold none for another reason; "no answers" for provider errors only.
    - n_pairs, n_judgments, n_draws: of the judgments that were answered.
    - accuracy: percent of these, the mean over draws, as in the main table; empty where nothing was answered.
    - correct .. provider_error: judgments of each outcome, all draws together.
    - difference: accuracy less that of `default` in points on the `n_compared` judgments that both have, draws matched
      and averaged as in the table of differences; empty for `default` itself and where it was not run.
    - outage, unread: as `marks.Flags` has them, of the user's judgments.
    """
    parts = []
    for arrays in verdict_arrays_of(verdicts).values():
        keys = sorted(arrays.cells, key=lambda key: key_order(key, model_order))
        cells = [_cell_rows(arrays, arrays.cells[key]) for key in keys]
        parts.append(pd.concat(cells).sort_values("user_id", kind="stable"))
    table = pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=list(USER_COLUMNS))
    return USER_COLUMNS.typed(table)


def _cell_rows(arrays: VerdictArrays, cell: Cell) -> pd.DataFrame:
    """The users of one cell, in the order of their ids."""
    asked = np.flatnonzero(cell.asked)
    right, judged = (sums[asked] for sums in cell.by_user(arrays.user_of))
    total = judged.sum(axis=1).astype(np.int64)
    counts = {
        str(name): sums_of(arrays.user_of, cell.outcome == place, len(arrays.users)).sum(axis=1).astype(np.int64)[asked]
        for place, name in enumerate(OUTCOMES)
    }
    errors, answered = counts["provider_error"], total > 0
    # Each pair belongs to one user.
    there = np.unique(arrays.pair_of[(cell.right >= 0).any(axis=0)])
    owner = arrays.user_of[np.unique(arrays.pair_of, return_index=True)[1]][there]
    without = np.where(cell.exempt[asked], NOT_APPLICABLE, NO_VERDICTS)
    default = None if cell.key == cell.key.default else paired_sums(arrays, cell.key, cell.key.default)
    gain, compared = np.full(len(asked), np.nan), np.zeros(len(asked), dtype=np.int64)
    if default:
        gain = mean_ratio(default.first - default.second, default.judged)[asked]
        compared = default.judged.sum(axis=1).astype(np.int64)[asked]
    rows: dict[str, object] = {
        **cell.key.row,
        "user_id": np.array(arrays.users, dtype=object)[asked],
        "status": np.where(answered, OK, np.where(errors > 0, NO_ANSWERS, without)),
        "n_pairs": np.bincount(owner, minlength=len(arrays.users))[asked],
        "n_judgments": total,
        "n_draws": (judged > 0).sum(axis=1),
        "accuracy": np.round(100 * np.where(answered, mean_ratio(right, judged), np.nan), PERCENT_DIGITS),
        **counts,
        "difference": np.round(100 * np.where(answered, gain, np.nan), PERCENT_DIGITS),
        "n_compared": compared,
        "outage": errors > MOST_SPOILT * (total + errors),
        "unread": counts["unparsed"] > MOST_SPOILT * total,
    }
    return pd.DataFrame(rows, columns=list(USER_COLUMNS))


read_users_table = USER_COLUMNS.read


def users_texts(table: pd.DataFrame) -> Block:
    """All rows as texts, for the page that sorts them; a column that names nothing in any row is left out."""
    columns = {name: head for name, head in HEADINGS.items() if (table[name] != UNUSED).any()}
    names = {"dataset": "Data set", "user_id": "User"} | columns
    # Each id is looked up once.
    labels = {
        name: {text: shown_names({name: text}, {name: ""})[""] for text in table[name].unique()} for name in names
    }
    cells = {head: table[name].map(labels[name]).tolist() for name, head in names.items()} | {
        head: [number(value, "+.2f") if name == "difference" else plain(value) for value in table[name]]
        for name, head in HEADS.items()
    }
    cells[ACCURACY] = [
        f"{text if status == OK else status} {signs_of(compress(FLAGS, flags))}".rstrip()
        for text, status, *flags in zip(cells[ACCURACY], table["status"], table["outage"], table["unread"], strict=True)
    ]
    return Block("", pd.DataFrame(cells, dtype="str"), len(names))


def users_blocks(texts: Block) -> tuple[Block, ...]:
    """The first rows, for print."""
    return (texts._replace(texts=texts.texts.head(ROWS_IN_PRINT)),)


def users_notes(table: pd.DataFrame) -> list[str]:
    """What a reader of the table must know."""
    users = table[["dataset", "user_id"]].drop_duplicates()
    return [
        f"{len(table):,} rows: {len(users):,} users, each once for every method, models and k that it was judged with.",
        "Accuracy: as in the main table, of this user alone (the mean over draws). One user has few judgments: read a "
        "number here as a hint where to look, not as a result.",
        "To Default: accuracy less that of Default of the same judge on the same judgments, in points. The columns "
        "after it count judgments that were neither right nor wrong; those that were lost to provider errors are in no "
        "other column.",
        *mark_notes(table.assign(lossy=False)),
    ]


def print_note(table: pd.DataFrame) -> list[str]:
    """Where the rest of the rows is."""
    if len(table) <= ROWS_IN_PRINT:
        return []
    return [
        f"The first {ROWS_IN_PRINT} of {len(table):,} rows; users.html (to sort and to filter) and users.csv beside "
        "this file have all."
    ]


def build(verdicts: Path, *, model_order: list[str]) -> Table:
    """Make the table from the files of a run."""
    table = users_table(read_frame(verdicts), model_order=model_order)
    texts, notes = users_texts(table), users_notes(table)
    page = sortable_page(texts, USERS_CAPTION, notes)
    return Table(table, users_blocks(texts), [*print_note(table), *notes], page)


RESULT = TableResult(
    name="users",
    order=60,
    title=USERS_CAPTION,
    caption=(
        "Every user under every way of judging: pairs, judgments, accuracy, outcomes, and the difference to Default on"
        " the same judgments. Click a heading to sort. One user has few judgments, and no interval."
    ),
    build=build,
)
