"""What a way of judging is made of: the one registry from the names of methods and variants to levels of factors.

A name that the registry can read needs no code: a method `<base>_<mark>` (`both_json`, `persona_theta`) or with `+`
for `_`, and a variant of any name, or `<variant>-without-<repair>` for one with a single repair left out.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from personalrm.results.comparison_sheets import METHOD, VARIANT, Key
from personalrm.results.comparisons import method_parts
from personalrm.results.labels import NOT_APPLICABLE

Levels = Mapping[str, str]
"""Factor to level; "-" where the way of judging has no such thing."""

YES, NO = "yes", "no"
FACTORS: dict[str, str] = {
    "demonstrations": "Demonstrations",
    "persona": "Persona",
    "theta": "Θ",
    "persona_format": "Persona format",
    "variant_of": "Variant",
    "left_out": "Repair left out",
}
"""Factor to heading, in the order of columns."""
BASES: dict[str, tuple[str, str]] = {
    "default": (NO, NO),
    "demos": (YES, NO),
    "persona": (NO, YES),
    "both": (YES, YES),
}
"""Base of a method's name to whether the judge is shown demonstrations, and a persona."""
MARKS: dict[str, tuple[str, str]] = {"theta": ("theta", YES), "json": ("persona_format", "JSON")}
"""Mark in a method's name to the level that it sets."""
REFERENCES: dict[str, str] = {
    "demonstrations": NO,
    "persona": NO,
    "theta": NO,
    "persona_format": "text",
    "variant_of": "as_published",
    "left_out": "none",
}
"""Level that the others of a factor are set against; the first by name where no cell has it."""
WITHOUT, SEPARATOR = "-without-", " · "


def levels_of(key: Key) -> dict[str, str] | None:
    """Levels of a cell; None for a method that is no part of the ablation.

    >>> levels = levels_of(("d", "corrected-without-D3", "m", "m", "both_json.logprob", "all"))
    >>> levels["persona_format"], levels["variant_of"], levels["left_out"]
    ('JSON', 'corrected', 'D3')
    >>> levels_of(("d", "corrected", "m", "m", "memory", "all")) is None
    True
    """
    base, *marks = re.split(r"[_+]", method_parts(key[METHOD])[0])
    if base not in BASES or any(mark not in MARKS for mark in marks):
        return None
    demonstrations, persona = BASES[base]
    if marks and persona == NO:
        return None
    levels = dict.fromkeys(FACTORS, NOT_APPLICABLE) | {"demonstrations": demonstrations, "persona": persona}
    if base != "default":
        variant, _, repair = key[VARIANT].partition(WITHOUT)
        levels |= {"variant_of": variant, "left_out": repair or REFERENCES["left_out"]}
    if persona == YES:
        levels |= {"theta": NO, "persona_format": REFERENCES["persona_format"]}
    return levels | dict(MARKS[mark] for mark in marks)


def changed_factor(first: Levels, second: Levels) -> str | None:
    """The one factor whose levels differ, all others being the same or not applicable to one side; else None."""
    changed = [
        factor
        for factor in FACTORS
        if first[factor] != second[factor] and NOT_APPLICABLE not in (first[factor], second[factor])
    ]
    return changed[0] if len(changed) == 1 else None


def fixed_levels(first: Levels, second: Levels, factor: str) -> str:
    """Levels of the other factors, in words: what is held fixed while `factor` changes."""
    texts = []
    for other, heading in FACTORS.items():
        held = {first[other], second[other]} - {NOT_APPLICABLE}
        if other != factor and held:
            texts.append(f"{heading}: {held.pop()}")
    return SEPARATOR.join(texts)
