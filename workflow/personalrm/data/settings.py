"""Typed settings of a data set: an entry of `datasets` in the config."""

from __future__ import annotations

import math
import re
from pathlib import Path, PurePosixPath
from typing import Annotated, ClassVar, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, field_validator, model_validator

from personalrm.data.filters.filter_settings import RELEASED, FilterSettings
from personalrm.data.sources.fields import Id

KeepTogether = Literal["turn", "conversation", "none"]
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


Shares = Annotated[tuple[float, float, float], AfterValidator(_add_up)]
"""Three shares of a whole."""
MOST_FOLDS = 100
Fold = Annotated[
    tuple[Annotated[int, Field(strict=True, ge=1)], Annotated[int, Field(strict=True, ge=2)]], AfterValidator(_one_of)
]
"""[i, n]: the i-th of n stretches."""


class SplitSettings(BaseModel):
    """Split of one user's pairs (pair split).

    `fractions` are the shares of context, validation and test (paper: 50/20/30 %). `keep_together` says what
    never straddles two parts: a `conversation` (default), a `turn`, or nothing (`none`, as published).

    `similarity` (default 0.9) keeps near-duplicate prompts together, too: those that have this share of their letters
    in common, with case, blanks, punctuation and digits folded (`near_duplicates.py`; our choice). 1: only prompts that
    are equal in that form; None: only those that are equal but for case and blanks. The authors' released splits stand
    as they are, and the default with them is None.

    `fold` [i, n] makes the i-th of n consecutive stretches of a user's pairs the test, and the fractions of context and
    validation share the rest: n data sets that differ by i alone have each pair as a test pair once. Learning then
    also sees pairs that are newer than the test (our choice, for few pairs; the paper has one split). `folds` n, in the
    config of a run, stands for these n data sets and has their results pooled (`personalrm.data.cross_validation`).
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    fractions: Shares = (0.5, 0.2, 0.3)
    keep_together: KeepTogether = "conversation"
    similarity: Annotated[float, Field(ge=0.5, le=1)] | None = SIMILARITY
    # Not dumped if None, so that files of runs without folds keep their bytes.
    fold: Fold | None = Field(default=None, exclude_if=lambda value: value is None)

    folds: Annotated[int, Field(strict=True, ge=2, le=MOST_FOLDS)] | None = Field(
        default=None, exclude_if=lambda value: value is None
    )

    @model_validator(mode="after")
    def _check_folds(self) -> Self:
        if self.folds is not None and (self.fold is None or self.fold[1] != self.folds):
            raise ValueError("folds: stands alone, without fold, and only where no data set is named <name>-fold<i>")
        return self


class UserSplitSettings(BaseModel):
    """User split (train/validation/test users), for methods trained across users.

    `fractions` are the shares of train, validation and test users, by a stable hash of the id and `seed`. The paper's
    are not published; its released Arena pairs lie 23/18/60 % (305/235/798), ours near that. Data sets of fewer than
    `min_users` users are not split: a handful of users teaches nothing about others (our choice).
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    fractions: Shares = (0.25, 0.15, 0.6)
    min_users: Annotated[int, Field(strict=True, ge=1)] = 20
    seed: int = 0


CHECKSUMS = "checksums.json"
"""Name of our own record next to the files of a hub source."""


def _repo_file(name: str) -> str:
    path = PurePosixPath(name)
    if str(path) != name or path.is_absolute() or path.parts[0].startswith(".") or ".." in path.parts:
        raise ValueError(f"{name!r} is not the name of a file in a repository")
    if name == CHECKSUMS:
        raise ValueError(f"{CHECKSUMS} is the name of our own record")
    return name


