"""PRISM's raw release: hand-computed pairs, and bad input that is named or counted."""

from __future__ import annotations

import copy
import random
import tempfile
from collections.abc import Callable
from dataclasses import replace
from itertools import combinations
from math import comb
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.raw_prism import generate_raw_prism

from personalrm.core.errors import ConfigError
from personalrm.data.settings import PrismDataset
from personalrm.data.sources.prism import DROP_REASONS
from personalrm.studies.config_load import parse_config

from .prism_fixtures import (
    SMALL,
    SURVEY,
    TEA,
    answer,
    conversation,
    entry_of,
    history_of,
    plain,
    read,
    read_settings,
    says,
    survey_row,
    write_release,
)
from .vote_rows import Row, without

FIRST = (("user", "Which tea?"),)
SECOND = (*FIRST, ("assistant", "green"), ("user", "How hot?"))
THIRD = (*SECOND, ("assistant", "warm"), ("user", "Thanks"))
EXPECTED = [
    ("c1-0-0-2", FIRST, "green", "mint"),
    ("c1-0-0-3", FIRST, "green", "rooibos"),
    ("c1-0-1-2", FIRST, "black", "mint"),
    ("c1-0-1-3", FIRST, "black", "rooibos"),
    ("c1-1-0-1", SECOND, "warm", "boiling"),
    ("c1-2-0-1", THIRD, "Welcome", "Bye"),
    ("c2-0-0-1", (("user", "Go on"),), "b", "a"),
]
DROPPED = {
    "rating_gap": 1,
    "equal_rating": 2,
    "no_context": 2,
    "empty_answer": 2,
    "unrated": 1,
    "empty_prompt": 1,
}


def test_small_release_gives_the_pairs_computed_by_hand(tmp_path: Path) -> None:
    votes, report = read(tmp_path, SMALL)
    assert [(vote.pair_id, vote.context, vote.chosen, vote.rejected) for vote in votes] == EXPECTED
    assert report.dropped == DROPPED
    assert set(report.dropped) == set(DROP_REASONS)
    assert (report.votes, report.bad) == (7, 0)
    assert report.lines == 4
    assert report.ignored == {}
    first, last = votes[0], votes[-1]
    assert (first.user_id, first.conversation_id, first.turn, first.tie) == ("u1", "c1", 0, False)
    assert (first.conversation_type, last.conversation_type) == ("unguided", "values guided")
    assert {vote.timestamp for vote in votes} == {1701424800.0}
    assert [vote.line for vote in votes] == [1] * 6 + [2]


def test_a_user_without_pairs_or_survey_is_still_seen(tmp_path: Path) -> None:
    votes, report = read(tmp_path, SMALL, survey=[survey_row("u1"), survey_row("u2"), survey_row("u9")])
    assert "u3" not in {vote.user_id for vote in votes}
    assert report.users == {"u1", "u2", "u3"}, "u9 took the survey only"
    assert report.notes == ["Users not in survey.jsonl: 1 (first: 'u3'); they keep their votes."]


def test_survey_is_flattened_onto_the_votes_of_its_user(tmp_path: Path) -> None:
    votes, report = read(tmp_path, SMALL, survey=[survey_row("u2", age=None, new_column=1), survey_row("u7")])
    assert all(vote.survey == {} for vote in votes if vote.user_id == "u1")
    assert votes[-1].survey == without(SURVEY, "age")
    assert report.ignored == {"survey.new_column": 1}


@pytest.mark.parametrize(
    ("gap", "kept"),
    [
        (0, ["0-1", "0-2", "0-3", "1-2", "1-3"]),
        (5, ["0-1", "0-2", "0-3", "1-2", "1-3"]),
        (5.5, ["0-2", "0-3", "1-2", "1-3"]),
        (50, ["0-2", "0-3"]),
        (50.5, []),
    ],
)
def test_rating_gap_is_the_least_difference_that_counts(tmp_path: Path, gap: float, kept: list[str]) -> None:
    votes, report = read(tmp_path, [TEA], min_rating_gap=gap)
    assert [vote.own_id[5:] for vote in votes if vote.turn == 0] == kept
    assert report.dropped["equal_rating"] == 1, "equal ratings are no preference whatever the gap"


