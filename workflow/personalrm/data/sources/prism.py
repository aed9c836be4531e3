"""Reader of PRISM's raw release (Kirk et al. 2024): ratings of answers become votes, with the users' survey.

`conversations.jsonl`, one conversation per row, is streamed. Fields: the release's codebook.

Rules (paper app. B.1 as reported: all pairs of a turn's rated answers, less those whose ratings differ by less than
10 %; the rest is ours): the answer with the higher rating is chosen; the context is the chosen branch up to and
including the turn's prompt; a pair that makes no vote is counted under exactly one reason (`DROP_REASONS`).
"""

from __future__ import annotations

import json
import math
from collections import Counter, deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path
from typing import Annotated, Literal, cast

from pydantic import AfterValidator, Discriminator, Field, Tag

from personalrm.core.errors import DataError
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
    utf8,
)
from personalrm.data.sources.reading import MAX_PROBLEMS, OnBad, ReadReport, read_file
from personalrm.data.sources.times import unix_seconds
from personalrm.data.sources.votes import Vote

DROP_REASONS: Mapping[str, str] = {
    "no_context": "an earlier turn is absent, has no chosen answer, or an empty prompt or chosen answer",
    "empty_prompt": "the turn's prompt is blank or the release's word for an empty text",
    "empty_answer": "one of the two answers is blank or the release's word for an empty text",
    "unrated": "one of the two ratings is null",
    "equal_rating": "both ratings are the same",
    "rating_gap": "the ratings differ by less than min_rating_gap points, and are not the same",
}
"""Why a pair of answers makes no vote; the first reason that applies is counted."""

SURVEY_FIELDS: tuple[str, ...] = (
    "self_description",
    "system_string",
    "stated_prefs",
    "age",
    "gender",
    "employment_status",
    "education",
    "marital_status",
    "english_proficiency",
    "study_locale",
    "religion",
    "ethnicity",
    "location",
    "lm_familiarity",
    "lm_indirect_use",
    "lm_direct_use",
    "lm_frequency_use",
    "lm_usecases",
)
"""What is kept: all that users said about themselves and about language models (our choice; the paper does not say)."""

_LEFT_OUT = frozenset(
    {"survey_only", "num_completed_conversations", "timing_duration_s", "timing_duration_mins", "generated_datetime"}
    | {"consent", "consent_age", "study_id", "order_lm_usecases", "order_stated_prefs"}
    | {"included_in_US_REP", "included_in_UK_REP", "included_in_balanced_subset"}
)
"""What is not: how and when the survey was taken."""

_FETCH_AGAIN = "fetch the release again, or correct the file"
_ADVICE = Advice(
    otherwise=_FETCH_AGAIN,
    missing=("is missing: the release has changed, or this is another file", "pin the revision, or correct path"),
    expected={
        "score": "a rating from 1 to 100",
        "turn": "a whole number from 0",
        "within_turn_id": "a whole number from 0",
        "role": "user or model",
    },
)
_EMPTY_TEXT = "EMPTY STRING"
"""What the release (codebook, model_response) writes for an answer or a prompt without text."""


class _Prompt(SoundRow):
    """A message of the user in a conversation's history."""

    role: Literal["user", "model"]
    turn: Number
    content: Text

    @property
    def empty(self) -> bool:
        return self.content.strip() in ("", _EMPTY_TEXT)


class _Reply(_Prompt):
    """A model's answer in a conversation's history."""

    within_turn_id: Number
    score: Annotated[float, Field(ge=1, le=100)] | None
    if_chosen: bool


class _Surveyed(SoundRow):
    user_id: Id


class _Conversation(SoundRow):
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


_KNOWN = frozenset(
    {*_Conversation.model_fields, "opening_prompt", "conversation_turns", "included_in_balanced_subset"}
    | {"open_feedback", "performance_attributes", "choice_attributes", "timing_duration_s", "timing_duration_mins"}
)
"""Columns of `conversations.jsonl`."""


