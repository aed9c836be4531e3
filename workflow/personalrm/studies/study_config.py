"""What the config of every study has: where results and answers go, data sets, models, statistics and budget."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, field_validator, model_validator

from personalrm.core.addresses import address_problem
from personalrm.core.errors import ConfigError
from personalrm.llm.cache.store_file import JournalMode
from personalrm.llm.limits.budget import BudgetSettings
from personalrm.llm.types import ModelSpec
from personalrm.studies.model_config import ModelConfig, Positive

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,39}")
NO_MODEL = "none"


def _name(value: str) -> str:
    if not _NAME.fullmatch(value):
        raise ValueError(
            f"{value!r} becomes a folder: use at most 40 letters, digits, '.', '_', '-', and no sign first"
        )
    if value == NO_MODEL:
        raise ValueError(f"{NO_MODEL!r} stands for 'no model' and can not be a name")
    return value


Name = Annotated[str, AfterValidator(_name)]


class Section(BaseModel):
    """Base of all sections: unknown keys are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())


class StatisticsConfig(Section):
    """Intervals."""

    seed: int = 0
    """Seed of the bootstrap."""
    resamples: Positive = 9999
    """Resamples of the bootstrap."""


class StudyConfig(Section):
    """One run of a study."""

    # Settings of a data set; of several kinds, the key `source` of an entry says which.
    dataset_kinds: ClassVar[tuple[type[BaseModel], ...]] = ()

    study: str
    run: Name
    """Name of the run: results go to `results/<run>`."""
    seed: int = 0
    """Seed of every random choice that is not a model's."""
    store: Path = Path("store/responses.sqlite")
    """Response store; runs may share one."""
    store_journal: JournalMode = "wal"
    """SQLite's journal of the store; `delete` where several machines share its file system (docs/running.md)."""
    results: Path = Path("results")
    """Folder of all runs."""
    datasets: Annotated[dict[Name, Any], Field(min_length=1)]
    """Data sets by name."""
    models: dict[Name, ModelConfig] = {}
    """Models by name."""
    statistics: StatisticsConfig = StatisticsConfig()
    """Intervals."""
    budget: BudgetSettings = BudgetSettings()
    """What the run may cost."""
    max_failed_share: Annotated[float, Field(ge=0, le=1)] = 0.01
    """Share of provider errors above which a job fails. Lost judgments below it are left out of every number, counted
    and marked."""
    check_endpoints: bool = False
    """Make one real call to each endpoint before the run."""

    @model_validator(mode="before")
    @classmethod
    def _with_names(cls, value: object) -> object:
        # A data set's name is its key; readers of one entry alone want it inside, too.
        if isinstance(value, dict) and isinstance(value.get("datasets"), dict):
            entries = cls.all_datasets(value["datasets"]).items()
            named = {k: {"name": k, **v} if isinstance(v, dict) else v for k, v in entries}
            return {**value, "datasets": named}
        return value

    @classmethod
    def all_datasets(cls, given: Mapping[str, Any]) -> Mapping[str, Any]:
        """The data sets that entries of the config stand for, by name."""
        return given

    @field_validator("datasets")
    @classmethod
    def _named_by_their_keys(cls, value: dict[str, Any]) -> dict[str, Any]:
        for key, entry in value.items():
            if getattr(entry, "name", key) != key:
                raise ValueError(f"{key} has the name {entry.name!r}, but the key is the name; leave name out")
        return value

    @property
    def specs(self) -> dict[str, ModelSpec]:
        """How to reach each model."""
        return {name: entry.spec(name) for name, entry in self.models.items()}


def model_problems(config: StudyConfig, named: Mapping[str, Iterable[str]]) -> Iterator[str]:
    """What is wrong with the models of a config, and with the models that keys name (`named`): each must exist and be
    named once. Each problem begins with its key."""
    known = ", ".join(config.models) or "none"
    for key, names in {**named, "budget.models": config.budget.models}.items():
        for name, count in Counter(names).items():
            if name not in config.models:
                yield f"{key}: no model {name!r} under 'models' (there are: {known})"
            if count > 1:
                yield f"{key}: {name!r} is given twice"
    for name, entry in config.models.items():
        if entry.api_base and (problem := address_problem(entry.api_base)):
            yield f"models.{name}.api_base: {problem}"
        if entry.prompts == "compact" and "text" in entry.verdicts:
            yield (
                f"models.{name}.verdicts: 'text' is not read from compact prompts, which end with the label; use "
                "prompts: standard, or verdicts: [logprob_both]"
            )


C = TypeVar("C", bound=StudyConfig)


def of_study(config: StudyConfig, kind: type[C]) -> C:
    """`config` as that of one study. Raises ConfigError where it is another's, which has no such command."""
    if isinstance(config, kind):
        return config
    raise ConfigError(f"study: {config.study!r} has no such command; it is one of {kind.__module__.split('.')[-2]!r}")
