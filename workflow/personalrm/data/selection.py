"""Which users a run is about, decided before any job runs or while the data are built: the same rule.

Only the standard library is imported: a Snakefile calls this while it is parsed.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from personalrm.core.errors import ConfigError
from personalrm.core.files import stable_hash
from personalrm.data.sources.fields import FieldError
from personalrm.data.sources.local import read_rows, read_votes
from personalrm.data.sources.votes import user_of

if TYPE_CHECKING:
    from personalrm.data.settings import Dataset


def pick_users(
    pairs_of: Mapping[str, int], users: Collection[str] | None, max_users: int | None, min_pairs: int
) -> list[str]:
    """Users of the run, sorted, from the number of usable pairs of each user in the data.

    `users` limits the choice. Without `max_users` all of them stay, also those with fewer than `min_pairs`
    (they become rows with the reason); with it, the first `max_users` by a stable hash of the id among those
    with enough pairs. The hash knows nothing of the data set, so that one user is in or out of both.
    """
    candidates = pairs_of.keys() if users is None else set(users)
    if max_users is None:
        return sorted(candidates)
    enough = [user for user in candidates if pairs_of.get(user, 0) >= min_pairs]
    return sorted(sorted(enough, key=lambda user: stable_hash("max_users", user))[:max_users])


def scan_user_ids(path: Path, dataset: str = "<name>") -> list[str]:
    """All user ids of a vote file, sorted; lines without a usable id are passed over.

    Raises ConfigError that names `datasets.<dataset>.shards` where the file is missing, and DataError where it
    cannot be read to its end.
    """
    _require(path, dataset)
    found = set()
    for row in read_rows(path, skip_bad=True):
        try:
            found.add(user_of(row))
        except FieldError:
            continue
    return sorted(found)


def select_user_ids(settings: Dataset) -> list[str]:
    """Users of the run, sorted: exactly those for whom `prepare_dataset` writes a row.

    The data are read only as far as needed: not at all for a list of users, without checks where all users
    are taken, and in full for `max_users`, whose choice rests on the number of usable pairs. Bad lines are passed
    over here; the job that builds the data reports them. Raises ConfigError where a released data set names no users.
    """
    if settings.max_users is None and settings.users is not None:
        return sorted(set(settings.users))
    if settings.source != "local":
        raise ConfigError(
            f"datasets.{settings.name}.shards: {settings.shards} needs the user ids before any job runs; list them "
            f"under datasets.{settings.name}.users, or give a number of shards (PRISM 8, Chatbot Arena 2)"
        )
    if settings.max_users is None:
        return scan_user_ids(settings.path, settings.name)
    _require(settings.path, settings.name)
    contents: dict[str, set[str]] = {}
    for vote in read_votes(settings.path, on_bad="drop"):
        if not vote.tie and vote.chosen != vote.rejected:
            contents.setdefault(vote.user_id, set()).add(vote.content_hash)
    counts = {user: len(distinct) for user, distinct in contents.items()}
    return pick_users(counts, settings.users, settings.max_users, settings.min_pairs)


def _require(path: Path, dataset: str) -> None:
    if not path.is_file():
        raise ConfigError(
            f"datasets.{dataset}.shards: per_user and auto read the user ids from {path}, which is not there; correct "
            f"datasets.{dataset}.path, list the ids under datasets.{dataset}.users, or give a number of shards"
        )
