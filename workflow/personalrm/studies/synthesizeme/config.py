"""The typed configuration. It is the one description of a run; `workflow/schemas/config.json` is generated from it."""

from __future__ import annotations

import os
import re
from dataclasses import fields
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    JsonValue,
    field_validator,
    model_validator,
)

from personalrm.core.conditions import K_NAMES, K, VariantId, VerdictMode
from personalrm.data.cross_validation import with_folds
from personalrm.data.settings import Dataset
from personalrm.judge.constitution import AUTO
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
    """One model: how to reach it, and how it judges (docs/models.md)."""

    backend: Literal["litellm", "openai", "embedded"] = "litellm"
    """How the model is reached: hosted providers through LiteLLM, any endpoint with the OpenAI protocol, or a server
    that the run starts on this machine."""
    model: str
    """LiteLLM's id, the endpoint's id, or an id of `personalrm models list`."""
    snapshot: str = ""
    """Dated version, or any name of weights, precision and server version; part of the identity of the model."""
    same_weights: bool = False
    """Every server of this id and snapshot has the same weights, so that its answers are found at another address, too.
    Needs a `snapshot`."""
    api_base: str | None = None
    """Address of the endpoint. Part of the identity of the model, unless it is OpenAI's own or `same_weights` is
    set."""
    api_base_env: str | None = None
    """Environment variable that holds the address, in place of `api_base`."""
    api_key_env: str | None = None
    """Environment variable that holds the key (from the environment or `.env`); never the key itself."""
    path: str | None = None
    """Embedded: a local model file, whose SHA-256 is checked."""
    context_length: Positive = 8192
    """Window of the model in tokens. A prompt that certainly does not fit is not sent."""
    tokenizer: Path | None = None
    """Path of the model's `tokenizer.json`, with which prompts that may not fit are counted. Without it, OpenAI's
    models are counted with their own tokenizers and others are estimated (at most a token for 3 bytes)."""
    prompts: PromptStyle = "standard"
    """`compact` is for small models: the label follows at once, and is read from log-probabilities only."""
    verdicts: Annotated[list[VerdictMode], Field(min_length=1)] = ["text"]
    """How verdicts are read: words, log-probabilities in each order, or one verdict per pair from both orders. Each has
    rows of its own; the first is used for learning."""
    max_tokens: Positive = 1024
    """Longest answer of a `text` judgment, in tokens: reasoning and verdict."""
    max_concurrency: Positive = 32
    """Most calls of one job in flight. It begins with 1, then 8, and follows the answers of the provider."""
    timeout_s: Annotated[float, Field(gt=0)] = 120.0
    """Longest time of one call, in seconds."""
    deadline_s: Annotated[float, Field(gt=0)] = 900.0
    """Longest time of one call with its retries, in seconds."""
    max_attempts: Positive = 6
    """Most attempts of one call; a 429 does not count."""
    requests_per_minute: Positive | None = None
    """The provider's limit, shared by all jobs of one machine; not for `embedded`."""
    tokens_per_minute: Positive | None = None
    """The provider's limit, shared by all jobs of one machine; not for `embedded`."""
    price_in: Annotated[float, Field(ge=0)] | None = None
    """US dollars per million prompt tokens, where LiteLLM's list has no price."""
    price_out: Annotated[float, Field(ge=0)] | None = None
    """US dollars per million written tokens, where LiteLLM's list has no price."""
    extra_body: dict[str, JsonValue] = {}
    """Sent with each request (backends `openai` and `litellm`); part of the identity of the model. vLLM and SGLang need
    `{continue_final_message: true, add_generation_prompt: false}` for log-probability verdicts."""
    batch: BatchSettings | None = None
    """`{}`: stages that do not adapt send batches at half the price; backend `openai` only."""

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
    """Stage 1: attempts at the context pairs."""

    attempts: Positive = 3
    """Most attempts at a pair; the first is greedy."""
    temperature: Annotated[float, Field(ge=0, le=2)] = 0.7
    """Temperature of the further attempts."""
    max_tokens: Positive = 1024
    """Longest reasoning, in tokens."""


class PersonaConfig(Section):
    """Stage 2: the persona."""

    max_tokens: Positive = 1024
    """Longest persona, in tokens."""
    attempts: Positive = 3
    """Most attempts at a persona that says something; the first is greedy, the others at the temperature of the
    bootstrap."""


class MemoryConfig(Section):
    """The baseline Memory; facts are extracted only where `methods` has it."""

    max_tokens: Positive = 512
    """Longest list of facts, in tokens."""


Percent = Annotated[float, Field(ge=0, le=100)]


class StopScores(Section):
    """Score (percent) at which the search ends, for each base of the variants; null for never.

    The package stops at 80. With the 2 to 8 validation verdicts of most users that often ends the search at the set
    without any demonstration, so that no stop belongs to the repaired variants.
    """

    as_published: Percent | None = 80.0
    """For `as_published` and `as_published-with-<repair>`."""
    corrected: Percent | None = None
    """For `corrected` and `corrected-without-<repair>`."""


