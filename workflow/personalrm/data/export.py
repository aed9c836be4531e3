"""The benchmark as a `datasets` folder in the columns of the authors' processed sets.

`datasets.load_dataset(folder)`, the loader of the authors' package and `read_processed` all read it. Equal users give
equal bytes (with one version of pyarrow), in whatever sequence they come.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import yaml

from personalrm.core.errors import DataError
from personalrm.core.files import atomic_open, atomic_write_text
from personalrm.core.records import PreferencePair, UserData, UserPart
from personalrm.data.sources.processed import (
    FILTER_COLUMNS,
    OTHER_COLUMNS,
    OWN_COLUMNS,
    PAIR_COLUMNS,
    PAIR_PARTS,
    TIE_COLUMN,
    is_judgment,
)
from personalrm.data.splits import USER_PARTS
from personalrm.judge.judge import presented_swapped

if TYPE_CHECKING:
    import pyarrow as pa

Judgments = Mapping[str, Mapping[str, object]]
"""Pair id -> filter column -> value."""

_ROWS = 1024
_SPLITS = {ours: theirs for theirs, ours in PAIR_PARTS.items()}
_ROLES = {"assistant": "model"}


def export_processed(
    users: Iterable[UserData],
    folder: Path,
    *,
    user_split: Callable[[UserData], UserPart | None] = lambda user: user.user_split,
    judgments: Judgments | None = None,
    licence: str = "",
) -> dict[UserPart, int]:
    """Write `data/{train,validation,test}-00000-of-00001.parquet` and `README.md`; returns the rows of each part.

    Users that a filter removed are left out, and so is a part of the user split without rows (`datasets` refuses it).
    A user without a part goes to test: without training, all users can be test users. Roles are `user` and `model`,
    and parts of the pair split are train, val and test, as in the authors' sets. Their `flip` (true: show the chosen
    answer first) is the source's if it stores one, else our coin, since their loader reads null as false.
    `chosen_score` and `rejected_score` are null, and so are filter columns that `judgments` does not fill. Surveys have
    no column there, and are not exported. `pair_id` and `timestamp` are additions of ours, and so is `tie`, if any pair
    is a tie: with them `read_processed` reads back what was exported (ties if its settings keep them).

    Raises DataError for a pair without a part of the pair split, and for judgments under a name that is not a filter's
    column, or with values of several kinds in one column.
    """
    judgments = judgments or {}
    rows: dict[UserPart, list[UserData]] = {part: [] for part in USER_PARTS}
    for user in sorted(users, key=lambda user: (user.dataset, user.user_id)):
        if user.pairs and user.excluded is None:
            rows[user_split(user) or "test"].append(user)
    ties = any(pair.tie for mine in rows.values() for user in mine for pair in user.pairs)
    schema = _schema(judgments, ties)
    counts: dict[UserPart, int] = {}
    for part, mine in rows.items():
        path = folder / "data" / f"{part}-00000-of-00001.parquet"
        if mine:
            counts[part] = _write(path, (_row(user, pair, judgments) for user in mine for pair in user.pairs), schema)
        else:
            # An earlier export may have left it.
            path.unlink(missing_ok=True)
    names = sorted({user.dataset for mine in rows.values() for user in mine})
    people = {part: len(rows[part]) for part in counts}
    atomic_write_text(folder / "README.md", _card(names, counts, people, licence))
    return counts


def _schema(judgments: Judgments, ties: bool) -> pa.Schema:
    """Columns in the authors' sequence, then those of another panel, then ours."""
    import pyarrow as pa

    message = pa.struct([("content", pa.string()), ("role", pa.string())])
    kinds = {
        "context": pa.list_(message),
        "chosen": message,
        "rejected": message,
        "chosen_score": pa.float64(),
        "rejected_score": pa.float64(),
        "turns": pa.int64(),
        "flip": pa.bool_(),
        "timestamp": pa.float64(),
        TIE_COLUMN: pa.bool_(),
    }
    found = {name for given in judgments.values() for name in given}
    odd = sorted(name for name in found if not is_judgment(name))
    if odd:
        raise DataError(f"judgments: {odd[0]!r} is not a column of a filter; use the names of FILTER_COLUMNS")
    filters = [*FILTER_COLUMNS, *sorted(found - set(FILTER_COLUMNS))]
    for name in filters:
        try:
            kind = pa.array([given.get(name) for given in judgments.values()]).type
        except pa.ArrowException as error:
            raise DataError(f"judgments: column {name!r} holds values of several kinds; give it one") from error
        kinds[name] = pa.string() if pa.types.is_null(kind) else kind
    names = (*PAIR_COLUMNS, *OTHER_COLUMNS, *filters, *OWN_COLUMNS, *([TIE_COLUMN] if ties else []))
    return pa.schema([(name, kinds.get(name, pa.string())) for name in names])


