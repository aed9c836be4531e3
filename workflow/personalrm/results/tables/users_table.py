"""The table of users: every user under every way of judging, for those who want to look closer."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from personalrm.core.records import OUTCOMES
from personalrm.results.columns import Columns
from personalrm.results.comparisons import key_order, paired_sums
from personalrm.results.conditions import ROW_KEY, Condition
from personalrm.results.labels import NO_ANSWERS, NO_VERDICTS, NOT_APPLICABLE, OK, UNUSED
from personalrm.results.marks import FLAG_NAMES, MOST_SPOILT, mark_notes, signs_of
from personalrm.results.scores import PERCENT_DIGITS, read_frame
from personalrm.results.sortable_page import sortable_page
from personalrm.results.spec import Table, TableResult
from personalrm.results.table_formats import EMPTY, Block, plain
from personalrm.results.tables.comparison_text import HEADINGS, shown_names
from personalrm.results.verdict_arrays import Cell, Codes, Floats, VerdictArrays, sums_of, verdict_arrays_of

if TYPE_CHECKING:
    import pandas as pd

USERS_CAPTION = "Every user under every way of judging"
NAMES: tuple[str, ...] = ("dataset", "user_id", *ROW_KEY[1:], "status")
COUNTS: tuple[str, ...] = ("n_pairs", "n_judgments", "n_draws", *OUTCOMES, "n_compared")
USER_COLUMNS = Columns(
    (
        *NAMES,
        "n_pairs",
        "n_judgments",
        "n_draws",
        "accuracy",
        *OUTCOMES,
        "difference",
        "n_compared",
        *FLAG_NAMES[:2],
    ),
    texts=NAMES,
    whole=COUNTS,
    flags=("outage", "unread"),
)
ROWS_IN_PRINT = 100
"""Rows in the md and tex; the html and the csv have all."""


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

    Args:
        verdicts: frame of `collect_verdicts`.
        model_order: model ids in the order of listing; others come last, by name.
    """
    import pandas as pd

    parts = []
    for arrays in verdict_arrays_of(verdicts).values():
        keys = sorted(arrays.cells, key=lambda key: key_order(key, model_order))
        cells = [_cell_rows(arrays, arrays.cells[key]) for key in keys]
        parts.append(pd.concat(cells).sort_values("user_id", kind="stable"))
    table = pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=list(USER_COLUMNS))
    return USER_COLUMNS.typed(table)


def _cell_rows(arrays: VerdictArrays, cell: Cell) -> pd.DataFrame:
    """The users of one cell, in the order of their ids."""
    import pandas as pd

    from personalrm.results.stats.statistics import mean_ratio

    asked = np.flatnonzero(cell.asked)
    right, judged = (sums[asked] for sums in cell.by_user(arrays.user_of))
    total = judged.sum(axis=1).astype(np.int64)
    counts = {
        str(name): sums_of(arrays.user_of, cell.outcome == place, len(arrays.users)).sum(axis=1).astype(np.int64)[asked]
        for place, name in enumerate(OUTCOMES)
    }
    errors = counts["provider_error"]
    answered = total > 0
    without = np.where(cell.exempt[asked], NOT_APPLICABLE, NO_VERDICTS)
    difference, compared = _to_default(arrays, cell.key)
    rows: dict[str, object] = {
        **cell.key.row,
        "user_id": np.array(arrays.users, dtype=object)[asked],
        "status": np.where(answered, OK, np.where(errors > 0, NO_ANSWERS, without)),
        "n_pairs": _pairs_of(arrays, cell)[asked],
        "n_judgments": total,
        "n_draws": (judged > 0).sum(axis=1),
        "accuracy": np.where(answered, _points(mean_ratio(right, judged)), np.nan),
        **counts,
        "difference": np.where(answered, difference[asked], np.nan),
        "n_compared": compared[asked],
        "outage": errors > MOST_SPOILT * (total + errors),
        "unread": counts["unparsed"] > MOST_SPOILT * total,
    }
    return pd.DataFrame(rows, columns=list(USER_COLUMNS))


