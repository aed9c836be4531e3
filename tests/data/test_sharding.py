from __future__ import annotations

import re
import unicodedata
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from personalrm.core.errors import ConfigError
from personalrm.data.sharding import Shards, chosen_shards, name_of_users_shard, shard_name, shard_names

HOSTILE = [
    "../../x", "a/b", "a\\b", "🙂", "🙃", "x" * 300, "x" * 301, "Aa", "aA", "aa", "", " ", "/", "//", "..", ".",
    "con", "NUL", "a\x00b", "a\nb", "-rf", "é", "e\u0301", "\ud800", "\ud801", "a-b", "a_b", "1", "01",
]  # fmt: skip


def test_hostile_ids_get_distinct_safe_names() -> None:
    names = [shard_name(user) for user in HOSTILE]
    assert len({name.casefold() for name in names}) == len(HOSTILE)
    assert all(re.fullmatch(r"[a-z0-9][a-z0-9-]{0,39}", name) for name in names)


def test_names_stay_as_they_are() -> None:
    # Written out: a changed hash or slug would rename every job and recompute every run.
    assert shard_name("Amara") == "amara-b72b1ab158"
    assert shard_name("../../x").startswith("x-")
    assert shard_name("🙂").startswith("user-")


@given(st.lists(st.text(st.characters(), max_size=60), unique=True, max_size=30))
def test_names_are_injective_and_safe(users: list[str]) -> None:
    names = {shard_name(user) for user in users}
    assert len(names) == len(users)
    assert all(re.fullmatch(r"[a-z0-9-]+", name) and len(name) <= 40 and name[0] != "-" for name in names)


@given(st.text(max_size=20))
def test_normalisation_forms_stay_distinct(text: str) -> None:
    forms = {unicodedata.normalize(form, text) for form in ("NFC", "NFD", "NFKC", "NFKD")}
    assert len({shard_name(form) for form in forms}) == len(forms)


@given(st.text(max_size=20), st.integers(1, 300))
def test_a_numbered_shard_is_one_of_the_names(user: str, n: int) -> None:
    names = shard_names(n)
    assert name_of_users_shard(user, n) in names
    assert names == sorted(names)
    assert len(set(names)) == n


def test_shards_are_used_evenly() -> None:
    sizes = Counter(name_of_users_shard(f"user{number}", 8) for number in range(1396))
    assert len(sizes) == 8
    assert min(sizes.values()) > 130
    assert max(sizes.values()) < 220


def test_numbered_names_have_equal_width() -> None:
    assert shard_names(3) == ["s00", "s01", "s02"]
    assert shard_names(101)[-1] == "s100"
    assert shard_names(101)[0] == "s000"


def test_per_user_names() -> None:
    assert shard_names("per_user", ["b", "a", "b"]) == sorted([shard_name("a"), shard_name("b")])
    assert name_of_users_shard("a", "per_user") == shard_name("a")
    with pytest.raises(ConfigError, match="shards: per_user needs the user ids"):
        shard_names("per_user")


@pytest.mark.parametrize(
    ("users", "chosen"),
    [(0, "per_user"), (64, "per_user"), (65, 8), (4_000, 8), (4_001, 16), (32_000, 64), (100_000, 256)],
)
def test_auto_keeps_five_hundred_users_a_job_or_fewer(users: int, chosen: Shards) -> None:
    assert chosen_shards("auto", users) == chosen
    assert chosen_shards("per_user", users) == "per_user"
    assert chosen_shards(3, users) == 3
