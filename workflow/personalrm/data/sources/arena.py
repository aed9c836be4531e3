"""Reader of Chatbot Arena's raw release (`lmsys/chatbot_arena_conversations`; Zheng et al. 2023).

A row is one vote (`winner`) of one user (`judge`) on two conversations, held side by side: the user's turns are the
same in both, the answers are two models'. What is the context of a vote with several turns? The paper's
rule is not published; its data have one context and one message an answer, and "few multi-turn items". Ours is that of
`examples/convert_mtbench.py`:

- The context is the longest beginning that both conversations share, cut back to end with a turn of the user.
  For one turn it is the question, and the answers are the two answers, letter by letter.
- What follows is the answer. Where it spans several turns, it is a transcript in blocks "[role]: text".

The vote was given once, on the whole of both conversations. Comparing the last answers after the winner's
history would show a context that the loser never had (and tell the judge which answer belongs to it); comparing
the first answers alone would pin a vote on what may not have decided it; dropping such votes would
lose the votes of users with long conversations. The price: such answers are long, and hold turns of the user.

Kept: every language, votes with and without the models' names hidden (`anony`), and what a moderation filter
marked; nothing says that the paper dropped them. Ties, also `tie (bothbad)`, become votes with `tie`.
Dropped and counted, being properties of the release and no damage: `empty_answer` (a model said nothing, in the last
turn), `empty_question` (the last shared turn of the user is blank), and `different_questions` (the conversations'
user turns differ, so that the answers are to different things).
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

from personalrm.data.settings import ArenaDataset
from personalrm.data.sources.conversation_pairs import conversation, local_row
from personalrm.data.sources.fields import FieldError, Row, shown
from personalrm.data.sources.reading import ReadReport, fields_named, read_file, release_files, require_columns
from personalrm.data.sources.votes import Vote, parse_vote, user_of

REQUIRED = ("question_id", "judge", "winner", "conversation_a", "conversation_b", "turn", "tstamp")
"""Columns that are read."""

KNOWN = frozenset({*REQUIRED, "model_a", "model_b", "anony", "language", "openai_moderation", "toxic_chat_tag"})
"""Columns of the release."""

WINNERS = {"model_a": "a", "model_b": "b", "tie": "tie", "tie (bothbad)": "tie"}

_NAMES = {
    "user_id": "judge",
    "timestamp": "tstamp",
    "context": "conversation_a",
    "response_a": "conversation_a",
    "response_b": "conversation_b",
}


def read_arena(settings: ArenaDataset, report: ReadReport) -> Iterator[Vote]:
    """Yield the votes of the release's files (Parquet or JSON lines), ties included; see the module for the rules.

    `user_id` is `judge`, `pair_id` and `conversation_id` are `question_id`, `timestamp` is `tstamp` (Unix seconds).
    Raises DataError for no files, a missing column, a broken file, and bad rows (`on_bad="error"`): no judge, no
    question id, no time, an unknown winner or role, turns out of sequence, a `turn` that is not the number of the
    user's turns (the vote would then be about something else).
    """
    for path in release_files(settings):
        parse = partial(_parse, path=path, report=report)
        yield from read_file(path, parse, known=KNOWN, user=_judge, on_bad=settings.on_bad, report=report)


def _judge(row: Row) -> str:
    with fields_named(_NAMES):
        return user_of({"user_id": row.get("judge")})


def _parse(row: Row, line: int, *, path: Path, report: ReadReport) -> tuple[Vote, ...]:
    require_columns(row, REQUIRED, path)
    user = _judge(row)
    a, b = (conversation(row, name) for name in ("conversation_a", "conversation_b"))
    if row["turn"] != len(a) // 2:
        raise FieldError(
            "turn",
            f"is {shown(row['turn'])}, but conversation_a has {len(a) // 2} turns of the user",
            "the vote must be about the whole conversation: cut it, or restore it",
        )
    local, reason = local_row(row, WINNERS, a, b)
    if row["tstamp"] is None:
        raise FieldError("tstamp", "is null", "restore it, or remove the row")
    if reason:
        report.leave_out(user, reason)
        return ()
    with fields_named(_NAMES):
        own = {"user_id": user, "pair_id": local["conversation_id"], "timestamp": row["tstamp"]}
        return (parse_vote(local | own, line),)
