"""Reader of PRISM's raw release (Kirk et al. 2024): ratings of answers become votes, with the users' survey.

`conversations.jsonl`, one conversation per row, is streamed. Fields: the release's codebook. Which pairs make a vote:
`prism_conversation`; what is kept of the survey: `prism_survey`.
"""

from __future__ import annotations

from collections.abc import Iterator
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
from personalrm.data.sources.reading import ReadReport, read_file
from personalrm.data.sources.votes import Vote

Rating = Annotated[float, Field(ge=1, le=100)]


class _Prompt(SoundRow):
    """A message of the user in a conversation's history."""

    role: Literal["user", "model"]
    turn: Number
    content: Text


class _Reply(_Prompt):
    """A model's answer in a conversation's history."""

    within_turn_id: Number
    score: Rating | None
    if_chosen: bool


class _ConversationRow(SoundRow):
    """The columns of `conversations.jsonl` that are read."""

    conversation_id: Id
    user_id: Id
    conversation_type: Text | None
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


CONVERSATION_FIELDS = frozenset(
    {*_ConversationRow.model_fields, "opening_prompt", "conversation_turns", "included_in_balanced_subset"}
    | {"open_feedback", "performance_attributes", "choice_attributes", "timing_duration_s", "timing_duration_mins"}
)
"""Columns of `conversations.jsonl`."""

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


def read_prism(settings: PrismDataset, report: ReadReport) -> Iterator[Vote]:
    """Yield the votes of a release in its order of conversations; `report` is filled on the way.

    A wrong field (a rating of 0, 101 or "7", an unknown role, two chosen answers with different texts, a column that
    is not there) makes its row bad: `settings.on_bad` stops the run there, or drops the whole conversation
    and counts it. `report.dropped` counts the pairs that make no vote by `DROP_REASONS`. Users whom the survey does not
    know keep their votes; `report.notes` says how many they are. `report.users` has all users with a conversation.

    Raises DataError for bad data, and whatever `on_bad` if all rows of a file are bad: the release has changed.
    """
    table, survey = settings.source_files()
    surveys = read_survey(survey, settings.on_bad, report)

    def parse(row: Row, line: int) -> Iterator[Vote]:
        conversation = _conversation(row, line)
        report.users.add(conversation.user_id)
        answers = surveys.get(conversation.user_id, {})
        return conversation.votes(settings.min_rating_gap, answers, report.dropped)

    yield from read_file(table, parse, known=CONVERSATION_FIELDS, on_bad=settings.on_bad, report=report)
    refuse_all_bad(table, report)
    unknown = sorted(report.users - surveys.keys())
    if unknown:
        report.notes.append(
            f"Users not in {survey.name}: {len(unknown)} (first: {shown(unknown[0])}); they keep their votes."
        )


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