class HubSource(BaseModel):
    """Files of a data set repository on the Hugging Face hub (or of a mirror, `HF_ENDPOINT`).

    `revision` pins them: a commit, so that a run can be repeated. `sha256` maps file names of the repository to
    checksums that must hold; where it is silent, the first download's checksums are noted and hold from then on.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    repo: Annotated[str, Field(pattern=r"^[\w.-]+/[\w.-]+$")]
    revision: Annotated[str, Field(pattern=r"^[\w.-]{1,100}$")]
    files: Annotated[list[Annotated[str, AfterValidator(_repo_file)]], Field(min_length=1)]
    sha256: dict[str, Annotated[str, Field(pattern=r"^[0-9a-fA-F]{64}$")]] = {}

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


class DatasetBase(BaseModel):
    """What all data sets have. Paths are relative to the working directory.

    `users` limits the run to these users and `max_users` to the first so many, by a stable hash of the id, of the users
    that pass the user filter (`min_pairs`; paper: 5); `max_pairs` keeps only the oldest pairs of each user.
    `ties` says whether votes for neither answer are dropped, or kept to be judged (nothing is learned from them): they
    come on top, so that `min_pairs`, `max_pairs` and the fractions of `split` count decided pairs alone (our choice).
    `shards`: a job for each user, this many jobs, or what `sharding.chosen_shards` makes of the number of users.
    `on_bad` says whether a bad row stops the run or is dropped and counted. `planted` is a JSON file
    {user: {"taste": text}} for invented users.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    name: str
    licence: str = ""
    shards: Literal["auto", "per_user"] | Annotated[int, Field(strict=True, ge=1, le=10_000)] = "auto"
    users: Annotated[list[Id], Field(min_length=1)] | None = None
    max_users: Annotated[int, Field(strict=True, ge=1)] | None = None
    max_pairs: Annotated[int, Field(strict=True, ge=3)] | None = None
    min_pairs: Annotated[int, Field(strict=True, ge=3)] = 5
    ties: Literal["drop", "keep"] = "drop"
    on_bad: Literal["error", "drop"] = "error"
    split: SplitSettings = SplitSettings()
    user_split: UserSplitSettings = UserSplitSettings()
    filters: FilterSettings | None = None
    planted: Path | None = None

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
    def _has_pairs_for_folds(self) -> Self:
        if self.split.fold and self.min_pairs < (least := max(4, self.split.fold[1])):
            raise ValueError(f"min_pairs: a user needs {least} pairs for split.fold {list(self.split.fold)}")
        return self

    @model_validator(mode="after")
    def _has_judgments(self) -> Self:
        if self.filters and RELEASED in self.filters.judges and not isinstance(self, ProcessedDataset):
            raise ValueError(f"filters: only source personalrewardbench has {RELEASED} judgments; name models")
        return self

    @field_validator("name")
    @classmethod
    def _folder_name(cls, value: str) -> str:
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]{0,39}", value):
            raise ValueError(f"{value!r} names a folder: use letters, digits, _ and -, at most 40, not led by a sign")
        return value


class LocalDataset(DatasetBase):
    """A JSON-lines file of votes in our format (config/README.md)."""

    hub: ClassVar[None] = None
    source: Literal["local"] = "local"
    path: Path

    def source_files(self) -> list[Path]:
        """Files that the votes are read from."""
        return [self.path]


class _Released(DatasetBase):
    """A released data set: a local folder (`path`) with the release's files, or the hub (`hub`), one of them."""

    suffixes: ClassVar[tuple[str, ...]] = (".parquet", ".jsonl", ".jsonl.gz")
    path: Path | None = None
    hub: HubSource | None = None

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
    """The raw release of PRISM (Kirk et al. 2024): ratings of 1-100 of up to four answers per turn, and a survey.

    Of a turn's answers all pairs are made; `min_rating_gap` drops pairs whose
    ratings differ by less than so many points of the 100-point scale (paper: 10 %). Ratings make no ties: equal ones
    are such a pair, too.
    """

    source: Literal["prism"]
    ties: Literal["drop"] = "drop"
    table: Literal["conversations"] = "conversations"
    min_rating_gap: Annotated[float, Field(ge=0, le=99)] = 10.0

    @field_validator("table", mode="before")
    @classmethod
    def _one_table(cls, value: object) -> object:
        if value == "utterances":
            raise ValueError(
                "utterances.jsonl is not read any more: it holds the answers of conversations.jsonl, without times; "
                "put conversations.jsonl there, and remove table"
            )
        return value

    def source_files(self) -> list[Path]:
        """Files that the votes are read from; the survey comes second."""
        return [self.folder / "conversations.jsonl", self.folder / "survey.jsonl"]


class ArenaDataset(_Released):
    """The raw release of Chatbot Arena conversations (Zheng et al. 2023): one vote on two conversations per row."""

    source: Literal["arena"]


class MtBenchDataset(_Released):
    """Votes of judges on two models' answers to fixed questions, as MT-bench's release has them (Zheng et al. 2023).

    `path` is a folder, or a single file. The release has a file of people's votes and one of GPT-4's (`gpt4_pair`); a
    judge is a user here, so give the people's file alone if GPT-4's votes are not wanted.
    """

    source: Literal["mtbench"]


class ProcessedDataset(_Released):
    """The authors' processed sets (PersonalRewardBench), with their splits and their filters' judgments.

    `keep_splits` takes both splits from the release; else both are made anew.
    """

    suffixes: ClassVar[tuple[str, ...]] = (".parquet",)
    source: Literal["personalrewardbench"]
    keep_splits: bool = True

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
