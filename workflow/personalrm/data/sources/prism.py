"""Reader of PRISM's raw release (Kirk et al. 2024): ratings of answers become votes, with the users' survey.

Two tables hold the same answers. `conversations.jsonl`, one conversation per row, is streamed. Of `utterances.jsonl`,
one answer per row, all answers are held in memory until the file ends, as rows of one conversation need not be
adjacent; it has no times, so that its votes have none. Fields: the release's codebook. Which pairs make a vote:
`prism_conversation`; what is kept of the survey: `prism_survey`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Annotated, Literal, cast

from pydantic import AfterValidator, Discriminator, Field, Tag

from personalrm.data.settings import PrismDataset
from personalrm.data.sources.fields import (
    BRANCHES,
    Advice,
    FieldError,
    Id,
    Number,
    Row,
    SoundRow,
    Text,
    checked,
    shown,
    unix_seconds,
)
from personalrm.data.sources.prism_conversation import Answer, Conversation
from personalrm.data.sources.prism_survey import FETCH_AGAIN, MISSING, read_survey, refuse_all_bad
from personalrm.data.sources.reading import OnBad, ReadReport, read_file
from personalrm.data.sources.votes import Vote

Rating = Annotated[float, Field(ge=1, le=100)]


class _Rated(SoundRow):
    within_turn_id: Number
    score: Rating | None
    if_chosen: bool


class _Prompt(SoundRow):
    """A message of the user in a conversation's history."""

    role: Literal["user", "model"]
    turn: Number
    content: Text


class _Reply(_Prompt, _Rated):
    """A model's answer in a conversation's history."""


class _Owned(SoundRow):
    conversation_id: Id


class _Named(_Owned):
    """The columns that both tables have."""

    user_id: Id
    conversation_type: Text | None


class _ConversationRow(_Named):
    """The columns of `conversations.jsonl` that are read."""

    conversation_history: Annotated[
        list[
            Annotated[
                Annotated[_Prompt, Tag(BRANCHES[0])] | Annotated[_Reply, Tag(BRANCHES[1])],
                Discriminator(lambda entry: BRANCHES[isinstance(entry, dict) and entry.get("role") == "model"]),
            ]
        ],
        Field(min_length=1),
    ]
    # Only the order of times matters: no zone is named, and UTC is taken.
    generated_datetime: Annotated[Text, AfterValidator(unix_seconds)] | None


class _UtteranceRow(_Named, _Rated):
    """The columns of `utterances.jsonl` that are read."""

    turn: Number
    user_prompt: Text
    model_response: Text


CONVERSATION_FIELDS = frozenset(
    {*_ConversationRow.model_fields, "opening_prompt", "conversation_turns", "included_in_balanced_subset"}
    | {"open_feedback", "performance_attributes", "choice_attributes", "timing_duration_s", "timing_duration_mins"}
)
"""Columns of `conversations.jsonl`."""

UTTERANCE_FIELDS = frozenset(
    {*_UtteranceRow.model_fields, "utterance_id", "interaction_id", "included_in_balanced_subset"}
    | {"model_name", "model_provider"}
)
"""Columns of `utterances.jsonl`."""

_ADVICE = Advice(
    otherwise=FETCH_AGAIN,
    missing=MISSING,
    expected={
        "score": "a rating from 1 to 100",
        "turn": "a whole number from 0",
        "within_turn_id": "a whole number from 0",
        "role": "user or model",
    },
)

MakeVotes = Callable[[Conversation], Iterable[Vote]]


