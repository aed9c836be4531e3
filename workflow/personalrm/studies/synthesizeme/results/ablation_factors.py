"""What a way of judging is made of: factors of the ablation, and their levels."""

from __future__ import annotations

from collections.abc import Mapping

from personalrm.core.conditions import JSON
from personalrm.results.conditions import Condition
from personalrm.results.labels import UNUSED

Levels = Mapping[str, str]
"""Factor to level; "-" where the way of judging has no such thing."""

YES, NO = "yes", "no"
FACTORS: dict[str, str] = {
    "demonstrations": "Demonstrations",
    "persona": "Persona",
    "format": "Persona format",
    "theta": "Θ",
    "variant_of": "Variant",
    "repair": "Single repair",
}
"""Factor to heading, in the order of columns."""
BASES: dict[str, tuple[str, str]] = {
    "default": (NO, NO),
    "demos": (YES, NO),
    "persona": (NO, YES),
    "both": (YES, YES),
    "bt": (NO, NO),
    "bt_persona": (NO, YES),
    "bt_both": (YES, YES),
}
"""Name of a method to whether the judge, or the reward model, is shown demonstrations, and a persona."""
NOTHING = ("default", "bt")
"""Those that are shown nothing, of judges and of reward models."""
REFERENCES: dict[str, str] = {
    "demonstrations": NO,
    "persona": NO,
    "format": "text",
    "theta": NO,
    "variant_of": "as_published",
    "repair": "none",
}
"""Level that the others of a factor are compared with; the first by name where no cell has it."""
SEPARATOR = " · "


def levels_of(key: Condition) -> dict[str, str] | None:
    """Levels of a condition; None for a method that is no part of the ablation.

    >>> from personalrm.core.conditions import MethodId, VariantId
    >>> levels = levels_of(Condition("d", MethodId("both"), VariantId.parse("corrected-without-ranking+ours")))
    >>> levels["variant_of"], levels["repair"], levels["theta"]
    ('corrected', 'without ranking', 'ours')
    >>> levels_of(Condition("d", MethodId("memory"))) is None
    True
    """
    if key.method.name not in BASES:
        return None
    demonstrations, persona = BASES[key.method.name]
    levels = dict.fromkeys(FACTORS, UNUSED) | {"demonstrations": demonstrations, "persona": persona}
    if key.method.name in NOTHING:
        return levels
    base, repair, theta, persona_format = key.variant
    levels |= {"variant_of": base, "repair": repair or REFERENCES["repair"]}
    if persona == YES:
        levels |= {"format": "JSON" if persona_format == JSON else persona_format, "theta": theta or NO}
    return levels


def changed_factor(first: Levels, second: Levels) -> str | None:
    """The one factor whose levels differ, all others being the same or not applicable to one side; else None."""
    changed = [
        factor
        for factor in FACTORS
        if first[factor] != second[factor] and UNUSED not in (first[factor], second[factor])
    ]
    return changed[0] if len(changed) == 1 else None


def fixed_levels(first: Levels, second: Levels, factor: str) -> str:
    """Levels of the other factors, in words: what is held fixed while `factor` changes."""
    texts = []
    for other, heading in FACTORS.items():
        held = {first[other], second[other]} - {UNUSED}
        if other != factor and held:
            texts.append(f"{heading}: {held.pop()}")
    return SEPARATOR.join(texts)
