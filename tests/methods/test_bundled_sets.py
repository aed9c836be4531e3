"""The two bundled sets: how they are balanced, and what a bag of words per user makes of each."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from personalrm.core.records import UserData
from personalrm.core.tastes import Taste
from personalrm.data.prepare import read_users
from personalrm.data.settings import LocalDataset
from personalrm.data.sources.reading import ReadReport
from personalrm.methods.base import Known
from personalrm.methods.words import own, weigh
from personalrm.studies.synthesizeme.stages.weighing import left_out

RESOURCES = Path(__file__).resolve().parents[2] / "resources"
SIZES = {"quickstart": (8, 14), "tastes": (12, 16)}


def users(name: str) -> list[UserData]:
    folder = RESOURCES / name
    entry = LocalDataset(name=name, path=folder / "votes.jsonl", planted=folder / "tastes.json")
    return list(read_users(entry, ReadReport()).users)


def told(name: str) -> dict[str, dict[str, Any]]:
    return dict(json.loads((RESOURCES / name / "tastes.json").read_text(encoding="utf-8")))


@pytest.mark.parametrize("name", SIZES)
def test_each_user_has_a_taste_and_chooses_the_longer_answer_in_half_of_the_pairs(name: str) -> None:
    people = users(name)
    count, pairs = SIZES[name]
    assert len(people) == count
    assert all(len(user.pairs) == pairs for user in people)
    assert all(user.planted_taste for user in people)
    for user in people:
        assert sum(len(pair.chosen) > len(pair.rejected) for pair in user.pairs) == pairs // 2
    assert set(told(name)) == {user.user_id for user in people}


def test_the_harder_users_differ_in_kind() -> None:
    kinds = Counter(taste["kind_of_user"] for taste in told("tastes").values())
    wanted = {"content": 4, "style": 2, "kinds": 2, "changes": 1, "noisy": 1, "none": 1, "conflict": 1}
    assert kinds == wanted


def right(user: UserData) -> int:
    """Pairs that words predict, each from the user's other conversations."""
    found = 0
    for seen in left_out(user):
        taste = own(Known.of(seen, pairs=seen.part("context")))
        assert isinstance(taste, Taste)
        found += sum(verdict.outcome == "correct" for verdict in weigh(taste, seen.part("test")))
    return found


def test_words_solve_the_easy_set_and_not_the_harder_one() -> None:
    shares = {name: sum(map(right, users(name))) / (count * pairs) for name, (count, pairs) in SIZES.items()}
    assert shares["quickstart"] >= 0.9
    assert shares["tastes"] <= 0.7
