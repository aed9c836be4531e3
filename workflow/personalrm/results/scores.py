"""Verdict files made flat: one row a judgment, and one row a stored response that a table row rests on.

Both frames are what tables and figures are made from, without prompts or texts. They do not depend on the
order of files or of rows in them, and are written as the same bytes each time.
"""

from __future__ import annotations

import io
import math
from array import array
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, Literal, NamedTuple, TypeVar

from personalrm.core.errors import DataError
from personalrm.core.files import atomic_write_bytes
from personalrm.core.records import OUTCOMES, JudgedUser, read_records
from personalrm.results.conditions import CONDITION_COLUMNS, Condition
from personalrm.results.labels import NO_ANSWERS, NO_VERDICTS, NOT_APPLICABLE, OK

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

VERDICT_COLUMNS: tuple[str, ...] = (
    *CONDITION_COLUMNS,
    "draw",
    "user_id",
    "status",
    "profile_lost",
    "pair_id",
    "swapped",
    "outcome",
    "said",
    "log_odds",
    "reasoned",
)
CALL_COLUMNS: tuple[str, ...] = (*CONDITION_COLUMNS, "key", "stage", "tokens_in", "tokens_out", "cost_usd")

V = TypeVar("V")
FLAGS = ("swapped", "reasoned")
"""Columns of truth values, which may be missing."""
MISSING_CODE = -1
PERCENT_DIGITS = 4
ROWS_PER_GROUP = 1 << 16


class _Coded(Generic[V]):
    """A column of few distinct values, kept as integer codes; None is -1."""

    def __init__(self) -> None:
        self._codes: dict[V, int] = {}
        self._rows = array("i")

    def repeat(self, value: V | None, times: int) -> None:
        self._rows.extend(array("i", [self._code(value)]) * times)

    def extend(self, values: Iterable[V | None]) -> None:
        self._rows.extend(map(self._code, values))

    def _code(self, value: V | None) -> int:
        return MISSING_CODE if value is None else self._codes.setdefault(value, len(self._codes))

    def ranked(self, sort_key: Callable[[V], Any]) -> tuple[NDArray[np.int32], list[V]]:
        """Codes that are ranks in the sorted list of distinct values, and that list."""
        import numpy as np

        values = sorted(self._codes, key=sort_key)
        # One more entry: code -1 reads the last one, so that missing stays missing.
        rank_of = np.full(len(values) + 1, MISSING_CODE, dtype=np.int32)
        for rank, value in enumerate(values):
            rank_of[self._codes[value]] = rank
        return rank_of[np.frombuffer(self._rows, dtype=np.int32)], values


class _Numbers:
    """A column of whole numbers (`q`) or floats (`d`); None is nan."""

    def __init__(self, kind: Literal["q", "d"]) -> None:
        self.rows: array[Any] = array(kind)

    def repeat(self, value: float | None, times: int) -> None:
        self.extend([value] * times)

    def extend(self, values: Iterable[float | None]) -> None:
        self.rows.extend(math.nan if value is None else value for value in values)


class _Flat:
    """A condition and columns that grow in little memory, then become a sorted frame."""

    def __init__(self, columns: Sequence[str], integers: Sequence[str], floats: Sequence[str]) -> None:
        self._conditions: _Coded[Condition] = _Coded()
        self._columns: dict[str, _Coded[str] | _Numbers] = {
            name: _Numbers("q") if name in integers else _Numbers("d") if name in floats else _Coded()
            for name in columns
            if name not in CONDITION_COLUMNS
        }

    def append(self, condition: Condition, head: Sequence[Any], *columns: Sequence[Any]) -> None:
        """Rows that have `condition` and `head` in common; `columns` are the values after it, one by one."""
        self._conditions.repeat(condition, len(columns[0]))
        own = list(self._columns.values())
        for column, value in zip(own[: len(head)], head, strict=True):
            column.repeat(value, len(columns[0]))
        for column, values in zip(own[len(head) :], columns, strict=True):
            column.extend(values)

    def frame(self, sort_by: Sequence[str]) -> pd.DataFrame:
        """The rows as a frame sorted by condition and then `sort_by`; texts are categories in sorted order."""
        import numpy as np
        import pandas as pd

        places, conditions = self._conditions.ranked(lambda condition: condition.order)
        keys: dict[str, NDArray[np.generic]] = {}
        data: dict[str, object] = {}
        columns = zip(*(condition.columns for condition in conditions), strict=True)
        for name, values in zip(
            CONDITION_COLUMNS, columns if conditions else [()] * len(CONDITION_COLUMNS), strict=True
        ):
            data[name] = pd.Categorical(pd.Series(values, dtype="str")).take(places)
        for name, column in self._columns.items():
            if isinstance(column, _Coded):
                codes, texts = column.ranked(str)
                keys[name] = codes
                data[name] = pd.Categorical.from_codes(codes, categories=pd.Index(texts, dtype="str"))
            else:
                keys[name] = data[name] = np.array(column.rows)
        order = np.lexsort([*(keys[column] for column in reversed(sort_by)), places])
        return pd.DataFrame(data).iloc[order].reset_index(drop=True)


