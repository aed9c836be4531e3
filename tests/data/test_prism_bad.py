"""PRISM's raw release with something wrong in it: named, or dropped and counted."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import pytest
from support.raw_prism import generate_raw_prism

from personalrm.core.errors import DataError
from personalrm.data.settings import HubSource, PrismDataset

from .prism_fixtures import (
    INDIFFERENT,
    NO_CHOICE,
    SMALL,
    SURVEY,
    TEA,
    answer,
    conversation,
    entry_of,
    history_of,
    read,
    read_settings,
    says,
    survey_row,
    write_release,
)
from .vote_rows import Row, without

# (change of the second conversation's history, field, message)
BAD_ANSWERS: list[tuple[int, Row, str, str]] = [
    (1, {"score": 0}, "score", "is 0, not a rating from 1 to 100"),
    (1, {"score": 101}, "score", "is 101, not a rating"),
    (1, {"score": 0.5}, "score", "is 0.5, not a rating"),
    (1, {"score": -7}, "score", "is -7, not a rating"),
    (1, {"score": "55"}, "score", "is '55', not a rating"),
    (1, {"score": True}, "score", "is true, not a rating"),
    (1, {"score": [5]}, "score", "is [5], not a rating"),
    (1, {"if_chosen": 1}, "if_chosen", "is 1, not true or false"),
    (1, {"if_chosen": None}, "if_chosen", "is null, not true or false"),
    (1, {"within_turn_id": "a"}, "within_turn_id", "is 'a', not a whole number"),
    (1, {"within_turn_id": -1}, "within_turn_id", "is -1, not a whole number"),
    (2, {"within_turn_id": 0}, "within_turn_id", "0 stands twice in turn 0 of conversation 'c2'"),
    (1, {"turn": None}, "turn", "is null, not a whole number"),
    (1, {"turn": 1.5}, "turn", "is 1.5, not a whole number"),
    (1, {"content": None}, "content", "is null, not a string"),
    (1, {"content": "x\ud800"}, "content", "holds half of a surrogate pair (\\ud800, character 1)"),
]


@pytest.mark.parametrize(("place", "change", "field", "message"), BAD_ANSWERS)
def test_bad_fields_are_named_or_their_conversation_is_dropped(
    tmp_path: Path, place: int, change: Row, field: str, message: str
) -> None:
    spoilt = copy.deepcopy(NO_CHOICE)
    entry_of(spoilt, place).update(change)
    lines = [json.dumps(row) for row in (TEA, spoilt, INDIFFERENT)]
    with pytest.raises(DataError) as caught:
        read_settings(write_release(tmp_path, lines))
    where = f"line 2, field conversation_history[{place}].{field}, user 'u2'"
    assert f"{tmp_path}/conversations.jsonl, {where}: {message}" in str(caught.value)
    assert "fetch the release again" in str(caught.value)
    votes, report = read_settings(write_release(tmp_path, lines, on_bad="drop"))
    assert {vote.conversation_id for vote in votes} == {"c1"}, "nothing of c2 is left"
    assert (len(votes), report.bad, len(report.users)) == (6, 1, 3)


@pytest.mark.parametrize("reverse", [False, True])
def test_two_chosen_answers_with_different_texts_are_bad(tmp_path: Path, reverse: bool) -> None:
    spoilt = copy.deepcopy(NO_CHOICE)
    entry_of(spoilt, 4)["if_chosen"] = True
    history_of(spoilt).sort(key=lambda entry: str(entry["content"]), reverse=reverse)
    with pytest.raises(DataError, match="if_chosen, user 'u2': is true, but another answer is chosen in turn 1 of"):
        read(tmp_path, [TEA, spoilt])
    votes, report = read(tmp_path, [spoilt, TEA], on_bad="drop")
    assert ({vote.conversation_id for vote in votes}, report.bad) == ({"c1"}, 1)


BAD_ROWS: list[tuple[Row, str, str]] = [
    ({"conversation_history": None}, "conversation_history", "is null, not a list"),
    ({"conversation_history": []}, "conversation_history", "is [], not a list with something in it"),
    ({"conversation_history": ["hi"]}, "conversation_history[0]", "is 'hi', not an object"),
    (
        {"conversation_history": [says(0, "a") | {"role": "tool"}]},
        "conversation_history[0].role",
        "is 'tool', not user or model",
    ),
    (
        {"conversation_history": [without(says(0, "a"), "role")]},
        "conversation_history[0].role",
        "is missing: the release has changed",
    ),
    (
        {"conversation_history": [says(0, "a"), says(0, "b")]},
        "conversation_history[1].content",
        "is not the prompt that turn 0",
    ),
    (
        {"conversation_history": [answer(3, 0, "a", 5)]},
        "conversation_history",
        "has answers in turn 3 but no prompt",
    ),
    ({"generated_datetime": "soon"}, "generated_datetime", "is 'soon', not a time in ISO 8601"),
    ({"generated_datetime": 17}, "generated_datetime", "is 17, not a string"),
    ({"user_id": " "}, "user_id", "is empty or blank"),
    ({"conversation_id": None}, "conversation_id", "is null, not a string"),
    ({"conversation_type": 3}, "conversation_type", "is 3, not a string"),
]


@pytest.mark.parametrize(("change", "field", "message"), BAD_ROWS)
def test_bad_rows_are_named(tmp_path: Path, change: Row, field: str, message: str) -> None:
    rows = [conversation("c0", "u2", history_of(TEA)), TEA]
    rows[1] = rows[1] | change
    with pytest.raises(DataError) as caught:
        read_settings(write_release(tmp_path, rows))
    assert f"line 2, field {field}, user " in str(caught.value)
    assert message in str(caught.value)


COLUMNS = ("conversation_id", "user_id", "conversation_type", "conversation_history", "generated_datetime")


@pytest.mark.parametrize("column", COLUMNS)
@pytest.mark.parametrize("on_bad", ["error", "drop"])
def test_a_changed_column_says_that_the_release_has_changed(tmp_path: Path, column: str, on_bad: str) -> None:
    renamed = [without(row, column) | {"new_name": row[column]} for row in SMALL]
    with pytest.raises(DataError, match=f"field {column}, .*is missing: the release has changed"):
        read_settings(write_release(tmp_path, renamed, on_bad=on_bad))


def test_unknown_columns_are_counted(tmp_path: Path) -> None:
    _, report = read(tmp_path, [TEA | {"extra": 1}, NO_CHOICE])
    assert report.ignored == {"extra": 1}


def test_a_file_that_breaks_off_or_is_missing_is_an_error(tmp_path: Path) -> None:
    dataset = write_release(tmp_path, SMALL)
    path, survey = dataset.source_files()
    whole = path.read_bytes()
    path.write_bytes(whole[:-40])
    with pytest.raises(DataError, match="the file may be truncated"):
        read_settings(dataset)
    path.write_bytes(whole.replace(b"Which tea?", b"Which th\xe9?"))
    with pytest.raises(DataError, match="is not UTF-8"):
        read_settings(dataset)
    path.unlink()
    with pytest.raises(DataError, match=r"conversations\.jsonl: cannot be read"):
        read_settings(dataset)
    survey.unlink()
    with pytest.raises(DataError, match=r"survey\.jsonl: cannot be read"):
        read_settings(dataset)


BAD_SURVEYS: list[tuple[list[object], str]] = [
    ([], "survey.jsonl: no rows in the file"),
    ([{"user_id": "u1", "years": 3}], "line 1, field self_description, user 'u1': is missing: the release has changed"),
    ([without(survey_row("u1"), "user_id")], "line 1, field user_id, user unknown: is missing: the release"),
    ([survey_row("u1", age=[3])], "field age, user 'u1': is [3], which no answer can be"),
    ([survey_row("u1", religion={"simplified": [3]})], "field religion.simplified, user 'u1': is [3]"),
    (['{"user_id": "u1", "age": 1e999}'], "field age, user 'u1': is Infinity"),
    (['{"user_id": "u1", "age": "\\ud800"}'], "field age, user 'u1': holds half of a surrogate pair"),
    ([survey_row("u1"), survey_row("u1", age="1")], "line 2, field user_id, user 'u1': has another row"),
]


@pytest.mark.parametrize(("survey", "message"), BAD_SURVEYS)
def test_a_bad_survey_is_named(tmp_path: Path, survey: list[object], message: str) -> None:
    with pytest.raises(DataError) as caught:
        read(tmp_path, [TEA], survey)
    assert message in str(caught.value)


def test_bad_survey_rows_are_dropped_and_counted(tmp_path: Path) -> None:
    survey = [survey_row("u2", age="1"), survey_row("u1"), survey_row("u2", age="2"), survey_row("u2", age="1")]
    votes, report = read(tmp_path, SMALL, [*survey, survey_row("u8", age=[1])], on_bad="drop")
    assert votes[0].survey == SURVEY
    assert votes[-1].survey == {}, "which of u2's rows is right nobody can say"
    assert (report.bad, report.dropped["bad_survey_row"], len(votes)) == (0, 3, 7)
    assert report.problems[0] == "survey, line 3, field user_id, user 'u2': has another row with other answers; " + (
        "keep one row per user"
    )
    same = [survey_row("u1"), survey_row("u1")]
    assert read(tmp_path, SMALL, same)[1].dropped["bad_survey_row"] == 0


def test_rows_of_hub_files_are_read_as_they_came_and_named_by_file_and_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    hub = HubSource(repo="some/prism", revision="main", files=["conversations.jsonl", "survey.jsonl"])
    generate_raw_prism(hub.folder, conversations=40)
    path = hub.folder / "conversations.jsonl"
    lines = path.read_text(encoding="utf-8").splitlines()
    lines[3:4] = [lines[3].replace('"score": ', '"score": -', 1), "no JSON", ""]
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    entry = {"name": "prism", "source": "prism", "shards": 1}
    from_hub = read_settings(PrismDataset.model_validate(entry | {"hub": hub, "on_bad": "drop"}))
    assert from_hub == read_settings(PrismDataset.model_validate(entry | {"path": hub.folder, "on_bad": "drop"}))
    assert len(from_hub[0]) > 100
    assert [problem[:20] for problem in from_hub[1].problems] == ["line 4, field conver", "line 5, user unknown"]
    with pytest.raises(DataError, match=r"conversations\.jsonl: bad lines"):
        read_settings(PrismDataset.model_validate(entry | {"hub": hub}))