def read_prism(settings: PrismDataset, report: ReadReport) -> Iterator[Vote]:
    """Yield the votes of a release in its order of conversations; `report` is filled on the way.

    A wrong field (a rating of 0, 101 or "7", an unknown role, two chosen answers with different texts, a column that
    is not there) makes its row bad: `settings.on_bad` stops the run there, or drops the whole conversation
    and counts it. `report.dropped` counts the pairs that make no vote by `DROP_REASONS`. Users who are not in the
    survey keep their votes; `report.notes` gives their number. `report.users` has all users with a conversation.

    Raises DataError for bad data, and whatever `on_bad` if all rows of a file are bad: the release has changed.
    """
    table, survey = settings.source_files()
    surveys = _read_survey(survey, settings.on_bad, report)

    def parse(row: Row, line: int) -> Iterator[Vote]:
        conversation = checked(_Conversation, row, _ADVICE)
        turns = _turns(conversation)
        report.users.add(conversation.user_id)
        answers = surveys.get(conversation.user_id, {})
        return _votes(conversation, turns, line, answers, settings.min_rating_gap, report.dropped)

    yield from read_file(table, parse, report, known=_KNOWN, on_bad=settings.on_bad)
    _refuse_all_bad(table, report)
    unknown = sorted(report.users - surveys.keys())
    if unknown:
        report.notes.append(
            f"Users not in {survey.name}: {len(unknown)} (first: {shown(unknown[0])}); they keep their votes."
        )


@dataclass
class _Turn:
    """A prompt of the user and the answers to it by `within_turn_id`."""

    prompt: _Prompt | None = None
    answers: dict[int, _Reply] = field(default_factory=dict)

    @property
    def chosen(self) -> _Reply | None:
        """The answer with which the conversation went on.

        The release marks every answer whose text equals that of the chosen one (27,437 marks in 27,172 turns), so
        that several may be marked, with one text.
        """
        return next((answer for answer in self.answers.values() if answer.if_chosen), None)


def _turns(conversation: _Conversation) -> list[tuple[int, _Turn]]:
    """Turns by number. Raises FieldError for two prompts in a turn, an answer that is there twice, two texts that
    are chosen, and answers without a prompt."""
    turns: dict[int, _Turn] = {}
    for place, said in enumerate(conversation.conversation_history):
        turn, where = turns.setdefault(said.turn, _Turn()), f"conversation_history[{place}]"
        named = f"turn {said.turn} of conversation {shown(conversation.conversation_id)}"
        if not isinstance(said, _Reply):
            if turn.prompt and turn.prompt.content != said.content:
                raise FieldError(f"{where}.content", f"is not the prompt that {named} has elsewhere", _FETCH_AGAIN)
            turn.prompt = said
            continue
        if said.within_turn_id in turn.answers:
            raise FieldError(f"{where}.within_turn_id", f"{said.within_turn_id} stands twice in {named}", _FETCH_AGAIN)
        if said.if_chosen and turn.chosen and turn.chosen.content != said.content:
            raise FieldError(
                f"{where}.if_chosen",
                f"is true, but another answer is chosen in {named}, with another text",
                f"which way the conversation went is unknown: {_FETCH_AGAIN}",
            )
        turn.answers[said.within_turn_id] = said
    for number, turn in turns.items():
        if turn.prompt is None:
            raise FieldError("conversation_history", f"has answers in turn {number} but no prompt", _FETCH_AGAIN)
    return sorted(turns.items())