class SearchConfig(Section):
    """Stages 1 and 3: candidates of the demonstration search (docs/methods.md)."""

    num_search_candidates: Annotated[int, Field(ge=0)] = 10
    """Random candidates (paper: 10)."""
    special_candidates: list[Literal["zero_shot", "labelled", "unshuffled"]] = ["zero_shot", "labelled", "unshuffled"]
    """Candidates in addition: no demonstration, labelled pairs only, all traces in order (paper: all three)."""
    max_bootstrapped_demos: Annotated[int, Field(ge=0)] | Literal["all"] = "all"
    """Most demonstrations with reasoning; `all`: as many as there are context pairs, as in the package."""
    max_labeled_demos: Annotated[int, Field(ge=0)] = 4
    """Most demonstrations without reasoning."""
    stop_at_score: StopScores | Percent | None = StopScores()
    """Percent at which the search ends, null for never: one value for all variants, or one for each base of them."""
    parallel_candidates: Positive = 1
    """Candidates that are scored at the same time. 1 makes the fewest calls; more is faster; the winner is the same."""
    exhaustive: bool = False
    """Score every candidate in full, to see all scores; the winner is the same."""

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
    """What is learned, by which models, and how."""

    models: list[str] = []
    """Models that learn profiles, and judge with them."""
    bootstrap: BootstrapConfig = BootstrapConfig()
    """Stage 1, reasoning."""
    persona: PersonaConfig = PersonaConfig()
    """Stage 2, persona."""
    memory: MemoryConfig = MemoryConfig()
    """The baseline Memory, where `methods` has it."""
    search: SearchConfig = SearchConfig()
    """Stages 1 and 3, demonstrations."""
    rebootstrap: bool = True
    """Sample traces again with the persona (stage 3)."""


class TransferConfig(Section):
    """Profiles of one model shown to another."""

    pairs: Literal["all"] | list[tuple[str, str]] = []
    """Lists of two: the model whose profiles are shown, the model that judges. `all`: all ordered pairs of
    `learn.models`."""
    methods: list[str] = ["demos", "persona", "both"]
    """Methods of the run that are judged in transfer, at the largest k."""
    baselines: list[str] | None = None
    """Methods without a profile that models judge which only judge; all if none are given."""


class StatisticsConfig(Section):
    """Intervals."""

    seed: int = 0
    """Seed of the bootstrap over users."""
    resamples: Positive = 9999
    """Resamples of the bootstrap over users."""


class Config(Section):
    """One run: its data sets, models and methods, and what is made of them."""

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
    datasets: Annotated[dict[Name, DatasetEntry], Field(min_length=1)]
    """Data sets by name."""
    models: dict[Name, ModelConfig] = {}
    """Models by name."""
    variants: Annotated[list[str], Field(min_length=1)] = [CORRECTED]
    """How profiles are learned: `as_published`, `corrected`, `as_published-with-<repair>`,
    `corrected-without-<repair>`; each with `+<theta>`, or `+json` for personas as JSON (docs/methods.md)."""
    thetas: dict[Name, ThetaSource] = {}
    """Optimised persona prompts by name, used by the variants `<variant>+<name>`."""
    k: Annotated[list[Positive | Literal["all"]], Field(min_length=1)] = ["all"]
    """Numbers of context pairs to learn from, `all` for all of them; subsets are nested."""
    draws: Positive = 1
    """Seeded draws of context pairs for each k (one for `all`)."""
    constitution: Annotated[str, BeforeValidator(lambda value: "off" if value is False else value)] = AUTO
    """Rules that no persona can override (facts, safety, law; requests in the conversation), in judge prompts that show
    something about the user: `default`, ours; a path, of a text file with your own; `off`, none. `auto`: ours for
    methods that are not the paper's (`scorecard`), none for the others (docs/methods.md)."""
    taste_on: Literal["all", "personalizable"] = "all"
    """Pairs on which the user's taste counts. `personalizable`: pairs that `filters.personalizable` rates below its
    thresholds are judged as by `default`, whatever method is judged; needs filters with `apply: false`, which rate the
    pairs and keep them."""
    methods: Annotated[list[str], Field(min_length=1)] = ["random", "longer", "default", "demos", "persona", "both"]
    """Methods (docs/methods.md); `<method>@all` judges all pairs, for methods that learn nothing from votes."""
    learn: LearnConfig = LearnConfig()
    """What is learned, and how."""
    transfer: TransferConfig = TransferConfig()
    """Profiles of one model shown to another."""
    analysis: AnalysisSettings = AnalysisSettings()
    """What models read in the personas."""
    statistics: StatisticsConfig = StatisticsConfig()
    """Intervals."""
    evaluate_users: Literal["test", "all"] = "all"
    """`test`: only users of the test part of the user split are learned from and judged (as in the paper). Data sets
    without a user split are judged whole."""
    budget: BudgetSettings = BudgetSettings()
    """What the run may cost."""
    max_failed_share: Annotated[float, Field(ge=0, le=1)] = 0.01
    """Share of provider errors above which a job fails. Lost judgments below it are left out of every number, counted
    and marked."""
    check_endpoints: bool = False
    """Make one real call to each endpoint before the run."""

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