def test_text_is_never_altered(tmp_path: Path) -> None:
    odd = [
        "  tab\t and\r\nCRLF \n",
        "\ufeffzero\u200bwidth\u00a0",
        "🙂👩‍👩‍👧 e\u0301 é",
        '"quoted" \\n \\',
        "\u2028line\u0085",
    ]
    row = conversation(
        "c1",
        "u1",
        [
            says(0, odd[0]),
            answer(0, 0, odd[1], 90, chosen=True),
            answer(0, 1, odd[2], 10),
            says(1, odd[3]),
            answer(1, 0, odd[4], 10, chosen=True),
            answer(1, 1, "\tEMPTY STRINGS\x00", 90),
        ],
        conversation_type="Unguided ",
    )
    votes, _ = read(tmp_path, [row], survey=[survey_row("u1", system_string="\r\n 東京 ")])
    assert (votes[0].chosen, votes[0].rejected, votes[0].context) == (odd[1], odd[2], (("user", odd[0]),))
    assert votes[1].context == (("user", odd[0]), ("assistant", odd[1]), ("user", odd[3]))
    assert (votes[1].chosen, votes[1].rejected) == ("\tEMPTY STRINGS\x00", odd[4])
    assert votes[0].survey["system_string"] == "\r\n 東京 "
    assert votes[0].conversation_type == "Unguided "


@pytest.mark.parametrize(
    ("written", "seconds"),
    [("2023-12-01T12:00:00+02:00", 1701424800.0), ("2023-12-01 10:00:00.5", 1701424800.5), (None, None)],
)
def test_time_is_that_of_the_conversation(tmp_path: Path, written: str | None, seconds: float | None) -> None:
    votes, _ = read(tmp_path, [TEA | {"generated_datetime": written}])
    assert {vote.timestamp for vote in votes} == {seconds}


def test_context_follows_the_choice_not_the_rating(tmp_path: Path) -> None:
    row = copy.deepcopy(TEA)
    entry_of(row, 1)["if_chosen"], entry_of(row, 3)["if_chosen"] = False, True
    votes, _ = read(tmp_path, [row])
    assert votes[0].chosen == "green"
    assert votes[4].context[1] == ("assistant", "mint")


def test_answers_of_one_text_may_all_be_marked_as_chosen(tmp_path: Path) -> None:
    row = copy.deepcopy(TEA)
    entry_of(row, 3).update(content="green", if_chosen=True)
    votes, report = read(tmp_path, [row])
    assert [vote.own_id for vote in votes] == [pair for pair, *_ in EXPECTED[:6]]
    assert votes[4].context == SECOND
    assert report.bad == 0


@pytest.mark.parametrize(
    ("spoil", "kept", "no_context"),
    [
        (lambda row: entry_of(row, 1).update(content="EMPTY STRING"), [2, 0, 0], 2),
        (lambda row: entry_of(row, 5).update(content="EMPTY STRING"), [4, 0, 0], 1),
        (lambda row: entry_of(row, 7).update(if_chosen=False), [4, 1, 0], 1),
        (lambda row: history_of(row).__delitem__(slice(5, 8)), [4, 0, 0], 1),
        (lambda row: history_of(row).__delitem__(slice(0, 5)), [0, 0, 0], 2),
    ],
    ids=["empty chosen answer", "empty prompt", "no chosen answer", "turn absent", "first turn absent"],
)
def test_turns_after_a_hole_have_no_context(
    tmp_path: Path, spoil: Callable[[Row], None], kept: list[int], no_context: int
) -> None:
    row = copy.deepcopy(TEA)
    spoil(row)
    votes, report = read(tmp_path, [row])
    assert [sum(vote.turn == turn for vote in votes) for turn in range(3)] == kept
    assert report.dropped["no_context"] == no_context


TEXTS = st.sampled_from(["yes", "no", " ", "EMPTY STRING", "maybe\r\n", "🙂"])


