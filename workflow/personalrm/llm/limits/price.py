"""What calls of a model cost, as its entry in the config says."""

from __future__ import annotations

from collections.abc import Callable

from personalrm.llm.types import ModelSpec

Price = Callable[[int, int], float | None]
"""List price in US dollars of (prompt tokens, generated tokens); None where it is not known."""


def no_price(spec: ModelSpec) -> str:
    """What is wrong with a model of unknown price in a run with a budget, and which line mends it."""
    name = spec.name
    return (
        f"models.{name}.price_in: the run has a budget, but no price is known for {spec.model}. Add "
        f"models.{name}.price_in and models.{name}.price_out (US dollars per million tokens; 0 if it is free)."
    )


def spec_price(spec: ModelSpec, tokens_in: int, tokens_out: int) -> float | None:
    """List price in US dollars from the spec, 0 for embedded models, None where the spec has no prices."""
    if spec.price_in is not None and spec.price_out is not None:
        return (tokens_in * spec.price_in + tokens_out * spec.price_out) / 1e6
    return 0.0 if spec.backend == "embedded" else None
