"""Names and numbers of shards. A user's shard depends on that user alone: adding a user moves no other.

User ids may be hostile (`../../x`, emoji, 300 characters, `Aa` and `aA`): they never become paths, only what
`shard_name` makes of them does.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Literal

from personalrm.core.errors import ConfigError
from personalrm.core.files import stable_hash

SLUG_LENGTH = 24
HASH_LENGTH = 10

Shards = Literal["per_user"] | int
"""How users are spread over jobs: one shard per user, or this many numbered shards."""
PER_USER_UP_TO = 64
FEWEST_SHARDS = 8
USERS_A_SHARD = 500
"""On average at most: some 20 minutes of a job that has 32 calls of a second in flight, and some 100 MB of its memory
(`benchmarks/README.md`)."""


def chosen_shards(shards: Literal["auto"] | Shards, users: int) -> Shards:
    """What `auto` is for this many users; other settings as they are.

    Up to 64 users get one job each. More users share 8 shards, doubled until a shard has at most 500 users on average
    (our choice: powers of two, so that a growing data set seldom changes all its shards).

    >>> [chosen_shards("auto", n) for n in (64, 65, 4_001, 100_000)]
    ['per_user', 8, 16, 256]
    """
    if shards != "auto":
        return shards
    if users <= PER_USER_UP_TO:
        return "per_user"
    number = FEWEST_SHARDS
    while number * USERS_A_SHARD < users:
        number *= 2
    return number


def shard_name(user_id: str) -> str:
    """File-safe name of a user's own shard: `[a-z0-9-]`, at most 35 characters, not beginning with a dash.

    The readable part is for people; the hash of the unaltered id (40 bits) differs between users, also where
    ids differ only in case, in Unicode normalisation or in characters that the readable part drops.
    """
    slug = re.sub(r"[^a-z0-9]+", "-", user_id.lower()).strip("-")[:SLUG_LENGTH].strip("-")
    return f"{slug or 'user'}-{stable_hash(user_id)[:HASH_LENGTH]}"


def name_of_users_shard(user_id: str, shards: Shards) -> str:
    """Name of the shard that holds a user, from the id alone."""
    if shards == "per_user":
        return shard_name(user_id)
    return _numbered(int(stable_hash("shard", user_id)[:16], 16) % shards, shards)


def _numbered(number: int, n: int) -> str:
    """Name of shard `number` of `n`: `s00`, `s01`, …, zero-padded so that names sort by number."""
    return f"s{number:0{max(2, len(str(n - 1)))}d}"


def shard_names(shards: Shards, user_ids: Iterable[str] | None = None) -> list[str]:
    """All shard names of a data set, sorted: what a workflow fans out over.

    `user_ids` is read only for `per_user`. Raises ConfigError where it is then absent, or where two ids
    would share a name (about 1 in 20,000 for a data set of 10,000 users).
    """
    if shards != "per_user":
        return [_numbered(number, shards) for number in range(shards)]
    if user_ids is None:
        raise ConfigError(
            "shards: per_user needs the user ids before any job runs; give a list under users, or the number "
            "of shards instead of per_user"
        )
    owners: dict[str, str] = {}
    for user_id in user_ids:
        other = owners.setdefault(shard_name(user_id), user_id)
        if other != user_id:
            raise ConfigError(
                f"shards: users {other!r} and {user_id!r} get the same shard name; use a number of shards"
            )
    return sorted(owners)
