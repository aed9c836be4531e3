"""Typed settings of `budget`."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Dollars = Annotated[float, Field(ge=0)]


class BudgetSettings(BaseModel):
    """US dollars, at list prices, that the run's own calls may cost (docs/running.md)."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    usd: Dollars | None = None
    """Dollars for the whole run."""
    models: dict[str, Dollars] = {}
    """Dollars by model."""

    def limits(self, model: str) -> bool:
        """Whether a model's calls are limited."""
        return self.usd is not None or model in self.models
