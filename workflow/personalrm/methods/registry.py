"""All methods by name, and how the config spells them.

To add a method, add a module to this folder with a `Method` (ARCHITECTURE.md); combinations of what several modules
give stand here.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from personalrm import methods
from personalrm.core.conditions import MethodId, Pairs
from personalrm.core.errors import ConfigError
from personalrm.core.files import stable_hash
from personalrm.core.records import Profile
from personalrm.judge.judge import JudgeContext
from personalrm.methods import baselines, scorecard, trained
from personalrm.methods.base import Known, Mark, Method
from personalrm.methods.criteria import CRITERIA
from personalrm.methods.criteria import PROMPTS as CRITERIA_PROMPTS

ALL_STAGES = ("bootstrap", "search", "persona", "rebootstrap", "search_persona")


def _profile(known: Known) -> Profile:
    """The user's profile. Raises ValueError where none was given: the caller has to learn one first."""
    if known.profile is None:
        raise ValueError(f"user {known.user.user_id}: no profile was given to a method that needs one")
    return known.profile


def _persona(known: Known) -> JudgeContext:
    return JudgeContext(persona=_profile(known).persona)


def _memory(known: Known) -> JudgeContext:
    """Facts about the user as a list, instead of the persona (paper, baselines)."""
    return JudgeContext("\n".join(f"- {fact}" for fact in _profile(known).memory) or None)


def _both(known: Known) -> JudgeContext:
    return JudgeContext(_profile(known).persona, _profile(known).demonstrations)


def _declared() -> Iterator[Method[Any]]:
    """Methods that modules of this folder declare."""
    for _, name, _ in pkgutil.iter_modules(methods.__path__):
        if name != "registry":
            values = vars(importlib.import_module(f"{methods.__name__}.{name}")).values()
            yield from (value for value in values if isinstance(value, Method))


BLACK, GREY, SILVER, BLUE, SKY, GREEN = "#222222", "#595959", "#949494", "#0173b2", "#56b4e9", "#029e73"
LIME, ORANGE, RED, PURPLE, BROWN, INDIGO = "#78b833", "#de8f05", "#d55e00", "#cc78bc", "#8c5a2b", "#4b3a9e"
_LISTED: tuple[Method[Any], ...] = (
    Method("random", "nothing", baselines.run_seed, judge=baselines.toss_coin, label="Random", mark=Mark(GREY, "x")),
    Method(
        "longer",
        "nothing",
        baselines.run_seed,
        judge=baselines.prefer_longer,
        label="Longer answer",
        mark=Mark(SILVER, "+"),
    ),
    Method("default", "judge", baselines.nothing, label="Default", mark=Mark(BLACK, "o")),
    Method(
        "demographics",
        "judge",
        baselines.demographics,
        prompts=("demographics",),
        label="Demographics",
        mark=Mark(PURPLE, "v"),
    ),
    Method("memory", "profile", _memory, ("memory",), label="Memory (extracted facts)", mark=Mark(ORANGE, "s")),
    Method(
        "history",
        "judge",
        baselines.history,
        learns=True,
        label="History (raw context pairs)",
        mark=Mark(GREEN, "<"),
    ),
    Method(
        "history_validation",
        "judge",
        baselines.history_validation,
        learns=True,
        label="History (context and validation)",
        mark=Mark(LIME, ">"),
    ),
    Method(
        "demos",
        "profile",
        lambda known: JudgeContext(demonstrations=_profile(known).plain_demonstrations),
        ("bootstrap", "search"),
        label="SynthesizeMe: demonstrations",
        mark=Mark(SKY, "^"),
    ),
    Method(
        "persona",
        "profile",
        _persona,
        ("bootstrap", "search", "persona"),
        label="SynthesizeMe: persona",
        mark=Mark(RED, "D"),
    ),
    Method(
        "both",
        "profile",
        _both,
        ALL_STAGES,
        label="SynthesizeMe: persona + demonstrations",
        mark=Mark(BLUE, "P"),
    ),
    Method(
        "criteria",
        "profile",
        lambda known: replace(_both(known), droppable=True),
        ALL_STAGES,
        prompts=CRITERIA_PROMPTS,
        judge=CRITERIA,
        label="Criteria judge (opt-in)",
        mark=Mark(BROWN, "X"),
    ),
    scorecard.METHOD,
)
_ORACLE = Method(
    "oracle", "judge", baselines.planted_taste, told=True, label="Oracle (planted taste)", mark=Mark(INDIGO, "*")
)


