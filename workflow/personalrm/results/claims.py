"""What the numbers of a comparison allow to be said: the one place that words whether a method predicts better.

An effect is claimed only where three things agree: the 95 % interval of the paired difference excludes 0; p after
Holm's adjustment for all comparisons of the table is below 0.05; and there are at least `MIN_USERS` users and
`MIN_PAIRS` pairs. Where one of them fails, no sentence says that one side is better, not even that its interval lies
above 0: there are too few pairs to tell, or, where the interval is narrow, any difference is small.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from enum import Enum
from typing import Any

LEVEL = 0.05
MIN_USERS = 6
"""With five users who all gain, the signs alone give p = 1/16 (`stats.statistics.sign_floor`)."""
MIN_PAIRS = 30
"""Our choice: the width of the interval of an accuracy of 50 % over so many independent pairs is 36 points."""
SMALL = 5.0
"""Points. An interval that holds 0 and reaches no further than this shows that any difference is small (our choice)."""
CHANCE = 50.0
RULE = (
    f"the 95 % interval of the paired difference excludes 0, p < {LEVEL:g} after Holm's adjustment, and there are at "
    f"least {MIN_USERS} users and {MIN_PAIRS} pairs"
)
"""When one side is said to be better or worse, as notes say it."""


class Claim(Enum):
    """What may be said of a difference, or of an accuracy against chance."""

    BETTER = "better"
    WORSE = "worse"
    SMALL = "small"
    TOO_FEW = "too few"


def claim_of(row: Mapping[str, Any]) -> Claim:
    """What a row of the table of differences allows to be said of its method against its reference.

    Reads `difference`, `ci_low` and `ci_high` (points), `p_holm`, `n_users` and `n_pairs`. Missing numbers are NaN.
    """
    low, high = float(row["ci_low"]), float(row["ci_high"])
    if not _enough(row) or math.isnan(low):
        return Claim.TOO_FEW
    if (low > 0 or high < 0) and float(row["p_holm"]) < LEVEL:
        return Claim.BETTER if low > 0 else Claim.WORSE
    return Claim.SMALL if low <= 0 <= high and max(-low, high) <= SMALL else Claim.TOO_FEW


def claim_of_accuracy(row: Mapping[str, Any]) -> Claim:
    """What a row of the main table allows to be said of its accuracy against chance, 50 %. There is no p-value in it,
    so that the interval and the numbers of users and pairs decide."""
    low, high = float(row["ci_low"]), float(row["ci_high"])
    if not _enough(row) or math.isnan(low):
        return Claim.TOO_FEW
    if low <= CHANCE <= high:
        return Claim.SMALL if max(CHANCE - low, high - CHANCE) <= SMALL else Claim.TOO_FEW
    return Claim.BETTER if low > CHANCE else Claim.WORSE


def _enough(row: Mapping[str, Any]) -> bool:
    return int(row["n_users"]) >= MIN_USERS and int(row["n_pairs"]) >= MIN_PAIRS


def in_words(row: Mapping[str, Any], name: str, reference: str = "Default") -> str:
    """One sentence on a row of the table of differences, without its numbers. Names are those that a reader knows."""
    return words_of(claim_of(row), name, reference)


def words_of(claim: Claim, name: str, reference: str = "Default") -> str:
    """The sentence of a claim that is known already (`in_words`)."""
    return {
        Claim.BETTER: f"{name} predicts these votes better than {reference}.",
        Claim.WORSE: f"{name} predicts these votes worse than {reference}.",
        Claim.SMALL: f"{name} and {reference} predict about equally well: any difference is below {SMALL:g} points.",
        Claim.TOO_FEW: f"There are too few pairs to tell whether {name} predicts better than {reference}.",
    }[claim]


def against_chance(row: Mapping[str, Any], doing: str) -> str:
    """One sentence on a row with an accuracy: whether what the clause `doing` says happens more often than chance."""
    start = doing[:1].upper() + doing[1:]
    return {
        Claim.BETTER: f"{start} more often than chance.",
        Claim.WORSE: f"{start} less often than chance.",
        Claim.SMALL: f"{start} about as often as chance: any difference is below {SMALL:g} points.",
        Claim.TOO_FEW: f"There are too few pairs to tell whether {doing} more often than chance.",
    }[claim_of_accuracy(row)]
