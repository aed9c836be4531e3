"""Readers of Chatbot Arena (`lmsys/chatbot_arena_conversations`) and of MT-bench (`lmsys/mt_bench_human_judgments`).

In both releases (Zheng et al. 2023) a row is one vote (`winner`) of one user (`judge`) on two conversations side by
side: the user's turns are the same in both, the answers are those of two models. What is the context of a vote with
several turns? The paper's rule is not published; its data have one context and one message per answer, and "few
multi-turn items". Ours is that of `examples/convert_mtbench.py`:

- The context is the longest beginning that both conversations share, cut back to end with a turn of the user.
  For one turn it is the question, and the answers are the two answers, letter by letter.
- What follows is the answer. Where it spans several turns, it is a transcript in blocks "[role]: text".

The vote was given once, on the whole of both conversations. Comparing the last answers after the winner's
history would show a context that the loser never had (and would reveal which answer belongs to it); comparing
the first answers alone would attribute a vote to what may not have decided it; dropping such votes would
lose the votes of users with long conversations. The price: such answers are long, and contain turns of the user.

Kept in Arena: every language, votes with and without the models' names hidden (`anony`), and what a moderation filter
marked; nothing says that the paper dropped them. All kinds of ties become votes with `tie`.
Dropped and counted, as properties of the release and not damage: `empty_answer` (a model said nothing, in the last
turn), `empty_question` (the last shared turn of the user is blank), and `different_questions` (the conversations'
user turns differ, so that the answers are to different things).

In MT-bench a vote is about one `turn` of fixed questions:

- The user is `user_id`, else `judge`: a name, or a list that begins with it (`["gpt-4", "pair-v2"]`, as MT-bench's own
  tools write judges). Judges that a row's form shows to be models are named in a note: they are users like others here.
- Both conversations are cut to the judged turn (n turns of the user and n answers): what came later was not judged.
  A conversation that ends before the judged turn makes a bad row.
- `conversation_id` is the question's id: questions are fixed, and no question may be in two parts of a split.
- `pair_id` is `judgment_id`. Rows without one get a hash of judge, question, turn, models, winner and texts: a
  judge may have voted on the same models twice, and both votes must keep an id, whatever the sequence of the rows.
- There are no times, so that users' pairs are ordered by question, turn and id.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

from personalrm.core.files import stable_hash
from personalrm.data.settings import ArenaDataset, MtBenchDataset
from personalrm.data.sources.fields import Advice, FieldError, Id, Row, SoundRow, checked, fields_named, shown
from personalrm.data.sources.reading import ReadReport, read_release, require_columns
from personalrm.data.sources.votes import Vote, parse_vote, user_of

Message = tuple[str, str]
"""Role and text."""

_BOTH = ("question_id", "winner", "conversation_a", "conversation_b", "turn")
_ARENA = (*_BOTH, "judge", "tstamp")
_MODELS = ("model_a", "model_b")
_KNOWN_ARENA = frozenset({*_ARENA, *_MODELS, "anony", "language", "openai_moderation", "toxic_chat_tag"})
_KNOWN_MTBENCH = frozenset({*_BOTH, *_MODELS, "judge", "user_id", "judgment_id"})

_INCONSISTENT = "tie (inconsistent)"
"""Word of a model judge that changed its mind with the order of the answers."""
_WINNERS = {"model_a": "a", "model_b": "b", "tie": "tie"}
_NAMES = {
    "pair_id": "judgment_id",
    "timestamp": "tstamp",
    "context": "conversation_a",
    "response_a": "conversation_a",
    "response_b": "conversation_b",
}


def read_arena(settings: ArenaDataset, report: ReadReport) -> Iterator[Vote]:
    """Yield the votes of Arena's files (Parquet or JSON lines), ties included; see the module for the rules.

    `user_id` is `judge`, `pair_id` and `conversation_id` are `question_id`, `timestamp` is `tstamp` (Unix seconds).
    Raises DataError for no files, a missing column, a broken file, and bad rows (`on_bad="error"`): no judge, no
    question id, no time, an unknown winner or role, turns out of sequence, a `turn` that is not the number of the
    user's turns (the vote would then be about something else).
    """

    def parse(row: Row, line: int) -> Iterable[Vote] | str:
        require_columns(row, _ARENA)
        user = _user(row)
        a, b = (_conversation(row, name) for name in ("conversation_a", "conversation_b"))
        if row["turn"] != len(a) // 2:
            raise FieldError(
                "turn",
                f"is {shown(row['turn'])}, but conversation_a has {len(a) // 2} turns of the user",
                "the vote must be about the whole conversation: cut it, or restore it",
            )
        local, unusable = _local_row(row, _WINNERS | {"tie (bothbad)": "tie"}, a, b)
        if row["tstamp"] is None:
            raise FieldError("tstamp", "is null", "restore it, or remove the row")
        own = {"user_id": user, "pair_id": local["conversation_id"], "timestamp": row["tstamp"]}
        return unusable or (_vote(local | own, line),)

    return read_release(settings, parse, report, known=_KNOWN_ARENA, user=_user)


def read_mtbench(settings: MtBenchDataset, report: ReadReport) -> Iterator[Vote]:
    """Yield the votes of MT-bench's files (Parquet or JSON lines), ties included; see the module for the rules.

    Raises DataError for no files, a missing column, a broken file, and bad rows (`on_bad="error"`): no judge, no
    question id, neither judgment id nor models, an unknown winner or role, turns out of sequence, a judged turn that
    the conversations do not have. Model judges are named in `report.notes`.
    """
    judges: set[str] = set()

    def parse(row: Row, line: int) -> Iterable[Vote] | str:
        named = row.get("judgment_id") is not None
        require_columns(row, (*_BOTH, *(() if "user_id" in row else ("judge",)), *(() if named else _MODELS)))
        local, unusable = local_vote(row)
        models = [] if named else [_model(row, name) for name in _MODELS]
        if isinstance(row.get("judge"), list) or row["winner"] == _INCONSISTENT:
            judges.add(_judge(row))
        if unusable:
            return unusable
        vote = _vote(local, line)
        parts = (vote.user_id, vote.conversation_id, vote.turn, *models, vote.tie, vote.content_hash)
        return (vote if named else replace(vote, pair_id=stable_hash("mtbench", *map(str, parts))[:16]),)

    yield from read_release(settings, parse, report, known=_KNOWN_MTBENCH, user=_judge)
    if judges:
        report.notes.append(
            f"Votes of models, not of people, are among the data (judges written as lists, or {_INCONSISTENT}): "
            f"{len(judges)} judges: {', '.join(sorted(judges)[:5])}."
        )


class LocalRow(NamedTuple):
    """A row in the local format, and the reason to leave a sound row out (None: it is a vote)."""

    fields: dict[str, object]
    unusable: str | None


def local_vote(row: Row) -> LocalRow:
    """A row of MT-bench in the local format (config/README.md), and the reason to leave it out.

    `pair_id` is None without `judgment_id`. Raises FieldError for the first thing that is wrong, except for what
    `parse_vote` will find; KeyError where a column of both releases is missing.
    """
    a, b = (_judged(row, name) for name in ("conversation_a", "conversation_b"))
    local, unusable = _local_row(row, _WINNERS | {_INCONSISTENT: "tie"}, a, b)
    return LocalRow(local | {"user_id": _judge(row), "pair_id": row.get("judgment_id")}, unusable)


def shared_beginning(a: Sequence[Message], b: Sequence[Message]) -> int:
    """Number of messages that both begin with, up to and with a turn of the user, if the user's turns are the same."""
    shared = 1
    while shared + 1 < min(len(a), len(b)) and a[shared] == b[shared]:
        shared += 2
    return shared


