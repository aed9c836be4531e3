"""Votes of a file, a folder or the hub as each user's preferences: `get_user_ids()`, `get_user_data(id)`, as published.

Users, pairs and splits are those of the workflow's `prepare` stage. (A module of this package: `import datasets` is
still the Hugging Face library.)
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping, Sequence
from functools import cached_property
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple

from pydantic import Field, TypeAdapter, ValidationError

from personalrm.app.library.data import to_item
from personalrm.core.errors import ConfigError, DataError
from personalrm.core.extras import require_extra
from personalrm.core.records import UserData
from personalrm.data.hub import fetch_files, shared_source
from personalrm.data.prepare import read_users
from personalrm.data.settings import Dataset, HubSource
from personalrm.data.sources.reading import ReadReport
from personalrm.studies.preflight import load_environment

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["ChatbotArenaDataset", "LocalDataset", "PersonalDataset", "PrismDataset", "UserParts", "bundled"]
logger = logging.getLogger("personalrm.app.library")
Form = Literal["processed", "raw"]
UserPart = Literal["train", "validation", "test", "all"]
PROCESSED_FILES = tuple(f"data/{part}-00000-of-00001.parquet" for part in ("train", "validation", "test"))
_PROCESSED_NAME = re.compile(r"(train|validation|test)(-\d{5}-of-\d{5})?\.parquet")


class UserParts(NamedTuple):
    """One user's preferences, oldest first: to learn from, to choose with, and to test on (paper: 50, 20 and 30 %)."""

    train: list[dict[str, Any]]
    val: list[dict[str, Any]]
    test: list[dict[str, Any]]


class _Kept(HubSource):
    """Hub files that are kept below a folder of the caller's, and not of the working directory."""

    root: Path = Path()

    @property
    def folder(self) -> Path:
        """Where the files lie once fetched."""
        return self.root / super().folder


class PersonalDataset:
    """Users and their preferences, read at first use, all in memory. `settings` is an entry of `datasets`.

    Only users with enough pairs (`min_pairs`, paper: 5) are there.
    """

    def __init__(self, settings: Dataset) -> None:
        self.settings = settings

    def get_user_ids(self, split: UserPart = "all") -> list[str]:
        """Ids of all users, sorted, or of one part of the users' split. Raises DataError where there is none."""
        if split != "all" and not any(user.user_split == split for user in self._users.values()):
            parts = sorted({user.user_split for user in self._users.values() if user.user_split})
            raise DataError(
                f"{self.settings.name}: no user in part {split!r}; there are: {', '.join([*parts, 'all'])} "
                "(few users are not split)"
            )
        return [name for name, user in self._users.items() if split in ("all", user.user_split)]

    def get_user_data(self, user_id: str) -> UserParts:
        """Preferences of one user, as (train, val, test). Raises DataError for a user who is not there."""
        if user_id not in self._users:
            raise DataError(f"{self.settings.name}: no user {user_id!r} with enough pairs; see get_user_ids()")
        user = self._users[user_id]
        parts = (user.part("context"), user.part("validation"), user.part("test"))
        return UserParts(*([to_item(pair) | {"dataset": self.settings.name} for pair in part] for part in parts))

    def get_all_user_data(self, split: UserPart = "all") -> dict[str, UserParts]:
        """Preferences of all users (of one part), by id."""
        return {name: self.get_user_data(name) for name in self.get_user_ids(split)}

    def get_dataframe(self, split: UserPart = "all") -> pd.DataFrame:
        """All preferences as a data frame, one row per pair; `split` is the pair's part: train, val or test."""
        require_extra("data", "data sets as frames", "pandas")
        import pandas as pd

        rows = [
            item | {"split": part}
            for parts in self.get_all_user_data(split).values()
            for part, items in parts._asdict().items()
            for item in items
        ]
        return pd.DataFrame(rows)

    @cached_property
    def _users(self) -> dict[str, UserData]:
        load_environment()
        name, report = self.settings.name, ReadReport()
        if self.settings.hub is not None:
            fetch_files(name, shared_source({name: self.settings}, name), logger.info)
        users = {user.user_id: user for user in read_users(self.settings, report).users if user.pairs}
        if not users:
            raise DataError(
                f"{name}: {report.votes} votes, but no user has {self.settings.min_pairs} pairs; "
                "correct the path, or give a smaller min_pairs (at least 3)"
            )
        return users


