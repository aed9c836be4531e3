"""Invented rows in the format of PRISM's raw release, and a release of them on disk."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from personalrm.data.settings import PrismDataset
from personalrm.data.sources.prism import read_prism
from personalrm.data.sources.reading import ReadReport
from personalrm.data.sources.votes import Vote

from .vote_rows import Row, write_rows


def says(turn: int, text: str) -> Row:
    """A message of the user."""
    return {"turn": turn, "role": "user", "content": text}


def answer(turn: int, within: int, text: str, score: object, chosen: object = False) -> Row:
    """A rated answer."""
    return {
        "turn": turn,
        "role": "model",
        "content": text,
        "model_name": f"m{within}",
        "model_provider": "invented",
        "score": score,
        "if_chosen": chosen,
        "within_turn_id": within,
    }


def conversation(name: str, user: str, history: Sequence[object], **changes: object) -> Row:
    """A row of `conversations.jsonl`."""
    base: Row = {
        "conversation_id": name,
        "user_id": user,
        "included_in_balanced_subset": True,
        "conversation_type": "unguided",
        "opening_prompt": "unused",
        "conversation_turns": 1,
        "conversation_history": list(history),
        "performance_attributes": {"values": 50, "fluency": None},
        "choice_attributes": {"values": None},
        "open_feedback": "unused",
        "generated_datetime": "2023-12-01 10:00:00",
        "timing_duration_s": 600.0,
        "timing_duration_mins": 10.0,
    }
    return base | changes


def survey_row(user: str, **changes: object) -> Row:
    """A row of `survey.jsonl`."""
    base: Row = {
        "user_id": user,
        "survey_only": False,
        "num_completed_conversations": 2,
        "timing_duration_s": 900,
        "generated_datetime": "2023-11-30 09:00:00",
        "consent": "Yes",
        "study_id": "s1",
        "study_locale": "gb",
        "self_description": "I keep bees. ",
        "age": "35-44 years old",
        "lm_frequency_use": None,
        "religion": {"self_described": "none", "categorised": None, "simplified": "No Affiliation"},
        "stated_prefs": {"values": 40, "safety": 87.5, "other_text": None},
        "order_stated_prefs": {"values": 3},
    }
    return base | changes


SURVEY = {
    "study_locale": "gb",
    "self_description": "I keep bees. ",
    "age": "35-44 years old",
    "religion.self_described": "none",
    "religion.simplified": "No Affiliation",
    "stated_prefs.values": "40",
    "stated_prefs.safety": "87.5",
}
"""What `survey_row` becomes."""


TEA = conversation(
    "c1",
    "u1",
    [
        says(0, "Which tea?"),
        answer(0, 0, "green", 90, chosen=True),
        answer(0, 1, "black", 85),
        answer(0, 2, "mint", 40),
        answer(0, 3, "rooibos", 40),
        says(1, "How hot?"),
        answer(1, 0, "boiling", 30),
        answer(1, 1, "warm", 70, chosen=True),
        says(2, "Thanks"),
        answer(2, 0, "Bye", 55),
        answer(2, 1, "Welcome", 65, chosen=True),
    ],
)
NO_CHOICE = conversation(
    "c2",
    "u2",
    [
        says(0, "Go on"),
        answer(0, 0, "a", 10),
        answer(0, 1, "b", 99),
        says(1, "More"),
        answer(1, 0, "c", 1),
        answer(1, 1, "d", 100, chosen=True),
    ],
    conversation_type="values guided",
)
HOLES = conversation(
    "c3",
    "u2",
    [
        says(0, "Say it"),
        answer(0, 0, "x", 60, chosen=True),
        answer(0, 1, "EMPTY STRING", 5),
        answer(0, 2, "y", None),
        says(1, " \n"),
        answer(1, 0, "p", 1),
        answer(1, 1, "q", 100, chosen=True),
        says(2, "Then"),
        answer(2, 0, "r", 1),
        answer(2, 1, "s", 100, chosen=True),
    ],
)
INDIFFERENT = conversation("c4", "u3", [says(0, "Hm"), answer(0, 0, "k", 50, chosen=True), answer(0, 1, "l", 50)])
SMALL = [TEA, NO_CHOICE, HOLES, INDIFFERENT]
"""Conversations with every reason to drop a pair; their votes are worked out in the tests."""


def write_release(
    folder: Path, rows: Iterable[object], survey: Iterable[object] | None = None, **options: object
) -> PrismDataset:
    """Write conversations and the survey, and return the entry of the config that names them."""
    folder.mkdir(parents=True, exist_ok=True)
    write_rows(folder / "conversations.jsonl", rows)
    write_rows(folder / "survey.jsonl", [survey_row("u1"), survey_row("u2")] if survey is None else survey)
    return PrismDataset.model_validate({"name": "p", "source": "prism", "path": folder, **options})


def read(
    folder: Path, conversations: Sequence[Row], survey: Iterable[object] | None = None, **options: object
) -> tuple[list[Vote], ReadReport]:
    return read_settings(write_release(folder, conversations, survey, **options))


def read_settings(settings: PrismDataset) -> tuple[list[Vote], ReadReport]:
    report = ReadReport()
    return list(read_prism(settings, report)), report


def plain(votes: Iterable[Vote]) -> list[Vote]:
    """Votes in a fixed sequence, without what depends on the sequence of rows."""
    bare = [replace(vote, line=0) for vote in votes]
    return sorted(bare, key=lambda vote: (vote.user_id, vote.own_id, vote.chosen))


def history_of(row: Row) -> list[Row]:
    """The messages of a conversation."""
    history = row["conversation_history"]
    assert isinstance(history, list)
    return history


def entry_of(row: Row, place: int) -> Row:
    """One message of a conversation."""
    return history_of(row)[place]