@st.composite
def releases(draw: st.DrawFn) -> list[Row]:
    """Conversations with absent turns, empty texts, turns without a choice, null ratings, and few ratings."""
    rows = []
    for number in range(draw(st.integers(1, 4))):
        history: list[Row] = []
        for turn in draw(st.sets(st.integers(0, 3), min_size=1)):
            history.append(says(turn, draw(TEXTS)))
            count = draw(st.integers(1, 4))
            chosen = draw(st.integers(0, 4))
            for within in range(count):
                score = draw(st.sampled_from([None, 1, 10, 11, 20.5, 100]))
                history.append(answer(turn, within, f"{draw(TEXTS)}", score, chosen=within == chosen))
        rows.append(conversation(f"c{number}", draw(st.sampled_from(["u1", "u2", "u3"])), history))
    return rows


@given(releases(), st.randoms(use_true_random=False), st.sampled_from([0.0, 9.5, 10.0, 60.0]))
@settings(max_examples=60, deadline=None)
def test_the_sequence_of_rows_and_messages_changes_nothing(rows: list[Row], rng: random.Random, gap: float) -> None:
    shuffled = [row | {"conversation_history": rng.sample(history_of(row), len(history_of(row)))} for row in rows]
    seen = []
    with tempfile.TemporaryDirectory() as folder:
        for lines in (rows, rng.sample(shuffled, len(rows))):
            votes, report = read_settings(write_release(Path(folder), lines, min_rating_gap=gap))
            assert report.votes == len(votes)
            seen.append((plain(votes), dict(report.dropped), report.users, report.problems))
    assert seen[0] == seen[1]


@given(releases())
@settings(max_examples=40, deadline=None)
def test_every_pair_is_a_vote_or_counted_once_and_the_gap_is_monotone(rows: list[Row]) -> None:
    turns = [
        sum(entry["turn"] == turn and entry["role"] == "model" for entry in history_of(row))
        for row in rows
        for turn in range(4)
    ]
    pairs = sum(comb(answers, 2) for answers in turns)
    kept: list[set[str]] = []
    with tempfile.TemporaryDirectory() as folder:
        for gap in (0, 5, 10, 50, 99):
            votes, report = read(Path(folder), rows, min_rating_gap=gap)
            assert len(votes) + sum(report.dropped.values()) == pairs
            kept.append({vote.own_id for vote in votes})
            assert len(kept[-1]) == len(votes), "pair ids are unique"
    assert all(after <= before for before, after in combinations(kept, 2))


def test_renaming_users_changes_nothing_but_names(tmp_path: Path) -> None:
    renamed = [row | {"user_id": f"z{row['user_id']}"} for row in SMALL]
    survey = [survey_row("zu1"), survey_row("zu2")]
    before, _ = read(tmp_path, SMALL)
    after, _ = read(tmp_path, renamed, survey)
    assert after == [replace(vote, user_id=f"z{vote.user_id}") for vote in before]


def test_a_generated_release_has_the_same_bytes_each_time(tmp_path: Path) -> None:
    made = generate_raw_prism(tmp_path, conversations=60, seed=3)
    again = generate_raw_prism(tmp_path / "again", conversations=60, seed=3)
    assert made == again == (10, 60, 60 * 68_371 // 8_011)
    _, report = read_settings(PrismDataset.model_validate({"name": "p", "source": "prism", "path": tmp_path}))
    assert (report.lines, len(report.users)) == (made.conversations, made.users)
    for name in ("conversations", "survey"):
        assert (tmp_path / f"{name}.jsonl").read_bytes() == (tmp_path / "again" / f"{name}.jsonl").read_bytes()


def test_the_table_that_is_not_read_any_more_is_refused_with_the_remedy() -> None:
    entry = {"source": "prism", "path": "raw", "table": "utterances"}
    with pytest.raises(ConfigError, match=r"datasets\.p\.table: removed .* delete this key.*conversations\.jsonl"):
        parse_config({"run": "r", "methods": ["longer"], "datasets": {"p": entry}})
