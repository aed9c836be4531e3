"""Verdict files as flat frames: one row per judgment, and one row per stored response that a table row rests on.

Tables and figures are made from both, without prompts or texts. The frames depend neither on the order of files nor on
that of rows in them, and are written as the same bytes each time.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from personalrm.core.errors import DataError
from personalrm.core.files import atomic_write_bytes
from personalrm.core.lazy import np
from personalrm.core.records import JudgedUser, read_all
from personalrm.results.conditions import CONDITION_COLUMNS, Condition
from personalrm.results.lazy import pd

if TYPE_CHECKING:
    from numpy.typing import NDArray

JUDGED: dict[str, str] = {
    **{"draw": "int64", "user_id": "category", "status": "category", "profile_lost": "int64", "pair_id": "category"},
    **{"swapped": "boolean", "outcome": "category", "said": "category", "log_odds": "float64", "reasoned": "boolean"},
    **{"flipped": "boolean", "cut": "boolean", "shots": "Int64", "shots_dropped": "Int64"},
}
"""Columns of verdicts after those of the condition, with their types."""
CALLED: dict[str, str] = {
    **{"key": "category", "stage": "category", "tokens_in": "int64", "tokens_out": "int64", "cost_usd": "float64"},
    "estimated": "bool",
}
"""The same of calls."""
VERDICT_COLUMNS: tuple[str, ...] = (*CONDITION_COLUMNS, *JUDGED)
CALL_COLUMNS: tuple[str, ...] = (*CONDITION_COLUMNS, *CALLED)
PERCENT_DIGITS = 4
ROWS_PER_GROUP = 1 << 16


def _frame(
    rows: Iterable[tuple[Condition, tuple[Any, ...]]],
    kinds: Mapping[str, str],
    sort_by: Sequence[str],
    missing: Literal["first", "last"],
) -> pd.DataFrame:
    """Rows of a condition and values as a frame sorted by condition and `sort_by`, missing values first or last.

    Texts are categories in sorted order. Rows are read in batches, each kept as arrays, which take little memory.
    """
    number_of: dict[Condition, int] = {}
    kinds = {"condition": "int64", **kinds}
    parts = {name: [_column((), kind)] for name, kind in kinds.items()}
    rows = iter(rows)
    while batch := [(number_of.setdefault(key, len(number_of)), *held) for key, held in islice(rows, ROWS_PER_GROUP)]:
        for (name, kind), values in zip(kinds.items(), zip(*batch, strict=True), strict=True):
            parts[name].append(_column(values, kind))
    frame = pd.DataFrame(
        {
            name: _united(parts[name]) if kind == "category" else pd.concat(parts[name], ignore_index=True)
            for name, kind in kinds.items()
        }
    )
    conditions = sorted(number_of, key=lambda key: key.order)
    frame["condition"] = frame["condition"].map({number_of[key]: place for place, key in enumerate(conditions)})
    frame = frame.sort_values(["condition", *sort_by], na_position=missing, ignore_index=True)
    named = pd.DataFrame([key.columns for key in conditions], columns=list(CONDITION_COLUMNS), dtype="str")
    columns = named.astype("category").take(frame.pop("condition").to_numpy()).reset_index(drop=True)
    return pd.concat([columns, frame], axis=1)


def _united(parts: list[pd.Series[Any]]) -> pd.Categorical[Any]:
    """Categories of all parts, sorted."""
    from pandas.api.types import union_categoricals

    united = union_categoricals(parts, sort_categories=True)
    # A union without any text has no type: Parquet would get a column of nulls.
    return united.rename_categories(pd.Index(list(united.categories), dtype="str"))


def _column(values: Sequence[Any], kind: str) -> pd.Series[Any]:
    held = pd.Series(values, dtype="str" if kind == "category" else kind)
    return held.astype("category") if kind == "category" else held


def collect_verdicts(paths: Iterable[Path]) -> pd.DataFrame:
    """All judgments of verdict files as one flat frame, columns `VERDICT_COLUMNS`.

    Texts are categories; those that name the condition are as in `conditions.Condition`. `swapped` is missing for a
    verdict on both orders together; `reasoned`, `flipped`, `shots` and `shots_dropped` where they are not known
    (`records.Verdict`). A user for whom a method gave no verdict is one row with missing `pair_id` and `outcome`:
    failed cells stay visible. `profile_lost` is the number of calls that were lost while what the user's judge was
    shown was learned.

    Raises:
        DataError: if a file is not a verdicts file, or the same judgment is in the files twice.
    """
    identity = ["draw", "user_id", "pair_id", "swapped"]
    frame = _frame(_judgments(paths), JUDGED, identity, "first")
    twice = frame.duplicated([*CONDITION_COLUMNS, *identity])
    if twice.any():
        first = frame.loc[twice, [*CONDITION_COLUMNS, *identity]].iloc[0]
        what = ", ".join(f"{column} {value}" for column, value in first.items())
        raise DataError(
            f"{int(twice.sum())} judgments stand in the verdict files more than once, first: {what}. "
            "Remove files of an older configuration from the verdicts folder and run again."
        )
    return frame


def _judgments(paths: Iterable[Path]) -> Iterator[tuple[Condition, tuple[Any, ...]]]:
    for user in read_all(paths, JudgedUser):
        condition, head = Condition.of_user(user), (user.draw, user.user_id, user.status, user.profile_lost)
        if not user.verdicts:
            yield condition, (*head, *[None] * (len(JUDGED) - len(head)))
        for said in user.verdicts:
            yield condition, (*head, *(getattr(said, name) for name in list(JUDGED)[len(head) :]))


def answered(verdicts: pd.DataFrame) -> pd.DataFrame:
    """Judgments that the provider answered: all that enters a number. The others are counted, and are neither right nor
    wrong."""
    return verdicts[verdicts["pair_id"].notna() & (verdicts["outcome"] != "provider_error")]


def collect_calls(paths: Iterable[Path]) -> pd.DataFrame:
    """The stored responses behind each row of the main table, each once per row; columns `CALL_COLUMNS`.

    `cost_usd` is nan where no list price is known. A response that several users, draws or verdicts of a row
    share is counted once in that row.

    Raises:
        DataError: if a file is not a verdicts file.
    """
    rows = (
        (condition, tuple(getattr(call, name) for name in CALLED))
        for user in read_all(paths, JudgedUser)
        for condition in [Condition.of_user(user)]
        for call in user.calls
    )
    # The first of several references to a response is kept: one with a price, if any has one.
    frame = _frame(rows, CALLED, list(CALLED), "last")
    return frame.drop_duplicates([*CONDITION_COLUMNS, "key"]).reset_index(drop=True)


def count_estimated(calls: pd.DataFrame) -> int:
    """Distinct stored responses among calls whose token counts are estimates."""
    if "estimated" not in calls:  # collected by an earlier version
        return 0
    return int(calls.loc[calls["estimated"].astype("boolean").fillna(value=False), "key"].nunique())


def write_frame(frame: pd.DataFrame, path: Path) -> None:
    """Write a frame as Parquet, whole or not at all, with bytes that depend on its content alone."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pa.Table.from_pandas(frame, preserve_index=False).replace_schema_metadata(None)
    buffer = io.BytesIO()
    pq.write_table(table, buffer, compression="zstd", compression_level=3, row_group_size=ROWS_PER_GROUP)
    atomic_write_bytes(path, buffer.getvalue())


def read_frame(path: Path, columns: Sequence[str] | None = None) -> pd.DataFrame:
    """Read a frame that `write_frame` wrote, or some of its columns."""
    return pd.read_parquet(path, columns=list(columns) if columns else None)


def percent(share: float) -> float:
    """A share in percent, or a difference of shares in points."""
    return round(100 * share, PERCENT_DIGITS)


def percents(numbers: Iterable[float], *columns: str) -> dict[str, float]:
    """The first of these shares in percent, by the names of their columns: an estimate and its bounds."""
    return dict(zip(columns, map(percent, numbers), strict=False))


class Counts(NamedTuple):
    """Right judgments and judgments, each (users, draws)."""

    correct: NDArray[np.float64]
    judged: NDArray[np.float64]


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
    return percent(float(mean_ratio(counts.correct.sum(axis=0), counts.judged.sum(axis=0))))
