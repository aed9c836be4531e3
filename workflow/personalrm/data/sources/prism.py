"""Reader of PRISM's raw release (Kirk et al. 2024): ratings of answers become votes, with the users' survey.

Two tables hold the same answers: `conversations.jsonl`, a conversation a row, is streamed; of `utterances.jsonl`, an
answer a row, all answers are held in memory until the file ends, as rows of one conversation need not be
adjacent. The second has no times, so that its votes have none. Fields: the release's codebook. What makes a vote:
`prism_conversation`; what is kept of the survey: `prism_survey`. Only the standard library is imported here.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from personalrm.data.settings import PrismDataset
from personalrm.data.sources.prism_conversation import Conversation, answer_of, start_conversation, whole_number
from personalrm.data.sources.prism_survey import (
    FETCH_AGAIN,
    identifier,
    read_survey,
    refuse_all_bad,
    required,
    shown,
    text_of,
)
from personalrm.data.sources.reading import OnBad, ReadReport, read_file
from personalrm.data.sources.votes import FieldError, Row, Vote

CONVERSATION_FIELDS = frozenset(
    {"conversation_id", "user_id", "conversation_type", "conversation_history", "generated_datetime"}
    | {"opening_prompt", "conversation_turns", "included_in_balanced_subset", "open_feedback"}
    | {"performance_attributes", "choice_attributes", "timing_duration_s", "timing_duration_mins"}
)
"""Columns of `conversations.jsonl`; those of the first line are used."""

UTTERANCE_FIELDS = frozenset(
    {"conversation_id", "user_id", "conversation_type", "turn", "within_turn_id", "user_prompt", "model_response"}
    | {"score", "if_chosen"}
    | {"utterance_id", "interaction_id", "included_in_balanced_subset", "model_name", "model_provider"}
)
"""Columns of `utterances.jsonl`; those of the first two lines are used."""

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
    required(row, "generated_datetime")
    history = required(row, "conversation_history")
    if not isinstance(history, list) or not history:
        raise FieldError("conversation_history", f"is {shown(history)}, not a list of messages", FETCH_AGAIN)
    conversation = start_conversation(row, line)
    for place, entry in enumerate(history):
        _add_entry(conversation, entry, f"conversation_history[{place}]")
    for number, turn in conversation.turns.items():
        if turn.prompt is None:
            raise FieldError("conversation_history", f"has answers in turn {number} but no prompt", FETCH_AGAIN)
    return conversation


def _add_entry(conversation: Conversation, entry: object, path: str) -> None:
    if not isinstance(entry, dict):
        raise FieldError(path, f"is {shown(entry)}, not an object", FETCH_AGAIN)
    where = f"{path}."
    role = required(entry, "role", where)
    number = whole_number(entry, "turn", where)
    if role == "user":
        prompt = text_of(required(entry, "content", where), f"{where}content")
        conversation.add_prompt(number, prompt, f"{where}content")
    elif role == "model":
        within = whole_number(entry, "within_turn_id", where)
        conversation.add_answer(number, within, answer_of(entry, "content", where), where)
    else:
        raise FieldError(f"{where}role", f"is {shown(role)}, neither user nor model", FETCH_AGAIN)


def _read_utterances(path: Path, votes_of: MakeVotes, on_bad: OnBad, report: ReadReport) -> Iterator[Vote]:
    conversations: dict[str, Conversation] = {}
    sound: Counter[str] = Counter()
    bad: set[str] = set()

    def parse(row: Row, line: int) -> tuple[Vote, ...]:
        conversation_id = identifier(row, "conversation_id")
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
    new = start_conversation(row, line)
    number, within = whole_number(row, "turn"), whole_number(row, "within_turn_id")
    prompt = text_of(required(row, "user_prompt"), "user_prompt")
    answer = answer_of(row, "model_response", "")
    conversation = conversations.setdefault(new.conversation_id, new)
    for name, mine, theirs in (
        ("user_id", new.user_id, conversation.user_id),
        ("conversation_type", new.kind, conversation.kind),
    ):
        if mine != theirs:
            raise FieldError(name, f"is {shown(mine)}, but {shown(theirs)} in line {conversation.line}", FETCH_AGAIN)
    conversation.add_prompt(number, prompt, "user_prompt")
    conversation.add_answer(number, within, answer, "")
