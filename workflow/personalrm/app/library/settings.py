"""Settings of an object, and the config that says the same: what is learned and judged how is the workflow's affair."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from personalrm.app.library.models import DEFAULT_MODEL, model_entry, usual_learning
from personalrm.core.addresses import without_credentials
from personalrm.core.errors import ConfigError
from personalrm.judge.judge import JudgeSettings
from personalrm.llm.types import ModelSpec
from personalrm.methods.registry import parse_method
from personalrm.methods.synthesizeme.profile import ProfileSettings, with_theta
from personalrm.methods.synthesizeme.theta import read_theta
from personalrm.studies.preflight import load_environment
from personalrm.studies.synthesizeme.config import Config, ModelConfig
from personalrm.studies.synthesizeme.config_load import laid_over, parse_config
from personalrm.studies.synthesizeme.stages.learn import profile_settings
from personalrm.studies.synthesizeme.stages.settings import judge_settings

MODEL = "model"
"""Name of the one model in the config of an object."""
DATASET = "library"


StopScore = float | Literal["variant"] | None
"""Percent at which a search ends, None for never; "variant" stands for that of the variant (`config.StopScores`)."""


@dataclass(frozen=True)
class Settings:
    """What an object was made with, and a file of a saved object keeps. `SynthesizeMe` says what each means."""

    model_id: str = DEFAULT_MODEL
    model_url: str | None = None
    seed: int = 42
    num_workers: int = 8
    model_options: Mapping[str, Any] = field(default_factory=dict)
    max_failed_share: float = 0.01
    method: str = "default"
    variant: str = "corrected"
    train_val_ratio: float = 0.7
    max_bootstrapped_demos: int = -1
    max_labeled_demos: int = 4
    num_search_candidates: int = 10
    stop_at_score: StopScore = "variant"
    num_workers_bootstrap: int | None = 24
    persona_program: str | None = None
    learn_options: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Check all there is to check before the first call. Raises ConfigError."""
        least = {"num_workers": 1, "num_workers_bootstrap": 1, "max_bootstrapped_demos": -1, "max_labeled_demos": -1}
        for name, smallest in least.items():
            value = getattr(self, name)
            if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < smallest):
                raise ConfigError(f"{name}: must be a whole number from {smallest}, not {value!r}")
        if not isinstance(self.train_val_ratio, int | float) or not 0 < self.train_val_ratio <= 1:
            raise ConfigError(f"train_val_ratio: must be above 0 and at most 1, not {self.train_val_ratio!r}")
        if not isinstance(self.model_id, str):
            raise ConfigError(f"model_id: is no string but {type(self.model_id).__name__}; write 'openai/gpt-4o-mini'")
        if parse_method(self.method).method.needs not in ("judge", "profile"):
            raise ConfigError(f"method: {self.method!r} asks no model; use both, demos or persona")
        self.config(1)
        if parse_method(self.method).method.text_only and self.judge.mode != "text":
            raise ConfigError(f"method: {self.method!r} reads no log-probabilities; set verdicts: ['text']")

    def config(self, n_pairs: int) -> Config:
        """The config of a run that does what the object does; -1 demonstrations stand for `n_pairs`.

        Raises ConfigError, one line a problem.
        """
        load_environment()
        entry = model_entry(self.model_id, self.model_url, self.model_options)
        search: dict[str, Any] = {
            "num_search_candidates": self.num_search_candidates,
            "max_bootstrapped_demos": "all" if self.max_bootstrapped_demos == -1 else self.max_bootstrapped_demos,
            "max_labeled_demos": n_pairs if self.max_labeled_demos == -1 else self.max_labeled_demos,
        }
        if self.stop_at_score != "variant":
            search["stop_at_score"] = self.stop_at_score
        learn = laid_over(usual_learning(self.model_id), self.learn_options)
        raw = {
            "run": DATASET,
            "seed": self.seed,
            # Never read: a run has a data set, and an object is given its data.
            "datasets": {DATASET: {"path": "given"}},
            "models": {MODEL: entry},
            "variants": [self.variant],
            "methods": [self.method],
            "learn": laid_over(learn, {"models": [MODEL], "search": search}),
            "max_failed_share": self.max_failed_share,
        }
        try:
            return parse_config(raw)
        except ConfigError as error:
            raise ConfigError(_own_names(str(error))) from error

    @property
    def entry(self) -> ModelConfig:
        """How the model is reached, and how it judges."""
        return self.config(1).models[MODEL]

    def spec(self, workers: int) -> ModelSpec:
        """The model, with so many calls at once; its name in records and messages is the id as it was given."""
        return replace(self.entry.spec(self.model_id), max_concurrency=workers)

    @property
    def fit_workers(self) -> int:
        """Calls at once while fitting."""
        return self.num_workers_bootstrap or self.num_workers

    @property
    def judge(self) -> JudgeSettings:
        """How pairs are judged: by the first of the model's verdict modes, as in learning."""
        entry = self.entry
        return judge_settings(entry, entry.verdicts[0])

    def learning(self, n_pairs: int) -> ProfileSettings:
        """How a profile is learned from `n_pairs` context pairs. Raises DataError for a program file that is none."""
        theta = read_theta(Path(self.persona_program)) if self.persona_program else None
        settings = profile_settings(self.config(n_pairs), MODEL, self.variant)
        return with_theta(replace(settings, search=replace(settings.search, places=self.fit_workers)), theta)

    def to_json(self) -> dict[str, Any]:
        """Values for a file. An address is kept without its credentials; keys are never among the settings."""
        options = dict(self.model_options)
        if options.get("api_base"):
            options["api_base"] = without_credentials(options["api_base"])
        url = without_credentials(self.model_url) if self.model_url else None
        return asdict(self) | {"model_url": url, "model_options": options}


def _own_names(problems: str) -> str:
    """Problems of the config, by the names of an object's parameters."""
    names = {
        f"models.{MODEL}.": "model_options: ",
        "learn.search.": "",
        "learn.": "learn_options: ",
        "variants: ": "variant: ",
        "methods: ": "method: ",
    }
    lines = problems.splitlines()
    for old, new in names.items():
        lines = [new + line.removeprefix(old) if line.startswith(old) else line for line in lines]
    return "\n".join(lines)