class LocalDataset(PersonalDataset):
    """A file of votes (docs/data.md). `options` are further keys of its entry, such as `min_pairs` and `columns`.

    Raises ConfigError for an option that is none.
    """

    def __init__(self, path: Path | str, **options: Any) -> None:  # noqa: ANN401  (checked by the entry)
        super().__init__(_entry({"name": "local", "source": "local", "path": Path(path)}, options))


BUNDLED = ("quickstart", "tastes")


def bundled(name: str = "quickstart") -> LocalDataset:
    """Votes of invented users that come with the package: eight with tastes of style, or twelve harder ones ("tastes").

    >>> bundled().get_user_ids()[:2]
    ['amara', 'bjorn']
    """
    if name not in BUNDLED:
        raise ConfigError(f"bundled: no data set {name!r}; there are: {', '.join(BUNDLED)}")
    return LocalDataset(Path(str(files("personalrm") / "bundled" / f"{name}.jsonl")))


class _Released(PersonalDataset):
    """A released set: a local folder, or a repository of the hub. The raw release's reader has the set's `name`."""

    name: str
    processed_repo: str
    raw_repo: str
    raw_files: tuple[str, ...]

    def __init__(
        self,
        path: Path | str | None = None,
        *,
        repo: str | None = None,
        revision: str = "main",
        files: Sequence[str] | None = None,
        form: Form | None = None,
        cache_dir: Path | str = ".",
        **options: Any,  # noqa: ANN401  (checked by the entry)
    ) -> None:
        if path is not None and repo is not None:
            raise ConfigError("path: give a folder (path) or a repository of the hub (repo), not both")
        form = form or self._guess(path, repo)
        source, default, known = "personalrewardbench", self.processed_repo, PROCESSED_FILES
        if form == "raw":
            source, default, known = self.name, self.raw_repo, self.raw_files
        entry: dict[str, Any] = {"name": self.name, "source": source}
        if path is not None:
            super().__init__(_entry(entry | {"path": Path(path)}, options))
            return
        hub = {"repo": repo or default, "revision": revision, "files": list(files or known), "root": cache_dir}
        super().__init__(_entry(entry, options, hub))

    def _guess(self, path: Path | str | None, repo: str | None) -> Form:
        """What lies there: a folder's Parquet files named by parts of users are the processed set."""
        if path is None:
            return "raw" if repo == self.raw_repo else "processed"
        found = [each.name for each in Path(path).glob("**/*.parquet")]
        return "processed" if found and all(map(_PROCESSED_NAME.fullmatch, found)) else "raw"


class PrismDataset(_Released):
    """PRISM (Kirk et al. 2024): the authors' processed set, or the raw release.

    Without arguments the processed set is fetched from the hub, as the published class does, once, into `data/hub` of
    the working directory (as the workflow does), and its checksums are noted.

    Args:
        path: a folder with the files instead.
        repo: a repository of the hub; that of the raw release is known as such.
        revision: a commit, so that a run can be repeated; a branch is resolved at the first fetch, and kept.
        files: the repository's files (default: those of the release).
        form: `processed` or `raw`; found out where nothing is said.
        cache_dir: folder in which `data/hub` lies.
        options: further keys of the data set's entry in the config, such as `min_pairs`, `split`, `min_rating_gap`.

    Raises:
        ConfigError: for an option that is none. Questions raise DataError where the files cannot be had or read.
    """

    name = "prism"
    processed_repo = "MichaelR207/prism_personalized_0125"
    raw_repo = "HannahRoseKirk/prism-alignment"
    raw_files = ("conversations.jsonl", "survey.jsonl")


class ChatbotArenaDataset(_Released):
    """Chatbot Arena (Zheng et al. 2023): the authors' processed set, or the raw release (gated: accept its terms, and
    set HF_TOKEN). Arguments as for `PrismDataset`."""

    name = "arena"
    processed_repo = "MichaelR207/chatbot_arena_personalized_0125"
    raw_repo = "lmsys/chatbot_arena_conversations"
    raw_files = ("data/train-00000-of-00001-cced8514c7ed782a.parquet",)


def _entry(entry: Mapping[str, Any], options: Mapping[str, Any], hub: Mapping[str, Any] | None = None) -> Dataset:
    """An entry of `datasets`. Raises ConfigError, one line per wrong value."""
    adapter: TypeAdapter[Dataset] = TypeAdapter(Annotated[Dataset, Field(discriminator="source")])
    try:
        files = {} if hub is None else {"hub": _Kept.model_validate(hub)}
        return adapter.validate_python({**entry, **files, **options})
    except ValidationError as error:
        lines = [f"{item['loc'][-1] if item['loc'] else 'options'}: {item['msg']}" for item in error.errors()]
        raise ConfigError("\n".join(lines)) from None
