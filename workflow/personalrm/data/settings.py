"""Typed settings of a data set: an entry of `datasets` in the config."""

from __future__ import annotations

import math
import re
from pathlib import Path, PurePosixPath
from typing import Annotated, ClassVar, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from personalrm.data.filters.filter_settings import RELEASED, FilterSettings, Settings
from personalrm.data.sources.fields import Id
from personalrm.data.sources.votes import KNOWN_FIELDS

KeepTogether = Literal["turn", "conversation", "none"]
Untimed = Literal["oldest", "conversation", "file"]
SIMILARITY = 0.9
"""Default of `split.similarity`: of two prompts of 30 letters each, 3 letters may differ."""


def _add_up(value: tuple[float, float, float]) -> tuple[float, float, float]:
    if not all(math.isfinite(share) and share > 0 for share in value) or abs(sum(value) - 1) > 1e-9:
        raise ValueError(f"must be three shares above 0 that add up to 1, not {list(value)}")
    return value


def _one_of(value: tuple[int, int]) -> tuple[int, int]:
    if not 1 <= value[0] <= value[1]:
        raise ValueError("must be [i, n] with i from 1 to n")
    return value


def _fields_of_a_vote(columns: dict[str, str]) -> dict[str, str]:
    known = KNOWN_FIELDS - {"prompt"}
    if unknown := sorted(columns.keys() - known):
        raise ValueError(
            f"{unknown[0]!r} is no field of a vote; write {{field: column}} with {', '.join(sorted(known))}"
        )
    return columns


Shares = Annotated[tuple[float, float, float], AfterValidator(_add_up)]
"""Three shares of a whole."""
MOST_FOLDS = 100
Fold = Annotated[
    tuple[Annotated[int, Field(strict=True, ge=1)], Annotated[int, Field(strict=True, ge=2)]], AfterValidator(_one_of)
]
"""[i, n]: the i-th of n stretches."""


class SplitSettings(Settings):
    """Pair split: each user's pairs are context, validation or test (docs/data.md)."""

    fractions: Shares = (0.5, 0.2, 0.3)
    """Shares of context, validation and test (paper: 50/20/30 %)."""
    keep_together: KeepTogether = "conversation"
    """What never straddles two parts; `none` as published."""
    similarity: Annotated[float, Field(ge=0.5, le=1)] | None = SIMILARITY
    """Prompts that have this share of their letters in common stay in one part; 1: only prompts that are equal in that
    form; null: only those that are equal but for case and blanks, the default with the splits of the authors
    (docs/data.md)."""
    # Not dumped if None, so that files of runs without folds keep their bytes.
    fold: Fold | None = Field(default=None, exclude_if=lambda value: value is None)
    """`[i, n]`: the i-th of n consecutive stretches of a user's pairs is the test; the rest is context and
    validation."""

    folds: Annotated[int, Field(strict=True, ge=2, le=MOST_FOLDS)] | None = Field(
        default=None, exclude_if=lambda value: value is None
    )
    """n: the n data sets `<name>-fold1` to `<name>-fold<n>` in place of this one, with their results pooled; with `k:
    [all]` only."""

    @model_validator(mode="after")
    def _check_folds(self) -> Self:
        if self.folds is not None and (self.fold is None or self.fold[1] != self.folds):
            raise ValueError("folds: stands alone, without fold, and only where no data set is named <name>-fold<i>")
        return self


class UserSplitSettings(Settings):
    """User split: users apart, for what is trained on other users, by a stable hash of the id and `seed`.

    The paper's fractions are not published; its released Arena pairs lie 23/18/60 % (305/235/798), ours near that. A
    handful of users teaches nothing about others, so that small data sets are not split (our choice).
    """

    fractions: Shares = (0.25, 0.15, 0.6)
    """Shares of train, validation and test users."""
    min_users: Annotated[int, Field(strict=True, ge=1)] = 20
    """A data set of fewer users has no user split."""
    seed: int = 0
    """Seed of the hash that splits the users."""


CHECKSUMS = "checksums.json"
"""Name of our own record next to the files of a hub source."""


def _repo_file(name: str) -> str:
    path = PurePosixPath(name)
    if str(path) != name or path.is_absolute() or path.parts[0].startswith(".") or ".." in path.parts:
        raise ValueError(f"{name!r} is not the name of a file in a repository")
    if name == CHECKSUMS:
        raise ValueError(f"{CHECKSUMS} is the name of our own record")
    return name