def read_prism(settings: PrismDataset, report: ReadReport) -> Iterator[Vote]:
    """Yield the votes of a release in its order of conversations; `report` is filled on the way.

    A wrong field (a rating of 0, 101 or "7", an unknown role, two chosen answers with different texts, a column that
    is not there) makes its row bad: `settings.on_bad` stops the run there, or drops the whole conversation
    and counts it (in the second table with `row_of_bad_conversation`, its sound rows). `report.dropped` counts the
    pairs that make no vote by `DROP_REASONS`. Users whom the survey does not know keep their votes; how many they are
    is said in `report.notes`. `report.users` has all users with a conversation.

    Raises DataError for bad data, and whatever `on_bad` where all rows of a file are bad: the release has changed.
    """
    table, survey = settings.source_files()
    surveys = read_survey(survey, settings.on_bad, report)

    def votes_of(conversation: Conversation) -> Iterator[Vote]:
        answers = surveys.get(conversation.user_id, {})
        return conversation.votes(settings.min_rating_gap, answers, report.dropped)

    read = _read_utterances if settings.table == "utterances" else _read_conversations
    yield from read(table, votes_of, settings.on_bad, report)
    refuse_all_bad(table, report)
    unknown = sorted(report.users - surveys.keys())
    if unknown:
        report.notes.append(
            f"Users not in {survey.name}: {len(unknown)} (first: {shown(unknown[0])}); they keep their votes."
        )


def _read_conversations(path: Path, votes_of: MakeVotes, on_bad: OnBad, report: ReadReport) -> Iterator[Vote]:
    def parse(row: Row, line: int) -> Iterable[Vote]:
        conversation = _conversation(row, line)
        report.users.add(conversation.user_id)
        return votes_of(conversation)

    return read_file(path, parse, known=CONVERSATION_FIELDS, on_bad=on_bad, report=report)


def _conversation(row: Row, line: int) -> Conversation:
    """A row of `conversations.jsonl`. Raises FieldError for the first thing that is wrong."""
    sound = checked(_ConversationRow, row, _ADVICE)
    # Times are Unix seconds after validation.
    time = cast("float | None", sound.generated_datetime)
    conversation = Conversation(sound.conversation_id, sound.user_id, sound.conversation_type, time, line)
    for place, entry in enumerate(sound.conversation_history):
        where = f"conversation_history[{place}]."
        if isinstance(entry, _Reply):
            answer = Answer(entry.content, entry.score, entry.if_chosen)
            conversation.add_answer(entry.turn, entry.within_turn_id, answer, where)
        else:
            conversation.add_prompt(entry.turn, entry.content, f"{where}content")
    for number, turn in conversation.turns.items():
        if turn.prompt is None:
            raise FieldError("conversation_history", f"has answers in turn {number} but no prompt", FETCH_AGAIN)
    return conversation


def _read_utterances(path: Path, votes_of: MakeVotes, on_bad: OnBad, report: ReadReport) -> Iterator[Vote]:
    conversations: dict[str, Conversation] = {}
    sound: Counter[str] = Counter()
    bad: set[str] = set()

    def parse(row: Row, line: int) -> tuple[Vote, ...]:
        conversation_id = checked(_Owned, row, _ADVICE).conversation_id
        try:
            _add_utterance(conversations, row, line)
        except FieldError:
            # Else what is left of the conversation would pass for the whole.
            bad.add(conversation_id)
            raise
        report.users.add(conversations[conversation_id].user_id)
        sound[conversation_id] += 1
        return ()

    yield from read_file(path, parse, known=UTTERANCE_FIELDS, on_bad=on_bad, report=report)
    for conversation_id, conversation in conversations.items():
        if conversation_id in bad:
            report.dropped["row_of_bad_conversation"] += sound[conversation_id]
            continue
        votes = list(votes_of(conversation))
        report.votes += len(votes)
        yield from votes


def _add_utterance(conversations: dict[str, Conversation], row: Row, line: int) -> None:
    """Add a row of `utterances.jsonl` to its conversation. Raises FieldError for the first thing that is wrong."""
    sound = checked(_UtteranceRow, row, _ADVICE)
    new = Conversation(sound.conversation_id, sound.user_id, sound.conversation_type, None, line)
    conversation = conversations.setdefault(new.conversation_id, new)
    for name, mine, theirs in (
        ("user_id", new.user_id, conversation.user_id),
        ("conversation_type", new.kind, conversation.kind),
    ):
        if mine != theirs:
            raise FieldError(name, f"is {shown(mine)}, but {shown(theirs)} in line {conversation.line}", FETCH_AGAIN)
    conversation.add_prompt(sound.turn, sound.user_prompt, "user_prompt")
    answer = Answer(sound.model_response, sound.score, sound.if_chosen)
    conversation.add_answer(sound.turn, sound.within_turn_id, answer, "")
