"""The typed configuration of the study of FSPO's synthetic users (Singh et al., 2025)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, ClassVar, Literal, NamedTuple

from pydantic import AfterValidator, BaseModel, Field

from personalrm.core.errors import ConfigError
from personalrm.data.filters.filter_settings import once_each
from personalrm.methods.reward.few_shot_settings import RECIPES, trainings_of
from personalrm.personas.synthetic.settings import Count, Domain
from personalrm.personas.synthetic.users import seed_users
from personalrm.studies.model_config import Positive
from personalrm.studies.study_config import Name, Section, StudyConfig, model_problems

BASE, PROMPTED, ORACLE = "base", "prompted", "oracle"
"""Names of systems; those that show n labelled pairs have the number after the name."""
Temperature = Annotated[float, Field(ge=0, le=2)]
Share = Annotated[float, Field(ge=0, le=1)]


class AskConfig(Section):
    """The model that writes questions, and its settings."""

    model: str | None = None
    """Model that writes questions; `label.model` if none is given."""
    per_call: Positive = 10
    """Questions asked for in one call."""
    examples: Count = 5
    """Questions shown as examples in one call at most."""
    rounds: Positive = 3
    """How often more questions are asked for while some are missing."""
    similarity: Annotated[float, Field(ge=0.5, le=1)] = 0.9
    """Questions that have this share of their letters in common are near-duplicates, of which one is kept."""
    temperature: Temperature = 1.0
    """Of the calls."""
    max_tokens: Positive = 1024
    """Longest list of questions, in tokens."""


class AnswerConfig(Section):
    """Models that answer the questions; `ways` of a domain say how answers are made to differ."""

    models: Annotated[list[str], Field(min_length=1)]
    """Models that answer (paper: an ensemble of eleven)."""
    temperatures: Annotated[list[Temperature], Field(min_length=1), AfterValidator(once_each)] = [1.0]
    """Of the calls that write views and answers."""
    each: Positive = 3
    """Answers of each model, way and temperature to a question."""
    words: Positive = 150
    """Length of answers that is asked for."""
    max_tokens: Positive = 512
    """Longest answer, in tokens."""
    view_tokens: Positive = 256
    """Longest list of views, in tokens."""


class LabelConfig(Section):
    """The model that labels pairs, each in both orders."""

    model: str
    """Model that labels by the description, and that writes facts (paper: GPT-4o)."""
    ties: bool = True
    """A model that answers in words may say that the description does not decide; the pair is then dropped."""


class DescribeConfig(Section):
    """How descriptions are refined, and when a user is made again (docs/fspo.md)."""

    facts: Count = 10
    """Most facts that are added to a description."""
    margin: Annotated[float, Field(ge=0)] = 0.5
    """With log-probabilities, a description does not decide a pair where the mean log-odds of both orders are nearer to
    0 than this, in nats; where the orders differ, it never does."""
    temperature: Temperature = 0.7
    """Of the calls for facts."""
    max_tokens: Positive = 80
    """Longest fact, in tokens."""
    regenerate: Count = 2
    """How often a user is made again at most while the disagreement with another is out of the bounds."""
    least: Share = 0.1
    """Disagreement below which two users are too alike."""
    most: Share | None = None
    """Disagreement above which two users are too unlike; none by default, because opposite tastes may be planted."""
    least_pairs: Positive = 10
    """Labelled pairs that two users must have in common before their disagreement has consequences."""


class System(NamedTuple):
    """A system that is written for: the training whose weights it has (empty: the model as it is), the number of the
    user's labelled pairs that it shows, and whether it is given the user's description."""

    training: str = ""
    shots: int = 0
    told: bool = False


def _trained(name: str) -> str:
    known = [name for name, recipe in RECIPES.items() if recipe.weights == name]
    if name not in known:
        raise ValueError(f"{name!r} is no training; known: {', '.join(known)}")
    return name


class PolicyConfig(Section):
    """A causal language model on this machine, and trainings of it by another run (`reward_models`), as it has them on
    the votes of `personalrm synthesise --run`. Needs the extra `train`."""

    base: str = "smollm2-135m"
    """Base model: an id of `personalrm models list`, a folder, or a hub id (`owner/name`)."""
    revision: str | None = None
    """Of a hub id: a commit, branch or tag."""
    trained: Path | None = None
    """Folder of the trainings: `results/<run>/reward_models/<data set>/<name>`."""
    methods: Annotated[list[Annotated[str, AfterValidator(_trained)]], AfterValidator(once_each)] = []
    """Trainings that are systems, each with the numbers of votes of `compare.shots` (`fspo4`): `pref_ft`, `fspo` and
    others of docs/methods.md."""
    seed: Count = 0
    """Seed of the trainings."""
    dtype: Literal["bfloat16", "float32"] = "bfloat16"
    """Of activations and weights."""
    device: Annotated[str, Field(pattern=r"^[a-z]+(:\d+)?$")] = "cpu"
    """Where torch computes: `cpu`, or `cuda`."""
    threads: Positive = 2
    """Threads of torch in a job. Other numbers may change answers."""
    mem_mb: Positive = 4000
    """Memory of a job, in MB; a further attempt asks for more."""

    @property
    def gpus(self) -> int:
        """Graphics processors of a job."""
        return int(self.device != "cpu")

    def folders(self, method: str) -> list[Path]:
        """Folders of the trainings that a method rests on, in their order; none for the base itself."""
        steps = trainings_of(method) if method else ()
        return [self.trained / step / str(self.seed) for step in steps] if self.trained else []


class CompareConfig(Section):
    """Systems whose answers to held-out questions are compared with those of Base, for each user (win rates)."""

    model: str | None = None
    """Model that answers: `base` by the question alone (paper: Llama 3.2 3B Instruct)."""
    policy: PolicyConfig | None = None
    """Instead of `model`: a model that is run here, by the prompts of its trainings."""
    shots: list[Positive] = []
    """Numbers of the user's labelled pairs that a system `prompted<n>` shows the model (paper: 4 and 8)."""
    oracle: bool = True
    """A system `oracle`, in which the model is given the user's description."""
    given: dict[Name, Path] = {}
    """Systems of your own: name to a file of answers (JSON lines in the form of
    `results/<run>/generations/<domain>/base/`, with the same `pair_id`s)."""
    judges: Annotated[list[str], Field(min_length=1)]
    """Models that judge by the user's description, in both orders (paper: GPT-4o)."""
    questions: Count = 0
    """Held-out questions of each user at most; 0: all."""
    max_tokens: Positive = 512
    """Longest answer, in tokens; its length in words is that of `answer.words`."""
    temperature: Temperature = 0.0
    """Of the answers (the paper does not give it). A `policy` takes the most probable token each time."""

    @property
    def written(self) -> dict[str, System]:
        """The systems that the model writes for, by name."""
        found = {BASE: System(), **{f"{PROMPTED}{n}": System(shots=n) for n in self.shots}}
        for method in self.policy.methods if self.policy else ():
            shots = self.shots if RECIPES[method].shots else [0]
            found |= {f"{method}{n or ''}": System(method, n) for n in shots}
        return found | ({ORACLE: System(told=True)} if self.oracle else {})

    @property
    def rivals(self) -> list[str]:
        """Names of the systems that are compared with Base."""
        return [*(name for name in self.written if name != BASE), *self.given]