def transcript(rest: Sequence[Message]) -> str:
    """A single answer as it is; an answer, a question and an answer as blocks."""
    if len(rest) == 1:
        return rest[0][1]
    return "\n\n".join(f"[{role}]: {text}" for role, text in rest)


class _Battle(SoundRow):
    question_id: Id


def _local_row(row: Row, winners: Mapping[str, str], a: Sequence[Message], b: Sequence[Message]) -> LocalRow:
    """A vote on the conversations `a` and `b` in the local format, without its user.

    `winners` maps the release's words for `winner` to ours. Raises FieldError for a wrong question id or winner.
    """
    question = checked(_Battle, row, Advice("restore it, or remove the row")).question_id
    winner, shared = row["winner"], shared_beginning(a, b)
    if not isinstance(winner, str) or winner not in winners:
        raise FieldError("winner", f"is {shown(winner)}", f"write one of {', '.join(winners)}")
    unusable = None
    if a[::2] != b[::2]:
        unusable = "different_questions"
    elif not a[shared - 1][1].strip():
        unusable = "empty_question"
    elif not (a[-1][1].strip() and b[-1][1].strip()):
        unusable = "empty_answer"
    local = {
        "conversation_id": question,
        "turn": row["turn"],
        "winner": winners[winner],
        "context": [{"role": role, "content": text} for role, text in a[:shared]],
        "response_a": transcript(a[shared:]),
        "response_b": transcript(b[shared:]),
    }
    return LocalRow(local, unusable)


def _vote(local: Row, line: int) -> Vote:
    with fields_named(_NAMES):
        return parse_vote(local, line)


def _conversation(row: Row, name: str) -> list[Message]:
    """Roles and texts of a field: turns of the user and answers in alternation, at least one of each, or FieldError."""
    value = row[name]
    if not isinstance(value, list) or not value:
        raise FieldError(name, "is not a list of messages, or an empty one", "restore the conversation")
    messages = []
    for number, message in enumerate(value):
        role, text = (message.get("role"), message.get("content")) if isinstance(message, dict) else (None, None)
        due = ("user", "assistant")[number % 2]
        if role != due:
            problem = f"is {shown(role)} where {due!r} is due"
            raise FieldError(f"{name}[{number}].role", problem, "restore the conversation")
        if not isinstance(text, str):
            raise FieldError(f"{name}[{number}].content", "is not a string", "restore the text")
        messages.append((due, text))
    if len(messages) % 2:
        raise FieldError(name, "ends without an answer", "restore the conversation")
    return messages


def _judged(row: Row, name: str) -> list[Message]:
    """A conversation, cut to the judged turn."""
    messages, turn = _conversation(row, name), row["turn"]
    turns = len(messages) // 2
    if isinstance(turn, bool) or not isinstance(turn, int) or not 1 <= turn <= turns:
        raise FieldError(
            "turn",
            f"is {shown(turn)}, but {name} has {turns} turns of the user",
            "write the number of the judged turn, from 1, or restore the conversation",
        )
    return messages[: 2 * turn]


def _user(row: Row, name: str = "judge") -> str:
    with fields_named({"user_id": name}):
        return user_of({"user_id": row.get(name)})


def _judge(row: Row) -> str:
    """The user of a row of MT-bench."""
    name = "judge" if row.get("user_id") is None else "user_id"
    value = row.get(name)
    if value == []:
        raise FieldError(name, "is an empty list", "write the judge's name")
    return _user({name: value[0] if isinstance(value, list) else value}, name)


def _model(row: Row, name: str) -> str:
    value = row[name]
    if not isinstance(value, str) or not value.strip():
        raise FieldError(name, "is not a name, and there is no judgment_id", "give the model's name, or a judgment_id")
    return value
