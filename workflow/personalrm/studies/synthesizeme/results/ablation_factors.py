"""What a way of judging is made of: the one registry from the names of methods and variants to levels of factors.

Methods are those of `BASES`, variants those of `variants.py`: `<variant>`, `<variant>-with-<repair>` and
`<variant>-without-<repair>`, each with `+<theta>`, `+json` or neither.
"""

from __future__ import annotations

from collections.abc import Mapping

from personalrm.methods.synthesizeme.variants import JSON
from personalrm.results.comparisons import method_parts
from personalrm.results.labels import UNUSED
from personalrm.results.verdict_arrays import METHOD, VARIANT, Key

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
}
"""Base of a method's name to whether the judge is shown demonstrations, and a persona."""
REFERENCES: dict[str, str] = {
    "demonstrations": NO,
    "persona": NO,
    "format": "text",
    "theta": NO,
    "variant_of": "as_published",
    "repair": "none",
}
"""Level that the others of a factor are set against; the first by name where no cell has it."""
SEPARATOR = " · "


def levels_of(key: Key) -> dict[str, str] | None:
    """Levels of a cell; None for a method that is no part of the ablation.

    >>> levels = levels_of(("d", "corrected-without-ranking+ours", "m", "m", "both.logprob", "all"))
    >>> levels["variant_of"], levels["repair"], levels["theta"]
    ('corrected', 'without ranking', 'ours')
    >>> levels_of(("d", "corrected", "m", "m", "memory", "all")) is None
    True
    """
    base = method_parts(key[METHOD])[0]
    if base not in BASES:
        return None
    demonstrations, persona = BASES[base]
    levels = dict.fromkeys(FACTORS, UNUSED) | {"demonstrations": demonstrations, "persona": persona}
    if base == "default":
        return levels
    variant, _, added = key[VARIANT].partition("+")
    repair = REFERENCES["repair"]
    for word in ("with", "without"):
        if f"-{word}-" in variant:
            variant, _, name = variant.partition(f"-{word}-")
            repair = f"{word} {name}"
    levels |= {"variant_of": variant, "repair": repair}
    if persona == YES:
        as_json = added == JSON
        levels |= {"format": "JSON" if as_json else "text", "theta": NO if as_json else added or NO}
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
