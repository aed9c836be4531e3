"""The protocol of methods: how each of them turns what may be seen of a user into verdicts on pairs.

A method has up to three steps. `fit` learns from other users, and its artefact is a file of a stage of that name.
`adapt` makes the state for one user: what a prompt shows of the user, weights, an encoding of the user's votes. `judge`
gives verdicts on pairs, by asking a model or without one. Prompt methods have no `fit`. Methods read each other's
artefacts as records (`core.records`), never each other's modules.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, Literal, NamedTuple, Protocol, TypeVar

from personalrm.core.conditions import K
from personalrm.core.errors import ConfigError
from personalrm.core.records import Artefact, NoResult, PairScores, PreferencePair, Profile, UserData, Verdict
from personalrm.core.tastes import UserTaste
from personalrm.judge.judge import DIRECT, Judge

S = TypeVar("S")
Needs = Literal["nothing", "judge", "profile", "scores", "taste", "reward"]
LogOdds = Callable[[Sequence[PreferencePair]], Sequence[float]]
"""r(chosen) - r(rejected) of pairs, for one user."""


@dataclass(frozen=True)
class NotApplicable:
    """The method does not apply to this user: what it reads does not exist (no survey, no other users)."""

    reason: str

    @property
    def result(self) -> NoResult:
        """The status of the user's row."""
        return NoResult("not_applicable", self.reason)


@dataclass(frozen=True)
class NoPairs:
    """The method applies to this user, but the user has no pairs to learn from."""

    reason: str = "no context pairs"

    @property
    def result(self) -> NoResult:
        """The status of the user's row."""
        return NoResult("empty", self.reason)


class TrainedReward(Protocol):
    """A trained reward model, with the features of a user's pairs where it reads features."""

    def adapt(self, pairs: Sequence[PreferencePair], system: str = "") -> LogOdds:
        """Learn from the context pairs of a user (possibly none), or read what is said of the user before each
        conversation. Changes no weight."""
        ...


@dataclass(frozen=True)
class Known:
    """What a method may see of one user.

    Attributes:
        user: the user with the context and validation pairs alone, none of which is a tie.
        pairs: the context pairs that k and the draw allow, oldest first.
        profile: what a model learned about the user, for methods that need it.
        scores: of all pairs of the user by attributes, by pair id, for methods that need them: one entry for each order
            that was asked. They do not depend on which answer the user chose.
        taste: the user's measured taste, for methods that need it.
        reward: the trained reward model, for methods that need one.
        kinds: kind of question of pairs, by pair id, where kinds are known.
        artefact: what `fit` learned from other users; None where there is nothing to learn from.
        k: number of context pairs, for methods that read it; None for others.
        draw: of the context pairs.
        seed: of the run.
        absent: why the user is not judged, whatever the method would make of the user: the artefact rests on the user.
    """

    user: UserData
    pairs: tuple[PreferencePair, ...] = ()
    profile: Profile | None = None
    scores: Mapping[str, Sequence[PairScores]] = field(default_factory=dict)
    taste: UserTaste | None = None
    reward: TrainedReward | None = None
    kinds: Mapping[str, str] = field(default_factory=dict)
    artefact: Artefact | None = None
    k: K | None = None
    draw: int = 0
    seed: int = 0
    absent: NoResult | None = None

    @classmethod
    def of(cls, user: UserData, **more: Any) -> Known:  # noqa: ANN401 - fields of the class
        """What may be seen of a user: everything but the test pairs, pairs of no part, and ties. `more` are other
        fields."""
        learned = tuple(pair for pair in user.pairs if pair.split in ("context", "validation") and not pair.tie)
        return cls(user.model_copy(update={"pairs": learned}), **more)


@dataclass(frozen=True)
class Training:
    """Other users from whom a method learns, none of whom is judged with what it learns.

    Attributes:
        users: they have only the pairs that may be learned from, none of which is a tie.
        seed: of the run.
        scores: of their pairs by attributes, by user id and pair id, for methods that need them.
    """

    users: Sequence[UserData]
    seed: int
    scores: Mapping[str, Mapping[str, Sequence[PairScores]]] = field(default_factory=dict)


@dataclass(frozen=True)
class Resources:
    """What one job of `fit` needs. Memory (MB) and run time (minutes) grow with each attempt."""

    threads: int = 1
    mem_mb: int = 2000
    runtime: int = 60
    gpus: int = 0


class Mark(NamedTuple):
    """How every figure draws a method: a colour (hex) and a marker (matplotlib's letter).

    Colours are apart for the colour-blind, and no two methods share a marker, so that figures can be read in grey.
    """

    colour: str
    marker: str