def _pairs_of(arrays: VerdictArrays, cell: Cell) -> Codes:
    """Pairs of each user with an answered judgment in any draw; each pair belongs to one user."""
    there = (cell.right >= 0).any(axis=0)
    _, first = np.unique(arrays.pair_of[there], return_index=True)
    return np.bincount(arrays.user_of[there][first], minlength=len(arrays.users))


def _to_default(arrays: VerdictArrays, key: Condition) -> tuple[Floats, Codes]:
    """Difference to `default` of each user in points, and the judgments it rests on."""
    from personalrm.results.stats.statistics import mean_ratio

    sums = None if key == key.default else paired_sums(arrays, key, key.default)
    if sums is None:
        return np.full(len(arrays.users), np.nan), np.zeros(len(arrays.users), dtype=np.int64)
    gain = mean_ratio(sums.first - sums.second, sums.judged)
    return _points(gain), sums.judged.sum(axis=1).astype(np.int64)


def _points(shares: Floats) -> Floats:
    return np.round(100 * shares, PERCENT_DIGITS)


HEADS: dict[str, str] = {
    "n_pairs": "Pairs",
    "n_judgments": "Judgments",
    "accuracy": "Accuracy %",
    "difference": "To Default, points",
} | {name: name.replace("_", " ").capitalize() for name in OUTCOMES[2:]}


def users_texts(table: pd.DataFrame) -> Block:
    """All rows as texts, for the page that sorts them; a column that names nothing in any row is left out."""
    import pandas as pd

    columns = {name: head for name, head in HEADINGS.items() if (table[name] != UNUSED).any()}
    names = {"dataset": "Data set", "user_id": "User"} | columns
    texts = pd.DataFrame({head: _named(table[name], name) for name, head in names.items()})
    for name, head in HEADS.items():
        texts[head] = [_number(value, signed=name == "difference") for value in table[name]]
    texts[HEADS["accuracy"]] = [
        f"{text if status == OK else status} {mark}".rstrip()
        for text, status, mark in zip(texts[HEADS["accuracy"]], table["status"], _marks(table), strict=True)
    ]
    return Block("", texts, len(names))


def _marks(table: pd.DataFrame) -> list[str]:
    marks = {
        flags: signs_of(itertools.compress(FLAG_NAMES, flags)) for flags in itertools.product((False, True), repeat=2)
    }
    return [marks[flags] for flags in zip(table["outage"], table["unread"], strict=True)]


def _named(column: pd.Series[str], name: str) -> list[str]:
    """Labels of a column of ids, each looked up once."""
    labels = {text: shown_names({name: text}, {name: name})[name] for text in column.unique()}
    return [labels[text] for text in column]


def _number(value: object, *, signed: bool) -> str:
    text = plain(value)
    return text if not signed or text == EMPTY else f"{float(str(value)) + 0.0:+.2f}"


def users_blocks(texts: Block) -> tuple[Block, ...]:
    """The first rows, for print."""
    return (texts._replace(texts=texts.texts.head(ROWS_IN_PRINT)),)


def users_notes(table: pd.DataFrame) -> list[str]:
    """What a reader of the table must know."""
    users = table[["dataset", "user_id"]].drop_duplicates()
    notes = [
        f"{len(table):,} rows: {len(users):,} users, each once for every method, models and k that it was judged with.",
        "Accuracy: as in the main table, of this user alone (the mean over draws). One user has few judgments: read a "
        "number here as a hint where to look, not as a result.",
        "To Default: accuracy less that of Default of the same judge on the same judgments, in points. The columns "
        "after it count judgments that were neither right nor wrong; those that were lost to provider errors are in no "
        "other column.",
    ]
    return notes + mark_notes(table.assign(lossy=False))


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
    message="Making the table of users",
    caption=(
        "Every user under every way of judging: pairs, judgments, accuracy, outcomes, and the difference to Default on"
        " the same judgments. Click a heading to sort. One user has few judgments, and no interval."
    ),
    build=build,
)
