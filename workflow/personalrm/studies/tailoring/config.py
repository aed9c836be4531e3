"""The typed configuration of the study of "Whose Boat Does it Float?"."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, ClassVar, Literal

from pydantic import AfterValidator, BaseModel, Field

from personalrm.core.persona_pairs import RELEASED
from personalrm.data.filters.filter_settings import once_each
from personalrm.data.pair_sets import PairSet
from personalrm.personas.saliency import Contrast
from personalrm.studies.model_config import Positive
from personalrm.studies.study_config import Name, Section, StudyConfig, model_problems
from personalrm.studies.tailoring.compare_config import CompareConfig, Systems, compare_problems
from personalrm.studies.tailoring.tailor_config import TailorConfig, tailor_problems

PaperModel = Literal[
    "Llama-3.1-8B",
    "Llama-3.1-70B",
    "Llama-3.1-405B",
    "Claude Haiku",
    "Claude Sonnet",
    "Claude Opus",
    "GPT-3.5",
    "GPT-4",
    "GPT-4o",
]
"""Models whose personas the paper judges, by its names."""


class InferConfig(Section):
    """Persona inference: for each pair, a persona of a person who would prefer each response."""

    models: list[str] = []
    """Models that infer personas."""
    max_tokens: Positive = 200
    """Longest persona, in tokens; its first line is kept."""
    released: bool = False
    """Judge the personas that data sets come with, too, under the model `released`."""
    given: dict[Name, Path] = {}
    """Personas of users that another run learned, by a name of your own: a folder of its profiles
    (`results/<run>/profiles/<dataset>/<variant>/<model>/k<k>`) or tastes (`results/<run>/tastes/<dataset>/<model>`).
    They are judged on the pairs of data sets that name their users, as personas of chosen responses."""
    reported: dict[str, PaperModel] = {}
    """Model (or `released`) to its name in the paper, whose numbers then stand next to ours: `{gpt-4o: GPT-4o}`."""


class JudgeConfig(Section):
    """Models that judge personas, each in both orders."""

    accuracy: list[str] = []
    """Models that say which response the owner of a persona would pick (paper: GPT-4o)."""
    preference: list[str] = []
    """Models that say which of two personas is the better one to have, without the pair."""
    own_preference: bool = False
    """Each model that infers personas also compares its own two personas of a pair (as in the paper's code)."""


class SaliencyConfig(Section):
    """Words that distinguish personas of chosen responses from those of rejected ones."""

    cutoff: Positive = 10
    """Fewest occurrences of a word (paper: 10)."""
    top: Positive = 10
    """Words shown of each side."""
    contrast: Annotated[list[Contrast], Field(min_length=1), AfterValidator(once_each)] = ["whole_words"]
    """Where a persona is cut before what it does not want ("over", "rather than", …): at such words alone, or
    `as_published`, also inside of others ("cover")."""


class Config(StudyConfig):
    """One run: sets of pairs, models that infer personas, and judges of these."""

    dataset_kinds: ClassVar[tuple[type[BaseModel], ...]] = (PairSet,)

    study: Literal["tailoring"]
    """The paper that is replicated."""
    datasets: Annotated[dict[Name, PairSet], Field(min_length=1)]
    """Sets of pairs by name."""
    infer: InferConfig = InferConfig()
    """Persona inference."""
    judge: JudgeConfig = JudgeConfig()
    """Judges of personas."""
    saliency: SaliencyConfig = SaliencyConfig()
    """Salient words."""
    tailor: TailorConfig = TailorConfig()
    """Systems that write answers for personas."""
    compare: CompareConfig = CompareConfig()
    """Comparisons of generated answers."""

    @property
    def personas_of(self) -> list[str]:
        """Whose personas are judged: models; `released` for those that the data come with; those that are given."""
        return [*self.infer.models, *([RELEASED] if self.infer.released else []), *self.infer.given]

    @property
    def systems(self) -> Systems:
        """All systems with answers, and the persona that each was given, by data set."""
        known: Systems = self.compare.given_systems | self.tailor.told(self.datasets)
        return {name: {d: source for d, source in told.items() if d in self.datasets} for name, told in known.items()}

    @property
    def preference_pairs(self) -> list[tuple[str, str]]:
        """Whose personas are compared by which judge."""
        twofold = [model for model in self.personas_of if model not in self.infer.given]
        pairs = [(model, judge) for model in twofold for judge in self.judge.preference]
        pairs += [(model, model) for model in self.infer.models if self.judge.own_preference]
        return list(dict.fromkeys(pairs))


def problems_of(config: Config) -> Iterator[str]:
    """Names that do not exist or are given twice, and models that cannot judge. Each problem begins with its key."""
    named = {
        "infer.models": config.infer.models,
        "judge.accuracy": config.judge.accuracy,
        "judge.preference": config.judge.preference,
        "compare.judges": config.compare.judges,
        "compare.prometheus.judges": config.compare.prometheus.judges,
    }
    yield from model_problems(config, named)
    for name in config.infer.reported:
        if name not in config.personas_of:
            yield f"infer.reported: {name!r} is not among infer.models, and not {RELEASED!r} with infer.released"
    if RELEASED in config.models:
        yield f"models.{RELEASED}: stands for the personas of the data; give the model another name"
    for name in config.infer.given:
        if name in {*config.models, RELEASED}:
            yield f"infer.given.{name}: is the name of a model or of the personas of the data; give another one"
    yield from _alike(config)
    yield from tailor_problems(config.tailor, config.datasets, config.models, config.compare.given)
    yield from compare_problems(config.compare, config.systems, config.datasets)
    if not (config.personas_of or config.compare.pairs or config.tailor.systems):
        yield (
            "infer.models: no model infers personas; name one, or set infer.released: true, or infer.given; or compare "
            "answers (compare.pairs), or write some (tailor.systems)"
        )


def _alike(config: Config) -> Iterator[str]:
    """Names of models of which two different pairs would write the same file of verdicts."""
    judged = {(model, judge) for model in config.personas_of for judge in config.judge.accuracy}
    for pairs in (judged, set(config.preference_pairs)):
        for name, count in Counter(f"{model}-by-{judge}" for model, judge in sorted(pairs)).items():
            if count > 1:
                yield f"models: two pairs of persona model and judge would share the file {name!r}; rename a model"
