"""The typed configuration. It is the one description of a run; `workflow/schemas/config.json` is generated from it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, get_args

from pydantic import BaseModel, BeforeValidator, Field, ValidationInfo, field_validator

from personalrm.core.conditions import K_NAMES, K, VariantId
from personalrm.data.cross_validation import pools_of, with_folds
from personalrm.data.settings import Dataset
from personalrm.judge.attribute_settings import AttributeSettings
from personalrm.judge.constitution import AUTO
from personalrm.methods.registry import needs_scores, parse_method
from personalrm.methods.synthesizeme.theta import ThetaSource
from personalrm.methods.synthesizeme.variants import CORRECTED, PUBLISHED, parse_variant
from personalrm.personas.settings import AnalysisSettings
from personalrm.studies.model_config import Positive
from personalrm.studies.reward_config import RewardModelConfig
from personalrm.studies.study_config import Name, Section, StudyConfig

DatasetEntry = Annotated[Dataset, Field(discriminator="source")]


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


class Config(StudyConfig):
    """One run: its data sets, models and methods, and what is made of them."""

    dataset_kinds: ClassVar[tuple[type[BaseModel], ...]] = get_args(Dataset)

    # Not dumped, so that the hashes of configs are what they were before there was another study.
    study: Literal["synthesizeme"] = Field(default="synthesizeme", exclude_if=lambda name: name == "synthesizeme")
    """The paper that is replicated."""
    datasets: Annotated[dict[Name, DatasetEntry], Field(min_length=1)]
    """Data sets by name."""
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
    """Methods (docs/methods.md). `<method>@all` judges all pairs, for methods that learn nothing from votes;
    `<method>@loo` judges all pairs, each by what was learned from the user's other conversations, for methods that make
    no call when they judge."""
    learn: LearnConfig = LearnConfig()
    """What is learned, and how."""
    transfer: TransferConfig = TransferConfig()
    """Profiles of one model shown to another."""
    attributes: AttributeSettings | None = None
    """Scores of all pairs by named attributes; `{}` for all defaults."""
    reward_models: dict[Name, RewardModelConfig] = Field(default={}, exclude_if=lambda entries: not entries)
    """Reward models that are trained on votes, by name; they need the extra `train` (docs/methods.md)."""
    analysis: AnalysisSettings = AnalysisSettings()
    """What models read in the personas."""
    evaluate_users: Literal["test", "all"] = "all"
    """`test`: only users of the test part of the user split are learned from and judged (as in the paper). Data sets
    without a user split are judged whole."""

    @classmethod
    def all_datasets(cls, given: Mapping[str, Any]) -> Mapping[str, Any]:
        """One per fold where an entry has some; files of votes where an entry names no source."""
        entries = with_folds(given).items()
        return {k: {"source": "local", **v} if isinstance(v, dict) else v for k, v in entries}

    @field_validator("reward_models")
    @classmethod
    def _with_folds(cls, value: dict[str, RewardModelConfig], given: ValidationInfo) -> dict[str, RewardModelConfig]:
        # A data set in folds stands for all of them, as it does under `datasets`.
        pools = pools_of(given.data.get("datasets", {}))
        return {name: entry.on_folds(pools) for name, entry in value.items()}

    @property
    def judged(self) -> list[str]:
        """Data sets whose users are judged, and whom profiles and tastes are learned of."""
        return [name for name, entry in self.datasets.items() if not entry.train_only]

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
        """Models that judge: those that learn, the judges of transfer, and those that are shown tastes which they
        measured."""
        measuring = (
            self.scoring_models if any(parse_method(spec).method.needs == "taste" for spec in self.methods) else []
        )
        judges = (judge for _, judge in self.transfer_pairs)
        return list(dict.fromkeys([*self.learn.models, *judges, *measuring]))

    def rewards_on(self, dataset: str) -> dict[str, RewardModelConfig]:
        """The reward models that judge the users of a data set, by name."""
        return {
            name: entry
            for name, entry in self.reward_models.items()
            if dataset in self.judged and (entry.datasets is None or dataset in entry.datasets)
        }

    def trained_on(self, dataset: str) -> dict[str, RewardModelConfig]:
        """The reward models that are trained on the users of a data set, by name."""
        return {
            name: entry
            for name, entry in self.reward_models.items()
            if dataset == entry.train_on_dataset or (not entry.train_on_dataset and name in self.rewards_on(dataset))
        }

    @property
    def scoring(self) -> AttributeSettings | None:
        """How pairs are scored by attributes; None where neither the config nor a method asks for it."""
        trained = [method for entry in self.reward_models.values() for method in entry.methods]
        if self.attributes is None and any(map(needs_scores, [*self.methods, *trained])):
            return AttributeSettings()
        return self.attributes

    @property
    def measures_train_users(self) -> bool:
        """Whether a reward model of the regime `unseen` reads measured personas, and so those of its train users."""
        entries = (entry for entry in self.reward_models.values() if entry.regime == "unseen")
        return any(parse_method(name).method.tastes for entry in entries for name in entry.methods)

    @property
    def scoring_models(self) -> list[str]:
        """Models that score pairs by attributes."""
        scoring = self.scoring
        return [] if scoring is None else self.learn.models if scoring.models is None else scoring.models

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
