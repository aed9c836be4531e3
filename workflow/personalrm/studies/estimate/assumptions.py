"""What a rehearsal takes for granted, for only models can tell: how long they write, how often they are right."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Literal

from personalrm.core.errors import ConfigError

Bound = Literal["expected", "least", "most"]
"""Of what adapts: as assumed; or every first guess right and the search over at its first candidate; or all attempts
used and every candidate scored in full."""


@dataclass(frozen=True)
class Assumptions:
    """Lengths are in tokens, and cut to what the config allows; shares are from 0 to 1. All are our choice: the lengths
    are usual ones of instruction-following models, and how verdicts fall is near what the bundled models do.

    Attributes:
        right: share of verdicts that are right.
        steady: share of verdicts that depend on the pair alone, and not on what else is shown, nor on the order.
        reasoning: of a verdict, before the label.
        persona: a persona.
        memory: the list of facts.
        criteria: the list of criteria, and what is written about scores.
        rating: the reason of a rating.
        rated: share of ratings that pass (a pair has two).
        cached_price: price of a prompt token found in the provider's prefix cache, as a share of the full price, where
            litellm's price list has none.
        cached_least: a prefix shorter than this is not cached (OpenAI's rule; 0 for embedded models).
    """

    right: float = 0.6
    steady: float = 0.7
    reasoning: int = 120
    persona: int = 150
    memory: int = 120
    criteria: int = 80
    rating: int = 50
    rated: float = 0.8
    cached_price: float = 0.5
    cached_least: int = 1024


def read_assumptions(given: Sequence[str]) -> Assumptions:
    """The defaults with `name=value` of the command line. Raises ConfigError for an unknown name or no number."""
    found = Assumptions()
    kinds = {name: type(value) for name, value in asdict(found).items()}
    for text in given:
        name, _, value = text.partition("=")
        if name not in kinds:
            raise ConfigError(f"--assume {text}: no assumption {name!r}; there are: {', '.join(kinds)}")
        try:
            number = kinds[name](value)
        except ValueError:
            what = "share" if kinds[name] is float else "whole number"
            raise ConfigError(f"--assume {text}: {value!r} is no {what}") from None
        if number < 0 or (kinds[name] is float and number > 1):
            raise ConfigError(f"--assume {text}: out of range; shares are from 0 to 1, lengths 0 or more")
        found = replace(found, **{name: number})
    return found
