"""Answers that name kinds of question, as models write them."""

from __future__ import annotations

import time

import pytest

from personalrm.judge.question_kinds import parse_kinds


@pytest.mark.parametrize(
    "text",
    [
        "- **Cooking**: 1, 3\n- **Work**: 2",
        "**Cooking:** 1 and 3\n**Work:** [2]",
        '1. "Cooking" : 1, 3.\n2. _Work_ : 2.',
        "Cooking:\n1, 3\n\nWork:\n2",
        "\n\n  * Cooking: 1 3\n  * Work: 2",
    ],
)
def test_lines_are_read_as_models_write_them(text: str) -> None:
    assert parse_kinds(text, 3) == {1: "cooking", 3: "cooking", 2: "work"}


@pytest.mark.parametrize("part", ['"\n', "\n", "*", "_ ", "a:\n", "a: 1 ", "a: 1\n", ": ", "1 and ", "a* "])
def test_an_answer_without_end_is_read_in_no_time(part: str) -> None:
    begun = time.process_time()
    parse_kinds(part * (200_000 // len(part)), 3)
    assert time.process_time() - begun < 2


def test_a_cut_answer_names_no_kinds() -> None:
    # What else a question belongs to may be missing.
    text = '{"cooking": [1], "work": [2]} Or rather: {"cooking": [1], "work": [1'
    assert parse_kinds(text, 2) == {1: "cooking", 2: "work"}
    assert parse_kinds(text, 2, cut=True) == {}