def _row(user: UserData, pair: PreferencePair, judgments: Judgments) -> dict[str, object]:
    if pair.split is None:
        raise DataError(
            f"user {user.user_id!r}, pair {pair.pair_id!r}: has no part of the pair split; split the users first"
        )
    return {
        **judgments.get(pair.pair_id, {}),
        "conversation_id": pair.conversation_id,
        "user_id": user.user_id,
        "context": [{"content": turn.content, "role": _ROLES.get(turn.role, turn.role)} for turn in pair.context],
        "chosen": {"content": pair.chosen, "role": "model"},
        "rejected": {"content": pair.rejected, "role": "model"},
        "turns": pair.turn,
        "type": pair.conversation_type,
        "dataset": user.dataset,
        "split": _SPLITS[pair.split],
        "flip": not presented_swapped(pair, "flip") if pair.flip is None else pair.flip,
        "pair_id": pair.pair_id,
        "timestamp": pair.timestamp,
        TIE_COLUMN: pair.tie,
    }


def _write(path: Path, rows: Iterator[dict[str, object]], schema: pa.Schema) -> int:
    """Write rows in groups, so that a large benchmark need not fit into memory."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    count = 0
    with atomic_open(path) as stream, pq.ParquetWriter(stream, schema) as writer:
        while group := list(islice(rows, _ROWS)):
            writer.write_table(pa.Table.from_pylist(group, schema=schema))
            count += len(group)
    return count


def _card(names: list[str], counts: Mapping[UserPart, int], people: Mapping[UserPart, int], licence: str) -> str:
    """The dataset card; the hub and `datasets` read its header."""
    header: dict[str, object] = {"pretty_name": ", ".join(names) or "empty"}
    if licence:
        header |= {"license": "other", "license_name": licence}
    files = [{"split": part, "path": f"data/{part}-*"} for part in counts]
    header["configs"] = [{"config_name": "default", "data_files": files}]
    return "\n".join(
        [
            "---",
            yaml.safe_dump(header, sort_keys=False, allow_unicode=True, width=1000).rstrip("\n"),
            "---",
            "",
            f"# {header['pretty_name']}",
            "",
            "Preference pairs by user, built by personalrm: one pair per row, in the columns of the processed sets of "
            "PersonalRewardBench. The parts separate users (level A); the column `split` is the pair's part inside "
            "its user (level B: train = context, val, test). History has the roles `user` and `model`.",
            "",
            "| part | users | pairs |",
            "|---|---:|---:|",
            *(f"| {part} | {people[part]} | {counts[part]} |" for part in counts),
            "",
            "- `turns` is the turn of the pair, where known; `flip` is a coin for the sequence of showing (true: the "
            "chosen answer first).",
            "- Filter columns are null where nobody judged; `chosen_score` and `rejected_score` are null.",
            "- `pair_id` and `timestamp` (Unix seconds) are additions to the columns of the authors; so is `tie`, "
            "where pairs are ties (`chosen` is then no better than `rejected`).",
            "",
        ]
    )
