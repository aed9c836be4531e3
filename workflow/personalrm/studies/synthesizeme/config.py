"""The typed configuration. It is the one description of a run; `workflow/schemas/config.json` is generated from it."""

from __future__ import annotations

import os
import re
from dataclasses import fields
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, JsonValue, field_validator, model_validator

from personalrm.core.conditions import K_NAMES, K, VariantId, VerdictMode
from personalrm.data.cross_validation import with_folds
from personalrm.data.settings import Dataset
from personalrm.judge.judge import PromptStyle
from personalrm.llm.backends.batch.batch_settings import BatchSettings
from personalrm.llm.backends.openai_format import RESERVED, as_extra_body
from personalrm.llm.cache.store_file import JournalMode
from personalrm.llm.limits.budget import BudgetSettings
from personalrm.llm.types import ModelSpec
from personalrm.methods.synthesizeme.theta import ThetaSource
from personalrm.methods.synthesizeme.variants import CORRECTED, PUBLISHED, parse_variant
from personalrm.personas.settings import AnalysisSettings

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


DatasetEntry = Annotated[Dataset, Field(discriminator="source")]
Name = Annotated[str, AfterValidator(_name)]
Positive = Annotated[int, Field(ge=1)]


class Section(BaseModel):
    """Base of all sections: unknown keys are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())


class ModelConfig(Section):
    """One model: how to reach it, and how it judges.

    `model` is the provider's id in LiteLLM's form for `litellm`, the endpoint's own for `openai`, and an id of the
    catalogue for `embedded`. Keys are never written here: `api_key_env` names the variable that holds one. A model at
    an `api_base` of one's own is known by it, unless it has a `snapshot` and `same_weights`.
    """

    backend: Literal["litellm", "openai", "embedded"] = "litellm"
    model: str
    snapshot: str = ""
    same_weights: bool = False
    api_base: str | None = None
    api_base_env: str | None = None
    api_key_env: str | None = None
    path: str | None = None
    context_length: Positive = 8192
    tokenizer: Path | None = None
    prompts: PromptStyle = "standard"
    verdicts: Annotated[list[VerdictMode], Field(min_length=1)] = ["text"]
    max_tokens: Positive = 1024
    max_concurrency: Positive = 32
    timeout_s: Annotated[float, Field(gt=0)] = 120.0
    deadline_s: Annotated[float, Field(gt=0)] = 900.0
    max_attempts: Positive = 6
    requests_per_minute: Positive | None = None
    tokens_per_minute: Positive | None = None
    price_in: Annotated[float, Field(ge=0)] | None = None
    price_out: Annotated[float, Field(ge=0)] | None = None
    extra_body: dict[str, JsonValue] = {}
    batch: BatchSettings | None = None

    @field_validator("extra_body")
    @classmethod
    def _not_ours(cls, value: dict[str, JsonValue]) -> dict[str, JsonValue]:
        ours = sorted(RESERVED & set(value))
        if ours:
            raise ValueError(f"{', '.join(ours)}: set by the requests themselves; remove it here")
        return value

    @model_validator(mode="after")
    def _reachable(self) -> ModelConfig:
        if self.same_weights and not self.snapshot:
            raise ValueError("same_weights: needs a snapshot, which names these weights; add it, or remove this key")
        if self.backend == "openai" and not (self.api_base or self.api_base_env):
            raise ValueError("backend 'openai' needs api_base (or api_base_env, the variable that holds it)")
        if self.backend != "openai" and self.batch is not None:
            raise ValueError(f"batch: backend {self.backend!r} sends no batches; remove it, or use backend 'openai'")
        if self.backend == "embedded" and self.extra_body:
            raise ValueError("extra_body: sent by backends 'openai' and 'litellm' only; remove it")
        return self

    @property
    def reads_labels(self) -> bool:
        """Whether any stage may read labels from log-probabilities: `compact` prompts of analyses do, too."""
        return self.prompts == "compact" or any(mode != "text" for mode in self.verdicts)

    def spec(self, name: str) -> ModelSpec:
        """How to reach the model; `api_base_env` is looked up in the environment of the process."""
        known: dict[str, Any] = {each.name: getattr(self, each.name, None) for each in fields(ModelSpec)}
        if self.api_base is None and self.api_base_env:
            known["api_base"] = os.environ.get(self.api_base_env)
        if self.backend == "embedded" and not self.snapshot:
            from personalrm.llm.local.catalogue import get_entry

            known["snapshot"] = get_entry(self.model).sha256
        known["tokenizer"] = str(self.tokenizer) if self.tokenizer else None
        return ModelSpec(**known | {"name": name, "extra_body": as_extra_body(self.extra_body)})


class BootstrapConfig(Section):
    """Stage 1: `attempts` per pair, the first greedy, the others at `temperature`; `max_tokens` of reasoning."""

    attempts: Positive = 3
    temperature: Annotated[float, Field(ge=0, le=2)] = 0.7
    max_tokens: Positive = 1024


class PersonaConfig(Section):
    """Stage 2: a persona that says nothing is sampled again, up to `attempts`, at the temperature of stage 1."""

    max_tokens: Positive = 1024
    attempts: Positive = 3


class MemoryConfig(Section):
    """The baseline Memory; facts are extracted only where `methods` has it."""

    max_tokens: Positive = 512


Percent = Annotated[float, Field(ge=0, le=100)]


class StopScores(Section):
    """Score (percent) at which the search ends, for each base of the variants; None for never.

    The package stops at 80. With the 2 to 8 validation verdicts of most users, the search then often ends at the set
    without demonstrations, so that the repaired variants have no stop score.
    """

    as_published: Percent | None = 80.0
    corrected: Percent | None = None


class SearchConfig(Section):
    """Stages 1 and 3: candidates of the demonstration search.

    `num_search_candidates` random ones in addition to the `special_candidates` (paper: 10 and all three).
    `max_bootstrapped_demos` `all` stands for as many as there are context pairs, as in the package. `stop_at_score` is
    one number (or null, for never) for all variants, or a number for each base of them (`StopScores`). With
    `parallel_candidates` 1 the fewest calls are made, one candidate after another; more is faster. `exhaustive`
    scores every candidate in full, for the same winner (`pruned_search.PrunedSearch`).
    """

    num_search_candidates: Annotated[int, Field(ge=0)] = 10
    special_candidates: list[Literal["zero_shot", "labelled", "unshuffled"]] = ["zero_shot", "labelled", "unshuffled"]
    max_bootstrapped_demos: Annotated[int, Field(ge=0)] | Literal["all"] = "all"
    max_labeled_demos: Annotated[int, Field(ge=0)] = 4
    stop_at_score: StopScores | Percent | None = StopScores()
    parallel_candidates: Positive = 1
    exhaustive: bool = False

    @property
    def seeds(self) -> tuple[int, ...]:
        """Candidate seeds in the order they are tried."""
        special = {"zero_shot": -3, "labelled": -2, "unshuffled": -1}
        return (*sorted(special[name] for name in self.special_candidates), *range(self.num_search_candidates))

    def stop_of(self, variant: str) -> float | None:
        """The stop score of a variant, which is that of its base."""
        given = self.stop_at_score
        if not isinstance(given, StopScores):
            return given
        return given.as_published if VariantId.parse(variant).base == PUBLISHED else given.corrected


class LearnConfig(Section):
    """What is learned, by which models, and how. `rebootstrap` samples traces anew with the persona (stage 3)."""

    models: list[str] = []
    bootstrap: BootstrapConfig = BootstrapConfig()
    persona: PersonaConfig = PersonaConfig()
    memory: MemoryConfig = MemoryConfig()
    search: SearchConfig = SearchConfig()
    rebootstrap: bool = True


class TransferConfig(Section):
    """Profiles of one model shown to another. `pairs` lists [profile model, judge model], or `all` ordered pairs.

    `methods` are those of the run's methods that are judged there, at the largest k.
    """

    pairs: Literal["all"] | list[tuple[str, str]] = []
    methods: list[str] = ["demos", "persona", "both"]
    baselines: list[str] | None = None


class StatisticsConfig(Section):
    """Intervals: seed and number of resamples of the bootstrap over users."""

    seed: int = 0
    resamples: Positive = 9999


class Config(Section):
    """A run. `variants` are names of `variants.py`, each with `+<theta>` where one of `thetas` is used; `k`
    lists numbers of context pairs (`all` for all of them), `draws` is the number of seeded draws of context pairs
    for each k, `evaluate_users` says whether users of the parts train and validation are left out (paper: they
    are), `store_journal` is SQLite's journal of the response store (`delete` where several machines share it),
    `max_failed_share` the share of provider errors above which a job fails."""

    run: Name
    seed: int = 0
    store: Path = Path("store/responses.sqlite")
    store_journal: JournalMode = "wal"
    results: Path = Path("results")
    datasets: Annotated[dict[Name, DatasetEntry], Field(min_length=1)]
    models: dict[Name, ModelConfig] = {}
    variants: Annotated[list[str], Field(min_length=1)] = [CORRECTED]
    thetas: dict[Name, ThetaSource] = {}
    k: Annotated[list[Positive | Literal["all"]], Field(min_length=1)] = ["all"]
    draws: Positive = 1
    methods: Annotated[list[str], Field(min_length=1)] = ["random", "longer", "default", "demos", "persona", "both"]
    learn: LearnConfig = LearnConfig()
    transfer: TransferConfig = TransferConfig()
    analysis: AnalysisSettings = AnalysisSettings()
    statistics: StatisticsConfig = StatisticsConfig()
    evaluate_users: Literal["test", "all"] = "all"
    budget: BudgetSettings = BudgetSettings()
    max_failed_share: Annotated[float, Field(ge=0, le=1)] = 0.01
    check_endpoints: bool = False

    @model_validator(mode="before")
    @classmethod
    def _dataset_names(cls, value: object) -> object:
        # A data set's name is its key; readers of one entry alone want it inside, too.
        if isinstance(value, dict) and isinstance(value.get("datasets"), dict):
            entries = with_folds(value["datasets"]).items()
            named = {k: {"name": k, "source": "local", **v} if isinstance(v, dict) else v for k, v in entries}
            return {**value, "datasets": named}
        return value

    @property
    def specs(self) -> dict[str, ModelSpec]:
        """How to reach each model."""
        return {name: entry.spec(name) for name, entry in self.models.items()}

    @property
    def ks(self) -> tuple[K, ...]:
        """Values of k, ascending, "all" last; each once."""
        numbers = sorted({k for k in self.k if k != "all"})
        return (*numbers, "all") if "all" in self.k else tuple(numbers)

    @property
    def largest_k(self) -> K:
        """The k at which transfer runs."""
        return self.ks[-1]

    @property
    def transfer_pairs(self) -> list[tuple[str, str]]:
        """Ordered (profile model, judge model), both different."""
        if self.transfer.pairs == "all":
            return [(a, b) for a in self.learn.models for b in self.learn.models if a != b]
        return list(self.transfer.pairs)

    def theta_path(self, variant: str, model: str) -> Path | None:
        """The program file that `model` uses in a variant; None where the variant has no Theta."""
        name = parse_variant(variant).theta
        if name is None:
            return None
        theta = self.thetas[name]
        if theta.optimise is None:
            return theta.path
        return self.results / self.run / "thetas" / name / f"{theta.optimise.model or model}.json"

    @property
    def judge_models(self) -> list[str]:
        """Models that judge: those that learn, and the judges of transfer."""
        return list(dict.fromkeys([*self.learn.models, *(judge for _, judge in self.transfer_pairs)]))

    @property
    def axes_models(self) -> list[str]:
        """Models whose personas are set on axes."""
        return (self.analysis.axes.models or self.learn.models) if self.analysis.axes else []

    @property
    def axes_asked(self) -> str | None:
        """The model that names axes and tags personas."""
        named = self.analysis.axes.asked if self.analysis.axes else None
        return named or next(iter(self.axes_models), None)

    @property
    def axes_ks(self) -> list[K]:
        """Values of k whose personas are tagged: the largest, the largest that has several draws, disjoint parts."""
        if self.analysis.axes is None:
            return []
        drawn = [k for k in self.ks if k != "all"][-1:] if self.draws > 1 else []
        parts = [name for name in K_NAMES if name in self.analysis.axes.disjoint]
        return list(dict.fromkeys([self.largest_k, *drawn, *parts]))
