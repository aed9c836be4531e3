"""Jobs of this study, and the users of a shard whom they are about."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Literal

from personalrm.core.records import UserData, read_records
from personalrm.studies import runner
from personalrm.studies.synthesizeme.config import Config

Job = runner.Job[Config]


def read_users(path: Path) -> list[UserData]:
    """Users of one shard, in the order of the file."""
    return list(read_records(path, UserData))


def users_of(paths: Iterable[Path]) -> Iterator[UserData]:
    """Users of several shards, one shard in memory at a time."""
    return (user for path in paths for user in read_users(path))


def evaluated_users(path: Path, evaluate: Literal["test", "all"]) -> list[UserData]:
    """Users of one shard who are learned from and judged."""
    return [user for user in read_users(path) if is_evaluated(user, evaluate)]


def is_evaluated(user: UserData, evaluate: Literal["test", "all"]) -> bool:
    """Whether a user is learned from and judged: all users are, or those of the test part of the user split.

    Users without a part (data sets below `min_users` are not split) always are.
    """
    return evaluate == "all" or user.user_split in (None, "test")
