"""Reader of the authors' processed sets (PersonalRewardBench), and of what `export_processed` writes.

`MichaelR207/prism_personalized_0125` and `…/chatbot_arena_personalized_0125`: one pair per row, with two splits:
the file's name is the user's part of the user split (train, validation, test), the column `split` the pair's part of
the pair split (train, val, test: our context, validation, test). The columns of the authors' filters are
kept as judgments, so that a filter can be run again without calls.
"""

from __future__ import annotations

import re
from collections.abc import Container, Iterable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Literal, cast

from personalrm.core.errors import DataError
from personalrm.core.records import Split, UserPart
from personalrm.data.settings import ProcessedDataset
from personalrm.data.sources.fields import Advice, FieldError, Row, SoundRow, checked, fields_named
from personalrm.data.sources.reading import ReadReport, read_file, release_files, require_columns
from personalrm.data.sources.votes import Vote, is_missing, parse_vote, stored_truth, tie_of, user_of

PANEL = (
    "gemini/gemini-1.5-pro",
    "meta-llama/Llama-3.3-70B-Instruct",
    "azure/gpt-4o-mini-240718",
    "Qwen/Qwen2.5-72B-Instruct",
    "meta-llama/Llama-3.1-70B-Instruct",
)
"""The paper's panel, as its columns name it (SALT-NLP/SynthesizeMe, datasets/dataset.py)."""

RATING_COLUMNS = ("query_reasoning", "personalizable_query", "response_reasoning", "personalizable_responses")
PANEL_PREFIXES = ("prediction_", "reasoning_", "prediction_flip_", "reasoning_flip_")
FILTER_COLUMNS = (
    *RATING_COLUMNS,
    *(f"{prefix}{judge}" for judge in PANEL for prefix in PANEL_PREFIXES),
    "agreement",
)
"""Columns of the filters' judgments in the authors' sets."""

PAIR_COLUMNS = ("conversation_id", "user_id", "context", "chosen", "rejected", "chosen_score", "rejected_score")
OTHER_COLUMNS = ("turns", "type", "dataset", "split", "flip")
OWN_COLUMNS = ("pair_id", "timestamp")
"""Columns that only our export has: without them an exported benchmark could not be read back as it was."""
TIE_COLUMN = "tie"
"""One more of these, where any pair is a tie."""

PAIR_PARTS: Mapping[str, Split] = {"train": "context", "val": "validation", "test": "test"}
"""Values of the column `split` -> our names of the parts."""

_REQUIRED = ("conversation_id", "user_id", "context", "chosen", "rejected")


def read_processed(settings: ProcessedDataset, report: ReadReport) -> Iterator[Vote]:
    """Yield the pairs of a processed set, with judgments, and with both splits if `keep_splits`.

    `turn` is the column `turns`, `conversation_type` the column `type`, `flip` the stored coin of presentation.
    Judgments are the filter columns that are not null (or NaN), under their own names: a judgment that failed is
    missing, not a vote. Columns of another panel are read, too. Rows with a blank answer (`empty_answer`) or a blank
    last turn of the user (`empty_question`) are dropped and counted.

    Raises DataError for no files, a missing shard or column, a broken file, and bad rows (`on_bad="error"`).
    With `keep_splits` also for a file whose name is not a part of the user split; an unknown `split`, and a user in two
    parts of the user split, are bad rows.
    """
    part_of: dict[str, UserPart] = {}
    # All names are checked before the first row is read.
    for path, part in [(path, _part(path) if settings.keep_splits else None) for path in release_files(settings)]:
        parse = partial(_parse, part=part, part_of=part_of)
        yield from read_file(path, parse, report, known=_Known(), on_bad=settings.on_bad)


def _part(path: Path) -> UserPart:
    """Part of the user split of a file, from its name."""
    named = re.fullmatch(r"(train|validation|test)(-\d{5}-of-\d{5})?\.parquet", path.name)
    if not named:
        raise DataError(
            f"{path}: the name is not a part of the release's user split; name it train, validation or "
            "test (-00000-of-00001).parquet, or set keep_splits: false"
        )
    return cast(UserPart, named[1])


class _Known(Container[str]):
    """The columns that are read, those of any panel included."""

    def __contains__(self, name: object) -> bool:
        own = (*PAIR_COLUMNS, *OTHER_COLUMNS, *OWN_COLUMNS, TIE_COLUMN)
        return name in own or (isinstance(name, str) and is_judgment(name))


def is_judgment(column: str) -> bool:
    """Whether a column holds judgments of a filter, of the paper's panel or of another."""
    return column in FILTER_COLUMNS or column.startswith(PANEL_PREFIXES)


class _Columns(SoundRow):
    split: Literal["train", "val", "test"] | None = None
    type: str | None = None


_ADVICE = Advice(
    "write a string or null", by_field={"split": f"write one of {', '.join(PAIR_PARTS)}, or set keep_splits: false"}
)


def _parse(row: Row, line: int, *, part: UserPart | None, part_of: dict[str, UserPart]) -> Iterable[Vote] | str:
    require_columns(row, (*_REQUIRED, "split") if part else _REQUIRED)
    user = user_of(row)
    columns = checked(_Columns, row if part else {"type": row.get("type")}, _ADVICE)
    if part and columns.split is None:
        raise FieldError("split", "is null", _ADVICE.by_field["split"])
    if part and part_of.setdefault(user, part) != part:
        raise FieldError(
            "user_id",
            f"stands in {part}, but also in {part_of[user]}: the release's user split does not separate users",
            "set keep_splits: false",
        )
    # Values that are not text are left to the checks below.
    context = row["context"]
    if isinstance(context, list) and context and _is_blank(context[-1]):
        return "empty_question"
    if _is_blank(row["chosen"]) or _is_blank(row["rejected"]):
        return "empty_answer"
    turns = None if is_missing(row.get("turns")) else row["turns"]
    local = {name: row[name] for name in (*_REQUIRED, *OWN_COLUMNS) if name in row} | {
        # A column of whole numbers with nulls in it may have become one of floats.
        "turn": int(turns) if isinstance(turns, float) and turns.is_integer() else turns,
        "flip": stored_truth(row.get("flip")),
    }
    with fields_named({"turn": "turns"}):
        vote = parse_vote(local, line)
    # A made-up id must not look like the source's own: ids of the source order a user's pairs.
    made_up = vote.pair_id == replace(vote, pair_id=None, tie=tie_of(row)).own_id
    return (
        replace(
            vote,
            tie=tie_of(row),
            pair_id=None if made_up else vote.pair_id,
            conversation_type=columns.type,
            user_split=part,
            pair_split=PAIR_PARTS[columns.split] if columns.split else None,
            judgments={name: value for name, value in row.items() if is_judgment(name) and not is_missing(value)},
        ),
    )


def _is_blank(message: object) -> bool:
    text = message.get("content") if isinstance(message, dict) else None
    return isinstance(text, str) and not text.strip()
