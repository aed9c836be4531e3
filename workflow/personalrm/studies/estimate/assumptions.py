"""What an estimate assumes, because only a run would show it: how long they write, how often they are right."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from personalrm.core.errors import ConfigError

Bound = Literal["expected", "least", "most"]
"""Of what adapts: as assumed; or every first guess right and the search over at its first candidate; or all attempts
used and every candidate scored in full."""
Share = Annotated[float, Field(ge=0, le=1)]
Tokens = Annotated[int, Field(ge=0)]


class Assumptions(BaseModel):
    """Lengths are in tokens, and cut to what the config allows; shares are from 0 to 1. All are our choice: the lengths
    are usual ones of instruction-following models, and how verdicts fall is near what the bundled models do.

    Attributes:
        right: share of verdicts that are right.
        steady: share of verdicts that depend on the pair alone, and not on what else is shown, nor on the order.
        reasoning: of a verdict, before the label.
        persona: a persona.
        memory: the list of facts.
        criteria: the list of criteria, what is written about scores, and a scorecard.
        rating: the reason of a rating.
        rated: share of ratings that pass (a pair has two).
        cached_price: price of a prompt token found in the provider's prefix cache, as a share of the full price, where
            litellm's price list has none.
        cached_least: a prefix shorter than this is not cached (OpenAI's rule; 0 for embedded models).
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    right: Share = 0.6
    steady: Share = 0.7
    reasoning: Tokens = 120
    persona: Tokens = 150
    memory: Tokens = 120
    criteria: Tokens = 80
    rating: Tokens = 50
    rated: Share = 0.8
    cached_price: Share = 0.5
    cached_least: Tokens = 1024


def read_assumptions(given: Sequence[str]) -> Assumptions:
    """The defaults with `name=value` of the command line. Raises ConfigError for an unknown name or a wrong value."""
    values = {name: value for name, _, value in (text.partition("=") for text in given)}
    try:
        return Assumptions.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        name = first["loc"][0]
        text = f"--assume {name}={values[str(name)]}"
        if first["type"] == "extra_forbidden":
            known = ", ".join(Assumptions.model_fields)
            raise ConfigError(f"{text}: no assumption {name!r}; there are: {known}") from None
        raise ConfigError(f"{text}: {first['msg']}") from None