class HubSource(Settings):
    """Files of a data set repository on the Hugging Face hub (or of a mirror, `HF_ENDPOINT`)."""

    repo: Annotated[str, Field(pattern=r"^[\w.-]+/[\w.-]+$")]
    """Repository on the hub."""
    revision: Annotated[str, Field(pattern=r"^[\w.-]{1,100}$")]
    """A commit; a branch or tag is resolved at the first fetch and kept."""
    files: Annotated[list[Annotated[str, AfterValidator(_repo_file)]], Field(min_length=1)]
    """Names of the files."""
    sha256: dict[str, Annotated[str, Field(pattern=r"^[0-9a-fA-F]{64}$")]] = Field(default={})
    """Checksums that must hold, by file; of other files the first download counts."""

    @model_validator(mode="after")
    def _sums_of_files(self) -> Self:
        if unknown := self.sha256.keys() - set(self.files):
            raise ValueError(f"sha256.{min(unknown)}: no such file in files")
        return self

    @property
    def folder(self) -> Path:
        """Where the files lie once fetched, relative to the working directory; shared by all runs."""
        return Path("data/hub") / self.repo.replace("/", "--") / self.revision[:40]

    @property
    def paths(self) -> list[Path]:
        """Where the files lie once fetched, in the config's order."""
        return [self.folder / name for name in self.files]


def _folder_name(value: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]{0,39}", value):
        raise ValueError(f"{value!r} names a folder: use letters, digits, _ and -, at most 40, not led by a sign")
    return value


class DatasetBase(Settings):
    """What all data sets have. Paths are relative to the working directory."""

    name: Annotated[str, AfterValidator(_folder_name)]
    licence: str = ""
    """Stated in the data card."""
    shards: Literal["auto", "per_user"] | Annotated[int, Field(strict=True, ge=1, le=10_000)] = "auto"
    """`per_user`: a job for each user; a number of jobs; `auto`: `per_user` up to 64 users, else 8 shards, doubled
    until they hold 500 users or fewer each."""
    users: Annotated[list[Id], Field(min_length=1)] | None = None
    """Ids of the users that the run is limited to."""
    max_users: Annotated[int, Field(strict=True, ge=1)] | None = None
    """The first n users that pass the user filter, by a stable hash."""
    max_pairs: Annotated[int, Field(strict=True, ge=3)] | None = None
    """The oldest n pairs of each user."""
    min_pairs: Annotated[int, Field(strict=True, ge=3)] = 5
    """Users with fewer pairs are removed (paper: 5)."""
    ties: Literal["drop", "keep"] = "drop"
    """`keep`: ties are judged, and nothing is learned from them (docs/data.md); not for `prism`."""
    # Not dumped at its default, so that files of earlier runs keep their bytes.
    untimed: Untimed = Field(default="oldest", exclude_if=lambda value: value == "oldest")
    """What orders a user's pairs where some have no time. `oldest`: pairs without a time come before those with one;
    `conversation`: no time is used, but conversation, turn and pair id; `file`: the sequence of the rows, also of users
    without any time."""
    on_bad: Literal["error", "drop"] = "error"
    """Whether a bad row ends the run, or is dropped and counted."""
    split: SplitSettings = SplitSettings()
    """How each user's pairs are split."""
    user_split: UserSplitSettings = UserSplitSettings()
    """How users are split."""
    filters: FilterSettings | None = None
    """Filters that use models."""
    planted: Path | None = None
    """JSON file `{user: {taste: text}}` of invented users, for `oracle`."""
    train_only: bool = Field(default=False, exclude_if=lambda value: not value)
    """`true`: reward models learn from its users (`train_on_dataset`), and nothing else does: no profile or score is
    made of them, and none of them is judged."""

    @property
    def filter_models(self) -> list[str]:
        """Names of the models that the filters ask."""
        return [name for name in self.filters.judges if name != RELEASED] if self.filters else []

    @property
    def pairs_to_stay(self) -> int:
        """Pairs that a user must keep when thresholds are tried; 1 if only a sample is rated."""
        return 1 if self.filters and self.filters.sample else self.min_pairs

    @property
    def panel(self) -> list[str]:
        """Members of the disagreement panel."""
        found = self.filters.disagreement if self.filters else None
        return found.models if found else []

    @model_validator(mode="after")
    def _fits_folds_and_filters(self) -> Self:
        if self.split.fold and self.min_pairs < (least := max(4, self.split.fold[1])):
            raise ValueError(f"min_pairs: a user needs {least} pairs for split.fold {list(self.split.fold)}")
        if self.filters and RELEASED in self.filters.judges and not isinstance(self, ProcessedDataset):
            raise ValueError(f"filters: only source personalrewardbench has {RELEASED} judgments; name models")
        return self


