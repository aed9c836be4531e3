"""The bundled pairs for persona tailoring have the form and the balance that their data card states."""

from __future__ import annotations

import json
import re
from collections import Counter
from itertools import combinations
from pathlib import Path

import pytest
from rapidfuzz import fuzz

FOLDER = Path(__file__).parents[2] / "resources" / "tailoring"
ROWS = [json.loads(line) for line in (FOLDER / "pairs.jsonl").read_text(encoding="ascii").splitlines()]
SIDES = ("chosen", "rejected")


def grams(text: str) -> set[tuple[str, ...]]:
    words = re.findall(r"[\w'-]+", text.lower())
    return {tuple(words[i : i + 4]) for i in range(len(words) - 3)}


def test_rows_are_divided_as_the_card_says() -> None:
    assert [row["id"] for row in ROWS] == [f"everyday-{number:02}" for number in range(1, 61)]
    assert Counter(row["split"] for row in ROWS) == {"train": 30, "validation": 10, "test": 20}
    assert Counter(row["split"] for row in ROWS if row["fewshot"]) == {"train": 5}


@pytest.mark.parametrize(("split", "lists"), [("train", 1), ("validation", 0), ("test", 1)])
def test_neither_length_nor_lists_tell_the_chosen_answer(split: str, lists: int) -> None:
    rows = [row for row in ROWS if row["split"] == split]
    for longer in (len, lambda text: len(text.split())):
        assert 2 * sum(longer(row["chosen"]) > longer(row["rejected"]) for row in rows) == len(rows)
        assert 2 * sum(longer(row["rejected"]) > longer(row["chosen"]) for row in rows) == len(rows)
    assert {side: sum("\n" in row[side] for row in rows) for side in SIDES} == dict.fromkeys(SIDES, lists)


def test_each_axis_of_the_card_chooses_each_pole_in_two_rows() -> None:
    table = re.findall(r"^\|.*?\|.*?\| (\d\d), (\d\d) \| (\d\d), (\d\d) \|$", (FOLDER / "README.md").read_text(), re.M)
    assert len(table) == 15
    assert sorted(number for axis in table for number in axis) == [row["id"][-2:] for row in ROWS]
    for first, second in ((axis[:2], axis[2:]) for axis in table):
        splits = [sorted(ROWS[int(number) - 1]["split"] for number in pole) for pole in (first, second)]
        assert splits[0] == splits[1]
        assert splits[0].count("train") == 1


def test_answers_and_personas_have_the_stated_form() -> None:
    for row in ROWS:
        texts = grams(row["prompt"]) | grams(row["chosen"]) | grams(row["rejected"])
        for side in SIDES:
            persona = row[f"{side}_persona_gold"]
            assert 30 <= len(row[side].split()) <= 90, row["id"]
            assert 15 <= len(persona.split()) <= 30, row["id"]
            assert re.fullmatch(r"The user is [^.]+ and prefers [^.]+\.", persona), row["id"]
            assert not grams(persona) & texts, row["id"]


def test_prompts_differ_from_each_other_and_from_the_other_bundled_ones() -> None:
    prompts = [row["prompt"].lower() for row in ROWS]
    others = [
        json.loads(line)["context"][-1]["content"].lower()
        for folder in ("quickstart", "tastes")
        for line in (FOLDER.parent / folder / "votes.jsonl").read_text(encoding="utf-8").splitlines()
    ]
    pairs = [*combinations(prompts, 2), *((prompt, other) for prompt in prompts for other in others)]
    assert max(fuzz.ratio(*pair) for pair in pairs) < 80
