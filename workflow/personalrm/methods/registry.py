"""All methods by name, and how the config spells them.

To add a method, add a module to this folder with a `Method` (ARCHITECTURE.md); combinations of what several modules
give stand here.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from personalrm import methods
from personalrm.core.conditions import MethodId
from personalrm.core.errors import ConfigError
from personalrm.core.records import Profile
from personalrm.judge.judge import JudgeContext
from personalrm.methods import baselines
from personalrm.methods.base import Known, Method
from personalrm.methods.criteria import CRITERIA
from personalrm.methods.criteria import PROMPTS as CRITERIA_PROMPTS

ALL_STAGES = ("bootstrap", "search", "persona", "rebootstrap", "search_persona")


def _profile(known: Known) -> Profile:
    """The user's profile. Raises ValueError where none was given: the caller has to learn one first."""
    if known.profile is None:
        raise ValueError(f"user {known.user.user_id}: no profile was given to a method that needs one")
    return known.profile


def _demos(known: Known) -> JudgeContext:
    return JudgeContext(demonstrations=_profile(known).plain_demonstrations)


def _persona(known: Known) -> JudgeContext:
    return JudgeContext(persona=_profile(known).persona)


def _memory(known: Known) -> JudgeContext:
    """Facts about the user as a list, in the place of the persona (paper, baselines)."""
    return JudgeContext("\n".join(f"- {fact}" for fact in _profile(known).memory) or None)


def _both(known: Known) -> JudgeContext:
    return JudgeContext(_profile(known).persona, _profile(known).demonstrations)


def _both_that_fit(known: Known) -> JudgeContext:
    return replace(_both(known), droppable=True)


def _declared() -> Iterator[Method[Any]]:
    """Methods that modules of this folder declare."""
    for _, name, _ in pkgutil.iter_modules(methods.__path__):
        if name != "registry":
            values = vars(importlib.import_module(f"{methods.__name__}.{name}")).values()
            yield from (value for value in values if isinstance(value, Method))


_LISTED: tuple[Method[Any], ...] = (
    Method("random", "nothing", baselines.run_seed, judge=baselines.toss_coin),
    Method("longer", "nothing", baselines.run_seed, judge=baselines.prefer_longer),
    Method("default", "judge", baselines.nothing),
    Method("demographics", "judge", baselines.demographics, prompts=("demographics",)),
    Method("history", "judge", baselines.history, learns=True),
    Method("history_validation", "judge", baselines.history_validation, learns=True),
    Method("oracle", "judge", baselines.planted_taste),
    Method("memory", "profile", _memory, ("memory",)),
    Method("demos", "profile", _demos, ("bootstrap", "search")),
    Method("persona", "profile", _persona, ("bootstrap", "search", "persona")),
    Method("both", "profile", _both, ALL_STAGES),
    Method("criteria", "profile", _both_that_fit, ALL_STAGES, prompts=CRITERIA_PROMPTS, judge=CRITERIA),
)
METHODS: dict[str, Method[Any]] = {method.name: method for method in (*_LISTED, *_declared())}
"""All methods, in the order of listing; those that modules declare come last."""


@dataclass(frozen=True)
class MethodUse:
    """A method as the config asks for it: `name`, or `name@all` to judge all of a user's pairs and not only the test
    pairs (only for methods that learn nothing from the user's votes)."""

    method: Method[Any]
    all_pairs: bool

    @property
    def spec(self) -> str:
        """The entry of the config, and the method's id in the tables."""
        return str(MethodId(self.method.name, "all" if self.all_pairs else "test"))


def parse_method(spec: str) -> MethodUse:
    """Read a config entry. Raises ConfigError for an unknown method, or `@all` on one that learns."""
    asked = MethodId.parse(spec)
    if asked.name not in METHODS or asked.verdict != "text":
        raise ConfigError(f"methods: unknown method {spec!r}; known: {', '.join(METHODS)}")
    method, all_pairs = METHODS[asked.name], asked.pairs == "all"
    if all_pairs and (method.needs == "profile" or method.learns):
        raise ConfigError(f"methods: {spec!r}: a method that learns from votes can be judged on test pairs only")
    return MethodUse(method, all_pairs)