@dataclass(frozen=True)
class Method(Generic[S]):
    """One method.

    Attributes:
        name: how the config spells it.
        needs: what it judges with: `nothing`; a `judge` model; a judge model and a `profile`, or the measured `taste`
            of the user; the `scores` of the pairs by attributes, which a model gave without seeing a user; or a
            `reward` model, which the config's `reward_models` ask for.
        adapt: the state for one user, or why there is none.
        stages: names of the profile stages whose responses its results rest on.
        learns: whether it reads the user's votes although it needs no profile; else it is given none. By default it
            reads all context pairs, whatever k; with `by_k` those that k allows.
        prompts: prompt files that it uses in addition to the judge's.
        judge: verdicts on pairs from a state: a `Judge`, which asks a model and whose state is a `JudgeContext`, or a
            function that asks none. On a tie it says what it would say of any pair: the caller counts that as right or
            wrong.
        validation: whether it learns from all validation pairs, too, at every k.
        guarded: whether its prompts hold the constitution where the config leaves this open (`constitution: auto`).
        fit: the artefact learned from other users; None where they have nothing to learn from.
        reads: name of the method whose artefact `adapt` is given, its own or another's; empty for none.
        tastes: whether it is given the user's measured taste, too, although it needs a profile.
        shows: name of the method whose prompt says of the user what the reward model reads before each conversation,
            in training, too; empty for none. It is given that method's profile or taste.
        told: whether it is given the user's planted taste, which other methods have to find out: no rival of theirs.
        other_user: a control: it is given the context pairs, or the profile, of another user instead of the user's
            own.
        references: names of methods that the table of differences compares it with, besides Default: what it starts
            from, and its controls.
        without_pairs: name of the method that is this one where it is shown no pair, for the point k = 0 of its curve;
            empty for none.
        settings: all that artefact, states and verdicts depend on in addition to the config. A job whose settings
            changed is run again.
        resources: of a job of `fit`.
        label: its name in tables and figures; `name` if empty.
        mark: how figures draw it; None for a free mark, made from its name (`registry.mark_of`).
    """

    name: str
    needs: Needs
    adapt: Callable[[Known], S | NotApplicable | NoPairs]
    stages: tuple[str, ...] = ()
    learns: bool = False
    prompts: tuple[str, ...] = ()
    judge: Judge | Callable[[S, Sequence[PreferencePair]], tuple[Verdict, ...]] = DIRECT
    by_k: bool = False
    validation: bool = False
    guarded: bool = False
    fit: Callable[[Training], Artefact | None] | None = None
    reads: str = ""
    tastes: bool = False
    shows: str = ""
    told: bool = False
    other_user: bool = False
    references: tuple[str, ...] = ()
    without_pairs: str = ""
    settings: Mapping[str, Any] = field(default_factory=dict)
    resources: Resources = Resources()
    label: str = ""
    mark: Mark | None = None

    def __post_init__(self) -> None:
        """Raises ConfigError for steps that do not go together: each would be a silent error in the numbers."""
        asks = isinstance(self.judge, Judge)
        wrong = {
            "is no name: give letters, digits and _": not self.name.isidentifier(),
            f"needs {self.needs}, so that its judge is a function that asks no model": asks
            and self.needs in ("nothing", "scores", "reward"),
            "has a fit whose artefact it does not read: give reads": self.fit is not None and self.reads != self.name,
            "reads the pairs that k allows (by_k), so that it learns": self.by_k and not self.learns,
            "shows something before conversations, so that it needs a reward model": bool(self.shows)
            and self.needs != "reward",
            "is given what is another user's, so that it learns and needs a reward model": self.other_user
            and not (self.learns and self.needs == "reward"),
            "has a profile, whose k it has, and no k of its own (by_k)": self.by_k and self.needs == "profile",
        }
        for why in (text for text, found in wrong.items() if found):
            raise ConfigError(f"method {self.name!r}: {why}")

    @property
    def shows_taste(self) -> bool:
        """Whether it shows the judge the user's measured taste."""
        return self.needs == "taste" or self.tastes

    @property
    def asked(self) -> Judge:
        """The judge that asks a model. Raises ConfigError for a method that asks none."""
        if isinstance(self.judge, Judge):
            return self.judge
        raise ConfigError(f"method: {self.name!r} asks no model; use both, demos or persona")

    @property
    def text_only(self) -> bool:
        """Whether it reads words, so that it does not apply where verdicts are log-probabilities."""
        return isinstance(self.judge, Judge) and self.judge.text_only
