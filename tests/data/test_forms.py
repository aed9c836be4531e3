"""Votes in the forms in which people have them: each form of one vote is that vote, and what is odd is named."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from uuid import UUID

import numpy as np
import pandas as pd
import pytest

from personalrm.core.errors import DataError
from personalrm.data.sources.fields import FieldError
from personalrm.data.sources.forms import vote_of
from personalrm.data.sources.open import read_votes
from personalrm.data.sources.reading import OnBad, ReadReport

from .vote_rows import Row, row, without, write_rows

USER = {"role": "user", "content": "question 0"}
GOOD = {"role": "assistant", "content": "good answer 0"}
BAD = {"role": "assistant", "content": "bad answer 0"}
SYSTEM = {"role": "system", "content": "Be kind."}
ANSWERS = {"chosen": "good answer 0", "rejected": "bad answer 0"}
JUDGED = {"user_id": "u1", "context": [USER], "response_a": "good answer 0", "response_b": "bad answer 0"}


def parts(*texts: str) -> list[Row]:
    return [{"type": "text", "text": text} for text in texts]


SAME: dict[str, Row] = {
    "trl": {"user_id": "u1", "prompt": [USER], "chosen": [GOOD], "rejected": [BAD]},
    "trl implicit prompt": {"user_id": "u1", "chosen": [USER, GOOD], "rejected": [USER, BAD]},
    "ultrafeedback": {"user_id": "u1", "prompt": "question 0", "chosen": [USER, GOOD], "rejected": [USER, BAD]},
    "ultrafeedback with blanks": {
        "user_id": "u1", "prompt": [USER],
        "chosen": [USER | {"content": "question 0\n"}, GOOD], "rejected": [USER, BAD],
    },
    "prompt as text": {"user_id": "u1", "prompt": "question 0", **ANSWERS},
    "context as text": {"user_id": "u1", "context": "question 0", **ANSWERS},
    "context as blocks": {"user_id": "u1", "context": "[user]: question 0", **ANSWERS},
    "context as JSON text": row("u1", context=json.dumps([USER])),
    "turns as Python prints them": row("u1", context=str([USER]), chosen=str(GOOD), rejected=str([BAD])),
    "conversations as JSON text": {
        "user_id": "u1", "chosen": json.dumps([USER, GOOD]), "rejected": json.dumps([USER, BAD])
    },
    "hh-rlhf": {
        "user_id": "u1",
        "chosen": "\n\nHuman: question 0\n\nAssistant: good answer 0",
        "rejected": "\n\nHuman: question 0\n\nAssistant: bad answer 0",
    },
    "hh-rlhf prompt": {"user_id": "u1", "prompt": "\n\nHuman: question 0\n\nAssistant:", **ANSWERS},
    "parts": row("u1", context=[USER | {"content": parts("question", " 0")}],
                 chosen=GOOD | {"content": parts("good", " answer 0")}),
    "sharegpt": row("u1", context=[{"from": "human", "value": "question 0"}],
                    chosen=[{"from": "gpt", "value": "good answer 0"}]),
    "null columns of the other form": row("u1", response_a=None, response_b=None, winner=None),
    "nan columns of the other form": row("u1", response_a=float("nan"), response_b=pd.NA, winner=np.nan),
    "null answers next to a winner": {**JUDGED, "winner": "a", "chosen": None, "rejected": None},
    "null context next to a prompt": {"user_id": "u1", "context": None, "prompt": "question 0", **ANSWERS},
    "numpy": row(np.str_("u1"), context=np.array([USER], dtype=object), turn=np.nan, flip=pd.NA, timestamp=pd.NaT),
}  # fmt: skip


@pytest.mark.parametrize("form", SAME)
def test_each_form_of_a_vote_is_that_vote(form: str) -> None:
    assert vote_of(SAME[form]) == vote_of(row("u1"))


def test_a_conversation_before_the_answers_is_found_whole() -> None:
    earlier = [SYSTEM, USER, {"role": "assistant", "content": "well"}, {"role": "user", "content": "more"}]
    wanted = vote_of(row("u1", context=earlier))
    alone = {"user_id": "u1", "chosen": [*earlier, GOOD], "rejected": [*earlier, BAD]}
    assert vote_of(alone) == wanted
    # What the row has as its prompt may be all of it, its beginning or its end.
    for prompt in (earlier, earlier[:2], earlier[-1:], "more"):
        assert vote_of({**alone, "prompt": prompt}) == wanted
    last = earlier[-1:]
    assert vote_of({"user_id": "u1", "prompt": earlier, "chosen": [*last, GOOD], "rejected": [*last, BAD]}) == wanted
    text = "\n\nHuman: a\n\nAssistant: b: c\n\nHuman: d\n\nAssistant: "
    assert vote_of({"user_id": "u1", "chosen": f"{text}x\n\ny", "rejected": f"{text}z"}).context == (
        ("user", "a"), ("assistant", "b: c"), ("user", "d"),
    )  # fmt: skip
    assert vote_of({"user_id": "u1", "chosen": f"{text}x\n\ny", "rejected": f"{text}z"}).chosen == "x\n\ny"


def test_an_answer_to_a_context_is_text_even_if_it_is_a_dialogue() -> None:
    said = "\n\nHuman: hi\n\nAssistant: ho"
    assert vote_of(row("u1", chosen=said)).chosen == said


def test_a_question_that_only_begins_like_turns_is_one_turn() -> None:
    for text in ("[{'role': 'user'} is not JSON, why?", '[{"role": "user"'):
        assert vote_of(row("u1", context=text)).context == (("user", text),)


@pytest.mark.parametrize("text", ['[{"role": "user", "content": "hi"}]', '{"type": "circle"}', "[{'role': 'assistant'"])
def test_an_answer_that_is_code_is_text(text: str) -> None:
    assert vote_of(row("u1", chosen=text)).chosen == text


def test_equal_conversations_are_equal_answers() -> None:
    vote = vote_of({"user_id": "u1", "chosen": [USER, GOOD], "rejected": [USER, GOOD]})
    assert (vote.context, vote.chosen, vote.rejected) == ((("user", "question 0"),), "good answer 0", "good answer 0")


OTHER = {"role": "user", "content": "another question"}
ODD: list[tuple[Row, str, str]] = [
    ({"chosen": [USER, GOOD], "rejected": [OTHER, BAD]}, "chosen",
     "and rejected are no answers to one question: 'question 0' stands against 'another question'"),
    ({"chosen": [USER, GOOD, OTHER, GOOD], "rejected": [USER, BAD, OTHER, BAD]}, "chosen",
     "and rejected are more than one answer each: after 1 turns that both share, 3 and 3 turns are left"),
    ({"chosen": [USER, GOOD], "rejected": [USER | {"role": "assistant"}, BAD]}, "chosen", "no answers to one question"),
    ({"prompt": [OTHER], "chosen": [USER, GOOD], "rejected": [USER, BAD]}, "chosen",
     "begins with other turns ('question 0') than the context ('another question')"),
    ({"chosen": [GOOD], "rejected": [BAD]}, "context", "is missing"),
    ({"context": [USER], "chosen": [], "rejected": [BAD]}, "chosen", "is an empty list"),
    ({"context": [USER], "chosen": [USER], "rejected": [USER]}, "chosen.role", "an answer is the assistant's"),
    ({"prompt": [USER, GOOD], **ANSWERS}, "prompt[1].role", "does not end with a turn of the user"),
    ({"prompt": " ", **ANSWERS}, "prompt[0].content", "is empty or blank"),
    ({"context": [USER | {"content": [{"type": "image_url", "image_url": {"url": "x"}}]}], **ANSWERS},
     "context[0].content[0]", "is a part of type 'image_url', not text"),
    ({"context": [USER], "chosen": GOOD | {"content": [{"type": "text"}]}, "rejected": "x"},
     "chosen.content[0].text", "is null"),
    ({"context": [USER], "tie": "maybe", **ANSWERS}, "tie", "is 'maybe'"),
    ({"context": [USER], "turn": "9" * 5000, **ANSWERS}, "turn", "not a whole number from 0"),
]  # fmt: skip


@pytest.mark.parametrize(("odd", "field", "said"), ODD)
def test_what_makes_no_pair_is_explained(odd: Row, field: str, said: str) -> None:
    with pytest.raises(FieldError) as caught:
        vote_of({"user_id": "u1", **odd})
    assert caught.value.field == field
    assert said in str(caught.value)
    assert len(caught.value.advice) > 5


IDS: list[tuple[Any, str]] = [
    (7, "7"),
    (7.0, "7"),
    (UUID(int=7), "00000000-0000-0000-0000-000000000007"),
    (np.int64(7), "7"),
    (np.float32(7), "7"),
    ("007", "007"),
    ("7.0", "7.0"),
]


@pytest.mark.parametrize(("given", "read"), IDS)
def test_whole_numbers_that_became_floats_are_ids_again(given: object, read: str) -> None:
    vote = vote_of(row(given, conversation_id=given, pair_id=given, turn=np.float64(2)))
    assert (vote.user_id, vote.conversation_id, vote.pair_id, vote.turn) == (read, read, read, 2)


@pytest.mark.parametrize("given", [2, 2.0, np.int8(2), "2", " 2 ", "2.0", "2.000"])
def test_a_turn_in_the_form_of_any_table_is_a_whole_number(given: object) -> None:
    assert vote_of(row(turn=given)).turn == 2


@pytest.mark.parametrize("given", [7.5, 1e17, True, np.bool_(True)])
def test_no_other_number_is_an_id(given: object) -> None:
    with pytest.raises(FieldError) as caught:
        vote_of(row(given))
    assert caught.value.field == "user_id"


TIMES: list[Any] = [
    1738324800, 1738324800.0, np.int64(1738324800), "1738324800", "2025-01-31T12:00:00Z",
    pd.Timestamp("2025-01-31 12:00", tz="UTC"), pd.Timestamp("2025-01-31 12:00").to_pydatetime(),
    np.datetime64("2025-01-31T12:00:00"), np.datetime64("2025-01-31T12:00:00.000000000"),
]  # fmt: skip


@pytest.mark.parametrize("given", TIMES)
def test_times_of_data_frames_are_times(given: object) -> None:
    assert vote_of(row(timestamp=given)).timestamp == 1738324800.0


WINNERS: dict[str, list[object]] = {
    "a": [
        "a",
        "A",
        "model_a",
        "response_a",
        "first",
        1,
        1.0,
        "1",
        True,
        "true",
        "True",
        np.bool_(True),
        np.int64(1),
        "Answer 1",
        "Option A",
        "reply1",
        "left",
        "1st",
    ],
    "b": [
        "b",
        "B",
        "model_b",
        "response_b",
        "second",
        2,
        2.0,
        "2",
        False,
        "false",
        np.bool_(False),
        "answer_2",
        "Response B",
        "right",
        "2nd",
    ],
    "tie": ["tie", "Tie", "tie (bothbad)"],
}


@pytest.mark.parametrize(("meant", "word"), [(meant, word) for meant, words in WINNERS.items() for word in words])
def test_words_for_the_winner(meant: str, word: object) -> None:
    assert vote_of({**JUDGED, "winner": word}) == vote_of({**JUDGED, "winner": meant})


@pytest.mark.parametrize("word", [0, 3, "0", "c", "neither of them", [1]])
def test_other_words_for_the_winner_are_refused(word: object) -> None:
    with pytest.raises(FieldError) as caught:
        vote_of({**JUDGED, "winner": word})
    assert caught.value.field == "winner"


def test_the_card_says_once_what_the_words_for_the_winner_mean(tmp_path: Path) -> None:
    words: list[object] = ["model_a", "model_b", "model_a", True, "a"]
    rows = [{**JUDGED, "response_a": f"x{n}", "winner": word} for n, word in enumerate(words)]
    report = ReadReport()
    read = list(read_votes(write_rows(tmp_path / "v.jsonl", rows), report=report))
    assert [vote.chosen for vote in read] == ["x0", "bad answer 0", "x2", "x3", "x4"]
    assert report.notes == [
        "The words for the preferred answer in `winner`: True means `response_a`, model_a means `response_a`, "
        "model_b means `response_b`."
    ]
    report = ReadReport()
    list(read_votes(write_rows(tmp_path / "v.jsonl", [{**JUDGED, "winner": "b"}]), report=report))
    assert report.notes == []


def test_a_tie_next_to_chosen_and_rejected_is_a_tie(tmp_path: Path) -> None:
    path = write_rows(tmp_path / "v.jsonl", [row(tie=True), row(number=1, tie=False), row(number=2, tie=None)])
    assert [vote.tie for vote in read_votes(path)] == [True, False, False]


def test_columns_of_other_names_are_read_and_named_in_errors(tmp_path: Path) -> None:
    named = {"user_id": "annotator", "context": "question", "chosen": "better", "rejected": "worse"}
    rows: list[Row] = [
        {"annotator": f"u{n}", "question": "q", "better": "x", "worse": "y", "other": 1, "context": "not this"}
        for n in range(2)
    ]
    report = ReadReport()
    read = list(read_votes(write_rows(tmp_path / "v.jsonl", rows), columns=named, report=report))
    assert [(vote.user_id, vote.context, vote.chosen, vote.rejected) for vote in read] == [
        ("u0", (("user", "q"),), "x", "y"), ("u1", (("user", "q"),), "x", "y"),
    ]  # fmt: skip
    assert report.ignored == {"other": 2}
    path = write_rows(tmp_path / "v.jsonl", [*rows, without(rows[0], "annotator"), rows[0] | {"worse": ""}])
    report = ReadReport()
    list(read_votes(path, columns=named, report=report, on_bad="drop"))
    assert report.problems[0].startswith("line 3, field annotator, user unknown: is missing")
    assert report.problems[1].startswith("line 4, field worse, user 'u0': is empty or blank")


@pytest.mark.parametrize("on_bad", ["error", "drop"])
def test_a_named_column_that_no_row_has_is_an_error(tmp_path: Path, on_bad: OnBad) -> None:
    path = write_rows(tmp_path / "votes.jsonl", [row("u1", 0), row("u1", 1, when=1_700_000_000)])
    found = list(read_votes(path, columns={"timestamp": "when"}, on_bad=on_bad))
    assert [vote.timestamp for vote in found] == [None, 1_700_000_000]
    with pytest.raises(DataError, match="no row has the column 'wehn', which `columns` names for timestamp"):
        list(read_votes(path, columns={"timestamp": "wehn"}, on_bad=on_bad))
