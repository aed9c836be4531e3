"""Who is learned from and judged."""

from __future__ import annotations

from pathlib import Path

import pytest

from personalrm.core.records import UserData, UserPart, write_records
from personalrm.studies.synthesizeme.stages.runner import evaluated_users


@pytest.mark.parametrize(("evaluate", "expected"), [("all", ["a", "b", "c", "d"]), ("test", ["c", "d"])])
def test_level_a_test_users_or_all_and_always_those_without_a_part(
    tmp_path: Path, evaluate: str, expected: list[str]
) -> None:
    parts: dict[str, UserPart | None] = {"a": "train", "b": "validation", "c": "test", "d": None}
    users = [UserData(dataset="d", user_id=name, user_split=part) for name, part in parts.items()]
    write_records(tmp_path / "users.jsonl", users)
    found = evaluated_users(tmp_path / "users.jsonl", evaluate)  # type: ignore[arg-type]
    assert [user.user_id for user in found] == expected