def _votes(
    conversation: _Conversation,
    turns: list[tuple[int, _Turn]],
    line: int,
    survey: Mapping[str, str],
    min_rating_gap: float,
    dropped: Counter[str],
) -> Iterator[Vote]:
    """Votes by turn and `within_turn_id`; pairs that make none are counted in `dropped` (`DROP_REASONS`)."""
    context: tuple[tuple[str, str], ...] = ()
    intact = True
    for place, (number, turn) in enumerate(turns):
        assert turn.prompt is not None
        intact = intact and number == place
        unusable = "no_context" if not intact else "empty_prompt" if turn.prompt.empty else ""
        asked = (*context, ("user", turn.prompt.content))
        for (a, first), (b, second) in combinations(sorted(turn.answers.items()), 2):
            reason = unusable or _no_preference(first, second, min_rating_gap)
            if reason:
                dropped[reason] += 1
                continue
            chosen, rejected = (first, second) if (first.score or 0) > (second.score or 0) else (second, first)
            yield Vote(
                user_id=conversation.user_id,
                context=asked,
                chosen=chosen.content,
                rejected=rejected.content,
                pair_id=f"{conversation.conversation_id}-{number}-{a}-{b}",
                conversation_id=conversation.conversation_id,
                turn=number,
                # Unix seconds after validation.
                timestamp=cast("float | None", conversation.generated_datetime),
                survey=survey,
                line=line,
                conversation_type=conversation.conversation_type,
            )
        if turn.prompt.empty or turn.chosen is None or turn.chosen.empty:
            intact = False
        context = (*asked, ("assistant", turn.chosen.content if turn.chosen else ""))


def _no_preference(first: _Reply, second: _Reply, min_rating_gap: float) -> str:
    """Why two answers of one turn state no preference, "" where they do."""
    if first.empty or second.empty:
        return "empty_answer"
    if first.score is None or second.score is None:
        return "unrated"
    if first.score == second.score:
        return "equal_rating"
    return "rating_gap" if abs(first.score - second.score) < min_rating_gap else ""


def _read_survey(path: Path, on_bad: OnBad, report: ReadReport) -> dict[str, dict[str, str]]:
    """Survey answers by user: texts as in the file, numbers as in JSON, parts of an answer as `religion.simplified`.

    Answers that are null are left out. Bad rows stop the run, or are dropped and counted in `report`
    (`bad_survey_row`); of a user with two different rows none is kept. The users are not added to `report.users`:
    a user without a conversation is not a user of the benchmark. Raises DataError for bad data.
    """
    surveys: dict[str, dict[str, str]] = {}
    ambiguous: set[str] = set()

    def parse(row: Row, _: int) -> tuple[Vote, ...]:
        user = checked(_Surveyed, row, _ADVICE).user_id
        if not any(name in row for name in SURVEY_FIELDS):
            raise FieldError(SURVEY_FIELDS[0], *_ADVICE.missing)
        answers = dict(pair for name in SURVEY_FIELDS for pair in _flat(name, row.get(name)))
        if user in ambiguous or surveys.setdefault(user, answers) != answers:
            ambiguous.add(user)
            raise FieldError("user_id", "has another row with other answers", "keep one row per user")
        return ()

    own = ReadReport()
    deque(read_file(path, parse, own, known={"user_id", *SURVEY_FIELDS, *_LEFT_OUT}, on_bad=on_bad), maxlen=0)
    if not own.lines:
        raise DataError(f"{path}: no rows in the file; {_FETCH_AGAIN}")
    _refuse_all_bad(path, own)
    report.ignored.update({f"survey.{name}": count for name, count in own.ignored.items()})
    report.problems += [f"survey, {problem}" for problem in own.problems[: MAX_PROBLEMS - len(report.problems)]]
    if own.bad:
        report.dropped["bad_survey_row"] += own.bad
    return {user: answers for user, answers in surveys.items() if user not in ambiguous}


def _flat(name: str, value: object) -> Iterator[tuple[str, str]]:
    """Question and answer, of an object those of its parts."""
    if isinstance(value, Mapping):
        for part, inner in value.items():
            yield from _flat(f"{name}.{utf8(part, name, _FETCH_AGAIN)}", inner)
    elif isinstance(value, str):
        yield name, utf8(value, name, _FETCH_AGAIN)
    elif isinstance(value, list) or (isinstance(value, float) and not math.isfinite(value)):
        raise FieldError(name, f"is {shown(value)}, which no answer can be", _FETCH_AGAIN)
    elif value is not None:
        yield name, json.dumps(value)


def _refuse_all_bad(path: Path, report: ReadReport) -> None:
    """Raise DataError if all rows of a file are bad: then the file is wrong."""
    if report.lines and report.bad == report.lines:
        raise DataError(f"{path}: all {report.lines} rows are bad; the first: {report.problems[0]}")
