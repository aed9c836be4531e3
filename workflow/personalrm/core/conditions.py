"""The parts of a condition as ids: methods, variants, and how much of a user's context is read.

Configs, paths, records and tables hold these ids as texts. This module alone parses and spells them.
"""

from __future__ import annotations

import re
from typing import Annotated, Literal, NamedTuple, get_args

from pydantic import BeforeValidator, Field

from personalrm.core.errors import ConfigError

Pairs = Literal["test", "all", "loo"]
"""Which pairs of a user are judged: the test pairs; all pairs, by what learned from none of them; or all pairs, each by
what learned from all other conversations of the user (leave-one-conversation-out)."""
PAIRS: tuple[Pairs, ...] = get_args(Pairs)
VerdictMode = Literal["text", "logprob", "logprob_both"]
"""How a verdict is read: from words; from the log-probabilities of the labels, for each order of showing; or from those
of both orders together."""
PersonaFormat = Literal["text", "json"]
JSON: PersonaFormat = "json"
"""Stands after the `+` of variants whose personas are JSON; no Theta can have this name."""
NamedK = Literal["all", "halves", "types"]
K = int | NamedK
"""How much of a user's context a profile is learned from: so many pairs, all pairs, or disjoint parts, one for each
draw (`context_subsets.py`): two halves of the conversations, or the conversations of each type."""
K_NAMES: tuple[NamedK, ...] = get_args(NamedK)
_OLDER: dict[int, NamedK] = {0: "all", -1: "types", -2: "halves"}
"""Numbers that versions before 0.2 wrote into files for the names of `k`."""


def _of_older_version(value: object) -> object:
    return _OLDER.get(value, value) if type(value) is int else value


RecordedK = Annotated[Annotated[int, Field(gt=0)] | NamedK, BeforeValidator(_of_older_version)]
"""`K` as a field of a record. Files of versions before 0.2, which had numbers in place of names, are read."""


def read_k(text: str) -> K:
    """`K` from its form in paths and configs.

    >>> read_k("5"), read_k("all")
    (5, 'all')
    """
    return next((name for name in K_NAMES if name == text), None) or int(text)


class MethodId(NamedTuple):
    """A method, the pairs that it is judged on, and how its verdicts are read.

    >>> MethodId.parse("oracle@all.logprob_both")
    MethodId(name='oracle', pairs='all', verdict='logprob_both')
    >>> str(MethodId("both")), str(MethodId("both", verdict="logprob"))
    ('both', 'both.logprob')
    """

    name: str
    pairs: Pairs = "test"
    verdict: VerdictMode = "text"

    @classmethod
    def parse(cls, text: str) -> MethodId:
        """Parse an id; whether there is a method of this name is not checked. Raises ConfigError for any other text."""
        name = re.split("[@.]", text, maxsplit=1)[0]
        known = (cls(name, pairs, verdict) for pairs in PAIRS for verdict in get_args(VerdictMode))
        found = next((method for method in known if str(method) == text), None)
        if found is None:
            raise ConfigError(
                f"methods: {text!r}: only '@all' or '@loo' may follow a name, in results also '.logprob' or the like"
            )
        return found

    def __str__(self) -> str:
        pairs = "" if self.pairs == "test" else f"@{self.pairs}"
        return self.name + pairs + ("" if self.verdict == "text" else f".{self.verdict}")


class VariantId(NamedTuple):
    """A variant: the code as published or corrected, the one repair in which it differs from that, the name of an
    optimised persona prompt, and the format of personas. `repair` reads "with ranking" or "without ranking".

    >>> VariantId.parse("corrected-without-ranking+ours")
    VariantId(base='corrected', repair='without ranking', theta='ours', persona_format='text')
    >>> str(VariantId("as_published", persona_format="json"))
    'as_published+json'
    """

    base: str
    repair: str | None = None
    theta: str | None = None
    persona_format: PersonaFormat = "text"

    @classmethod
    def parse(cls, text: str) -> VariantId:
        """Parse an id; whether there are such a base, repair and Theta is not checked."""
        code, _, added = text.partition("+")
        repaired = re.fullmatch(r"(.+)-(with|without)-(.+)", code)
        base, repair = (repaired[1], f"{repaired[2]} {repaired[3]}") if repaired else (code, None)
        return cls(base, repair, persona_format=JSON) if added == JSON else cls(base, repair, added or None)

    @property
    def code(self) -> str:
        """The same without Theta, and with personas as text."""
        return str(self._replace(theta=None, persona_format="text"))

    def __str__(self) -> str:
        added = JSON if self.persona_format == JSON else self.theta
        repair = f"-{self.repair.replace(' ', '-')}" if self.repair else ""
        return self.base + repair + (f"+{added}" if added else "")