class Config(StudyConfig):
    """One run: domains with users, and the models that ask, answer and label."""

    dataset_kinds: ClassVar[tuple[type[BaseModel], ...]] = (Domain,)

    study: Literal["fspo"]
    """The paper that is replicated."""
    datasets: Annotated[dict[Name, Domain], Field(min_length=1)]
    """Domains by name."""
    ask: AskConfig = AskConfig()
    """Questions."""
    answer: AnswerConfig
    """Answers."""
    label: LabelConfig
    """Labels."""
    describe: DescribeConfig = DescribeConfig()
    """Descriptions."""
    compare: CompareConfig | None = None
    """Win rates against Base; not computed if this is not given."""

    @property
    def compared(self) -> CompareConfig:
        """The comparisons of a run. Raises ConfigError where it has none."""
        if self.compare is None:
            raise ConfigError("compare: is not given, so that there are no comparisons")
        return self.compare

    @property
    def systems(self) -> list[str]:
        """Names of the systems whose answers are compared, Base among them."""
        return [BASE, *self.compare.rivals] if self.compare else []

    @property
    def asker(self) -> str:
        """Model that writes questions."""
        return self.ask.model or self.label.model


def problems_of(config: Config) -> Iterator[str]:
    """Names that do not exist or are given twice, and domains without questions. Each problem begins with its key."""
    named = {
        "ask.model": [config.ask.model] if config.ask.model else [],
        "answer.models": config.answer.models,
        "label.model": [config.label.model],
        "compare.model": [config.compare.model] if config.compare and config.compare.model else [],
        "compare.judges": config.compare.judges if config.compare else [],
    }
    yield from model_problems(config, named)
    for name, domain in config.datasets.items():
        questions = domain.questions
        if not (questions.seeds or questions.general or questions.per_trait):
            yield f"datasets.{name}.questions: there are none; give general, per_trait or a file as seeds"
        if not domain.pairs.shared and not domain.pairs.own:
            yield f"datasets.{name}.pairs: shared and own are both 0, so that no user labels a pair"
        elif questions.per_trait and not (questions.seeds or questions.general or domain.pairs.own):
            yield (
                f"datasets.{name}.pairs.own: is 0, and shared pairs are of general questions, of which there are none; "
                "give own, or questions.general"
            )
        if domain.people.personas > 1 and not (domain.refine and config.describe.facts):
            key = "describe.facts: 0" if domain.refine else f"datasets.{name}.refine: false"
            yield (
                f"datasets.{name}.people.personas: users with the same traits differ by added facts alone, and {key} "
                "adds none, so that a test user could be a copy of a train user; give personas: 1, or remove that key"
            )
        try:
            seed_users(domain, config.seed)
        except ConfigError as error:
            yield str(error)
    yield from _compared(config)


def _compared(config: Config) -> Iterator[str]:
    """Problems of the comparisons of systems."""
    compare = config.compare
    if compare is None:
        return
    if (compare.model is None) == (compare.policy is None):
        yield "compare: give model or policy, one of them"
    if compare.policy and compare.policy.methods and compare.policy.trained is None:
        yield "compare.policy.trained: is not given; name the folder of the trainings, or no methods"
    if compare.policy and compare.temperature:
        yield "compare.temperature: a policy takes the most probable token; leave it out"
    for name in compare.given:
        if name in compare.written:
            yield f"compare.given.{name}: is the name of a system of the study; give another one"
    if not compare.rivals:
        yield "compare: there is no system to compare with base; give shots, oracle or given"
    for count, number in Counter(compare.shots).items():
        if number > 1:
            yield f"compare.shots: {count} is given twice"
    for name, domain in config.datasets.items():
        if not domain.questions.held_out:
            yield f"datasets.{name}.questions.held_out: compare needs questions that are held out; give a share above 0"