def _flag_code(flag: bool | None) -> int:
    return MISSING_CODE if flag is None else int(flag)


def collect_verdicts(paths: Iterable[Path]) -> pd.DataFrame:
    """All judgments of verdict files as one flat frame, columns `VERDICT_COLUMNS`.

    Texts are categories; those that name the condition are as in `conditions.Condition`. `swapped` is missing for a
    verdict on both orders together, `reasoned` where it is not known (`records.Verdict`). A user for whom a method
    gave no verdict is one row with missing `pair_id` and `outcome`: failed cells stay visible. `profile_lost` is the
    number of calls that were lost while what the user's judge was shown was learned.

    Raises:
        DataError: if a file is not a verdicts file, or the same judgment stands in the files twice.
    """
    flat = _Flat(VERDICT_COLUMNS, integers=("draw", "profile_lost", *FLAGS), floats=("log_odds",))
    for path in paths:
        for user in read_records(path, JudgedUser):
            condition = Condition.of_user(user)
            head = (user.draw, user.user_id, user.status, user.profile_lost)
            if not user.verdicts:
                flat.append(condition, head, [None], [MISSING_CODE], [None], [None], [None], [MISSING_CODE])
                continue
            rows = [
                (v.pair_id, _flag_code(v.swapped), v.outcome, v.said, v.log_odds, _flag_code(v.reasoned))
                for v in user.verdicts
            ]
            flat.append(condition, head, *zip(*rows, strict=True))
    identity = ["draw", "user_id", "pair_id", "swapped"]
    frame = flat.frame(identity)
    _refuse_duplicates(frame, [*CONDITION_COLUMNS, *identity])
    for flag in FLAGS:
        frame[flag] = frame[flag].astype("Int8").mask(frame[flag] == MISSING_CODE).astype("boolean")
    return frame


def answered(verdicts: pd.DataFrame) -> pd.DataFrame:
    """Judgments that the provider answered: all that enters a number. The others are counted, and are neither right nor
    wrong."""
    return verdicts[verdicts["pair_id"].notna() & (verdicts["outcome"] != "provider_error")]


def _refuse_duplicates(frame: pd.DataFrame, identity: list[str]) -> None:
    twice = frame.duplicated(identity)
    if twice.any():
        first = frame.loc[twice, identity].iloc[0]
        what = ", ".join(f"{column} {first[column]}" for column in identity)
        raise DataError(
            f"{int(twice.sum())} judgments stand in the verdict files more than once, first: {what}. "
            "Remove files of an older configuration from the verdicts folder and run again."
        )


def collect_calls(paths: Iterable[Path]) -> pd.DataFrame:
    """The stored responses behind each row of the main table, each once a row; columns `CALL_COLUMNS`.

    `cost_usd` is nan where no list price is known. A response that several users, draws or verdicts of a row
    share is counted once in that row.

    Raises:
        DataError: if a file is not a verdicts file.
    """
    flat = _Flat(CALL_COLUMNS, integers=("tokens_in", "tokens_out"), floats=("cost_usd",))
    for path in paths:
        for user in read_records(path, JudgedUser):
            rows = [(call.key, call.stage, call.tokens_in, call.tokens_out, call.cost_usd) for call in user.calls]
            if rows:
                flat.append(Condition.of_user(user), (), *zip(*rows, strict=True))
    frame = flat.frame(CALL_COLUMNS[len(CONDITION_COLUMNS) :])
    return frame.drop_duplicates([*CONDITION_COLUMNS, "key"]).reset_index(drop=True)


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
    import pandas as pd

    return pd.read_parquet(path, columns=list(columns) if columns else None)


def percent(share: float) -> float:
    """A share in percent, or a difference of shares in points."""
    return round(100 * share, PERCENT_DIGITS)


class Counts(NamedTuple):
    """Right judgments and judgments, each (users, draws)."""

    correct: NDArray[np.float64]
    judged: NDArray[np.float64]


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
    return percent(float(mean_ratio(counts.correct.sum(axis=0), counts.judged.sum(axis=0))))


def lossy_profiles(judged: pd.DataFrame) -> int:
    """Profiles, one a user and draw, that these judgments were made with and that were learned with lost calls."""
    return len(judged.loc[judged["profile_lost"] > 0, ["user_id", "draw"]].drop_duplicates())


def share_first(judged: pd.DataFrame) -> float | None:
    """How often "first" was said, percent of the verdicts on one order that name a position; None without any."""
    said = judged.loc[judged["swapped"].notna() & judged["said"].notna(), "said"]
    return percent(float((said == "first").sum()) / len(said)) if len(said) else None