def by_name(found: Iterable[Method[Any]]) -> dict[str, Method[Any]]:
    """Methods by name. Raises ConfigError for two of one name, and for one that reads what no method learns."""
    named: dict[str, Method[Any]] = {}
    for method in found:
        # A module may import the method of another.
        if named.setdefault(method.name, method) is not method:
            raise ConfigError(f"method {method.name!r}: two modules declare a method of this name")
    for method in named.values():
        if method.reads and (method.reads not in named or named[method.reads].fit is None):
            raise ConfigError(f"method {method.name!r}: reads {method.reads!r}, which is no method with a fit")
    return named


def _fine_tuned(known: dict[str, Method[Any]]) -> Iterator[Method[Any]]:
    """Fine-tuned reward models that read what the prompt of a judge says of the user."""
    of_profile = trained.showing(known["persona"], "Fine-tuned RM + persona", Mark(RED, "$p$"), ("bt",))
    yield of_profile
    yield trained.showing(known["both"], "Fine-tuned RM + persona + demos", Mark(BLUE, "$b$"), ("bt", of_profile.name))
    yield trained.showing(known["measured_persona"], "Fine-tuned RM + measured persona", Mark(PURPLE, "$d$"), ("bt",))
    other = "Fine-tuned RM + another user's persona"
    yield trained.showing(known["persona"], other, Mark(BROWN, "$x$"), ("bt", of_profile.name), other_user=True)
    yield trained.showing(known["oracle"], "Fine-tuned RM + planted taste", Mark(INDIGO, "$o$"), ("bt",))


_SINGLE = by_name((*_LISTED, *_declared(), _ORACLE))
METHODS: dict[str, Method[Any]] = by_name((*_LISTED, *_declared(), *_fine_tuned(_SINGLE), _ORACLE))
"""All methods by name, in the order of tables and figures: those that modules declare, then the oracle, come last."""


def is_trained(name: str) -> bool:
    """Whether a method is a trained reward model, which has no unpersonalised judge to be compared with."""
    return name in METHODS and METHODS[name].needs == "reward"


FREE_MARKS = tuple(Mark(colour, marker) for marker in "8H" for colour in (RED, BLUE, ORANGE, PURPLE, GREEN, INDIGO))
"""Marks that no method has, for methods that declare none."""


def mark_of(name: str) -> Mark:
    """The mark of a method; one that is unknown or declares none has one of `FREE_MARKS`, the same in every figure."""
    method = METHODS.get(name)
    if method is not None and method.mark is not None:
        return method.mark
    return FREE_MARKS[int(stable_hash("mark", name), 16) % len(FREE_MARKS)]


@dataclass(frozen=True)
class MethodUse:
    """A method as the config asks for it: `name`, which judges the test pairs; `name@all`, which judges all pairs (for
    methods that learn nothing from the user's votes); or `name@loo`, which judges all pairs, each by what was learned
    from the user's other conversations (for methods that learn from votes and make no call when they judge)."""

    method: Method[Any]
    pairs: Pairs = "test"

    @property
    def spec(self) -> str:
        """The entry of the config, and the method's id in the tables."""
        return str(MethodId(self.method.name, self.pairs))


def parse_method(spec: str) -> MethodUse:
    """Read a config entry. Raises ConfigError for an unknown method, or pairs that it cannot be judged on."""
    asked = MethodId.parse(spec)
    if asked.name not in METHODS or asked.verdict != "text":
        raise ConfigError(f"methods: unknown method {spec!r}; known: {', '.join(METHODS)}")
    method = METHODS[asked.name]
    learns = method.needs == "profile" or method.learns
    if asked.pairs == "all" and learns:
        raise ConfigError(f"methods: {spec!r}: a method that learns from votes can be judged on test pairs only")
    if asked.pairs == "loo" and not (learns and method.needs in ("nothing", "scores")):
        raise ConfigError(f"methods: {spec!r}: '@loo' is for methods that learn from votes and ask no model to judge")
    return MethodUse(method, asked.pairs)


def needs_scores(spec: str) -> bool:
    """Whether a config entry names a method that rests on the pairs' scores by attributes; an unknown one does not."""
    method = METHODS.get(MethodId.parse(spec).name)
    return method is not None and (method.needs == "scores" or method.shows_taste)