class LocalDataset(DatasetBase):
    """A file of votes (docs/data.md)."""

    hub: ClassVar[None] = None
    source: Literal["local"] = "local"
    path: Path
    """JSON lines, a JSON list, CSV, TSV or Parquet, also compressed: recognised by content."""
    # Not dumped if empty, so that files of earlier runs keep their bytes.
    columns: Annotated[dict[str, str], AfterValidator(_fields_of_a_vote)] = Field(
        default={}, exclude_if=lambda columns: not columns
    )
    """`{field: column}`: names of the file's columns where they are not those of the fields."""

    def source_files(self) -> list[Path]:
        """Files that the votes are read from."""
        return [self.path]


class _Released(DatasetBase):
    """A released data set: a local folder (`path`) with the release's files, or the hub (`hub`), one of them."""

    suffixes: ClassVar[tuple[str, ...]] = (".parquet", ".jsonl", ".jsonl.gz")
    path: Path | None = None
    """Folder with the release's files."""
    hub: HubSource | None = None
    """Files on the hub, in place of `path`."""

    @model_validator(mode="after")
    def _one_place(self) -> Self:
        if (self.path is None) == (self.hub is None):
            raise ValueError(
                "give path (a folder with the release's files) or hub (repo, revision, files), one of them"
            )
        return self

    @property
    def folder(self) -> Path:
        """Where the release's files lie."""
        if self.hub is not None:
            return self.hub.folder
        return self.path or Path()

    def source_files(self) -> list[Path]:
        """Files of the release that the votes are read from, sorted by name; or `path`, where it names a file."""
        if self.hub is not None:
            return [self.folder / name for name in sorted(self.hub.files)]
        if self.folder.is_file() or (self.folder.name.endswith(self.suffixes) and not self.folder.is_dir()):
            return [self.folder]
        return sorted(each for each in self.folder.glob("**/*") if each.is_file() and each.name.endswith(self.suffixes))


class PrismDataset(_Released):
    """The raw release of PRISM (Kirk et al. 2024): ratings of 1 to 100 of up to four answers per turn, and a survey.
    All pairs of a turn's answers are made; equal ratings make none."""

    source: Literal["prism"]
    ties: Literal["drop"] = "drop"
    """Ratings make no ties."""
    min_rating_gap: Annotated[float, Field(ge=0, le=99)] = 10.0
    """Pairs whose ratings (1 to 100) differ by less are dropped (paper: 10 %)."""

    def source_files(self) -> list[Path]:
        """Files that the votes are read from; the survey comes second."""
        return [self.folder / "conversations.jsonl", self.folder / "survey.jsonl"]


class ArenaDataset(_Released):
    """The raw release of Chatbot Arena conversations (Zheng et al. 2023): one vote on two conversations per row."""

    source: Literal["arena"]


class MtBenchDataset(_Released):
    """Votes of judges on two models' answers to fixed questions, as in MT-bench's release (Zheng et al. 2023).

    `path` is a folder, or a single file. The release has a file of people's votes and one of GPT-4's (`gpt4_pair`); a
    judge is a user here, so give the people's file alone where the other is not wanted.
    """

    source: Literal["mtbench"]


class ProcessedDataset(_Released):
    """The authors' processed sets (PersonalRewardBench), with their splits and their filters' judgments."""

    suffixes: ClassVar[tuple[str, ...]] = (".parquet",)
    source: Literal["personalrewardbench"]
    keep_splits: bool = True
    """Both splits as released; else they are made anew."""

    @model_validator(mode="before")
    @classmethod
    def _compare_no_prompts(cls, values: object) -> object:
        """With the release's splits `split.similarity` is None where the config does not set it."""
        split = values.get("split", {}) if isinstance(values, dict) else None
        if isinstance(split, SplitSettings):
            split = split.model_dump(exclude_unset=True)
        if not isinstance(values, dict) or not isinstance(split, dict) or values.get("keep_splits", True) is not True:
            return values
        return {**values, "split": {"similarity": None, **split}}


Dataset = LocalDataset | PrismDataset | ArenaDataset | MtBenchDataset | ProcessedDataset
"""An entry of `datasets`: which one, `source` says."""
