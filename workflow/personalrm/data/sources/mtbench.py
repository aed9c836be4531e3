"""Reader of MT-bench-like votes (`lmsys/mt_bench_human_judgments`; Zheng et al. 2023).

A row is one vote (`winner`) of one judge on the answers of two models to a fixed question, about one `turn` of it.

- The user is `user_id`, else `judge`: a name, or a list that begins with it (`["gpt-4", "pair-v2"]`, as MT-bench's own
  tools write judges). Judges that a row's form shows to be models are named in a note: they are users like others here.
- Both conversations are cut to the judged turn (n turns of the user and n answers): what came later was not judged.
  A release that is cut already stays as it is; one that ends earlier than the vote is a bad row.
- Context and answers of what is left: as `personalrm.data.sources.arena` has them, and for its reasons. In turn 2 the
  first answers usually differ; then the context is the first question, and the rest is a transcript: many
  second questions are about the first answer, and the judge had all of it in view.
- `conversation_id` is the question's id: questions are fixed, and none may stand in two parts of a split.
- `pair_id` is `judgment_id`. Rows without one get a hash of judge, question, turn, models, winner and texts: a
  judge may have voted on the same models twice, and both votes must keep an id, whatever the sequence of the rows.

There are no times, so users' pairs are ordered by question, turn and id. Ties, also `tie (inconsistent)` (a model judge
that changed its mind with the order of the answers), become votes with `tie`. Dropped and counted: what `arena` drops.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

from personalrm.core.files import stable_hash
from personalrm.data.settings import MtBenchDataset
from personalrm.data.sources.conversation_pairs import LocalRow, Message, conversation, local_row
from personalrm.data.sources.fields import FieldError, Row, shown
from personalrm.data.sources.reading import ReadReport, fields_named, read_file, release_files, require_columns
from personalrm.data.sources.votes import Vote, parse_vote, user_of

REQUIRED = ("question_id", "winner", "conversation_a", "conversation_b", "turn")
"""Columns that every row has, in addition to `judge` or `user_id`, and `judgment_id` or both models."""

KNOWN = frozenset({*REQUIRED, "judge", "user_id", "judgment_id", "model_a", "model_b"})
"""Columns that are read."""

INCONSISTENT = "tie (inconsistent)"
WINNERS = {"model_a": "a", "model_b": "b", "tie": "tie", INCONSISTENT: "tie"}

_NAMES = {
    "pair_id": "judgment_id",
    "context": "conversation_a",
    "response_a": "conversation_a",
    "response_b": "conversation_b",
}


def read_mtbench(settings: MtBenchDataset, report: ReadReport) -> Iterator[Vote]:
    """Yield the votes of the files (Parquet or JSON lines), ties included; see the module for the rules.

    Raises DataError for no files, a missing column, a broken file, and bad rows (`on_bad="error"`): no judge, no
    question id, neither judgment id nor models, an unknown winner or role, turns out of sequence, a judged turn that
    the conversations do not have. Model judges are said in `report.notes`.
    """
    models: set[str] = set()
    for path in release_files(settings):
        parse = partial(_parse, path=path, report=report, models=models)
        yield from read_file(path, parse, known=KNOWN, user=_judge, on_bad=settings.on_bad, report=report)
    if models:
        named = ", ".join(sorted(models)[:5])
        report.notes.append(
            f"Votes of models, not of people, are among the data (judges written as lists, or {INCONSISTENT}): "
            f"{len(models)} judges: {named}."
        )


def local_vote(row: Row) -> LocalRow:
    """A row in the local format (config/README.md), and the reason to leave it out.

    `pair_id` is None without `judgment_id`. Raises FieldError for the first thing that is wrong, except for what
    `parse_vote` will find; KeyError where a column of REQUIRED is missing.
    """
    a, b = (_judged(row, name) for name in ("conversation_a", "conversation_b"))
    local, reason = local_row(row, WINNERS, a, b)
    return LocalRow(local | {"user_id": _judge(row), "pair_id": row.get("judgment_id")}, reason)


def _parse(row: Row, line: int, *, path: Path, report: ReadReport, models: set[str]) -> tuple[Vote, ...]:
    who = () if "user_id" in row else ("judge",)
    what = () if row.get("judgment_id") is not None else ("model_a", "model_b")
    require_columns(row, (*REQUIRED, *who, *what), path)
    local, reason = local_vote(row)
    user = _judge(row)
    played = [_model(row, name) for name in what]
    if isinstance(row.get("judge"), list) or row["winner"] == INCONSISTENT:
        models.add(user)
    if reason:
        report.leave_out(user, reason)
        return ()
    with fields_named(_NAMES):
        vote = parse_vote(local, line)
    return (replace(vote, pair_id=_made_up_id(vote, played)) if played else vote,)


def _judge(row: Row) -> str:
    name = "judge" if row.get("user_id") is None else "user_id"
    value = row.get(name)
    if isinstance(value, list):
        if not value:
            raise FieldError(name, "is an empty list", "write the judge's name")
        value = value[0]
    with fields_named({"user_id": name}):
        return user_of({"user_id": value})


def _judged(row: Row, name: str) -> list[Message]:
    """A conversation, cut to the judged turn."""
    messages, turn = conversation(row, name), row["turn"]
    turns = len(messages) // 2
    if isinstance(turn, bool) or not isinstance(turn, int) or not 1 <= turn <= turns:
        raise FieldError(
            "turn",
            f"is {shown(turn)}, but {name} has {turns} turns of the user",
            "write the number of the judged turn, from 1, or restore the conversation",
        )
    return messages[: 2 * turn]


def _model(row: Row, name: str) -> str:
    value = row[name]
    if not isinstance(value, str) or not value.strip():
        raise FieldError(name, "is not a name, and there is no judgment_id", "give the model's name, or a judgment_id")
    return value


def _made_up_id(vote: Vote, models: list[str]) -> str:
    """Id (16 hex) of a vote without one, the same in any sequence of rows."""
    parts = (vote.user_id, vote.conversation_id, vote.turn, *models, vote.tie, vote.content_hash)
    return stable_hash("mtbench", *map(str, parts))[:16]
